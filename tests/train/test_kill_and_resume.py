"""Real processes that are killed, stopped or share a folder: no result is lost, and resumed runs give the same bits."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from tests.support.kill_runs import MOMENTS, ROOT, arguments, campaign, finish, remains, start
from tinycnn.run.folder import locked_folder
from tinycnn.train.checkpoint import Checkpoints


@pytest.mark.parametrize(("backend", "kills"), [("numpy", len(MOMENTS)), ("numba", 4)])
def test_a_run_killed_at_any_moment_ends_with_the_same_bits(backend, kills, tmp_path):
    pytest.importorskip(backend)
    survived = campaign(tmp_path, backend, kills, seed=1)
    assert sum(survived.values()) == kills
    assert len(survived) >= kills - 1  # a kill from outside may come too late


@pytest.fixture(scope="module")
def peace_folder(tmp_path_factory):
    """The folder of a run that is not interrupted."""
    folder = tmp_path_factory.mktemp("peace") / "out"
    finish(folder, "numpy")
    return folder


@pytest.fixture(scope="module")
def peace(peace_folder):
    """The results of a run that is not interrupted."""
    return remains(peace_folder)


@pytest.mark.parametrize(("moment", "code"), [("Ctrl-C", 130), ("SIGTERM", 143)])
def test_a_signal_saves_and_prints_the_resume_command(moment, code, tmp_path, peace):
    folder = tmp_path / "an output"
    process = start(*arguments(folder, "numpy"), moment=moment, count=13)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == code
    assert re.fullmatch(
        rf"\nstopped after step 3 of 10 in epoch 2; saved to {folder}/checkpoints/step-000000013.safetensors. "
        r"To continue:\n  (.+ --resume)\n",
        errors,
    )
    printed = shlex.split(errors.splitlines()[-1])  # it names this harness, which replaces the script
    command = [word for word in printed if word not in ("--inside", f'["{moment}", 13]')]
    command[1] = str(ROOT / "examples" / "train_mnist.py")
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=300)
    assert remains(folder) == peace


def test_a_second_ctrl_c_stops_immediately(tmp_path):
    process = start(*arguments(tmp_path / "out", "numpy"), moment="Ctrl-C twice", count=13)
    _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (130, "interrupted\n")
    assert [path.stem[-2:] for path in Checkpoints(tmp_path / "out" / "checkpoints").paths()] == ["12", "10"]


def test_a_second_run_in_the_same_folder_raises(tmp_path):
    first = start(*arguments(tmp_path / "out", "numpy"), moment="waits", count=7)
    try:
        deadline = time.monotonic() + 300
        while not Checkpoints(tmp_path / "out" / "checkpoints").paths() and time.monotonic() < deadline:
            time.sleep(0.05)
        for more in ([], ["--resume"]):
            second = start(*arguments(tmp_path / "out", "numpy"), *more)
            _, errors = second.communicate(timeout=300)
            assert second.returncode == 2
            assert re.fullmatch("error: --output .*: another run is using it; .*\n", errors)
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=60)
    with locked_folder(tmp_path / "out") as path:  # the lock ended with the process
        assert (path / "checkpoints").is_dir()


MB = 1_000_000  # the model of these runs has 1.0 MB, a checkpoint 3.0 MB
CHECKPOINT_LOST = r"the checkpoint of step (2|10) could not be written \(File too large\); kept: (none|step-000000002)"
TOO_LARGE = {  # file that cannot be written: (moment, size limit of files, end of stderr, exit code)
    "checkpoints": ("files may not grow", 2 * MB, CHECKPOINT_LOST, 0),
    "the model": ("files may not grow", MB // 2, r"error: .*/model_best\.safetensors: File too large", 2),
    "the history": ("files may not grow after the model", 100, r"error: .*/history\.csv: File too large", 2),
    "the metrics": ("files may not grow after the model", 400, r"error: .*/metrics\.json: File too large", 2),
}
RESULTS = {"model.safetensors", "model_best.safetensors", "history.csv", "metrics.json"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of files")
@pytest.mark.parametrize("what", TOO_LARGE)
def test_a_failed_write_is_reported_and_earlier_files_stay_intact(what, tmp_path, peace_folder):
    """The operating system's limit for file sizes stands in for a full disk and always fails the same file."""
    moment, size, words, code = TOO_LARGE[what]
    before = {path.name: path.read_bytes() for path in peace_folder.iterdir() if path.is_file()}
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    more = "--epochs", "1", "--seed", "1", "--checkpoint-every", "2" if what == "checkpoints" else "100"
    process = start(*arguments(tmp_path, "numpy"), *more, moment=moment, count=size)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == code, errors
    assert re.fullmatch(words, errors.splitlines()[-1])
    assert "Traceback" not in errors
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == (RESULTS if code == 0 else set())  # all results of a run, or none


def tmpfs(folder, size):
    """Mount a disk of that size at ``folder``; skips the test if it cannot."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, timeout=60) if sys.platform == "linux" else None
    if done is None or done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr if done else sys.platform}")


def test_a_run_on_a_full_disk_keeps_its_checkpoints(tmp_path, peace):
    """With room for two checkpoints only, the run continues without a third and ends where results do not fit."""
    folder = tmp_path / "disk"
    tmpfs(folder, int(2.6 * sum(map(len, peace["arrays"].values()))))
    try:
        process = start(*arguments(folder / "out", "numpy"))
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 2
        assert "could not be written (No space left on device); kept: step-0000000" in errors
        assert "Traceback" not in errors
        assert "error: " in errors.splitlines()[-1]
        subprocess.run(["mount", "-o", "remount,size=100m", str(folder)], check=True, timeout=60)
        finish(folder / "out", "numpy", "--resume")
        assert remains(folder / "out") == peace
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=60)
