"""What a run reports besides its results: printed with a progress bar, logged without one, never twice."""

import importlib
import logging
from threading import Thread

import numpy as np
import pytest
from PIL import Image

import tinycnn
from tests.train.test_trainer import make_trainer, sides
from tinycnn import commands, layers, optim
from tinycnn.backends import preparation
from tinycnn.commands import main
from tinycnn.layers import Sequential
from tinycnn.optim import Adam, ParameterGroups
from tinycnn.optim.schedules import SCHEDULES, length_of
from tinycnn.train import Trainer
from tinycnn.train.history import Progress

TOO_SHORT = (
    "the schedule has 4 steps, but the run ends after step 6: the rest has a learning rate of 0, at which nothing is "
    "learned; pass the number of steps of the run to the schedule"
)
NOTICE = commands.notice  # conftest.py silences it during a test


def with_schedule(schedule):
    model = make_trainer().model
    return Trainer(model, Adam(model.parameters(), 0.1, schedule=schedule), batch_size=16)


@pytest.mark.parametrize("progress", [True, False])
def test_a_schedule_that_ends_before_the_run_is_reported_once(progress, capsys, caplog):
    trainer, examples = with_schedule(optim.cosine(4)), sides(40)
    for _ in range(2):
        trainer.history.clear()
        trainer.optimizer.step_count = 0
        trainer.fit(*examples, epochs=2, progress=progress)
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: the schedule")]
    logged = [(record.levelno, record.message) for record in caplog.records]
    assert printed == [f"note: {TOO_SHORT}"] * progress
    assert logged == [(logging.WARNING, f"note: {TOO_SHORT}")] * (not progress)


@pytest.mark.parametrize(
    ("schedule", "epochs", "rest"),
    [
        (optim.cosine(6), 2, ""),
        (optim.cosine(5, floor=0.5), 2, "a learning rate of 0.05;"),
        (optim.one_cycle(5), 2, "a learning rate of 1e-05;"),
        (optim.step_decay(5), 2, "a learning rate of 0.0001;"),
        (optim.warm_up(optim.linear(5), 2), 2, "a learning rate of 0, at"),
        (optim.constant(), 2, ""),
        (lambda step: 0.0, 2, ""),  # one of your own may end as it likes
        (optim.cosine(3), 1, ""),
    ],
)
def test_only_schedules_that_end_are_reported(schedule, epochs, rest, caplog):
    with_schedule(schedule).fit(*sides(40), epochs=epochs)
    assert [record.message for record in caplog.records if rest not in record.message] == []
    assert len(caplog.records) == bool(rest)


def test_the_steps_before_and_every_group_count(caplog):
    trainer, examples = with_schedule(optim.cosine(6)), sides(40)
    trainer.fit(*examples, epochs=1)
    trainer.fit(*examples, epochs=2)
    assert not caplog.records
    trainer.fit(*examples, epochs=3)
    assert "has 6 steps, but the run ends after step 9" in caplog.text
    model = make_trainer().model
    first, *others = model.parameters()
    groups = ParameterGroups(Adam([first], 0.1), Adam(others, 0.1, schedule=optim.cosine(2)))
    Trainer(model, groups, batch_size=16).fit(*examples, epochs=1)
    assert "has 2 steps, but the run ends after step 3" in caplog.text


def test_every_schedule_of_the_list_has_its_length():
    lengths = {name: length_of(make(7)) for name, make in SCHEDULES.items()}
    assert lengths == {name: None if name == "constant" else 7 for name in SCHEDULES}


@pytest.mark.parametrize("progress", [True, None])
def test_the_first_kernel_that_is_compiled_is_announced(progress, capsys, caplog, monkeypatch):
    """Not the second, and not after the run."""
    trainer, examples, step = make_trainer(), sides(40), Trainer.step

    def compiling(self, *arguments):
        preparation.before_compiling()
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "step", compiling)
    caplog.set_level(logging.INFO, "tinycnn.train")
    with tinycnn.use_backend("numpy"):
        trainer.fit(*examples, epochs=2, progress=progress)
    preparation.before_compiling()
    printed = capsys.readouterr().out.splitlines().count(preparation.COMPILING)
    assert (printed, [record.message for record in caplog.records]) == (
        (1, []) if progress else (0, [preparation.COMPILING])
    )


