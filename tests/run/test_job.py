"""``tinycnn train``: what would fail at the end is refused or reported at the start, and nothing is lost."""

import errno
import itertools
import json
import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("resource", reason="the runs of the harness are of Unix")

from tests.support.in_process import run_here
from tests.support.kill_runs import Study
from tinycnn.errors import SettingError
from tinycnn.run import folder as run_folder
from tinycnn.run import job
from tinycnn.saving import model_file, safetensors_file
from tinycnn.saving.state_file import read_state
from tinycnn.train.checkpoint import BEST_FILE, Checkpoints
from tinycnn.train.trainer import Trainer

PLAIN = ["--early-stopping", "3"]  # the run of the harness without it has only validation


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("study"))


def train(study, output, *more, code=0, plain=False):
    """Train in this process; returns what is printed on standard error."""
    words = study.words(output, *more)
    if plain:
        at = words.index(PLAIN[0])
        words[at : at + 2] = []
    process = run_here(*words, folder=study.folder)
    assert process.returncode == code, process.stderr
    assert "Traceback" not in process.stderr
    return process.stderr


@pytest.fixture
def untrained(monkeypatch):
    """No step is taken."""
    monkeypatch.setattr(Trainer, "step", None)


# ---------------------------------------------------------------------------------------- refused before the first step


@pytest.mark.usefixtures("untrained")
def test_what_saving_would_refuse_is_refused_before_the_first_step(study, tmp_path, monkeypatch):
    source = (study.folder / "tiny.safetensors").read_bytes()
    header = safetensors_file.header_length(source)
    monkeypatch.setattr(safetensors_file, "MAX_HEADER", header + 400)  # a checkpoint needs more
    errors = train(study, tmp_path / "out", code=2)
    assert "error: a checkpoint of this run would have" in errors

    def refuse(model):
        raise SettingError(f"save: too many names: {model.class_names}")

    monkeypatch.setattr(model_file, "to_bytes", refuse)
    assert train(study, tmp_path / "out", code=2) == "error: save: too many names: ('0', '1')\n"
    assert not (tmp_path / "out").exists()


def folder_at(path):
    path.mkdir()


def pipe_at(path):
    os.mkfifo(path)


def loop_at(path):
    path.symlink_to(path)


def dangling_link_at(path):
    path.symlink_to("nowhere")


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("make", [folder_at, pipe_at, loop_at, dangling_link_at])
def test_a_result_that_is_not_a_file_is_refused_before_the_first_step(make, study, tmp_path):
    names = ["metrics.json", "model.safetensors", BEST_FILE, "history.csv", "report.html", "filters_a.png"]
    for name in names:
        (tmp_path / name).mkdir()
        make(tmp_path / name / name)
        kind = "a folder" if make is folder_at else "not an ordinary file"
        words = f"{tmp_path / name / name} is {kind}; move it away, or choose another folder\n"
        assert train(study, tmp_path / name, code=2) == f"error: --output {tmp_path / name}: {words}"
        assert os.listdir(tmp_path / name) == [name]


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("make", [lambda path: path.write_text("mine"), pipe_at, loop_at, dangling_link_at])
def test_checkpoints_that_are_not_a_folder_are_refused_before_the_first_step(make, study, tmp_path):
    make(tmp_path / "checkpoints")
    words = f"{tmp_path / 'checkpoints'} is not a folder; move it away, or choose another folder\n"
    for more in ([], ["--resume"]):
        assert train(study, tmp_path, *more, code=2) == f"error: --output {tmp_path}: {words}"
    assert os.listdir(tmp_path) == ["checkpoints"]


