"""The path in ``docs/path/``: every chapter keeps what the path promises, and nothing it shows has gone stale.

That its Python runs and prints what it says is tested with all other pages in ``test_documentation.py``.
"""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "docs" / "path"
CHAPTERS = sorted(PATH.glob("[0-9]*.md"))
SHOWN = re.compile(r"^<!-- excerpt (tinycnn/\S+)", re.MULTILINE)
PICTURE = re.compile(r"!\[[^\]]{20,}\]\(pictures/(\w+)\.svg\)")
SOLUTION = re.compile(r"<details><summary>Solution</summary>\n(.*?)</details>", re.DOTALL)


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


@pytest.mark.parametrize("name", ["GuardedArray", "ArrayProtocols", "guards", "xp", "he_normal", "fan_in", "nesterov"])
def test_a_name_of_the_source_is_explained_before_an_excerpt_shows_it(name: str) -> None:
    """In the text of the same chapter or of an earlier one."""
    text, shown = "", False
    for page in CHAPTERS:
        chapter = page.read_text(encoding="utf-8")
        code = "".join(re.findall(r"^```py\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL))
        text += re.sub(r"^<!-- excerpt .*?^<!-- end of excerpt -->$", "", chapter, flags=re.MULTILINE | re.DOTALL)
        shown = shown or bool(re.search(rf"\b{name}\b", code))
        assert not shown or re.search(rf"\b{name}\b", text), page.name
    assert shown


def test_every_exercise_is_named_by_a_chapter() -> None:
    named = {name for page in CHAPTERS for name in re.findall(r"`(\d\d_\w+\.py)`", page.read_text(encoding="utf-8"))}
    assert named == set(
        re.findall(r"^\| `(\d\d_\w+\.py)`", (PATH.parent / "exercises.md").read_text("utf-8"), re.MULTILINE)
    )


def excerpts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("excerpts", ROOT / "docs" / "excerpts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_excerpts_are_equal_to_the_source() -> None:
    """They are written into the pages, so that a code host shows them too."""
    script, shown = excerpts(), 0
    for page in script.PAGES:
        text = page.read_text(encoding="utf-8")
        assert script.filled_in(text, page.parent) == text, f"{page.name}: run python docs/excerpts.py"
        assert text.count("<!-- excerpt ") == text.count("<!-- end of excerpt -->") == len(script.MARK.findall(text))
        assert "{literalinclude}" not in text
        assert "{include}" not in text
        shown += text.count("<!-- excerpt tinycnn/")
    assert shown > 25


def test_a_stale_excerpt_is_written_anew() -> None:
    script = excerpts()
    page = "a\n\n<!-- excerpt tinycnn/ops/relu.py relu -->\nold lines\n<!-- end of excerpt -->\n\nb\n"
    filled = script.filled_in(page, ROOT / "docs" / "path")
    assert filled.startswith(
        "a\n\n<!-- excerpt tinycnn/ops/relu.py relu -->\n[tinycnn/ops/relu.py](../../tinycnn/ops/relu.py):"
    )
    assert "\n```py\ndef relu(x: Tensor) -> Tensor:\n" in filled
    assert filled.endswith("    return ReLUFunction()(x)\n```\n<!-- end of excerpt -->\n\nb\n")
    assert script.filled_in(filled, ROOT / "docs" / "path") == filled
    method = script.filled_in(page.replace("relu.py relu", "relu.py ReLUFunction.backward"), ROOT / "docs")
    assert "(../tinycnn/ops/relu.py)" in method
    assert "\n```py\nclass ReLUFunction(Function):\n    def backward(self, grad_y: Array) -> Array:\n" in method
    table = '<!-- excerpt docs/index.md "tinycnn is" -->\n<!-- end of excerpt -->'
    assert "its core, about" in script.filled_in(table, ROOT)
    for gone in ("tinycnn/ops/relu.py gone", "tinycnn/ops/relu.py ReLUFunction.gone", 'docs/index.md "Nothing"'):
        with pytest.raises(SystemExit, match=r"no \w+"):
            script.filled_in(f"<!-- excerpt {gone} -->\n<!-- end of excerpt -->", ROOT)


def test_pictures_are_those_of_the_script(tmp_path: Path) -> None:
    """Every picture is shown, and its words and numbers are those that the script writes today."""
    pytest.importorskip("matplotlib", reason="drawing the pictures needs: pip install matplotlib")
    script = ROOT / "docs" / "pictures_of_the_path.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, timeout=300)
    drawn = {path.stem: words_in(path) for path in tmp_path.glob("*.svg")}
    assert drawn == {path.stem: words_in(path) for path in (PATH / "pictures").iterdir()}
    assert sorted(drawn) == sorted(shown_pictures())
    assert all(path.stat().st_size < 60_000 for path in (PATH / "pictures").iterdir())


def test_the_picture_of_chapter_1_has_the_names_of_its_text() -> None:
    """p, s and e, the names of the steps, with their values."""
    (line,) = re.findall(r"^\$\$ (p = .*) \$\$$", (PATH / "01_chain_rule.md").read_text("utf-8"), re.MULTILINE)
    named = [f"{name} = {value}" for name, value in re.findall(r"(\w+)\}? = [^=]* = (\d)", line)]
    assert named == ["p = 6", "s = 7", "e = 2", "loss = 4"]
    assert set(named) <= set(words_in(PATH / "pictures" / "chain_rule.svg"))


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
        assert abs(int(said.replace(",", "")) - counted) <= 50  # rounded to hundreds
    for page in ("README.md", "docs/index.md"):
        assert f"about {told[1]} lines" in (ROOT / page).read_text(encoding="utf-8")
