"""Callbacks: called in order, at the right moments; what they raise ends the run, and no state is lost."""

import copy
import csv
import logging
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.thread_ranks import on_ranks
from tests.train.test_long_runs import after, bits
from tests.train.test_trainer import make_trainer, sides
from tinycnn import train
from tinycnn.distributed.communicator import get_communicator
from tinycnn.errors import MissingPackageError, SettingError
from tinycnn.layers import Dense, Flatten, Sequential, Softmax
from tinycnn.metrics import probabilities
from tinycnn.saving.model_file import load
from tinycnn.train.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    ProgressBar,
    ReduceOnPlateau,
    TensorBoard,
)
from tinycnn.train.callbacks.running import SAME
from tinycnn.train.checkpoint import Checkpoints, TrainingStopped
from tinycnn.train.evaluation import Scores
from tinycnn.train.history import best
from tinycnn.train.validation import measure, network_outputs

HOOKS = ("run_begin", "epoch_begin", "step_begin", "step_end", "epoch_end", "run_end")


class Recorder(Callback):
    """Writes down its calls; raises ``error`` in the call number ``fails_at``, from 0, of the hook ``at``."""

    def __init__(self, at="", fails_at=0, error=None):
        self.calls, self.at, self.fails_at, self.error = [], at, fails_at, error or RuntimeError("a full disk")

    def _called(self, name, *numbers):
        seen = [call for call in self.calls if call[0] == name]
        self.calls.append((name, *numbers))
        if name == self.at and len(seen) == self.fails_at:
            raise self.error

    def on_run_begin(self, trainer):
        self._called("run_begin", len(trainer.history), trainer.last_epoch)

    def on_epoch_begin(self, trainer, epoch):
        self._called("epoch_begin", epoch)

    def on_step_begin(self, trainer, progress):
        self._called("step_begin", progress.epoch, progress.step)

    def on_step_end(self, trainer, progress):
        self._called("step_end", progress.epoch, progress.step)

    def on_epoch_end(self, trainer, result):
        assert result is trainer.history[-1]
        self._called("epoch_end", result.epoch)

    def on_run_end(self, trainer, error):
        self._called("run_end", error)


def fit(trainer, *callbacks, epochs=2, **settings):
    return trainer.fit(*sides(20), epochs=epochs, validation=sides(20, 1), callbacks=callbacks, **settings)


# --------------------------------------------------------------------------------------------------------------- hooks


def test_hooks_are_called_in_order():
    recorder = Recorder()
    fit(make_trainer(), recorder)
    epochs = [
        [("epoch_begin", n)]
        + [(f"step_{moment}", n, k + later) for k in (0, 1) for later, moment in enumerate(("begin", "end"))]
        + [("epoch_end", n)]
        for n in (1, 2)
    ]
    assert recorder.calls == [("run_begin", 0, 2), *epochs[0], *epochs[1], ("run_end", None)]


def test_callbacks_change_no_bits():
    plain, watched = make_trainer(), make_trainer()
    fit(plain)
    fit(watched, Recorder(), ProgressBar(), progress=lambda progress: progress.scores())
    assert bits(plain) == bits(watched)


def test_steps_are_called_only_where_someone_looks(monkeypatch):
    """So that a recorded run may replay several steps at once."""
    monkeypatch.setattr(train.callbacks.running.RunningCallbacks, "step_end", pytest.fail)
    fit(make_trainer(), EarlyStopping(9), CSVLoggerNowhere())


class CSVLoggerNowhere(CSVLogger):
    def __init__(self):
        pass

    def on_run_begin(self, trainer):
        """Write nothing."""

    def on_epoch_end(self, trainer, result):
        assert trainer.history.to_csv().count("\n") == 1 + result.epoch


