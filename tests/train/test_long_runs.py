"""Long runs: resumed after any step, they end with the same bits; failures are reported, and no checkpoint is lost."""

import json
import math
import os
import signal
import threading

import numpy as np
import pytest

from tests.train.test_trainer import make_trainer, sides
from tinycnn.data.augment import Affine, Fade
from tinycnn.errors import FileFormatError, SettingError
from tinycnn.files import UNFINISHED
from tinycnn.layers import Dense, Flatten, Sequential
from tinycnn.optim import SGD, Adam, AdamW, cosine
from tinycnn.run.folder import locked_folder
from tinycnn.run.stop_signals import SIGNALS, StopSignals
from tinycnn.saving.state_file import arrays_in, fingerprint, read_state
from tinycnn.train.checkpoint import Checkpoints, TrainingStopped
from tinycnn.train.divergence import TrainingDivergedError
from tinycnn.train.history import EpochResult, best, stalled
from tinycnn.train.step import TrainingStep
from tinycnn.train.trainer import Trainer

EPOCHS, STEPS = 3, 4  # 50 images in batches of 16
TIMES = ("epoch_s", "images_per_s")


def after(step):
    """A ``stop`` that returns True from step number ``step`` on."""
    return lambda trainer: lambda: trainer.optimizer.step_count >= step


def never(trainer):
    return lambda: False


def train(trainer, epochs=EPOCHS, stop=never, **settings):
    images, labels = sides(50)
    trainer.fit(images, labels, epochs=epochs, validation=sides(20, 1), stop=stop(trainer), **settings)
    return trainer


def bits(trainer):
    """The results of a run without times, in a form that ``==`` compares bit for bit."""
    state = trainer.state_dict()
    history = [{k: v for k, v in result.items() if k not in TIMES} for result in state["history"]]
    arrays = [(array.dtype.str, array.shape, array.tobytes()) for array in arrays_in(state)]
    return history, arrays, state["counters"], state["optimizer"]["step"]


def sgd(trainer):
    trainer.optimizer = SGD(trainer.model.parameters(), 0.01, momentum=0.9, schedule=cosine(EPOCHS * STEPS))
    return trainer


def adamw(trainer):
    trainer.optimizer = AdamW(trainer.model.parameters(), 0.01)
    return trainer


MAKERS = {
    "adam": make_trainer,
    "everything": lambda: make_trainer(
        augment=Affine(), fade=Fade(full=3, gone=9), label_smoothing=0.1, clip_norm=0.5, schedule=cosine(12)
    ),
    "sgd": lambda: sgd(make_trainer()),
    "adamw": lambda: adamw(make_trainer()),
}


# -------------------------------------------------------------------------------------------------------- the same bits


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_run_resumed_after_any_step_ends_with_the_same_bits(make, backend, tmp_path):
    """On the emulated GPU, which is slow, each kind of run has a third of the steps, and together they have all."""
    expected = bits(train(make()))
    assert len(expected[0]) == EPOCHS
    every = 3 if backend.name == "cupy-emulated" else 1
    for step in range(1 + [*MAKERS.values()].index(make) % every, EPOCHS * STEPS + 1, every):
        folder = tmp_path / str(step)
        with pytest.raises(TrainingStopped) as stopped:
            train(make(), checkpoints=Checkpoints(folder), stop=after(step))
        assert stopped.value.checkpoint == folder / f"step-{step:09}.safetensors"
        assert bits(train(make(), checkpoints=Checkpoints(folder, resume=True))) == expected, step


