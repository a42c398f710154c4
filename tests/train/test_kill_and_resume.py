"""Real processes that are killed, stopped or share a folder: no result is lost, and resumed runs give the same bits."""

import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

pytest.importorskip("resource", reason="kills and limits of files as Unix has them")

from tests.support.kill_runs import EVERY, MOMENTS, Study, campaign, remains
from tinycnn.commands import main
from tinycnn.run.folder import locked_folder
from tinycnn.train.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def peace_folder(study):
    """The folder of a run that is not interrupted."""
    study.finish(study.folder / "peace", *EVERY)
    return study.folder / "peace"


@pytest.fixture(scope="module")
def peace(peace_folder):
    """The results of a run that is not interrupted."""
    return remains(peace_folder)


@pytest.mark.parametrize("every", [EVERY, []], ids=["checkpoints", "only at the end"])
def test_a_run_killed_at_any_moment_ends_with_the_same_bits(every, study):
    survived = campaign(study, kills=len(MOMENTS), seed=1, every=every)
    assert survived == Counter(MOMENTS)


@pytest.mark.parametrize(("name", "code"), [("Ctrl-C", 130), ("SIGTERM", 143)])
def test_a_signal_saves_and_prints_the_resume_command(name, code, study, peace, tmp_path):
    output = tmp_path / "an output"
    for moment, count, step, where in [
        (name, 9, 9, "stopped after step 3 of 6 in epoch 2"),
        (f"{name}: after the last step", 1, 24, "stopped before the results were complete"),
        (f"{name}: in the test evaluation", 1, 24, "stopped before the results were complete"),
    ]:
        run = study.start(output, *EVERY, "--resume", moment=moment, count=count)
        assert run.wait() == code, run.errors
        *_, sentence, command = run.errors.splitlines()
        assert sentence == f"{where}; saved to {output}/checkpoints/step-{step:09}.safetensors. To continue:"
        words = study.words(output, *EVERY)
        assert shlex.split(command) == [sys.executable, "-m", "tinycnn", *words, "--resume"]
    assert main(shlex.split(command)[3:]) == 0
    assert remains(output) == peace


@pytest.mark.parametrize(
    ("moment", "code"),
    [("Ctrl-C: while drawing", 130), ("SIGTERM: while drawing", 143), ("SIGTERM: while writing", 143)],
)
def test_a_signal_after_the_evaluation_leaves_complete_results_and_says_how_to_draw(moment, code, study, tmp_path):
    run = study.start(tmp_path / "out", moment=moment, count=1)
    assert run.wait() == code, run.errors
    assert run.errors == (
        "\nstopped before the pictures were drawn; the results are complete. To draw them:\n"
        f"  tinycnn report {tmp_path}/out\n"
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == RESULTS


def test_a_second_ctrl_c_stops_immediately(study, tmp_path):
    run = study.start(tmp_path / "out", *EVERY, moment="Ctrl-C twice", count=13)
    assert (run.wait(), run.errors) == (130, "interrupted\n")
    assert [path.stem[-2:] for path in Checkpoints(tmp_path / "out" / "checkpoints").paths()] == ["12", "08"]


def test_a_second_run_in_the_same_folder_raises(study, tmp_path):
    first = study.start(tmp_path / "out", *EVERY, moment="waits", count=7)
    try:
        deadline = time.monotonic() + 300
        while not Checkpoints(tmp_path / "out" / "checkpoints").paths() and time.monotonic() < deadline:
            time.sleep(0.02)
        for more in ([], ["--resume"]):
            second = study.start(tmp_path / "out", *EVERY, *more)
            assert second.wait() == 2
            assert re.fullmatch("error: --output .*: another run is using it; .*\n", second.errors)
        assert first.process.is_alive()
    finally:
        first.process.kill()
        assert first.wait() == -signal.SIGKILL
    with locked_folder(tmp_path / "out") as path:  # the lock ended with the process
        assert (path / "checkpoints").is_dir()


KB = 1000  # the model of these runs has 25 KB, a checkpoint 103 KB
RESULTS = {"model.safetensors", "model_best.safetensors", "history.csv", "metrics.json"}
SAVED = r"the state after the last step is saved in .*step-000000024.safetensors: to write the results, .* --resume\n"
LOST = r"no checkpoint could be written either: this run is lost\n"
CHECKPOINT_LOST = r"the checkpoint of step 4 could not be written \(File too large\); kept: none\n"
TOO_LARGE = {  # file that cannot be written: (moment, size limit of files, what is printed, exit code)
    "checkpoints": ("files may not grow", 60 * KB, CHECKPOINT_LOST, 0),
    "the model": ("files may not grow", 20 * KB, rf"{LOST}error: .*/model_best\.safetensors: File too large\n", 2),
    "the history": ("files may not grow after the model", 100, rf"{SAVED}error: .*/history\.csv: File too large\n", 2),
    "the metrics": (
        "files may not grow after the model",
        1000,
        rf"{SAVED}error: .*/metrics\.json: File too large\n",
        2,
    ),
}


@pytest.mark.parametrize("what", TOO_LARGE)
def test_a_failed_write_is_reported_and_earlier_files_stay_intact(what, study, tmp_path, peace_folder):
    """The operating system's limit for file sizes stands in for a full disk and always fails the same file."""
    moment, size, words, code = TOO_LARGE[what]
    before = {path.name: path.read_bytes() for path in peace_folder.iterdir() if path.is_file()}
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    run = study.start(tmp_path, *EVERY, "--seed", "1", moment=moment, count=size)
    assert run.wait() == code, run.errors
    assert re.search(words, run.errors)
    assert ("model_best.safetensors could not be written (File too large); the run keeps it" in run.errors) == (
        what == "the model"
    )
    assert "Traceback" not in run.errors
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


def test_a_run_on_a_full_disk_keeps_its_checkpoints(study, tmp_path, peace):
    """With room for two checkpoints only, the run continues without a third and ends where results do not fit."""
    folder = tmp_path / "disk"
    tmpfs(folder, int(2.4 * sum(map(len, peace["arrays"].values()))))
    try:
        run = study.start(folder / "out", *EVERY)
        assert run.wait() == 2
        assert "could not be written (No space left on device); kept: step-0000000" in run.errors
        assert "Traceback" not in run.errors
        *_, advice, error = run.errors.splitlines()
        assert re.fullmatch("the run can continue from .*: run the command again with --resume", advice)
        assert error.startswith("error: ")
        subprocess.run(["mount", "-o", "remount,size=100m", str(folder)], check=True, timeout=60)
        study.finish(folder / "out", *EVERY, "--resume")
        assert remains(folder / "out") == peace
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=60)