@pytest.mark.parametrize("hook", HOOKS)
def test_what_a_callback_raises_ends_the_run(hook):
    other, failing = Recorder(), Recorder(at=hook)
    with pytest.raises(RuntimeError, match="a full disk") as raised:
        fit(make_trainer(), other, failing)
    assert failing.calls[-1][0] in (hook, "run_end")
    assert other.calls[-1] == ("run_end", None if hook == "run_end" else raised.value)


def test_a_second_error_is_a_note_of_the_first():
    with pytest.raises(RuntimeError, match="the first") as raised:
        fit(make_trainer(), Recorder("step_end", error=RuntimeError("the first")), Recorder("run_end"))
    assert raised.value.__notes__ == ["at the end of the run, a callback failed as well: RuntimeError: a full disk"]


@pytest.mark.parametrize(
    ("hook", "fails_at", "steps"),
    [("step_begin", 3, 3), ("step_end", 2, 3), ("epoch_end", 0, 2), ("epoch_begin", 1, 2)],
)
def test_a_failing_callback_loses_no_state(hook, fails_at, steps, tmp_path):
    whole, messages = make_trainer(), []
    fit(whole)
    with pytest.raises(RuntimeError):
        fit(make_trainer(), Recorder(hook, fails_at), checkpoints=Checkpoints(tmp_path, report=messages.append))
    path = tmp_path / f"step-00000000{steps}.safetensors"
    assert messages == [f"a callback failed; the state after step {steps} is in {path}"]
    again = make_trainer()
    fit(again, checkpoints=Checkpoints(tmp_path, resume=True, report=messages.append))
    assert bits(again) == bits(whole)


def test_a_state_that_is_saved_is_not_saved_again(tmp_path):
    messages = []
    with pytest.raises(RuntimeError):
        fit(
            make_trainer(),
            Recorder("epoch_begin", 1),
            checkpoints=Checkpoints(tmp_path, every=1, report=messages.append),
        )
    assert messages == []