def test_a_lost_counter_slot_or_statistic_changes_the_bits():
    """The comparison above can fail: it detects a run that loses one counter, slot or statistic."""

    def forgetful(forget):
        first, second = make_trainer(), make_trainer()
        with pytest.raises(TrainingStopped):
            train(first, stop=after(5))
        state = first.state_dict()
        forget(state)
        second.load_state_dict(state)
        return bits(train(second))

    expected = bits(train(make_trainer()))
    assert forgetful(lambda state: None) == expected
    assert forgetful(lambda state: state["counters"].update({"dropout_1.step": 4})) != expected
    assert forgetful(lambda state: state["optimizer"].update(step=4)) != expected
    assert forgetful(lambda state: state["optimizer"]["slots"][0]["m"].fill(0)) != expected
    assert forgetful(lambda state: state["model"]["batchnorm_1.running_mean"].fill(0)) != expected
    assert forgetful(lambda state: state["running"].update(loss_sum=np.float32(0))) != expected


def test_checkpoints_do_not_change_the_run_and_the_last_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "kept", every=5)
    assert bits(train(make_trainer(), checkpoints=checkpoints)) == bits(train(make_trainer()))
    assert [path.stem[-2:] for path in checkpoints.paths()] == ["12", "10"]


def test_a_third_checkpoint_that_a_killed_process_left_is_deleted(tmp_path, monkeypatch):
    """The process was killed after renaming the newest, before deleting the oldest; the last step writes no other."""
    with monkeypatch.context() as killed:
        killed.setattr("tinycnn.train.checkpoint.MAX_KEPT", 3)
        train(make_trainer(), checkpoints=Checkpoints(tmp_path, every=5))
    three = Checkpoints(tmp_path).paths()
    assert len(three) == 3
    train(make_trainer(), checkpoints=Checkpoints(tmp_path, every=5, resume=True))
    assert Checkpoints(tmp_path).paths() == three[:2]


def test_adding_epochs_at_a_constant_rate_is_exact(tmp_path):
    train(make_trainer(), epochs=2, checkpoints=Checkpoints(tmp_path / "kept", every=100))
    longer = train(make_trainer(), checkpoints=Checkpoints(tmp_path / "kept", every=100, resume=True))
    assert bits(longer) == bits(train(make_trainer()))


def test_the_run_time_includes_the_time_before_the_interruption(tmp_path, monkeypatch):
    trainer = make_trainer()
    with pytest.raises(TrainingStopped):
        train(trainer, stop=after(6), checkpoints=Checkpoints(tmp_path))
    state = trainer.state_dict()
    state["running"]["seconds"] += 1000
    again = make_trainer()
    again.load_state_dict(state)
    train(again)
    assert again.earlier_training_s == pytest.approx(1000, abs=60)
    assert [result.epoch_s > 999 for result in again.history] == [False, True, False]


# ------------------------------------------------------------------------------------------------------- other runs


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: make_trainer(seed=1), "seed 0 there, 1 here"),
        (lambda: make_trainer(lr=0.02), r"learning rate 0\.01 there, 0\.02 here"),
        (lambda: make_trainer(batch_size=8), "batch size 16 there, 8 here"),
        (lambda: make_trainer(augment=Affine()), "different augmentation"),
        (lambda: make_trainer(augment=Affine(), fade=Fade(3, 9)), r"fading None there, Fade\(full=3, gone=9\) here"),
        (lambda: make_trainer(label_smoothing=0.1), r"label smoothing 0\.0 there, 0\.1 here"),
        (lambda: make_trainer(clip_norm=1), r"clip norm None there, 1\.0 here"),
        (lambda: adamw(make_trainer()), r"optimizer Adam there, AdamW here; weight_decay 0\.0 there, 0\.01 here"),
        (lambda: make_trainer(schedule=cosine(12)), "the first 5 steps would have had different learning rates"),
    ],
)
def test_resuming_another_run_raises_with_the_difference(other, words, tmp_path):
    with pytest.raises(TrainingStopped):
        train(make_trainer(), stop=after(5), checkpoints=Checkpoints(tmp_path))
    before = bits(trainer := other())
    with pytest.raises(SettingError, match=words):
        train(trainer, checkpoints=Checkpoints(tmp_path, resume=True))
    assert bits(trainer) == before


WEIGHTED = {"sample_weight": np.arange(50) % 3, "validation_weight": np.arange(20) % 4 + 1}


