"""README and docs are run, not just written: their Python, their links, their options, their numbers of lines."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import tinycnn
from tinycnn import backends

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CHANGELOG.md"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def blocks(page: Path, language: str) -> list[str]:
    return [code for kind, code in BLOCK.findall(page.read_text()) if kind == language]


def commands(page: Path) -> list[list[str]]:
    """The words of every shell command on the page."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, as one program per page; what a comment at the end of a line promises is printed."""
    monkeypatch.setattr(backends, "_LOADERS", dict(backends._LOADERS))  # a page may register a backend of its own
    names: dict[str, object] = {}
    with tinycnn.use_backend("numpy"):
        for code in blocks(page, "python"):
            exec(compile(code, str(page), "exec"), names)
    promised = re.findall(r"print\(.*\)  # (.+)$", "\n".join(blocks(page, "python")), re.MULTILINE)
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line in promised] == promised


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    missing = [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_name_files_and_options_that_exist(page: Path) -> None:
    for words in commands(page):
        scripts = [word for word in words if word.endswith(".py")]
        assert all((ROOT / script).exists() for script in scripts), words
        options = [word for word in words if word.startswith("--")]
        for script in scripts:
            source = (ROOT / script).read_text()
            assert all(f'"{option}"' in source for option in options), words


def test_a_missing_file_or_option_would_be_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\npython examples/train_mnist.py --no-such-option\n```\n[gone](nowhere.md)\n")
    with pytest.raises(AssertionError):
        test_commands_name_files_and_options_that_exist(page)
    with pytest.raises(AssertionError):
        test_links_lead_somewhere(page)


def test_the_two_commands_stand_on_top() -> None:
    """The first trains, the second tests; `.ci/run` takes the second from there."""
    first, second = (" ".join(words) for words in commands(ROOT / "README.md")[:2])
    assert first.endswith("examples/train_mnist.py")
    assert second.endswith("-m pytest -q")
    assert "<!-- test command -->" in (ROOT / ".ci" / "run").read_text()


def test_the_readme_tells_the_truth_about_the_minimal_example() -> None:
    lines = len((ROOT / "examples" / "minimal.py").read_text().splitlines())
    (told,) = re.findall(r"minimal\.py` the same in (\d+) lines", (ROOT / "README.md").read_text())
    assert int(told) - 5 <= lines <= int(told)


def test_the_package_says_which_python_it_needs() -> None:
    assert sys.version_info >= (3, 11)
    assert "Python 3.11 or newer" in (ROOT / "README.md").read_text()


def test_the_pages_build_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="building the pages needs: pip install 'tinycnn[docs]'")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(ROOT / "docs"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "conv2d" in (tmp_path / "api.html").read_text()
