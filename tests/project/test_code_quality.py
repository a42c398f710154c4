"""Ruff and mypy, with the settings in ``pyproject.toml``, find nothing in the repository; and they can find faults."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIGURED = ["--no-cache", "--config", ROOT / "pyproject.toml"]


def run_tool(tool, *arguments, folder=ROOT):
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed: pip install -e '.[test]'")
    command = [sys.executable, "-m", tool, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=600)


def check_clean(process):
    if process.returncode:
        pytest.fail(process.stdout + process.stderr, pytrace=False)
    assert process.stderr == ""


def test_ruff():
    check_clean(run_tool("ruff", "check", "--no-cache", "--output-format", "concise", "."))


def test_ruff_format():
    check_clean(run_tool("ruff", "format", "--no-cache", "--check", "."))


def test_mypy():
    check_clean(run_tool("mypy"))


@pytest.mark.parametrize(
    ("tool", "arguments", "source", "code"),
    [
        ("ruff", ["check", *CONFIGURED], "import os\n", "F401"),
        ("ruff", ["check", *CONFIGURED], f"x = '{'long' * 40}'\n", "E501"),
        (
            "ruff",
            ["format", "--no-cache", "--check", "--config", ROOT / "pyproject.toml"],
            "x=1\n",
            "would be reformatted",
        ),
        ("mypy", ["--config-file", ROOT / "pyproject.toml"], "def f(x: int) -> str:\n    return x\n", "return-value"),
        ("mypy", ["--config-file", ROOT / "pyproject.toml"], "def f(x):\n    return x\n", "no-untyped-def"),
    ],
)
def test_a_planted_fault_is_found(tool, arguments, source, code, tmp_path):
    (tmp_path / "planted.py").write_text(source, encoding="utf-8")
    process = run_tool(tool, *arguments, "planted.py", folder=tmp_path)
    assert process.returncode == 1
    assert code in process.stdout