@pytest.mark.parametrize("changed", WEIGHTED)
def test_a_weighted_run_resumes_with_the_same_bits_and_not_with_other_weights(changed, tmp_path):
    with pytest.raises(TrainingStopped):
        train(make_trainer(), stop=after(5), checkpoints=Checkpoints(tmp_path), **WEIGHTED)
    which = {"sample_weight": "training", "validation_weight": "validation"}[changed]
    for other in (WEIGHTED[changed] + 1, None):
        with pytest.raises(SettingError, match=f"belongs to another run: .*weights of the {which} images"):
            train(make_trainer(), checkpoints=Checkpoints(tmp_path, resume=True), **WEIGHTED | {changed: other})
    resumed = train(make_trainer(), checkpoints=Checkpoints(tmp_path, resume=True), **WEIGHTED)
    assert bits(resumed) == bits(train(make_trainer(), **WEIGHTED)) != bits(train(make_trainer()))


def test_resuming_with_other_data_or_network_raises(tmp_path):
    with pytest.raises(TrainingStopped):
        train(make_trainer(), stop=after(5), checkpoints=Checkpoints(tmp_path))
    images, labels = sides(50)
    images[49, 7, 7] ^= 1
    again = Checkpoints(tmp_path, resume=True)
    with pytest.raises(SettingError, match=r"belongs to another run: different training data\. Resume"):
        make_trainer().fit(images, labels, epochs=3, validation=sides(20, 1), checkpoints=again)
    with pytest.raises(SettingError, match=r"validation data .* there, None here"):
        make_trainer().fit(*sides(50), epochs=3, checkpoints=again)
    model = Sequential(Flatten(), Dense(2), input_shape=(8, 8, 1))
    with pytest.raises(SettingError, match="different network"):
        train(Trainer(model, Adam(model.parameters(), 0.01), batch_size=16), checkpoints=again)


def test_changing_the_epochs_of_a_schedule_raises(tmp_path):
    with pytest.raises(TrainingStopped):
        train(make_trainer(schedule=cosine(12)), stop=after(5), checkpoints=Checkpoints(tmp_path))
    with pytest.raises(SettingError, match="with its number of epochs"):
        train(make_trainer(schedule=cosine(16)), epochs=4, checkpoints=Checkpoints(tmp_path, resume=True))


def test_fewer_epochs_than_already_trained_raise(tmp_path):
    with pytest.raises(TrainingStopped):
        train(make_trainer(), stop=after(9), checkpoints=Checkpoints(tmp_path))
    with pytest.raises(SettingError, match="already past epoch 2"):
        train(make_trainer(), epochs=2, checkpoints=Checkpoints(tmp_path, resume=True))


def test_starting_in_the_folder_of_an_earlier_run_raises(tmp_path):
    train(make_trainer(), checkpoints=Checkpoints(tmp_path, every=5))
    with pytest.raises(
        SettingError, match=r"contains checkpoints of an earlier run \(step-000000012\): resume it with `resume=True`"
    ):
        train(make_trainer(), checkpoints=Checkpoints(tmp_path, every=5))


# ------------------------------------------------------------------------------------------------------- damaged files


def flip(content, place):
    content[place] ^= 1
    return content


DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: content[:0],
    "one bit of a weight": lambda content: flip(content, -200),
    "one bit of the header": lambda content: flip(content, 20),
    "a text": lambda content: bytearray(b"no space left on device"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_reported_and_the_older_one_used(damage, tmp_path):
    with pytest.raises(TrainingStopped):
        train(make_trainer(), stop=after(11), checkpoints=Checkpoints(tmp_path, every=5))
    newest, older = Checkpoints(tmp_path).paths()
    newest.write_bytes(damage(bytearray(newest.read_bytes())))
    sentences = []
    again = Checkpoints(tmp_path, every=5, resume=True, report=sentences.append)
    assert bits(train(make_trainer(), checkpoints=again)) == bits(train(make_trainer()))
    damaged, resumed = sentences
    assert str(newest) in damaged
    assert resumed == "resumed after step 10"
    assert (newest.with_suffix(".damaged").exists(), older.stem[-2:]) == (True, "10")


def test_without_an_intact_checkpoint_resuming_raises(tmp_path):
    train(make_trainer(), checkpoints=Checkpoints(tmp_path, every=5))
    for path in Checkpoints(tmp_path).paths():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileFormatError, match="every checkpoint is damaged"):
        train(make_trainer(), checkpoints=Checkpoints(tmp_path, resume=True, report=lambda sentence: None))