def test_numbers_that_are_not_finite_are_not_saved(tmp_path):
    class Poison(Callback):
        def on_step_end(self, trainer, progress):
            trainer.model.parameters()[0].data[...] = np.inf
            raise RuntimeError("poisoned")

    with pytest.raises(RuntimeError, match="poisoned"):
        fit(make_trainer(), Poison(), checkpoints=Checkpoints(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_hooks_may_change_the_learning_rate():
    class Halving(Callback):
        def on_epoch_end(self, trainer, result):
            trainer.optimizer.learning_rate /= 2

    assert fit(make_trainer(lr=0.01), Halving()).column("learning_rate") == [0.01, 0.005]

    class InAStep(Callback):
        def on_step_end(self, trainer, progress):
            trainer.optimizer.learning_rate = progress.step

    assert fit(make_trainer(), InAStep()).column("learning_rate") == [2, 2]  # at the end of the epoch


def test_a_run_can_be_ended_by_a_callback():
    class Enough(Callback):
        def on_epoch_end(self, trainer, result):
            trainer.stop_training = result.epoch == 2

    trainer = make_trainer()
    assert len(fit(trainer, Enough(), epochs=5)) == 2
    assert len(fit(trainer, epochs=3)) == 1  # of a new run


def test_one_rank_ends_the_run_for_all():
    class OnRank1(Callback):
        def on_epoch_end(self, trainer, result):
            trainer.stop_training = get_communicator().rank == 1

    epochs = on_ranks(2, lambda rank: len(fit(make_trainer(), OnRank1(), epochs=4)))
    assert epochs == [1, 1]


def test_the_progress_of_an_epoch_comes_before_what_callbacks_print(capsys):
    class Speaks(Callback):
        def on_epoch_end(self, trainer, result):
            print("mine")

    make_trainer().fit(*sides(40), epochs=2, callbacks=[Speaks()], progress=True)
    lines = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["epoch 1/2", "mine", "epoch 2/2", "mine"]


@pytest.mark.parametrize("name", SAME.values())
def test_what_stands_for_a_callback_of_keras_exists(name):
    assert issubclass(getattr(train, name), Callback)


@pytest.mark.parametrize(
    ("callbacks", "words"),
    [
        (EarlyStopping, "contains the class EarlyStopping: expected an object, EarlyStopping"),
        (["early"], "contains a str: expected objects of classes derived from"),
        (3, "contains a int"),
        (type("ReduceLROnPlateau", (), {})(), "derived from tinycnn.train.Callback, such as tinycnn.train.ReduceOnPl"),
    ],
)
def test_other_callbacks_are_refused(callbacks, words):
    with pytest.raises(SettingError, match=words):
        make_trainer().fit(*sides(20), epochs=1, callbacks=callbacks)


def test_one_callback_needs_no_list():
    recorder = Recorder()
    make_trainer().fit(*sides(20), epochs=1, callbacks=recorder)
    assert recorder.calls


def test_a_trainer_is_copied_without_its_callbacks():
    trainer = make_trainer()
    fit(trainer, progress=lambda progress: None)
    assert pickle.loads(pickle.dumps(trainer)).callbacks == copy.deepcopy(trainer).callbacks == []


# ------------------------------------------------------------------------------------------------------ ready callbacks


def test_early_stopping_by_an_accuracy_with_the_best_weights():
    kept = {}

    class Keep(Callback):
        def on_epoch_end(self, trainer, result):
            kept[result.epoch] = trainer.model.state_dict()

    trainer = make_trainer(lr=0.3)
    history = fit(trainer, Keep(), EarlyStopping(2, monitor="validation_accuracy", restore_best=True), epochs=30)
    accuracies = history.column("validation_accuracy")
    first = accuracies.index(max(accuracies))
    assert len(history) == first + 1 + 2 < 30
    state = trainer.model.state_dict()
    assert all(np.array_equal(state[name], array) for name, array in kept[first + 1].items())


def test_early_stopping_ignores_small_gains():
    history = fit(make_trainer(), EarlyStopping(1, min_delta=1e9), epochs=9)
    assert len(history) == 2
    assert history.best.epoch == 2


def test_the_best_weights_are_in_the_checkpoint(tmp_path):
    def stopping():
        return EarlyStopping(2, restore_best=True)

    whole, again = make_trainer(lr=0.3), make_trainer(lr=0.3)
    fit(whole, stopping(), epochs=30)
    last = whole.optimizer.step_count
    trainer = make_trainer(lr=0.3)
    with pytest.raises(TrainingStopped):
        fit(trainer, stopping(), epochs=30, checkpoints=Checkpoints(tmp_path), stop=after(last - 1)(trainer))
    fit(again, stopping(), epochs=30, checkpoints=Checkpoints(tmp_path, resume=True, report=lambda _: None))
    again.callbacks = whole.callbacks = []  # their states hold the same arrays, in another order
    assert bits(again) == bits(whole)
    other = EarlyStopping(5, restore_best=True)
    with pytest.raises(SettingError, match="early stopping 2 there, 5 here"):
        fit(make_trainer(lr=0.3), other, epochs=30, checkpoints=Checkpoints(tmp_path, resume=True))


def test_the_history_is_written_after_each_epoch_and_continued(tmp_path):
    path = tmp_path / "logs" / "history.csv"
    trainer = make_trainer()
    fit(trainer, CSVLogger(path), epochs=1, metrics={"half": lambda labels, outputs: 0.5})
    fit(trainer, CSVLogger(path), epochs=2, metrics={"half": lambda labels, outputs: 0.5})
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [(row["epoch"], row["learning_rate"], row["half"]) for row in rows] == [
        ("1", "0.01", "0.5"),
        ("2", "0.01", "0.5"),
    ]
    assert [float(row["train_loss"]) for row in rows] == trainer.history.column("train_loss")


def test_the_network_of_the_best_epoch_is_saved(tmp_path):
    trainer, kept = make_trainer(lr=0.3), {}

    class Keep(Callback):
        def on_epoch_end(self, trainer, result):
            kept[result.epoch] = trainer.model.state_dict()

    callbacks = (
        Keep(),
        ModelCheckpoint(tmp_path / "best.safetensors"),
        ModelCheckpoint(tmp_path / "{epoch}.st", best_only=False),
    )
    fit(trainer, *callbacks, epochs=5)
    chosen = best(trainer.history).epoch
    assert sorted(path.name for path in tmp_path.iterdir()) == [*(f"{n}.st" for n in range(1, 6)), "best.safetensors"]
    for path, epoch in ((tmp_path / "best.safetensors", chosen), (tmp_path / "3.st", 3)):
        assert all(np.array_equal(array, kept[epoch][name]) for name, array in load(path).state_dict().items())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: EarlyStopping(1, monitor="accuracy"), "monitors 'accuracy', but this run records epoch, train_loss"),
        (lambda: EarlyStopping(1, monitor="accuracy"), "learning_rate; did you mean train_accuracy?"),
        (lambda: EarlyStopping(1, monitor="val_loss"), "learning_rate; did you mean validation_loss?"),
        (lambda: ModelCheckpoint("x", monitor="top_5"), "ModelCheckpoint monitors 'top_5'"),
        (lambda: EarlyStopping(1, monitor="images_per_s"), "early stopping: the name 'images_per_s' does not say"),
        (lambda: ModelCheckpoint("x", monitor="epoch_s"), 'ModelCheckpoint: .*: pass `mode="min"` or `mode="max"`'),
        (lambda: ReduceOnPlateau(monitor="epoch_s"), "the name 'epoch_s' does not say whether a small or a large"),
        (lambda: EarlyStopping(1, mode="smallest"), "`mode` is 'smallest': expected one of auto, min, max"),
        (lambda: EarlyStopping(0), "`patience=0`: expected a positive integer"),
        (lambda: ModelCheckpoint("{step}.safetensors"), "which may contain {epoch}"),
        (lambda: ModelCheckpoint(5), "`path` is 5: expected the name of a file"),
        (lambda: CSVLogger("model.safetensors"), "a CSV table is written, and .safetensors is the ending of another"),
        (lambda: LearningRateScheduler(0.1), "`rate`: expected a function of the number of the epoch"),
        (
            lambda: LearningRateScheduler(lambda epoch: -epoch),
            "the learning rate of epoch 1 is -1: expected a number above 0",
        ),
    ],
)
def test_callbacks_that_cannot_work_are_refused_before_the_first_step(make, words):
    trainer = make_trainer()
    with pytest.raises(SettingError, match=words):
        fit(trainer, make())
    assert trainer.optimizer.step_count == 0


