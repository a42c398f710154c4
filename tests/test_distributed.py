"""Real ranks under mpiexec: the same network, one voice, and one end for all, however one of them ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from test_ranks import EVERYTHING, difference, network, train

from tinycnn.distributed import nccl
from tinycnn.ranks import Alone

ROOT = Path(__file__).resolve().parents[1]
MPIEXEC = Path(sys.executable).parent / "mpiexec"
TRAIN = [str(ROOT / "examples" / "train_mnist.py"), "--distributed", "--dataset", "digits", "--model", "batchnorm_cnn"]
TRAIN += ["--backend", "numpy", "--limit", "200", "--batch-size", "37", "--no-plots"]
# Open MPI refuses to run as root and with more ranks than cores; MPICH, which the extra installs, does not
ALLOWED = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
ALLOWED |= {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "PRTE_MCA_hwloc_default_binding_policy": "none"}


def surroundings(**more):
    kept = {key: value for key, value in os.environ.items() if key != "TINYCNN_DATA"}
    return kept | ALLOWED | {"PYTHONPATH": str(ROOT)} | more


@pytest.fixture(scope="module")
def mpiexec():
    pytest.importorskip("mpi4py")
    if not MPIEXEC.exists():
        pytest.skip("no mpiexec beside Python: pip install 'tinycnn[mpi]'")

    def launch(size, *arguments, folder, **more):
        command = [str(MPIEXEC), "-n", str(size), sys.executable, *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=folder, env=surroundings(**more), **pipes)

    return launch


def ended(process, timeout_s=100):
    out, errors = process.communicate(timeout=timeout_s)
    return process.returncode, out, errors


def program(mpiexec, size, *arguments, folder, **more):
    return ended(mpiexec(size, ROOT / "tests" / "mpi_program.py", *arguments, folder=folder, **more))


@pytest.mark.parametrize("size", [2, 4])
def test_real_ranks_are_one_process(size, mpiexec, tmp_path):
    state, history = train(network(), **EVERYTHING)
    code, out, errors = program(mpiexec, size, "train", tmp_path / "a.npz", folder=tmp_path)
    assert code == 0, errors
    spoken, told = out.splitlines()
    assert spoken == "rank 0 speaks"
    told = json.loads(told)
    assert told["sums"] == [sum(10.0**rank for rank in range(size))] * 5
    assert told["threads"] == max(len(os.sched_getaffinity(0)) // size, 1)
    assert np.allclose(told["history"], history, rtol=1e-12)
    assert difference(state, dict(np.load(tmp_path / "a.npz"))) < 1e-12


def test_the_same_number_of_ranks_gives_the_same_bits(mpiexec, tmp_path):
    files = [tmp_path / f"{letter}.npz" for letter in "ab"]
    for file in files:
        assert program(mpiexec, 2, "train", file, folder=tmp_path)[0] == 0
    assert difference(*(dict(np.load(file)) for file in files)) == 0


@pytest.mark.parametrize(("what", "said"), [("dies", "signal 9|killed"), ("bug", "KeyError: 'a key'.*on rank 3 of 4")])
def test_a_rank_that_dies_ends_all(what, said, mpiexec, tmp_path):
    began = time.monotonic()
    code, out, errors = program(mpiexec, 4, what, folder=tmp_path)
    assert code != 0
    assert re.search(said, (out + errors).replace("\n", " "), re.IGNORECASE)
    assert time.monotonic() - began < 60


def test_a_rank_that_hangs_is_given_up(mpiexec, tmp_path):
    code, _, errors = program(mpiexec, 2, "hangs", folder=tmp_path, TINYCNN_PATIENCE_S="2")
    assert code != 0
    assert "has waited 2 s for the others" in errors


@pytest.mark.parametrize(
    ("what", "message"),
    [("one fails", "error: of rank 1"), ("all fail", "error: of rank 0"), ("no memory", "error: out of memory")],
)
def test_all_end_with_one_message(what, message, mpiexec, tmp_path):
    code, _, errors = program(mpiexec, 2, what, folder=tmp_path)
    assert code == 2
    assert [line.split(" (")[0] for line in errors.splitlines() if line.startswith("error")] == [message]


def test_the_example_as_a_user_runs_it(mpiexec, tmp_path):
    code, out, errors = ended(mpiexec(2, *TRAIN, "--epochs", 1, "--output", "out", folder=tmp_path))
    assert (code, errors) == (0, "")
    assert len(re.findall("^test ", out, re.MULTILINE)) == 1
    assert "ranks     2, each with its part of every batch" in out
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["ranks"] == 2
    code, _, errors = ended(mpiexec(2, *TRAIN, "--output", "out", "--resume", folder=tmp_path))
    assert code == 2
    assert errors.count("error: --resume: the run in out is finished") == 1


def test_sigterm_saves_and_four_ranks_go_on(mpiexec, tmp_path):
    if "HYDRA" not in subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True).stdout:
        pytest.skip("this mpiexec kills its processes at once when it is told to stop; MPICH's passes the signal on")
    options = ["--epochs", "9999", "--checkpoint-every", "20", "--output", "out"]
    process = mpiexec(2, *TRAIN, *options, folder=tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/checkpoints/step*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    code, _, errors = ended(process)
    assert code == 143
    assert len(re.findall("^stopped after", errors, re.MULTILINE)) == 1
    assert "  mpiexec -n 2 " in errors
    steps = int(max(tmp_path.glob("out/checkpoints/step*")).stem[5:])
    more = ["--epochs", str(steps // 6 + 2), *options[2:], "--resume"]
    code, _, errors = ended(mpiexec(4, *TRAIN, *more, folder=tmp_path))
    assert code == 0, errors
    assert f"resumed after step {steps}" in errors


def test_started_alone_it_names_the_command(tmp_path):
    command = [sys.executable, *TRAIN]
    done = subprocess.run(command, cwd=tmp_path, env=surroundings(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert re.search(r"started alone.* mpiexec -n 2 \S*python\S* .*train_mnist.py --distributed", done.stderr)


def test_without_mpi4py_it_names_the_package(tmp_path):
    hide = "import sys, runpy; sys.modules['mpi4py'] = None; sys.argv = sys.argv[1:]; "
    hide += "import importlib.util as u; find = u.find_spec; "
    hide += "u.find_spec = lambda name, *a: None if name == 'mpi4py' else find(name, *a); "
    command = [sys.executable, "-c", hide + "runpy.run_path(sys.argv[0], run_name='__main__')", *TRAIN]
    environment = surroundings(PMI_RANK="0", PMI_SIZE="2")
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "error: --distributed needs mpi4py, and an MPI: `pip install 'tinycnn[mpi]'`" in done.stderr


# ------------------------------------------------------------------------------------------ NCCL, with a stand-in


class FakeComm:
    """Adds the array to itself, as a second rank with the same numbers would."""

    def __init__(self, size, name, rank):
        assert len(name) == 128
        assert all(-128 <= number < 128 for number in name)
        self.size, self.name, self.rank, self.calls = size, name, rank, []

    def allReduce(self, source, target, count, kind, operation, stream):
        self.calls.append((source == target, count, kind, operation, stream))


def test_nccl_is_asked_for_a_sum_in_place(monkeypatch):
    name = tuple(range(-64, 64))
    fake = types.SimpleNamespace(available=True, get_unique_id=lambda: name, NcclCommunicator=FakeComm)
    fake.NCCL_SUM, fake.NCCL_FLOAT32, fake.NCCL_FLOAT64 = "sum", "float32", "float64"
    stream = types.SimpleNamespace(ptr=7)
    cuda = types.ModuleType("cupy.cuda")
    cuda.nccl, cuda.get_current_stream = fake, lambda: stream
    cupy = types.ModuleType("cupy")
    cupy.cuda = cuda
    for key, module in {"cupy": cupy, "cupy.cuda": cuda, "cupy.cuda.nccl": fake}.items():
        monkeypatch.setitem(sys.modules, key, module)
    communicator = nccl.NcclCommunicator(Alone())
    assert communicator.comm.name == name
    memory = types.SimpleNamespace(data=types.SimpleNamespace(ptr=123), size=6, dtype=np.dtype(np.float32))
    communicator.all_reduce(memory)
    assert communicator.comm.calls == [(True, 6, "float32", "sum", 7)]