def test_every_flipped_bit_is_detected(tmp_path):
    Checkpoints(tmp_path).write(1, {"trainer": {"weights": np.arange(4.0), "step": 1, "names": ["a", None]}})
    (path,) = Checkpoints(tmp_path).paths()
    content = path.read_bytes()
    assert read_state(path)["trainer"]["names"] == ["a", None]
    for place in range(len(content)):
        path.write_bytes(flip(bytearray(content), place))
        with pytest.raises(FileFormatError):
            read_state(path)


def test_arrays_survive_the_round_trip(tmp_path):
    arrays = [np.float32(3.5), np.arange(6).reshape(2, 3).T, np.array([math.inf, math.nan]), np.zeros((0, 3), int)]
    arrays = [np.asarray(array) for array in arrays]
    Checkpoints(tmp_path).write(7, {"arrays": arrays, "number": 0.1, "nothing": None})
    state = read_state(tmp_path / "step-000000007.safetensors")
    assert (state["number"], state["nothing"]) == (0.1, None)
    for array, again in zip(arrays, state["arrays"], strict=True):
        assert (array.dtype, array.shape) == (again.dtype, again.shape)
        assert np.array_equal(array, again, equal_nan=True)


def test_a_run_with_too_large_checkpoints_does_not_start(tmp_path, monkeypatch):
    size = sum(array.nbytes for array in arrays_in(make_trainer().state_dict()))
    monkeypatch.setattr("tinycnn.train.checkpoint.MAX_HEADER", 0)
    monkeypatch.setattr("tinycnn.train.checkpoint.MAX_STATE_FILE", size - 1)
    with pytest.raises(
        SettingError, match=f"a checkpoint of this run would be {size:,} bytes; the limit is {size - 1:,}"
    ):
        train(make_trainer(), checkpoints=Checkpoints(tmp_path))
    monkeypatch.setattr("tinycnn.train.checkpoint.MAX_STATE_FILE", size + 10_000)
    train(make_trainer(), checkpoints=Checkpoints(tmp_path), epochs=1)
    monkeypatch.setattr("tinycnn.saving.safetensors_file.MAX_HEADER", 500)
    with pytest.raises(SettingError, match=r"a checkpoint of this run would have .* of them names and settings"):
        train(make_trainer(), checkpoints=Checkpoints(tmp_path))


def test_a_checkpoint_may_be_larger_than_a_model(tmp_path, monkeypatch):
    """With two slots of every weight it has three times the size, so every model that can be saved can be resumed."""
    monkeypatch.setattr("tinycnn.saving.safetensors_file.MAX_FILE", 100)
    Checkpoints(tmp_path).write(1, {"weights": np.arange(100.0)})
    (path,) = Checkpoints(tmp_path).paths()
    assert len(read_state(path)["weights"]) == 100
    monkeypatch.setattr("tinycnn.saving.state_file.MAX_STATE_FILE", path.stat().st_size - 1)
    with pytest.raises(FileFormatError, match=r"it has .* bytes"):
        read_state(path)


def test_different_arrays_have_different_fingerprints():
    base = np.arange(12, dtype=np.uint8)
    others = [base[::-1], base.reshape(3, 4), base.astype(np.int8), base[:-1]]
    assert len({fingerprint(array) for array in (base, *others)}) == 5
    assert fingerprint(base) == fingerprint(np.repeat(base, 2)[::2])


