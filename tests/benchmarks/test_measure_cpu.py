"""The script that measures the CPU: it writes every file that a table is made of, and measures nothing twice."""

import importlib
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "measure_cpu.sh"


def test_every_file_of_a_table_is_measured():
    tables = (ROOT / "benchmarks" / "tables.py").read_text()
    read = re.findall(r"\b((?:train_step|inference|step_table)_cpu\w*)", tables)
    written = set(re.findall(r"part (\w+_cpu\w*)", SCRIPT.read_text())) | {
        f"train_step_cpu_{lanes}lanes" for lanes in (8, 4, 0)
    }
    assert "train_step_cpu_1thread" in read
    assert {name for name in read if name != "train_step_cpu_"} <= written


def test_parts_that_are_measured_are_left_out_and_failures_are_reported(tmp_path):
    """A stand-in for Python writes its arguments to the file that a part must write, and fails in one part."""
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in *cpu_count*) echo 2; exit;; *busy*) exit 3;; esac\n'
        'for last; do :; done; echo "$@" > "$last"\n'
    )
    python.chmod(0o755)
    folder = tmp_path / "measured"
    folder.mkdir()
    (folder / "step_table_cpu.json").write_text("as it was")
    result = subprocess.run(
        ["sh", SCRIPT, folder], env=os.environ | {"PYTHON": str(python)}, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert "train_step_cpu_busy FAILED" in result.stdout
    assert (folder / "step_table_cpu.json").read_text() == "as it was"
    assert len(list(folder.iterdir())) == 10
    assert "--threads 1 " in (folder / "train_step_cpu_1thread.json").read_text()


def test_a_table_without_figures_says_how_to_measure_them(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    tables = importlib.import_module("tables")
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert "measure_cpu.sh" in tables.table("busy")
    name, line = "lenet", {"median_ms": {"numba": 1.0}, "mean_ms": {"numba": 3.0, "torch eager": 300.4}}
    line |= {"model": name, "batch_size": 64, "busy_processes": 4}
    contents = {"results": [line], "machine": {"cores": 2}}
    for file in ("train_step_cpu_1thread", "train_step_cpu_busy"):
        (tmp_path / f"{file}.json").write_text(tables.json.dumps(contents))
    assert "| `lenet` (64) | 2.50 | 3.00 | 1.20 | 300 |" in tables.table("busy")  # a fifth of two cores