@pytest.mark.usefixtures("untrained")
def test_checkpoints_in_which_nothing_can_be_written_are_refused_before_the_first_step(study, tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    temporary_file = tempfile.TemporaryFile

    def only_elsewhere(dir):
        if dir == tmp_path / "checkpoints":
            raise PermissionError(errno.EACCES, "Permission denied")
        return temporary_file(dir=dir)

    monkeypatch.setattr(run_folder.tempfile, "TemporaryFile", only_elsewhere)
    words = f"{tmp_path / 'checkpoints'} cannot be written (Permission denied); choose another folder\n"
    assert train(study, tmp_path, code=2) == f"error: --output {tmp_path}: {words}"


@pytest.mark.usefixtures("untrained")
def test_output_folders_that_cannot_exist(study, tmp_path):
    errors = train(study, tmp_path / ("x" * 300), code=2)
    assert errors == f"error: {tmp_path / ('x' * 300)}: File name too long\n"
    loop_at(tmp_path / "loop")
    errors = train(study, tmp_path / "loop" / "out", code=2)
    assert errors.startswith(
        f"error: --output {tmp_path}/loop/out: cannot be written (Too many levels of symbolic links)"
    )
    errors = train(study, tmp_path / ("a/" * 2000), code=2)
    assert "argument --output: expected at most 100 folders in each other, got '" in errors


def test_a_line_break_in_the_name_of_the_output_folder_forges_no_line(study, tmp_path):
    output = tmp_path / "out\nforged"
    words = [word for word in study.words(output, "--checkpoint-every", "100", "--threads", "1") if word != "--quiet"]
    process = run_here(*words, folder=study.folder)
    again = run_here(*words, folder=study.folder)
    shutil.rmtree(output / "checkpoints")
    replacing = run_here(*words, folder=study.folder)
    (output / "metrics.json").unlink()
    (output / "metrics.json").mkdir()
    wrong = run_here(*words, folder=study.folder)
    runs = [process, again, replacing, wrong]
    assert [run.returncode for run in runs] == [0, 2, 0, 2]
    assert ", 1 thread (" in process.stdout
    printed = "".join(run.stdout + run.stderr for run in runs)
    assert [line for line in printed.splitlines() if line.startswith("forged")] == []
    assert [(run.stdout + run.stderr).count(r"out\nforged") for run in runs] == [2, 1, 4, 2]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "contains checkpoints of an earlier run (step-000000024): resume it with --resume, delete the folder, or"),
        (["--resume", "--batch-size", "16"], "the checkpoint belongs to another run: batch size "),
        (["--resume", "--epochs", "1"], "the run is already past epoch 1: continue with more --epochs"),
    ],
)
def test_what_cannot_be_continued_is_refused_before_anything_else(more, words, study, tmp_path, monkeypatch):
    """Compiling takes up to a minute, and the table of layers hides the error."""
    train(study, tmp_path, "--checkpoint-every", "100")
    monkeypatch.setattr(job, "warm_up", None)
    again = [word for word in study.words(tmp_path, "--checkpoint-every", "100", *more) if word != "--quiet"]
    process = run_here(*again, folder=study.folder)
    assert (process.returncode, process.stdout) == (2, "")
    assert words in process.stderr
    assert process.stderr.splitlines()[-1].startswith("error: ")


# -------------------------------------------------------------------------------------------------- resumed differently


def test_save_best_for_a_run_that_began_without_it(study, tmp_path):
    first = "--checkpoint-every", "100", "--epochs"
    train(study, tmp_path / "out", *first, "2", plain=True)
    errors = train(study, tmp_path / "out", *first, "3", "--resume", "--save-best", plain=True)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    losses = [epoch["validation_loss"] for epoch in metrics["epochs"]]
    best_so_far = 1 + int(np.argmin(losses[:2]))
    assert f"the network of epoch {best_so_far}, the best so far, is not in the checkpoint" in errors
    later = min(losses) == losses[2]
    assert (tmp_path / "out" / BEST_FILE).exists() == later == (metrics["best"] is not None)
    lost = f"the network of the best epoch, {best_so_far}, was not kept, so there is no {BEST_FILE}\n"
    assert (lost in errors) == (not later)


def test_the_network_of_another_epoch_is_not_published_as_the_best(study, tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "missing_best", lambda checkpoints, history: 3)
    errors = train(study, tmp_path)
    assert errors == f"the network of the best epoch, 3, was not kept, so there is no {BEST_FILE}\n"
    assert json.loads((tmp_path / "metrics.json").read_text())["best"] is None
    assert sorted(os.listdir(tmp_path)) == ["history.csv", "metrics.json", "model.safetensors"]


