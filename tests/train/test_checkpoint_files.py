"""Checkpoints and the best network on disks that fail: what cannot be read may be whole, and the run goes on."""

import errno
import os
import shutil

import numpy as np
import pytest
import safetensors.numpy

from tests.train.test_long_runs import after, bits, flip, train
from tests.train.test_trainer import make_trainer, sides
from tinycnn import files
from tinycnn.errors import FileFormatError, SettingError
from tinycnn.saving import safetensors_file, state_file
from tinycnn.saving.model_file import of_bytes
from tinycnn.saving.state_file import read_state
from tinycnn.train import checkpoint
from tinycnn.train.checkpoint import BEST_FILE, Checkpoints, TrainingStopped
from tinycnn.train.history import best


def fit_keeping_best(trainer, checkpoints, stop=lambda: False, epochs=3):
    """Train as ``tinycnn train --save-best`` does."""
    checkpoints.keeps_best = True
    trainer.fit(*sides(50), epochs=epochs, validation=sides(20, 1), checkpoints=checkpoints, stop=stop)
    return checkpoints.best


@pytest.fixture
def stopped(tmp_path):
    """A folder with checkpoints and the best network of a run that was stopped in its third epoch."""
    trainer = make_trainer()
    with pytest.raises(TrainingStopped):
        fit_keeping_best(trainer, Checkpoints(tmp_path / "run", every=3), stop=after(9)(trainer))
    return tmp_path / "run"


def resumed(folder, **settings):
    """``(checkpoints, what it reported)`` for going on with the run in ``folder``."""
    sentences = []
    return Checkpoints(folder, every=3, resume=True, report=sentences.append, **settings), sentences


def damaged(path):
    path.write_bytes(flip(bytearray(path.read_bytes()), -1))


def no_longer_there(path):
    path.unlink()


# ----------------------------------------------------------------------------------------------------- the best network


@pytest.mark.parametrize("harm", [damaged, no_longer_there])
def test_the_best_network_is_part_of_the_checkpoint_and_its_file_a_copy(harm, stopped):
    whole = (stopped / BEST_FILE).read_bytes()
    harm(stopped / BEST_FILE)
    checkpoints, sentences = resumed(stopped, keeps_best=True)
    checkpoints.initial_state()
    assert (stopped / BEST_FILE).read_bytes() == checkpoints.best.content == whole
    expected = fit_keeping_best(make_trainer(), Checkpoints(stopped.parent / "peace"))
    assert fit_keeping_best(make_trainer(), checkpoints) == expected
    assert sentences == ["resumed after step 9"]


@pytest.mark.parametrize("at_end", [False, True])
def test_a_checkpoint_without_the_best_network_is_reported_at_the_start(at_end, tmp_path):
    trainer = make_trainer()
    with pytest.raises(TrainingStopped):
        train(trainer, stop=after(9), checkpoints=Checkpoints(tmp_path))  # without keeping the best
    checkpoints, sentences = resumed(tmp_path, keeps_best=True, at_end=at_end)
    fit_keeping_best(trainer := make_trainer(), checkpoints)
    chosen = best(trainer.history).epoch
    assert sentences == [
        "resumed after step 9",
        f"the network of epoch {best(trainer.history[:2]).epoch}, the best so far, is not in the checkpoint: "
        f"{BEST_FILE} will only be written if a later epoch is better",
    ]
    assert checkpoints.missing_best(trainer.history) == (None if chosen == 3 else chosen)
    plain, sentences = resumed(tmp_path)  # without keeps_best there is nothing to miss
    train(make_trainer(), checkpoints=plain)
    assert sentences == ["resumed after step 12"]


def test_a_best_network_of_another_epoch_is_not_taken_for_the_best(stopped):
    checkpoints, _ = resumed(stopped)
    train(trainer := make_trainer(), checkpoints=checkpoints)  # goes on without keeping the best
    assert best(trainer.history).epoch == 3
    assert checkpoints.best.epoch < 3
    assert checkpoints.missing_best(trainer.history) == 3