def test_without_validation_there_is_nothing_to_monitor():
    with pytest.raises(SettingError, match=r"records epoch, train_loss, .*: pass `validation=\(images, labels\)`"):
        make_trainer().fit(*sides(20), epochs=1, callbacks=[EarlyStopping(1)])
    with pytest.raises(
        SettingError, match=r"did you mean validation_loss\? Then pass `validation=\(images, labels\)`$"
    ):
        make_trainer().fit(*sides(20), epochs=1, callbacks=[EarlyStopping(1, monitor="val_loss")])


def test_a_rate_for_each_epoch_also_of_a_resumed_one(tmp_path):
    def scheduler():
        return LearningRateScheduler(lambda epoch: 0.01 / epoch)

    whole, again, trainer = make_trainer(), make_trainer(), make_trainer()
    assert fit(whole, scheduler(), epochs=3).column("learning_rate") == [0.01, 0.01 / 2, 0.01 / 3]
    with pytest.raises(TrainingStopped):
        fit(trainer, scheduler(), epochs=3, checkpoints=Checkpoints(tmp_path), stop=after(3)(trainer))
    fit(again, scheduler(), epochs=3, checkpoints=Checkpoints(tmp_path, resume=True, report=lambda _: None))
    assert bits(again) == bits(whole)


