"""Writes the lines of the source that the pages show into the pages: ``python docs/excerpts.py``.

A page has a mark ``<!-- excerpt FILE NAME -->`` (a function, class or method of a Python file; without NAME the whole
file) or ``<!-- excerpt FILE "FIRST WORDS" -->`` (the paragraph or table of another page that begins so). What stands
between it and ``<!-- end of excerpt -->`` is written anew, so the pages show the source wherever they are read. With
``--check``, it only names the pages that have changed.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
MARK = re.compile(
    r'^<!-- excerpt (\S+?)(?: ("[^"]+"|\S+))? -->\n(.*?)^<!-- end of excerpt -->$', re.MULTILINE | re.DOTALL
)
LANGUAGES = {".py": "py", ".cu": "c++"}  # not "python": the tests run those blocks


def filled_in(text: str, folder: Path) -> str:
    """The page ``text``, in ``folder``, with every excerpt as it is in the source today."""
    return MARK.sub(lambda mark: written(mark[1], mark[2] or "", folder), text)


def written(file: str, name: str, folder: Path) -> str:
    """An excerpt with its marks, and below the first the name of the file as a link."""
    source = (ROOT / file).read_text(encoding="utf-8")
    head = f"<!-- excerpt {file}{' ' * bool(name)}{name} -->"
    if name.startswith('"'):
        return f"{head}\n\n{paragraph(source, name.strip(chr(34)))}\n\n<!-- end of excerpt -->"
    link = "/".join([*[".."] * len(folder.relative_to(ROOT).parts), file])
    code = definition(source, name) if name else source.rstrip("\n")
    fence = f"```{LANGUAGES[Path(file).suffix]}\n{code}\n```"
    return f"{head}\n[{file}]({link}):\n\n{fence}\n<!-- end of excerpt -->"


def definition(source: str, place: str) -> str:
    """The lines of a function or class with its decorators; of ``Class.method``, also the first line of the class."""
    node: ast.AST = ast.parse(source)
    lines, around = source.splitlines(), []
    for name in place.split("."):
        around += [lines[node.lineno - 1]] if isinstance(node, ast.ClassDef) else []
        inside = [one for one in ast.iter_child_nodes(node) if getattr(one, "name", None) == name]
        if not inside:
            raise SystemExit(f"there is no {place}")
        node = inside[0]
    first = min(line.lineno for line in (node, *node.decorator_list))
    return "\n".join([*around, *lines[first - 1 : node.end_lineno]])


def paragraph(source: str, begins: str) -> str:
    """The lines from the one that begins with the words up to the next empty one."""
    found = re.search(rf"^{re.escape(begins)}.*?(?=\n\n)", source, re.MULTILINE | re.DOTALL)
    if found is None:
        raise SystemExit(f"no paragraph begins with {begins!r}")
    return found[0]


def main(only_check: bool) -> int:
    """Rewrite the pages that have changed; with ``only_check``, name them and return 1."""
    old = {page: page.read_text(encoding="utf-8") for page in PAGES}
    new = {page: filled_in(text, page.parent) for page, text in old.items()}
    changed = [page for page in PAGES if old[page] != new[page]]
    for page in changed:
        print(page.relative_to(ROOT))
        if not only_check:
            page.write_text(new[page], encoding="utf-8")
    return int(only_check and bool(changed))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