# --------------------------------------------------------------------------------------- disks that are full, leftovers


def test_a_full_disk_does_not_end_a_run_or_damage_a_checkpoint(tmp_path, monkeypatch):
    sentences, fsync, calls = [], os.fsync, iter(range(100))

    def fsync_on_a_full_disk(descriptor):
        if next(calls) in (2, 3):  # every checkpoint calls it twice: for the file and for its folder
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync_on_a_full_disk)
    checkpoints = Checkpoints(tmp_path, every=2, report=sentences.append)
    assert bits(train(make_trainer(), checkpoints=checkpoints)) == bits(train(make_trainer()))
    assert sentences == [
        "the checkpoint of step 4 could not be written (No space left on device); kept: step-000000002",
        "the checkpoint of step 4 could not be written (No space left on device); kept: step-000000002",
    ]
    assert [path.stem[-2:] for path in checkpoints.paths()] == ["12", "10"]
    assert len(list(tmp_path.iterdir())) == 2


def test_partial_files_are_removed(tmp_path):
    (tmp_path / f".step-000000003.safetensors.abc{UNFINISHED}").write_bytes(b"half")
    train(make_trainer(), checkpoints=Checkpoints(tmp_path, every=5))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-0000000{n}.safetensors" for n in (10, 12)]


# ----------------------------------------------------------------------------------------------------------- divergence


@pytest.fixture
def poisoned(monkeypatch):
    """A function that puts ``value`` into an image of step ``step`` of a trainer, also when the step is repeated."""
    pixels, poison = TrainingStep.pixels, {}

    def poisoned_pixels(self, batch, rows):
        x = pixels(self, batch, rows)
        step, value = poison.get(self.model, (0, 0.0))
        if self.optimizer.step_count == step - 1:
            x[0, 3, 3, 0] = value
        return x

    def poisoning(trainer, step, value=math.nan):
        poison[trainer.model] = step, value
        return trainer

    monkeypatch.setattr(TrainingStep, "pixels", poisoned_pixels)
    return poisoning


def images_for(steps, batch_size=2):
    return sides(steps * batch_size)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("step", [1, 3, 20, 21, 29])
def test_the_step_and_the_layer_are_named(step, poisoned, monkeypatch):
    monkeypatch.setattr("tinycnn.train.divergence.CHECK_EVERY", 20)
    trainer = poisoned(make_trainer(batch_size=2, capture=False), step)  # capture bypasses the poison
    words = rf"the loss became nan in epoch 1, step {step} of 30 \(learning rate 0\.01, gradient norm nan\), "
    words += "first in the activations of conv2d_1: try a smaller `lr`"
    with pytest.raises(TrainingDivergedError, match=words):
        trainer.fit(*images_for(30), epochs=2)
    assert trainer.optimizer.step_count == step - 1


@pytest.mark.usefixtures("backend")
def test_a_diverged_step_restores_the_trainer(poisoned, monkeypatch):
    monkeypatch.setattr("tinycnn.train.divergence.CHECK_EVERY", 20)
    trainer, (images, labels) = make_trainer(batch_size=2, capture=False), images_for(60)
    with pytest.raises(TrainingDivergedError):
        poisoned(trainer, 53, math.inf).fit(images, labels, epochs=1)
    healthy = make_trainer(batch_size=2)
    with pytest.raises(TrainingStopped):
        healthy.fit(images, labels, epochs=1, stop=after(52)(healthy))
    assert bits(trainer) == bits(healthy)


def test_a_gradient_that_is_not_finite_is_named():
    trainer = make_trainer()
    bias = dict(trainer.model.named_parameters())["dense_1.bias"]
    give_bad_gradient(trainer, bias)
    with pytest.raises(TrainingDivergedError, match=r"norm inf\), first in the gradient of dense_1.bias: try"):
        train(trainer)