def test_beside_a_checkpoint_of_an_older_version_the_file_counts(stopped):
    """It did not store the best network, nor its epoch, nor the test data."""
    (newest, _) = Checkpoints(stopped).paths()
    state = read_state(newest)
    del state["best"]
    newest.write_bytes(state_file.to_bytes(state))
    whole = (stopped / BEST_FILE).read_bytes()
    checkpoints, sentences = resumed(stopped, same={"test data": "0123456789abcdef"})
    train(trainer := make_trainer(), checkpoints=checkpoints)
    assert (checkpoints.best.epoch, checkpoints.best.content) == (None, whole)
    assert checkpoints.missing_best(trainer.history) is None
    assert sentences[0] == "the checkpoint of an older version does not record its test data: not compared"
    for path in Checkpoints(stopped).paths():
        path.unlink()
    newest.write_bytes(state_file.to_bytes(state))
    (stopped / BEST_FILE).write_bytes(whole[:-1])
    checkpoints, sentences = resumed(stopped)
    train(make_trainer(), checkpoints=checkpoints)
    assert checkpoints.best is None
    assert "not a readable safetensors file" in sentences[0]
    assert sentences[0].endswith("the best network so far is lost")


def test_a_full_disk_under_the_best_network_does_not_end_the_run(tmp_path, monkeypatch):
    def write(path, content):
        if path.name == BEST_FILE:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        files.write_atomically(path, content)

    expected = fit_keeping_best(make_trainer(), Checkpoints(tmp_path / "peace"))
    monkeypatch.setattr(checkpoint, "write_atomically", write)
    sentences = []
    checkpoints = Checkpoints(tmp_path / "full", every=3, report=sentences.append)
    assert fit_keeping_best(make_trainer(), checkpoints) == expected
    sentence = f"{BEST_FILE} could not be written (No space left on device); the run keeps it in memory"
    assert sentences == [sentence] * len(sentences) != []
    again, _ = resumed(tmp_path / "full")
    again.initial_state()
    assert again.best == expected  # from the checkpoint
    assert of_bytes(again.best.content, "best").parameter_count() > 0


# --------------------------------------------------------------------------------- files that cannot be read or deleted


def refusing(reason):
    def refuse(*_, **settings):
        raise reason

    return refuse


