"""The benchmark of several ranks, and the model of more machines than there are."""

import importlib
import json
import os
import subprocess
import sys

import pytest

from tests.distributed.test_mpi import MPIEXEC, ROOT, surroundings


@pytest.fixture
def model(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("scaling_model")


def test_the_model_by_hand(model, monkeypatch):
    """Messages of 1 ms, 4 MB of gradients at 1 GB/s; a batch normalisation is a sum more, there and back."""
    monkeypatch.setitem(model.NETWORKS, "slow", (1e-3, 1e9))
    measured = {"parameters": 1_000_000, "norms": 0, "step_ms": {"128": 100.0, "64": 60.0, "32": 40.0}}
    # two ranks: 60 ms, 2 ms waiting, 4 messages of 1 ms, half of twice 4 ms
    assert model.speedup(2, measured, 2.0, "slow") == pytest.approx(100 / (60 + 2 + 4 + 4))
    assert model.speedup(4, measured, 2.0, "slow") == pytest.approx(100 / (40 + 2 + 12 + 6))
    assert model.speedup(2, measured | {"norms": 2}, 2.0, "slow") == pytest.approx(100 / (60 + 2 + 5 * 4 + 4))


def test_the_benchmark_runs(tmp_path):
    pytest.importorskip("mpi4py")
    if not MPIEXEC.exists():
        pytest.skip("no mpiexec beside Python: pip install 'tinycnn[mpi]'")
    command = [sys.executable, str(ROOT / "benchmarks" / "scaling.py"), "--model", "lenet", "--backend", "numpy"]
    command += ["--batch-size", "16", "--steps", "10", "--json", str(tmp_path / "found.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=surroundings())
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    setups = [(row["ranks"], row["threads"]) for row in found["ranks"]]
    assert setups[0] == (1, 1)
    assert setups[-1] == (2, max(len(os.sched_getaffinity(0)) // 2, 1))
    assert all(row["step_ms"] > row["sums_ms"] >= 0 for row in found["ranks"])
    (part,) = found["parts"]
    assert list(part["step_ms"]) == ["16", "8", "4", "2", "1"]
    assert (part["parameters"], part["norms"]) == (60_074, 0)
    assert found["machine"]["versions"]["numpy"]
