"""Tests of the script for GPU machines that need no GPU, so that mistakes are found before it runs on one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_session.sh"
TEXT = SCRIPT.read_text().replace("\\\n", " ")


def session(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OUT": str(folder), "PYTHON": sys.executable, **settings}
    command = ["sh", str(SCRIPT), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_shell_syntax_is_valid() -> None:
    assert subprocess.run(["sh", "-n", SCRIPT], check=False, timeout=60).returncode == 0


def test_an_unknown_part_is_an_error(tmp_path: Path) -> None:
    done = session(tmp_path, "fly")
    assert done.returncode == 2
    assert "unknown part fly: check, train or measure" in done.stderr


def test_the_scripts_and_options_it_names_exist() -> None:
    scripts = re.findall(r"(?:examples|benchmarks)/\w+\.py", TEXT)
    assert len(set(scripts)) == 3
    assert all((ROOT / script).exists() for script in scripts)
    programs = [path for name in ("examples", "benchmarks") for path in (ROOT / name).glob("*.py")]
    sources = "".join(path.read_text() for path in [*programs, ROOT / "tinycnn" / "run/options.py"])
    others = {"--require-cupy", "--collect-only", "--maxfail", "--continue-on-collection-errors"}  # of pytest
    others |= {"--no-index", "--find-links"}  # of pip
    others |= {"--tool", "--error-exitcode", "--clock-control", "--metrics", "--csv"}  # of compute-sanitizer and ncu
    options = set(re.findall(r"(?<!\S)--[a-z0-9-]+", re.sub(r"(?m)^#.*", "", TEXT))) - others
    assert len(options) > 10
    assert [option for option in sorted(options) if f'"{option}"' not in sources] == []


def test_a_part_fits_into_ten_minutes() -> None:
    """The sum of the time limits of its sections, including repetitions in loops."""
    for part in ("check", "train", "measure"):
        body = TEXT.split(f"\n{part})")[1].split(";;")[0]
        seconds = repeats = 0
        for line in body.splitlines():
            words = line.split()
            if words[:1] == ["for"]:
                repeats = len(line.partition(" in ")[2].removesuffix("; do").split())
            if words[:1] == ["done"]:
                repeats = 0
            if words[:1] == ["section"]:
                (limit,) = re.findall(r"section (?:'[^']*'|\"[^\"]*\"|\w+) (\d+) ", line)
                seconds += int(limit) * max(repeats, 1)
        assert 300 < seconds <= 600, part


@pytest.mark.parametrize("command", ["true", "false"])
def test_a_section_tells_how_it_ended(command: str, tmp_path: Path) -> None:
    """``run`` is how a section starts its command under a time limit."""
    assert session(tmp_path, "run", command).returncode == (command == "false")


@pytest.mark.parametrize("missing", ["", "tqdm", "torch"])
def test_what_is_missing_is_named_and_what_to_do(missing: str, tmp_path: Path) -> None:
    blocked = f"import importlib.util as i; f = i.find_spec; i.find_spec = lambda n: None if n == {missing!r} else f(n)"
    (tmp_path / "sitecustomize.py").write_text(blocked)
    folder = str(tmp_path) if missing else ""
    done = session(tmp_path, "run", "packages", BACKEND="numba", PYTHONPATH=str(tmp_path), TINYCNN_DATA=folder)
    has_mnist = any((ROOT / name).is_dir() for name in (".mnist", "shared/mnist"))
    assert ("MNIST is missing" in done.stdout) == (not folder and not has_mnist)
    assert done.returncode == (missing == "tqdm"), done.stderr
    advice = dict(re.findall(r"^(\w+) is missing: (.+)$", done.stdout, re.MULTILINE))
    assert not missing or missing in advice
    assert [name for name in advice if advice[name].startswith("pip install")] == ["tqdm"][: missing == "tqdm"]
    assert re.search(r"(?m)^numpy \d", done.stdout)


def test_a_tool_starts_a_short_training(tmp_path: Path) -> None:
    """``echo`` in the place of NVIDIA's tools: they get Python, the program and its options."""
    done = session(tmp_path, "run", "under", "--model lenet", "echo", "--tool", "memcheck", scratch=str(tmp_path))
    short, output = tmp_path / "short.py", tmp_path / "short"
    assert done.stdout.split() == ["--tool", "memcheck", sys.executable, str(short), str(output), "--model", "lenet"]
    compile(short.read_text(), "short.py", "exec")
