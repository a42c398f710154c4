"""The files of hosted CI and of pre-commit are valid, and run the checks that a developer runs."""

import importlib.util
import os
import re
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW, HOOKS = ROOT / ".github" / "workflows" / "check.yml", ROOT / ".pre-commit-config.yaml"
VALIDATE_WORKFLOW = ["check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
VALIDATE_HOOKS = ["pre_commit", "validate-config"]


def run_validator(validator: list[str], file: Path) -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec(validator[0]) is None:
        pytest.skip(f"{validator[0]} is not installed: pip install -e '.[test]'")
    command = [sys.executable, "-m", *validator, str(file)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)


@pytest.mark.parametrize(
    ("file", "validator", "slip"),
    [
        (WORKFLOW, VALIDATE_WORKFLOW, ("runs-on:", "run-on:")),
        (HOOKS, VALIDATE_HOOKS, ("entry:", "entries:")),
    ],
    ids=["workflow", "hooks"],
)
def test_the_file_is_valid_and_a_slip_in_it_is_found(file, validator, slip, tmp_path):
    done = run_validator(validator, file)
    assert done.returncode == 0, done.stdout + done.stderr
    planted = tmp_path / file.name
    planted.write_text(file.read_text(encoding="utf-8").replace(*slip), encoding="utf-8")
    assert run_validator(validator, planted).returncode == 1


def test_the_workflow_covers_every_python_and_system():
    text = WORKFLOW.read_text(encoding="utf-8")
    (lowest,) = re.findall(r'^requires-python = ">=(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    (pythons,) = re.findall(r"^ +python: \[(.+)\]", text, re.MULTILINE)
    assert pythons.split(", ") == [f'"3.{minor}"' for minor in range(int(lowest.removeprefix("3.")), 15)]
    assert "os: [ubuntu-latest, macos-latest, windows-latest]" in text


def test_ci_and_the_readme_run_the_same_script():
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("python scripts/check\n") == 1
    assert WORKFLOW.read_text(encoding="utf-8").count("- run: python scripts/check\n") == 1
    assert "<!-- test command -->" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def script(arguments, monkeypatch):
    """``scripts/check`` with these arguments: its exit status, and the commands it starts; every one of them fails."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # beside the script
    loader = SourceFileLoader("check", str(ROOT / "scripts" / "check"))
    check = importlib.util.module_from_spec(importlib.util.spec_from_loader("check", loader))
    loader.exec_module(check)
    commands = []

    def fails(command, **settings):
        commands.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(check.subprocess, "run", fails)
    monkeypatch.setattr(check, "cores", lambda: 8)
    monkeypatch.setattr(os, "environ", {"MKL_NUM_THREADS": "5", "PYTHONDONTWRITEBYTECODE": "1"})
    monkeypatch.setattr(sys, "argv", ["check", *arguments])
    return check.main(), commands


@pytest.mark.parametrize(("jobs", "share"), [(1, "8"), (3, "2"), (8, "1"), (20, "1"), (0, "8")])
def test_the_processes_of_the_check_share_the_cores_for_blas(jobs, share, monkeypatch):
    script(["--jobs", str(jobs)], monkeypatch)
    threads = {name: text for name, text in os.environ.items() if "THREADS" in name}
    assert threads.pop("MKL_NUM_THREADS") == "5"  # chosen by the user
    assert threads["OPENBLAS_NUM_THREADS"] == share
    assert set(threads.values()) == {share}
    assert not os.environ["PYTHONDONTWRITEBYTECODE"]


def test_what_fails_runs_again_with_the_values_of_its_assertions(monkeypatch):
    status, (first, second) = script(["--jobs", "2", "--", "tests/ops"], monkeypatch)
    assert status == 1
    assert "--assert=plain" in first
    assert second == [*first, "--assert=rewrite", "--last-failed"]


def test_the_run_with_the_lowest_versions_is_that_of_contributing():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = (block for block in re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S) if "lowest-direct" in block)
    job = WORKFLOW.read_text(encoding="utf-8").partition("lowest-versions:")[2]
    assert re.findall(r"^ +- run: (.+)$", job, re.MULTILINE) == block.splitlines()
