"""Real ranks under mpiexec train the network of one process, print one report, and end together if one fails."""

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
from PIL import Image

from tests.distributed.test_ranks import EVERYTHING, difference, network, train
from tinycnn.distributed import launch, mpi
from tinycnn.errors import SettingError

ROOT = Path(__file__).resolve().parents[2]
MPIEXEC = Path(sys.executable).parent / "mpiexec"
EXAMPLE = [str(ROOT / "examples" / "train_mnist.py"), "--backend", "numpy", "--no-plots"]
TRAIN = [*EXAMPLE, "--distributed", "--model", "batchnorm_cnn", "--dataset", "noise.npz", "--batch-size", "13"]
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

    def launch(size, *arguments, folder, start_new_session=False, **more):
        command = [str(MPIEXEC), "-n", str(size), sys.executable, *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        settings = {"cwd": folder, "env": surroundings(**more), "start_new_session": start_new_session}
        return subprocess.Popen(command, **pipes, **settings)

    return launch


@pytest.fixture
def folder(tmp_path):
    """A folder with a data set of 40 images in two classes."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 28, 28, 1), dtype=np.uint8), np.arange(40) % 2
    np.savez(tmp_path / "noise.npz", x_train=images, y_train=labels, x_test=images[:5], y_test=labels[:5])
    return tmp_path


def ended(process, timeout_s=100):
    out, errors = process.communicate(timeout=timeout_s)
    return process.returncode, out, errors


def program(mpiexec, size, *arguments, folder, **more):
    return ended(mpiexec(size, ROOT / "tests" / "support" / "mpi_program.py", *arguments, folder=folder, **more))


@pytest.mark.parametrize("size", [2, 4])
def test_real_ranks_match_one_process(size, mpiexec, tmp_path):
    state, history = train(network(), **EVERYTHING)
    code, out, errors = program(mpiexec, size, "train", tmp_path / "a.npz", folder=tmp_path)
    assert code == 0, errors
    first_line, result = out.splitlines()
    assert first_line == "rank 0 prints"
    result = json.loads(result)
    assert result["sums"] == [sum(10.0**rank for rank in range(size))] * 5
    assert result["threads"] == max(len(os.sched_getaffinity(0)) // size, 1)
    assert np.allclose(result["history"], history, rtol=1e-12)
    assert difference(state, dict(np.load(tmp_path / "a.npz"))) < 1e-12


def test_the_same_number_of_ranks_gives_the_same_bits(mpiexec, tmp_path):
    files = [tmp_path / f"{letter}.npz" for letter in "ab"]
    for file in files:
        assert program(mpiexec, 2, "train", file, folder=tmp_path)[0] == 0
    assert difference(*(dict(np.load(file)) for file in files)) == 0


@pytest.mark.parametrize(
    ("what", "message"), [("dies", "signal 9|killed"), ("bug", "KeyError: 'a key'.*on rank 3 of 4")]
)
def test_a_rank_that_dies_ends_all_ranks(what, message, mpiexec, tmp_path):
    began = time.monotonic()
    code, out, errors = program(mpiexec, 4, what, folder=tmp_path)
    assert code != 0
    assert re.search(message, (out + errors).replace("\n", " "), re.IGNORECASE)
    assert time.monotonic() - began < 60


def test_a_rank_that_hangs_ends_the_run_after_a_timeout(mpiexec, tmp_path):
    code, _, errors = program(mpiexec, 2, "hangs", folder=tmp_path, TINYCNN_TIMEOUT_S="2")
    assert code != 0
    assert "has waited 2 s for the others" in errors


@pytest.mark.parametrize(
    ("what", "message"),
    [("one fails", "error: of rank 1"), ("all fail", "error: of rank 0"), ("no memory", "error: out of memory")],
)
def test_failing_ranks_print_one_message(what, message, mpiexec, tmp_path):
    code, _, errors = program(mpiexec, 2, what, folder=tmp_path)
    assert code == 2
    assert [line.split(" (")[0] for line in errors.splitlines() if line.startswith("error")] == [message]


def test_stopped_ranks_wait_for_the_checkpoint(mpiexec, tmp_path):
    code, _, errors = program(mpiexec, 2, "slow to stop", folder=tmp_path)
    assert code == 130
    assert "has waited" not in errors


def test_omp_num_threads_limits_the_threads(mpiexec, tmp_path):
    code, out, errors = program(mpiexec, 1, "threads", folder=tmp_path, OMP_NUM_THREADS="1")
    assert code == 0, errors
    assert out.splitlines()[1:] == ["1"]


def test_the_example_trains_on_pictures_with_two_ranks(mpiexec, tmp_path):
    """The data set is a folder of pictures; all ranks restore the best epoch."""
    rng = np.random.default_rng(0)
    for number in range(24):
        path = tmp_path / "pets" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(path)
    command = [*EXAMPLE, "--distributed", "--dataset", "pets", "--image-size", "16", "--output", "out"]
    command += ["--epochs", 9, "--early-stopping", 1, "--validation-split", 0.2, "--lr", 0.1, "--threads", 3]
    code, out, errors = ended(mpiexec(2, *command, folder=tmp_path))
    assert (code, errors) == (0, "")
    assert len(re.findall("^test ", out, re.MULTILINE)) == len(re.findall("^best ", out, re.MULTILINE)) == 1
    assert "ranks     2, each computing a shard of every batch" in out
    assert "backend   numpy, 3 threads" in out
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["ranks"] == 2
    assert metrics["stopped_early"]
    code, _, errors = ended(mpiexec(2, *command, "--resume", folder=tmp_path))
    assert code == 2
    assert errors.count("error: --resume: the run in out is finished") == 1


def test_a_stopped_run_is_saved_and_resumed_with_another_number_of_ranks(mpiexec, folder):
    """Two ranks stopped with Ctrl-C, then four ranks stopped with SIGTERM to mpiexec, then one process to the end."""
    if "HYDRA" not in subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True).stdout:
        pytest.skip("this mpiexec kills its processes immediately on a signal; that of MPICH forwards the signal")
    options = ["--epochs", "9999", "--checkpoint-every", "5", "--augment", "affine", "--output", "out"]
    process = mpiexec(2, *TRAIN, *options, folder=folder, start_new_session=True)
    steps = stopped_by(lambda: os.killpg(process.pid, signal.SIGINT), process, 0, folder, "mpiexec -n 2 ")
    process = mpiexec(4, *TRAIN, *options, "--resume", folder=folder)
    more = stopped_by(lambda: process.send_signal(signal.SIGTERM), process, steps, folder, "mpiexec -n 4 ")
    alone = [sys.executable, *TRAIN, *options, "--resume", "--epochs", str(more // 4 + 2)]
    alone.remove("--distributed")
    done = subprocess.run(alone, cwd=folder, env=surroundings(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"resumed after step {more}" in done.stderr


def stopped_by(blow, process, steps, folder, launcher):
    """Stop ``process``, which resumes a run at ``steps`` steps, with ``blow()``; returns the number of saved steps."""
    deadline = time.monotonic() + 60
    while saved_steps(folder) <= steps and time.monotonic() < deadline:
        time.sleep(0.05)
    blow()
    code, _, errors = ended(process)
    assert code == {"2": 130, "4": 143}[launcher.split()[-1]], errors
    assert len(re.findall("^stopped after", errors, re.MULTILINE)) == 1
    assert launcher in errors
    assert not steps or f"resumed after step {steps}" in errors
    return saved_steps(folder)


def saved_steps(folder):
    return max((int(path.stem[5:]) for path in folder.glob("out/checkpoints/step*")), default=0)


class Clock:
    """A clock that advances only in ``sleep`` and ``look``."""

    now = looks = 0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds + 6e-5  # wake-up latency of the kernel

    def look(self, enough):
        self.looks += 1
        self.now += 1e-5
        return enough()


@pytest.mark.parametrize(
    ("enough", "most_looks", "most_s"),
    [
        (lambda clock: clock.looks > 300, 301, 0.04),  # a large message; each poll transfers a part
        (lambda clock: clock.now > 1, 6000, 1.01),  # a slow rank: polling takes little of its core
        (lambda clock: clock.now > 60, 40_000, 60.01),  # a rank that downloads
    ],
)
def test_waiting_returns_quickly_with_few_polls(enough, most_looks, most_s, monkeypatch):
    clock, communicator = Clock(), mpi.MpiCommunicator.__new__(mpi.MpiCommunicator)
    monkeypatch.setattr(mpi, "time", clock)
    request = types.SimpleNamespace(Test=lambda: clock.look(lambda: enough(clock)))
    communicator._wait(request, timeout_s=600)
    assert clock.looks <= most_looks
    assert clock.now < most_s


def test_without_mpiexec_the_error_contains_the_command(tmp_path):
    command = [sys.executable, *TRAIN]
    done = subprocess.run(command, cwd=tmp_path, env=surroundings(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert re.search(r"started alone.* \S*mpiexec -n 2 \S*python\S* .*train_mnist.py .*--distributed", done.stderr)


def test_without_mpi_the_error_contains_the_package(tmp_path):
    pytest.importorskip("mpi4py")
    environment = surroundings(PMI_RANK="0", PMI_SIZE="2", MPI4PY_LIBMPI=str(tmp_path / "no_library.so"))
    command = [sys.executable, *TRAIN]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert re.fullmatch(r"error: mpi4py cannot find MPI \(.*\): `pip install 'tinycnn\[mpi\]'`\n", done.stderr)


@pytest.mark.parametrize("surrounding", [{"PMI_RANK": "0", "PMI_SIZE": "2"}, {}], ids=["as a rank", "alone"])
def test_without_mpi4py_the_error_contains_the_package(surrounding, tmp_path):
    hide = "import sys, runpy; sys.modules['mpi4py'] = None; sys.argv = sys.argv[1:]; "
    hide += "import importlib.util as u; find = u.find_spec; "
    hide += "u.find_spec = lambda name, *a: None if name == 'mpi4py' else find(name, *a); "
    command = [sys.executable, "-c", hide + "runpy.run_path(sys.argv[0], run_name='__main__')", *TRAIN]
    environment = surroundings(**surrounding)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert (
        "error: training on several ranks requires mpi4py and an MPI library: `pip install 'tinycnn[mpi]'`"
        in done.stderr
    )


@pytest.mark.parametrize("text", ["nan", "-1", "0", "ten", "", "-inf"])
def test_a_time_limit_that_is_none(text, monkeypatch):
    """Nothing is later than nan: ranks would wait for ever."""
    monkeypatch.setenv(launch.TIMEOUT, text)
    with pytest.raises(SettingError, match=f"TINYCNN_TIMEOUT_S={text}: expected a number of seconds above 0"):
        launch._timeout_s()
    monkeypatch.setenv(launch.TIMEOUT, "2.5")
    assert launch._timeout_s() == 2.5
