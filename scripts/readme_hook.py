"""A hook of the build (hatchling): the README as the package index shows it.

There, relative addresses would lead to pages of the index that do not exist: links become their text, and pictures are
left out.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


def without_relative_addresses(text: str) -> str:
    """Markdown without pictures, and without links to files."""
    text = re.sub(r"<picture>.*?</picture>\n*", "", text, flags=re.DOTALL)
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]*\)", r"\1", text)


class ReadmeHook(MetadataHookInterface):
    """Called by hatchling for the field ``readme``, which pyproject.toml declares as dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the description of the package."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": without_relative_addresses(text)}