def give_bad_gradient(trainer, parameter):
    """Make the gradient of ``parameter`` infinite in every update."""
    original = trainer.optimizer.step

    def update():
        parameter.grad[0] = math.inf
        original()

    trainer.optimizer.step = update


def test_weights_that_leave_the_range_are_named():
    trainer = make_trainer()
    trainer.optimizer = SGD(trainer.model.parameters(), lr=1e300)
    with pytest.raises(TrainingDivergedError, match=r"a weight became infinite or NaN in epoch 1, step 1 of 4"):
        train(trainer)


def test_no_checkpoint_contains_infinity_or_nan(poisoned, tmp_path):
    trainer = poisoned(make_trainer(), 7)
    with pytest.raises(TrainingDivergedError, match="epoch 2, step 3 of 4"):
        train(trainer, checkpoints=Checkpoints(tmp_path, every=1))
    assert [path.stem[-1] for path in Checkpoints(tmp_path).paths()] == ["6", "5"]


# ----------------------------------------------------------------------------------- early stopping, the best, signals


def validation_losses(*losses):
    return [EpochResult(i, 1.0, 0.5, loss, 0.5, 1.0, 1.0) for i, loss in enumerate(losses, start=1)]


def test_the_best_epoch_is_the_first_with_the_smallest_loss():
    assert best([]) is None
    assert best(validation_losses(None, None)) is None
    assert best(validation_losses(3.0, 0.0, 2.0, 0.0)).epoch == 2


@pytest.mark.parametrize(
    ("losses", "patience", "over"),
    [((3, 2, 1), 1, False), ((3, 2, 2), 1, True), ((1, 2), 2, False), ((1, 2, 3), 2, True), ((1, 2, 0.5), 2, False)],
)
def test_stalled_runs_are_detected_by_patience(losses, patience, over):
    assert stalled(validation_losses(*losses), patience) is over
    assert stalled(validation_losses(*losses), None) is False
    assert stalled([], patience) is False


def test_early_stopping_ends_a_resumed_run_at_the_same_epoch(tmp_path):
    trainer = train(make_trainer(lr=0.3), epochs=40, early_stopping=2, checkpoints=Checkpoints(tmp_path, every=100))
    assert trainer.history[-1].epoch == best(trainer.history).epoch + 2 < 40
    again = train(
        make_trainer(lr=0.3), epochs=40, early_stopping=2, checkpoints=Checkpoints(tmp_path, every=100, resume=True)
    )
    again.callbacks = trainer.callbacks = []  # their states hold the same arrays, in another order
    assert bits(again) == bits(trainer)


def test_early_stopping_without_validation_raises():
    with pytest.raises(SettingError, match="it requires validation images"):
        make_trainer().fit(*sides(20), epochs=1, early_stopping=2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_request_a_stop_inside_the_block_only(number):
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert stop.exit_code == 128 + number
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_training_installs_no_handlers():
    before = [signal.getsignal(number) for number in SIGNALS]
    seen = []
    train(make_trainer(), progress=lambda progress: seen.append([signal.getsignal(number) for number in SIGNALS]))
    assert seen == [before] * EPOCHS * STEPS


def test_the_signal_block_works_in_another_thread():
    found = []

    def work():
        with StopSignals() as stop:
            found.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert found == [False]


# ------------------------------------------------------------------------------------------------------------ two runs


def test_a_folder_belongs_to_one_run(tmp_path):
    with locked_folder(tmp_path / "out") as path:
        with pytest.raises(SettingError, match="another run is using it"), locked_folder(path):
            pytest.fail("locked twice")
        (path / "result").write_text("kept")
    with locked_folder(tmp_path / "out") as path:
        assert [file.name for file in path.iterdir()] == ["result"]


def test_an_empty_folder_is_removed(tmp_path):
    with locked_folder(tmp_path / "far" / "out") as path:
        assert path.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / f".metrics.json.abc{UNFINISHED}").write_text(json.dumps({}))
    with locked_folder(tmp_path):
        assert list(tmp_path.iterdir()) == []
