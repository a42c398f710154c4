"""The path in ``docs/path/``: every chapter keeps what the path promises, and nothing it shows has gone stale.

That its Python runs and prints what it says is tested with all other pages in ``test_documentation.py``.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "docs" / "path"
CHAPTERS = sorted(PATH.glob("[0-9]*.md"))
SHOWN = re.compile(r"^```\{literalinclude\} (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INCLUDED = re.compile(r"^```\{include\} (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"!\[[^\]]{20,}\]\(pictures/(\w+)\.svg\)")
SOLUTION = re.compile(r"<details><summary>Solution</summary>\n(.*?)</details>", re.DOTALL)


def option(name: str, options: str) -> str:
    return re.findall(rf"^:{name}: (.+)$", options, re.MULTILINE)[0]


def objects_in(source: str) -> set[str]:
    """The names of all functions, classes and methods: ``f``, ``C``, ``C.method``."""
    names, to_visit = set(), [("", ast.parse(source))]
    while to_visit:
        prefix, tree = to_visit.pop()
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(f"{prefix}{node.name}")
                to_visit.append((f"{prefix}{node.name}.", node))
    return names


def stale_excerpts(page: Path) -> list[str]:
    """Excerpts of a file, object or marker that does not exist, or under the name of another file."""
    wrong = []
    for target, options in SHOWN.findall(page.read_text(encoding="utf-8")):
        file = (page.parent / target).resolve()
        if not file.exists() or option("caption", options) != file.relative_to(ROOT).as_posix():
            wrong.append(target)
        elif ":pyobject:" in options:
            name = option("pyobject", options)
            wrong += [name] if name not in objects_in(file.read_text(encoding="utf-8")) else []
        elif ":start-at:" in options:
            markers = [option("start-at", options), option("end-at", options)]
            wrong += [marker for marker in markers if marker not in file.read_text(encoding="utf-8")]
    for target, options in INCLUDED.findall(page.read_text(encoding="utf-8")):
        markers = re.findall(r'^:(?:start-after|end-before): "(.+)"$', options, re.MULTILINE)
        wrong += [marker for marker in markers if marker not in (page.parent / target).read_text(encoding="utf-8")]
    return wrong


def shown_pictures() -> list[str]:
    return [name for page in CHAPTERS for name in PICTURE.findall(page.read_text(encoding="utf-8"))]


def test_chapters_are_numbered_and_listed() -> None:
    listed = re.findall(r"^(\d\d)_\w+$", (PATH / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == [f"{number:02}" for number in range(1, len(CHAPTERS) + 1)]
    assert listed == [page.name[:2] for page in CHAPTERS]


def test_the_list_of_chapters_can_be_clicked_where_nothing_is_built() -> None:
    links = re.findall(r"^\d+\. \[(.+)\]\((\S+)\)$", (PATH / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert links == [(page.read_text("utf-8").splitlines()[0].removeprefix("# "), page.name) for page in CHAPTERS]


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.stem)
def test_a_chapter_has_all_it_promises(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert PICTURE.search(text), "no picture with a description"
    assert "$" in text, "no mathematics"
    assert re.search(r"print\(.*\)  # ", text), "no worked example"
    assert SHOWN.search(text), "no line of the source"
    solutions = SOLUTION.findall(text)
    assert len(solutions) == len(re.findall(r"^\*\*\d\.\*\*", text, re.MULTILINE)) >= 2
    assert all("```python\n" in solution for solution in solutions), "a solution that does not run"


def test_the_chapters_link_every_step_and_the_gradients_by_hand() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in CHAPTERS)
    linked = set(re.findall(r"\]\(steps/(\w+\.py)\)", text))
    assert linked == {step.name for step in (PATH / "steps").glob("step*.py")}
    assert text.count("](../../examples/backprop_by_hand.py)") >= 3
    learn = (PATH.parent / "learn.md").read_text("utf-8")
    assert re.findall(r"^(\d)\. .*backprop_by_hand", learn, re.MULTILINE) == ["2"]


def test_every_exercise_is_named_by_a_chapter() -> None:
    named = {name for page in CHAPTERS for name in re.findall(r"`(\d\d_\w+\.py)`", page.read_text(encoding="utf-8"))}
    assert named == set(
        re.findall(r"^\| `(\d\d_\w+\.py)`", (PATH.parent / "exercises.md").read_text("utf-8"), re.MULTILINE)
    )


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.stem)
def test_excerpts_are_not_stale(page: Path) -> None:
    assert stale_excerpts(page) == []


@pytest.mark.parametrize(
    "block",
    [
        "{literalinclude} ../../tinycnn/gone.py\n:pyobject: f\n:caption: tinycnn/gone.py",
        "{literalinclude} ../../tinycnn/tensor.py\n:pyobject: Tensor.gone\n:caption: tinycnn/tensor.py",
        "{literalinclude} ../../tinycnn/tensor.py\n:pyobject: Tensor\n:caption: tinycnn/ops/relu.py",
        '{include} ../../README.md\n:start-after: "## Learn"\n:end-before: "## Gone"',
        "{literalinclude} ../../tinycnn/tensor.py\n:start-at: class\n:end-at: gone!\n:caption: tinycnn/tensor.py",
    ],
)
def test_a_stale_excerpt_would_be_noticed(block: str, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "path" / "page.md"
    page.parent.mkdir(parents=True)
    for name in ("tinycnn", "README.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    page.write_text(f"```{block}\n```\n", encoding="utf-8")
    assert len(stale_excerpts(page)) == 1


def test_pictures_are_those_of_the_script(tmp_path: Path) -> None:
    """Every picture is shown, and its words and numbers are those that the script writes today."""
    pytest.importorskip("matplotlib", reason="drawing the pictures needs: pip install matplotlib")
    script = ROOT / "docs" / "pictures_of_the_path.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, timeout=300)
    drawn = {path.stem: words_in(path) for path in tmp_path.glob("*.svg")}
    assert drawn == {path.stem: words_in(path) for path in (PATH / "pictures").iterdir()}
    assert sorted(drawn) == sorted(shown_pictures())
    assert all(path.stat().st_size < 60_000 for path in (PATH / "pictures").iterdir())


def words_in(picture: Path) -> list[str]:
    """All text of an SVG file: what may not change unnoticed, whatever the version of Matplotlib."""
    return re.findall(r"<text[^>]*>(.*?)</text>", picture.read_text(encoding="utf-8"), re.DOTALL)


CORE = ["tensor.py", "ops/*.py", "layers/*.py", "backends/base.py", "backends/numpy_backend.py"]
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef


def core_lines() -> tuple[int, int]:
    """The lines of the core: all, and those that are neither empty, nor comment, nor docstring."""
    everything = code = 0
    for file in (file for pattern in CORE for file in (ROOT / "tinycnn").glob(pattern)):
        source = file.read_text(encoding="utf-8")
        nodes = [
            node for node in ast.walk(ast.parse(source)) if isinstance(node, DOCUMENTED) and ast.get_docstring(node)
        ]
        told = {line for node in nodes for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)}
        for number, line in enumerate(source.splitlines(), start=1):
            everything += 1
            code += bool(line.strip()) and not line.strip().startswith("#") and number not in told
    return everything, code


def test_the_core_has_as_many_lines_as_the_path_says() -> None:
    """So that "readable in an afternoon" stays a number that somebody counts."""
    told = re.search(
        r"about ([\d,]+) lines, of which ([\d,]+) are code", (PATH / "index.md").read_text(encoding="utf-8")
    )
    for said, counted in zip(told.groups(), core_lines(), strict=True):
        assert abs(int(said.replace(",", "")) - counted) <= 150
    for page in ("README.md", "docs/index.md"):
        assert f"about {told[1]} lines" in (ROOT / page).read_text(encoding="utf-8")