class Writer:
    def __init__(self):
        self.scalars, self.calls = [], []

    def add_scalar(self, tag, value, step):
        self.scalars.append((tag, value, step))

    def flush(self):
        self.calls.append("flush")

    def close(self):
        self.calls.append("close")


def test_numbers_for_tensorboard():
    writer, trainer = Writer(), make_trainer()
    fit(trainer, TensorBoard(writer=writer), metrics={"half": lambda labels, outputs: 0.5})
    values = {(tag, step): value for tag, value, step in writer.scalars}
    assert len(values) == len(writer.scalars) == 2 * 7
    assert values["loss/validation", 2] == trainer.history[1].validation_loss
    assert values["validation/half", 1] == 0.5
    assert writer.calls == ["flush", "flush"]  # a writer of the caller's is closed by the caller


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    home = tmp_path / "home"
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    assert CSVLogger("~/a.csv").path == home / "a.csv"
    assert Path(ModelCheckpoint("~/a.safetensors").path) == home / "a.safetensors"
    assert Path(TensorBoard("~/log", writer=Writer()).folder) == home / "log"
    assert Checkpoints("~/run").best_path.parent == home / "run"


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingPackageError, match=r"needs tensorboardX .*`pip install tensorboardX`"):
        TensorBoard("runs")


def test_the_log_of_tensorboard_can_be_read(tmp_path):
    pytest.importorskip("tensorboardX", reason="a log for TensorBoard needs: pip install 'tinycnn[tensorboard]'")
    fit(make_trainer(), TensorBoard(tmp_path))
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    assert all(tag in content for tag in (b"loss/train", b"accuracy/validation", b"learning_rate"))


@pytest.mark.parametrize("terminal", [False, True])
def test_the_bar_of_an_epoch_stays_with_its_scores(terminal, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    (result,) = make_trainer().fit(*sides(20), epochs=1, validation=sides(20, 1), progress=True)
    captured = capsys.readouterr()
    line = f"loss {result.train_loss:.4f}, accuracy {100 * result.train_accuracy:.2f} %, "
    line += f"validation loss {result.validation_loss:.4f}, accuracy {100 * result.validation_accuracy:.2f} %"
    assert line in (captured.err if terminal else captured.out)
    assert ("2/2" in captured.err) == terminal


# ------------------------------------------------------------------------------------------------------------- metrics


def test_metrics_receive_the_labels_and_the_outputs_of_the_network():
    seen = []

    def accuracy(labels, outputs):
        seen.append((labels, outputs))
        return (outputs.argmax(axis=1) == labels).mean()

    trainer, (images, labels) = make_trainer(), sides(20, 1)
    history = fit(trainer, metrics=[accuracy])
    assert history.column("accuracy") == history.column("validation_accuracy")
    assert all(np.array_equal(found, labels) for found, _ in seen)
    assert np.array_equal(seen[-1][1], train.predict_logits(trainer.model, images))


def test_the_outputs_contain_a_final_softmax():
    model = Sequential(Flatten(), Dense(3), Softmax(), input_shape=(8, 8, 1))
    images, _ = sides(5)
    expected = probabilities(train.predict_logits(model, images))
    np.testing.assert_allclose(network_outputs(model, images), expected, rtol=1e-5)


def test_metrics_are_the_same_on_several_ranks():
    def size(labels, outputs):
        return np.abs(outputs[np.arange(len(labels)), labels]).sum()

    model, examples = make_trainer().model, sides(20)

    def measured(rank=None):
        return measure(copy.deepcopy(model), *examples, {"size": size})["size"]

    alone, ranks = measured(), on_ranks(3, measured)
    assert ranks[0] == ranks[1] == ranks[2]
    np.testing.assert_allclose(ranks[0], alone, rtol=1e-5)


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ([lambda labels, outputs: 1], "give it a name of its own"),
        ({"epoch": max}, "contains epoch, which every history has"),
        ({"top": 5}, "contains 5: expected functions of"),
        ([3], "contains 3: expected functions"),
        (["accuracy"], r"contains 'accuracy': .*; leave accuracy out: it is always measured$"),
        ({"text": lambda labels, outputs: "much"}, "the metric text returned 'much': expected a number"),
    ],
)
def test_metrics_that_are_none_are_refused(metrics, words):
    with pytest.raises(SettingError, match=words):
        fit(make_trainer(), metrics=metrics)