def test_the_inner_block_announces_once(capsys):
    """A block within it is silent once a kernel was announced, and so is one that is only for itself."""
    said = []
    with preparation.announcing(lambda text: said.append("outer")):
        with preparation.announcing(lambda text: said.append("never"), unless_others=True):
            pass
        with preparation.announcing(lambda text: said.append("inner")):
            preparation.before_compiling()
            preparation.before_compiling()
        preparation.before_compiling()
    preparation.before_compiling()
    with preparation.announcing(lambda text: said.append("alone"), unless_others=True):
        preparation.before_compiling()
    assert said == ["inner", "alone"]


def compiling_forward(self, x):
    preparation.before_compiling()
    return x


@pytest.mark.parametrize("use", [lambda model, x, y: model.evaluate(x, y), lambda model, x, y: model.predict(x)])
def test_evaluation_announces_compiling_to_the_log(use, caplog, monkeypatch):
    model = Sequential(layers.Identity(), layers.Flatten(), layers.Dense(2), input_shape=(4, 4, 1))
    monkeypatch.setattr(layers.Identity, "forward", compiling_forward)
    caplog.set_level(logging.INFO, "tinycnn.train")
    with tinycnn.use_backend("numpy"):
        use(model, np.zeros((3, 4, 4, 1), np.uint8), np.zeros(3, int))
    assert [record.message for record in caplog.records] == [preparation.COMPILING]


def test_commands_announce_compiling_on_stderr(tmp_path, monkeypatch, capsys):
    """Once, for many pictures."""
    model = Sequential(layers.Identity(), layers.Flatten(), layers.Dense(10), input_shape=(28, 28, 1))
    monkeypatch.setattr(layers.Identity, "forward", compiling_forward)
    tinycnn.save(model, tmp_path / "model.safetensors")
    for name in "ab":
        Image.fromarray(np.eye(28, dtype=np.uint8) * 255).save(tmp_path / f"{name}.png")
    words = ["predict", str(tmp_path / "model.safetensors"), str(tmp_path), "--backend", "numpy"]
    monkeypatch.setattr(commands, "notice", NOTICE)
    with tinycnn.use_backend("numpy"):
        assert main(words) == 0
    said = capsys.readouterr()
    assert said.err.count(f"NOTICE: {preparation.COMPILING}\n") == 1
    assert preparation.COMPILING not in said.out


def test_the_reason_for_steps_from_python_is_logged_once(caplog, monkeypatch):
    monkeypatch.setattr(Trainer, "why_eager", property(lambda self: "noise_1 (Noise): of your own"))
    caplog.set_level(logging.INFO, "tinycnn.train")
    trainer = make_trainer()
    for epochs in (2, 3):
        trainer.fit(*sides(40), epochs=epochs)
    words = "note: every step is run from Python, which is slower: noise_1 (Noise): of your own"
    assert [(record.levelno, record.message) for record in caplog.records] == [(logging.INFO, words)]


def test_preparation_is_no_part_of_an_epoch(monkeypatch):
    """A clock that moves by a second whenever it is read: only the reading inside ``preparing`` is left out."""
    now = iter(np.arange(1e6))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(now)))
    before = preparation.working_time()  # at 0
    with preparation.preparing():  # from 1
        with preparation.preparing():
            assert preparation.working_time() - before == pytest.approx(1)
        next(now)
        next(now)
    assert preparation.working_time() - before == pytest.approx(2)  # until 4; read at 5


def test_the_seconds_of_an_epoch_are_those_of_this_clock(monkeypatch):
    now = iter(np.arange(1e6))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(now)))
    progress = Progress(1, 5)
    progress.start_clock()  # at 0
    with preparation.preparing():  # from 1 to 52
        for _ in range(50):
            next(now)
    assert progress.elapsed_s() == pytest.approx(2)  # at 53


def test_recording_a_step_is_preparation_and_its_first_run_is_not():
    """The first run is a step of the training."""
    pytest.importorskip("numba")
    depths, recorder = [], importlib.import_module("tinycnn.backends.numba.step_table").StepRecorder()
    recorder.record(lambda track: depths.append(preparation._thread.depth))
    assert depths == [0, 1]


def test_the_preparation_of_other_threads_does_not_count(monkeypatch):
    def prepare():
        with preparation.preparing():
            pass

    now = iter(np.arange(1e6))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(now)))
    before = preparation.working_time()  # at 0
    thread = Thread(target=prepare)  # from 1 to 2
    thread.start()
    thread.join()
    assert preparation.working_time() - before == pytest.approx(3)
