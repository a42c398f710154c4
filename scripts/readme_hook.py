"""A hook of the build (hatchling): the README as the package index shows it.

There, relative addresses would lead to pages of the index that do not exist. If pyproject.toml has the address of this
repository (``[project.urls]``, ``Source = "https://..."``), links and pictures lead there. If not, links become their
text, and pictures and paragraphs that consist of links are left out.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)([^)]*)\)")
PICTURE = re.compile(r"<picture>.*?</picture>\n*", re.DOTALL)
ONLY_LINKS = re.compile(r"^(?:\[[^\]]+\]\([^)]*\)(?: ·)?\s+)+\n", re.MULTILINE)


def for_the_index(text: str, address: str = "") -> str:
    """Markdown without relative addresses."""
    if not address:
        return LINK.sub(r"\1", ONLY_LINKS.sub("", PICTURE.sub("", text)))
    text = re.sub(r'\b(src|srcset)="(?!https?:)', rf'\1="{address}/raw/HEAD/', text)
    return LINK.sub(rf"[\1]({address}/blob/HEAD/\2)", text)


class ReadmeHook(MetadataHookInterface):
    """Called by hatchling for the field ``readme``, which pyproject.toml declares as dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the description of the package."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        address = metadata.get("urls", {}).get("Source", "").rstrip("/")
        metadata["readme"] = {"content-type": "text/markdown", "text": for_the_index(text, address)}