def test_a_metric_that_is_not_finite_is_none_and_one_without_validation_is_refused():
    assert fit(make_trainer(), metrics={"no": lambda labels, outputs: np.nan}).column("no") == [None, None]
    with pytest.raises(SettingError, match="`metrics` are computed on validation images"):
        make_trainer().fit(*sides(20), epochs=1, metrics=[max])


ERRORS = [5.0, 6.0, 3.0, 4.0, 4.5, 1.0]  # of epochs; with a patience of 2, the smallest is found in the third


def monitored(*callbacks, name, epochs=6, **settings):
    """A run with a metric whose values are ``ERRORS``."""
    values = iter(ERRORS)
    return fit(make_trainer(), *callbacks, epochs=epochs, metrics={name: lambda *_: next(values)}, **settings)


@pytest.mark.parametrize(
    ("name", "mode", "epochs", "best_epoch"),
    [("errors", "min", 5, 3), ("errors", "max", 4, 2), ("hinge_loss", "auto", 5, 3), ("own_accuracy", "auto", 4, 2)],
)
def test_a_metric_is_monitored_in_the_direction_that_is_stated_or_clear(name, mode, epochs, best_epoch, tmp_path):
    kept = {}

    class Keep(Callback):
        def on_epoch_end(self, trainer, result):
            kept[result.epoch] = trainer.model.state_dict()

        def on_run_end(self, trainer, error):
            kept["trainer"] = trainer

    stopping = EarlyStopping(2, monitor=name, mode=mode, restore_best=True)
    saving = ModelCheckpoint(tmp_path / "best.safetensors", monitor=name, mode=mode)
    history = monitored(Keep(), stopping, saving, name=name)
    assert (len(history), stopping.best, history.best_by(name, mode)) == (epochs, *[history[best_epoch - 1]] * 2)
    for state in (kept["trainer"].model.state_dict(), load(tmp_path / "best.safetensors").state_dict()):
        assert all(np.array_equal(array, kept[best_epoch][key]) for key, array in state.items())


@pytest.mark.parametrize("name", ["err_rate", "mae", "f", "top_5_errors"])
def test_the_direction_of_a_metric_is_not_guessed(name):
    """Without `mode`, the largest error would be the best: its weights would be restored."""
    expected = f"the name '{name}' does not say whether a small or a large number is better: pass `mode="
    for make in (EarlyStopping, lambda _, **how: ModelCheckpoint("x", **how), ReduceOnPlateau):
        with pytest.raises(SettingError, match=expected):
            monitored(make(2, monitor=name), name=name)
    history = monitored(name=name)
    with pytest.raises(SettingError, match=expected):
        history.best_by(name)
    with pytest.raises(SettingError, match="a history has no column 'val_loss'"):
        history.best_by("val_loss")


# ---------------------------------------------------------------------------------------------- what callbacks report


def reports(capsys, *callbacks, epochs=6, **settings):
    """What a run with ``ERRORS`` prints besides the lines of its epochs."""
    monitored(*callbacks, name="error", epochs=epochs, progress=True, **settings)
    return [line for line in capsys.readouterr().out.splitlines() if not line.startswith(("epoch", "compiling"))]


