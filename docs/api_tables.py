"""Writes the tables of names into the Python reference: ``python docs/api_tables.py``.

On a code host, ``docs/api.md`` shows nothing of what Sphinx makes of its ``autoclass`` and ``automodule`` lines. So a
table stands above each block of such lines, between ``<!-- names -->`` and ``<!-- end of names -->``. It has the names
that the block describes, each with a link to its file and the first sentence of its docstring. In the built pages, the
links lead to the full description below.
"""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"
BLOCK = re.compile(r"(?:<!-- names -->\n.*?<!-- end of names -->\n\n)?(```\{eval-rst\}\n.*?\n```)", re.DOTALL)
DIRECTIVE = re.compile(r"^\.\. auto(\w+):: (\S+)\n((?:   :.*\n)*)", re.MULTILINE)
LINK = re.compile(r"\[`([\w.]+)`\]\(\.\./tinycnn/[\w/.]+\)")


def filled_in(text: str) -> str:
    """The page with every table as it follows from the package today."""
    return BLOCK.sub(lambda block: f"{table(block[1])}\n\n{block[1]}", text)


def table(block: str) -> str:
    """The table of the names that a block of directives describes."""
    rows = [row(name, value) for name, value in described(f"{block}\n")]
    return "\n".join(["<!-- names -->", "| name | what it is |", "| --- | --- |", *rows, "<!-- end of names -->"])


def described(block: str) -> Iterator[tuple[str, Any]]:
    """``(name, object)`` of each directive, and of each member of a module."""
    for kind, name, options in DIRECTIVE.findall(block):
        if kind != "module":
            module, _, attribute = name.rpartition(".")
            yield name, getattr(importlib.import_module(module), attribute)
            continue
        value = importlib.import_module(name)
        excluded = re.findall(r":exclude-members: (.*)", options)
        for member in getattr(value, "__all__", None) or own_names(value):
            one = getattr(value, member)
            if (inspect.isclass(one) or inspect.isfunction(one)) and inspect.getdoc(one) and member not in excluded:
                yield f"{name}.{member}", one


def own_names(module: Any) -> list[str]:
    """The public names that a module without ``__all__`` defines itself, in the order of its source."""
    return [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    ]


def row(name: str, value: Any) -> str:
    """One line of the table."""
    file = Path(inspect.getsourcefile(inspect.unwrap(value)) or "").relative_to(ROOT).as_posix()
    return f"| [`{name.removeprefix('tinycnn.')}`](../{file}) | {summary(value)} |"


def summary(value: Any) -> str:
    """The first sentence of the docstring, as Markdown; with the second one where the first is two words long."""
    paragraph = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    first, *others = re.split(r"(?<=\.)\s+(?=[A-Z`])", paragraph.removesuffix(":"))
    sentence = f"{first} {others[0]}" if len(first.split()) == 2 and others else first
    return re.sub(r"``(.+?)``", r"`\1`", sentence).replace("|", "\\|")


def linked_below(app: Any, name: str, source: list[str]) -> None:
    """In the built page: links to the descriptions below the tables, in place of those to the files."""
    if name == "api":
        source[0] = LINK.sub(r'<a href="#tinycnn.\1"><code>\1</code></a>', source[0])


def setup(app: Any) -> dict[str, bool]:
    """Make this file an extension of Sphinx."""
    app.connect("source-read", linked_below)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    PAGE.write_text(filled_in(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