@pytest.mark.parametrize(
    ("place", "name", "reason", "words"),
    [
        (safetensors_file, "open_regular", PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (safetensors_file, "open_regular", OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (safetensors.numpy, "load", MemoryError(), "there is too little memory for it"),
        (state_file, "_digest", MemoryError(), "there is too little memory for it"),
    ],
)
def test_a_checkpoint_that_cannot_be_read_is_not_called_damaged(place, name, reason, words, stopped, monkeypatch):
    before = sorted(os.listdir(stopped))
    (newest, _) = Checkpoints(stopped).paths()
    checkpoints, sentences = resumed(stopped)
    with monkeypatch.context() as failing:
        failing.setattr(place, name, refusing(reason))
        with pytest.raises(FileFormatError) as refused:
            checkpoints.initial_state()
    assert str(refused.value) == (
        f"{newest}: cannot be read: {words}. It may be intact: fix the cause, and resume again"
    )
    assert (sentences, sorted(os.listdir(stopped))) == ([], before)
    assert checkpoints.initial_state()["trainer"]["optimizer"]["step"] == 9


def test_a_checkpoint_of_another_version_is_not_called_damaged(stopped, monkeypatch):
    monkeypatch.setattr(state_file, "FORMAT_VERSION", "2")
    with pytest.raises(FileFormatError, match=r"a checkpoint of another tinycnn version \(format '1'\); resume with"):
        resumed(stopped)[0].initial_state()


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(resume, stopped, monkeypatch):
    monkeypatch.setattr(os, "listdir", refusing(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(FileFormatError, match=r"run: the checkpoints in it cannot be listed \(Permission denied\)"):
        train(make_trainer(), checkpoints=Checkpoints(stopped, resume=resume))


def test_disk_errors_around_a_checkpoint_do_not_end_the_run(tmp_path, monkeypatch):
    """The old ones cannot be deleted, then the folder can be neither listed nor written."""
    expected, sentences = bits(train(make_trainer())), []
    checkpoints = Checkpoints(tmp_path / "a", every=3, report=sentences.append)
    with monkeypatch.context() as failing:
        failing.setattr("pathlib.Path.unlink", refusing(PermissionError(errno.EPERM, "Operation not permitted")))
        assert bits(train(make_trainer(), checkpoints=checkpoints)) == expected
        for delete in (checkpoints.clear, checkpoints.clear_best):
            delete()
        sentence = f"old checkpoints could not be deleted (Operation not permitted) in {tmp_path / 'a'}"
        assert sentences == [sentence] * len(sentences)
        assert len(sentences) == 5 + 2  # after steps 6, 8, 9, 12, and after the epoch that ends with step 12
    sentences.clear()
    trainer = make_trainer()
    checkpoints = Checkpoints(tmp_path / "b", every=3, report=sentences.append)
    checkpoints.folder = tmp_path / "b" / "c"
    (tmp_path / "b").mkdir()
    results = trainer.epochs(*sides(50), epochs=3, validation=sides(20, 1), checkpoints=checkpoints)
    next(results)
    shutil.rmtree(tmp_path / "b")
    (tmp_path / "b").write_text("in the way")
    list(results)
    assert bits(trainer) == expected
    assert sentences[0] == "the checkpoint of step 4 could not be written (Not a directory); kept: unknown"
    monkeypatch.setattr(checkpoint, "to_bytes", refusing(MemoryError()))
    assert Checkpoints(tmp_path / "c", report=sentences.append).write(5, {}) is None
    assert sentences[-1] == "the checkpoint of step 5 could not be written (too little memory); kept: none"


def test_of_a_run_that_has_ended_the_newest_checkpoint_is_deleted_last(stopped, monkeypatch):
    """A process may be killed in between: as long as a checkpoint is left, the run can be resumed from the newest."""
    newest, _ = Checkpoints(stopped).paths()
    deleted, unlink = [], type(newest).unlink
    monkeypatch.setattr(
        type(newest), "unlink", lambda path, **settings: deleted.append(path) or unlink(path, **settings)
    )
    Checkpoints(stopped).clear()
    assert deleted[-1] == newest
    assert not stopped.exists()


def test_other_files_in_the_folder_are_not_checkpoints(stopped):
    names = [path.name for path in Checkpoints(stopped).paths()]
    for name in ("step-best.safetensors", f"{names[0]} (copy).safetensors", "step-000000099.damaged"):
        shutil.copy(stopped / names[1], stopped / name)
    assert [path.name for path in Checkpoints(stopped).paths()] == names


# ----------------------------------------------------------------------------------------------------------- other data


def test_facts_that_must_stay_the_same(tmp_path):
    with pytest.raises(TrainingStopped):
        train(make_trainer(), stop=after(3), checkpoints=Checkpoints(tmp_path, same={"test data": "0" * 16}))
    with pytest.raises(SettingError, match="belongs to another run: different test data"):
        train(make_trainer(), checkpoints=Checkpoints(tmp_path, resume=True, same={"test data": "1" * 16}))
    same = Checkpoints(tmp_path, resume=True, same={"test data": "0" * 16}, report=lambda _: None)
    assert len(train(make_trainer(), checkpoints=same).history) == 3


def test_the_finished_state_is_saved_once(tmp_path, monkeypatch):
    saved, write = [], Checkpoints.write
    monkeypatch.setattr(Checkpoints, "write", lambda *arguments: saved.append(arguments[1]) or write(*arguments))
    checkpoints = Checkpoints(tmp_path / "end", at_end=True)
    expected = bits(train(make_trainer(), checkpoints=checkpoints))
    assert (saved, checkpoints.newest) == ([12], tmp_path / "end" / "step-000000012.safetensors")
    again, sentences = resumed(tmp_path / "end", at_end=True)
    assert bits(train(make_trainer(), checkpoints=again)) == expected
    assert (saved, sentences, again.newest) == ([12], ["resumed after step 12"], checkpoints.newest)
    train(make_trainer(), checkpoints=Checkpoints(tmp_path / "both", at_end=True, every=100))
    assert saved == [12, 4, 8, 12]
    monkeypatch.setattr(os, "fsync", refusing(OSError(errno.ENOSPC, "No space left on device")))
    assert again.write(13, {}) is again.newest is None
    saved.clear()
    train(make_trainer(), checkpoints=Checkpoints(tmp_path / "full", at_end=True, every=100, report=sentences.append))
    assert saved == [4, 8, 12, 12]  # the last one is tried again


def test_the_epoch_of_a_best_network_survives_the_round_trip():
    kept = checkpoint.BestNetwork(3, b"content")
    assert checkpoint.BestNetwork.from_state(kept.as_state()) == kept
    assert np.array_equal(kept.as_state()["file"], np.frombuffer(b"content", np.uint8))