def test_the_end_of_early_stopping_is_reported(capsys):
    how = {"monitor": "error", "mode": "min"}
    stopped = "stopped early after epoch 5: no better error than that of epoch 3 for 2 epochs"
    assert reports(capsys, EarlyStopping(2, **how)) == [f"{stopped}; the network has the weights of epoch 5, the last"]
    restored = f"{stopped}; the network has the weights of epoch 3"
    assert reports(capsys, EarlyStopping(2, restore_best=True, **how)) == [restored]
    last = "the network has the weights of epoch 3, which has the best error"
    assert reports(capsys, EarlyStopping(2, restore_best=True, **how), epochs=4) == [last]
    assert reports(capsys, EarlyStopping(9, **how)) == []
    assert reports(capsys, EarlyStopping(1, **how), epochs=2) == []  # the last epoch, too
    one = "stopped early after epoch 2: no better error than that of epoch 1 for 1 epoch"
    assert reports(capsys, EarlyStopping(1, **how)) == [f"{one}; the network has the weights of epoch 2, the last"]


LOSSES = [5.0, 6.0, 3.0, 4.0, 4.5, 1.0]  # of validation; as ``ERRORS``


@pytest.mark.parametrize(
    ("epochs", "kept", "sentence"),
    [
        (6, 3, "stopped early after epoch 5: no better validation_loss than that of epoch 3 for 2 epochs; "
               "the network has the weights of epoch 3"),
        (4, 3, "the network has the weights of epoch 3, which has the best validation_loss"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("of_model", [True, False])
def test_the_argument_early_stopping_keeps_the_best_epoch(of_model, epochs, kept, sentence, monkeypatch, capsys):
    """As `--early-stopping` and ``TinyCNNClassifier(early_stopping=)`` do."""
    losses, trainer, states = iter(LOSSES), make_trainer(), {}
    monkeypatch.setattr("tinycnn.train.trainer.evaluate_finite", lambda *_: Scores(next(losses), 0.5))

    class Keep(Callback):
        def on_epoch_end(self, trainer, result):
            states[result.epoch] = trainer.model.state_dict()

    data = {"validation": sides(20, 1), "early_stopping": 2, "callbacks": [Keep()], "progress": True}
    (trainer.model.fit if of_model else trainer.fit)(*sides(20), epochs=epochs, **data)
    assert len(states) == min(epochs, 5)
    assert all(np.array_equal(array, states[kept][name]) for name, array in trainer.model.state_dict().items())
    assert not all(np.array_equal(array, states[kept][name]) for name, array in states[len(states)].items())
    assert capsys.readouterr().out.splitlines()[-1] == sentence


def test_weights_of_a_best_epoch_before_this_call_are_not_claimed(monkeypatch, capsys):
    losses, trainer = iter([1.0, *LOSSES]), make_trainer()
    monkeypatch.setattr("tinycnn.train.trainer.evaluate_finite", lambda *_: Scores(next(losses), 0.5))
    data = {"validation": sides(20, 1), "progress": True}
    trainer.fit(*sides(20), epochs=1, **data)
    trainer.fit(*sides(20), epochs=2, early_stopping=2, **data)
    lost = "the last: those of epoch 1, before this call of `fit`, were not kept"
    assert capsys.readouterr().out.splitlines()[-1] == f"the network has the weights of epoch 2, {lost}"
    trainer.fit(*sides(20), epochs=9, early_stopping=2, **data)
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"; the network has the weights of epoch 3, {lost}")
    trainer.fit(*sides(20), epochs=9, early_stopping=2, **data)  # trains nothing
    assert "weights" not in capsys.readouterr().out


def test_a_reduced_rate_is_reported(capsys):
    plateau = ReduceOnPlateau(1, monitor="error", mode="min")
    assert reports(capsys, plateau) == ["after epoch 5: no better error, learning rate 0.01 to 0.001"]


def test_without_a_progress_bar_the_end_is_logged(caplog, capsys):
    with caplog.at_level(logging.INFO, "tinycnn.train"):
        monitored(EarlyStopping(2, monitor="error", mode="min"), name="error")
    assert [record.message[:27] for record in caplog.records] == ["stopped early after epoch 5"]
    assert capsys.readouterr().out == ""