def test_only_the_step_files_were_copied(study, tmp_path):
    every = "--checkpoint-every", "100"
    train(study, tmp_path / "out", *every)
    expected = (tmp_path / "out" / BEST_FILE).read_bytes()
    (tmp_path / "copy" / "checkpoints").mkdir(parents=True)
    for path in Checkpoints(tmp_path / "out" / "checkpoints").paths():
        (tmp_path / "copy" / "checkpoints" / path.name).write_bytes(path.read_bytes())
    assert train(study, tmp_path / "copy", *every, "--resume") == "resumed after step 24\n"
    assert (tmp_path / "copy" / BEST_FILE).read_bytes() == expected


def test_what_a_killed_process_left_of_a_finished_run_is_deleted(study, tmp_path):
    train(study, tmp_path)
    before = sorted(os.listdir(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    assert "is finished; rerun without --resume" in train(study, tmp_path, "--resume", code=2)
    assert sorted(os.listdir(tmp_path)) == before


def test_other_test_images_are_another_run(tmp_path):
    study = Study(tmp_path)
    train(study, tmp_path / "out", "--checkpoint-every", "100")
    arrays = dict(np.load(tmp_path / "tiny.npz"))
    arrays["x_test"] = 255 - arrays["x_test"]
    np.savez(tmp_path / "tiny.npz", **arrays)
    errors = train(study, tmp_path / "out", "--checkpoint-every", "100", "--resume", code=2)
    assert errors == (
        "error: the checkpoint belongs to another run: different test data. Resume with the settings of that run\n"
    )


@pytest.mark.parametrize("ticks", [itertools.repeat(5.0), itertools.count(1e6, -1.0)], ids=["still", "backwards"])
def test_a_clock_that_stands_still_or_goes_backwards_ends_no_run(ticks, study, tmp_path, monkeypatch):
    for name in ("perf_counter", "time"):
        monkeypatch.setattr(f"time.{name}", lambda: next(ticks))
    assert train(study, tmp_path / "out", "--checkpoint-every", "4") == ""
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(), parse_constant=pytest.fail)
    within_an_epoch = read_state(tmp_path / "out" / "checkpoints" / "step-000000020.safetensors")["trainer"]["running"]
    assert within_an_epoch["seconds"] >= 0
    assert metrics["training_s"] >= 0
    assert all(epoch["epoch_s"] > 0 and epoch["images_per_s"] > 0 for epoch in metrics["epochs"])


# -------------------------------------------------------------------------------------------------- after the last step


def test_the_state_after_the_last_step_is_saved_before_the_evaluation(study, tmp_path, monkeypatch):
    """The evaluation fails as for lack of memory; the run can be resumed, and a diverged one leaves nothing."""

    def fail(error):
        def failing(*_):
            raise error

        monkeypatch.setattr(job, "evaluate_finite", failing)

    fail(MemoryError("too little memory"))
    assert train(study, tmp_path / "out", code=2) == "error: too little memory\n"
    saved = tmp_path / "out" / "checkpoints" / "step-000000024.safetensors"
    assert saved.exists()
    fail(job.TrainingDivergedError("the loss became inf"))
    train(study, tmp_path / "out", "--resume", code=2)
    assert saved.exists()
    train(study, tmp_path / "diverged", code=2)
    assert not (tmp_path / "diverged").exists()
    monkeypatch.undo()
    train(study, tmp_path / "peace")
    assert train(study, tmp_path / "out", "--resume") == "resumed after step 24\n"
    assert sorted(os.listdir(tmp_path / "out")) == sorted(os.listdir(tmp_path / "peace"))
    for name in ("model.safetensors", BEST_FILE):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "peace" / name).read_bytes()
    assert model_file.load(tmp_path / "out" / BEST_FILE).parameter_count() > 0


def test_the_command_that_opens_the_page_is_quoted(monkeypatch, capsys):
    """A data set called ``Photos of Ann`` makes a folder with spaces, which a shell takes for several words."""
    monkeypatch.setattr("tinycnn.report.draw", lambda *_: SimpleNamespace(failures=[], files=["a.png"], seconds=1.0))
    run = SimpleNamespace(output=Path("runs/lenet-Photos of Ann"), model=None, dataset=None, info=print)
    job.TrainingRun.draw(run, {})
    assert capsys.readouterr().out.endswith(": open 'runs/lenet-Photos of Ann/report.html'\n")
