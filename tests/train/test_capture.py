"""Recorded steps: the same bits as eager ones, whatever changes from step to step; eager where recording fails.

Runs on a GPU where there is one, and on the stand-in, which refuses during a capture what the real one refuses, runs
nothing while it records, and fills the memory of what it did not compute with NaN.
"""

import contextlib
import copy
import gc

import numpy as np
import pytest

import tinycnn
from tests.support import fake_cupy
from tests.support.backends import activated
from tinycnn import models
from tinycnn.data.augment import Affine, Elastic, Fade, FlipAndCrop
from tinycnn.distributed.communicator import SingleProcess, use_communicator
from tinycnn.errors import BackendError, SettingError
from tinycnn.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, Layer, MaxPool2d, ReLU, Sequential
from tinycnn.optim import SGD, Adam, AdamW, one_cycle, step_decay
from tinycnn.train import capture
from tinycnn.train.batches import Sampler
from tinycnn.train.capture import CapturedSteps
from tinycnn.train.history import Progress
from tinycnn.train.step import TrainingStep
from tinycnn.train.trainer import Trainer
from tinycnn.train.warm_up import warm_up

IMAGES, BATCH = 37, 8  # four whole batches, and one of 5
EXTRAS = {"augment": Affine(), "fade": Fade(-3, 12), "label_smoothing": 0.1, "clip_norm": 0.1}
OPTIMIZERS = {
    "SGD": lambda parameters: SGD(parameters, 0.05, momentum=0.9, nesterov=True, schedule=step_decay(10)),
    "Adam": lambda parameters: Adam(parameters, 0.01, schedule=one_cycle(15)),
    "AdamW": lambda parameters: AdamW(parameters, 0.01, weight_decay=0.1, schedule=one_cycle(15)),
}


@pytest.fixture(params=["cupy", "cupy-emulated"])
def gpu(request):
    """A backend that records."""
    yield from activated(request)


@pytest.fixture
def emulated(request):
    """The stand-in alone, for what only it can tell."""
    request.param = "cupy-emulated"
    yield from activated(request)


def pictures(count=IMAGES, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8), rng.integers(0, 3, count)


def make_trainer(optimizer="Adam", *, extra=(), capture=True, batch_size=BATCH, **settings):
    layers = [Conv2d(4), BatchNorm(), ReLU(), MaxPool2d(), Flatten(), Dropout(0.2), Dense(6), ReLU(), Dropout(0.5)]
    model = Sequential(*layers, *extra, Dense(3), input_shape=(8, 8, 1))
    optimizer = OPTIMIZERS[optimizer](model.parameters())
    return Trainer(model, optimizer, batch_size=batch_size, seed=1, capture=capture, **settings)


def everything(trainer):
    """All that a run changes, as bytes and numbers."""
    arrays = trainer.model.state_dict()
    slots = trainer.optimizer.state_dict()["slots"]
    arrays |= {f"{i} {name}": array for i, by_name in enumerate(slots) for name, array in by_name.items()}
    steps = [layer.step for layer in trainer.model.layers.values() if isinstance(layer, Dropout)]
    return {name: array.tobytes() for name, array in arrays.items()}, steps, trainer.optimizer.step_count


def train(trainer, epochs=3, count=IMAGES):
    results = list(trainer.fit(*pictures(count), epochs=epochs, validation=pictures(10, seed=1)))
    scores = [(r.train_loss, r.train_accuracy, r.validation_loss, r.validation_accuracy) for r in results]
    return scores, everything(trainer)


def counted_steps(monkeypatch):
    """A list that grows with every step that Python takes."""
    taken, forward_backward = [], TrainingStep.forward_backward

    def counting(self, batch):
        taken.append(len(batch.chosen))
        return forward_backward(self, batch)

    monkeypatch.setattr(TrainingStep, "forward_backward", counting)
    return taken


# ------------------------------------------------------------------------------------------------------- the same bits


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("settings", [{}, EXTRAS], ids=["plain", "augmented, smoothed, clipped"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_recorded_and_eager_steps_give_the_same_bits(optimizer, settings):
    recorded, eager = (make_trainer(optimizer, capture=capture, **settings) for capture in (True, False))
    assert train(recorded) == train(eager)
    assert recorded.why_eager == ""
    assert set(recorded.capture.steps.replays) == {8, 5}
    assert eager.capture.steps is None


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("count", [1, 8, 9, 16, 17])
def test_any_number_of_images(count):
    recorded, eager = (make_trainer(capture=capture) for capture in (True, False))
    assert train(recorded, count=count) == train(eager, count=count)
    assert set(recorded.capture.steps.replays) == {size for size in (min(count, BATCH), count % BATCH) if size}


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("name", models.MODELS)
def test_the_five_networks_are_recorded(name):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (10, 28, 28, 1), dtype=np.uint8), np.arange(10)
    results = []
    for wanted in (True, False):
        model = models.create(name)
        trainer = Trainer(model, Adam(model.parameters()), batch_size=4, capture=wanted)
        losses = [result.train_loss for result in trainer.fit(images, labels, epochs=2)]
        results.append((losses, everything(trainer)))
        assert trainer.why_eager == ""
        assert (trainer.capture.steps is not None and set(trainer.capture.steps.replays) == {4, 2}) == wanted
    assert results[0] == results[1]


def test_in_float64(gpu, monkeypatch):
    """Float64 has no fused kernels: its matrix products are CuPy's, which only the stand-in lets into a recording."""
    monkeypatch.setattr(fake_cupy, "BLAS", set())
    trainers = []
    for wanted in (True, False):
        model = Sequential(Flatten(), Dropout(0.5), Dense(3), input_shape=(8, 8, 1), dtype=np.float64)
        trainers.append(Trainer(model, AdamW(model.parameters()), batch_size=BATCH, capture=wanted))
    assert train(trainers[0]) == train(trainers[1])
    if gpu.name == "cupy":
        assert "cuBLAS" in trainers[0].why_eager
    else:
        assert trainers[0].capture.steps.replays


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("augment", [Elastic(), FlipAndCrop()])
def test_other_augmentations_are_recorded_too(augment):
    recorded, eager = (make_trainer(augment=augment, capture=wanted) for wanted in (True, False))
    assert train(recorded) == train(eager)
    assert recorded.capture.steps.replays


@pytest.mark.usefixtures("gpu")
def test_the_maps_of_the_next_epoch_are_drawn_between_the_steps_of_this_one(monkeypatch):
    drawn, taken = [], []
    trainer, maps = make_trainer(augment=Elastic()), Sampler.maps

    def counting(self, count, epoch, step):
        drawn.append((epoch, step, len(taken)))
        return maps(self, count, epoch, step)

    def stepping(self, progress, take=CapturedSteps.take):
        done = take(self, progress)
        taken.append(progress.step)
        return done

    monkeypatch.setattr(Sampler, "maps", counting)
    monkeypatch.setattr(CapturedSteps, "take", stepping)
    train(trainer, epochs=2)
    first = [(1, number, 0) for number in range(5)]
    ahead = [(2 + number // 5, 5 + number, number) for number in range(10)]  # each while step number is on its way
    assert drawn == first + ahead


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("changed", ["augment", "fade", "seed"])
def test_maps_drawn_ahead_are_forgotten_where_settings_change(changed):
    ended = []
    for wanted in (True, False):
        trainer = make_trainer(augment=Affine(), fade=Fade(0, 1000), capture=wanted)
        for result in trainer.fit(*pictures(), epochs=3):
            if result.epoch == 1:
                setattr(trainer, changed, {"augment": FlipAndCrop(), "fade": None, "seed": 2}[changed])
        ended.append(everything(trainer))
        assert (trainer.capture.steps is not None) == wanted
    assert ended[0] == ended[1]


@pytest.mark.usefixtures("gpu")
def test_a_run_that_goes_back_draws_its_maps_anew():
    ended = []
    for wanted in (True, False):
        trainer = make_trainer(augment=Affine(), capture=wanted)
        list(trainer.fit(*pictures(), epochs=1))
        state = copy.deepcopy(trainer.state_dict())
        list(trainer.fit(*pictures(), epochs=3))
        trainer.load_state_dict(state)
        list(trainer.fit(*pictures(), epochs=2))
        ended.append(everything(trainer))
    assert ended[0] == ended[1]


@pytest.mark.parametrize("frozen", ["rates", "dropout_steps", "chosen", "maps"])
@pytest.mark.usefixtures("gpu")
def test_a_recording_that_froze_something_would_be_noticed(frozen, monkeypatch):
    """Each field of the table, taken from its first row by every step of the epoch, makes another network."""
    rows = capture.CapturedSteps.rows

    def with_a_frozen_field(self, epoch, done):
        table = rows(self, epoch, done)
        table[frozen] = table[frozen][0]
        return table

    eager = train(make_trainer(augment=Affine(), capture=False))
    monkeypatch.setattr(capture.CapturedSteps, "rows", with_a_frozen_field)
    assert train(make_trainer(augment=Affine())) != eager


# ------------------------------------------------------------------------------------------------------ really recorded


@pytest.mark.usefixtures("gpu")
def test_python_takes_two_steps_of_each_size_and_then_none(monkeypatch):
    taken, trainer = counted_steps(monkeypatch), make_trainer()
    train(trainer, epochs=4)
    assert sorted(taken) == [5, 5, 8, 8]  # one for real and one recorded
    assert trainer.optimizer.step_count == 20


@pytest.mark.usefixtures("emulated")
def test_the_host_waits_once_per_epoch_however_many_steps_there_are():
    waits = []
    for count in (16, 160):
        trainer, (images, labels) = make_trainer(), map(fake_cupy.asarray, pictures(count))
        trainer.train_epoch(images, labels, epoch=1)
        before = fake_cupy.host_reads
        trainer.train_epoch(images, labels, epoch=2)
        waits.append(fake_cupy.host_reads - before)
    assert waits == [4, 4]  # whether all is finite, the end of the queue, the loss, the correct predictions


@pytest.mark.usefixtures("gpu")
def test_nothing_is_recorded_twice_without_need():
    trainer, (images, labels) = make_trainer(), map(tinycnn.get_backend().asarray, pictures())
    trainer.train_epoch(images, labels, epoch=1)
    first = trainer.capture.steps
    trainer.optimizer.base_lr = 0.5  # comes with the table
    trainer.train_epoch(images, labels, epoch=2)
    assert trainer.capture.steps is first


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    "change",
    ["data", "optimizer", "parameter", "setting", "batch size", "augmentation", "clipping", "layer"],
)
def test_what_a_recording_cannot_follow_is_recorded_anew(change):
    """Compared with an eager trainer that sees the same change."""
    results = []
    for wanted in (True, False):
        trainer, (images, labels) = make_trainer(capture=wanted), map(tinycnn.get_backend().asarray, pictures())
        trainer.train_epoch(images, labels, epoch=1)
        match change:
            case "data":
                images, labels = map(tinycnn.get_backend().asarray, pictures(seed=5))
            case "optimizer":
                trainer.optimizer = OPTIMIZERS["SGD"](trainer.model.parameters())
            case "parameter":
                bias = trainer.model.parameters()[-1]
                bias.data = bias.data + 1
            case "setting":
                trainer.optimizer.beta1 = 0.5
            case "batch size":
                trainer.batch_size = 10
            case "augmentation":
                trainer.augment = Affine()
            case "clipping":
                trainer.clip_norm = 0.01
            case "layer":
                trainer.model.layers["dropout_1"].p, trainer.model.layers["batchnorm_1"].momentum = 0.9, 0.5
        scores = trainer.train_epoch(images, labels, epoch=2)
        results.append((scores, everything(trainer)))
    assert results[0] == results[1]


@pytest.mark.usefixtures("gpu")
def test_loaded_weights_are_what_the_recording_goes_on_with():
    trainer, eager = make_trainer(), make_trainer(capture=False)
    state = make_trainer("SGD").model.state_dict()
    results = []
    for one in (trainer, eager):
        images, labels = map(tinycnn.get_backend().asarray, pictures())
        one.train_epoch(images, labels, epoch=1)
        one.model.load_state_dict(state)
        results.append((one.train_epoch(images, labels, epoch=2), everything(one)))
    assert results[0] == results[1]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("stopped_after", [1, 3, 5])
def test_a_run_that_stops_between_two_steps_has_counted_right(stopped_after):
    def stop(progress):
        if progress.step == stopped_after and progress.epoch == 2:
            raise KeyboardInterrupt

    states = []
    for wanted in (True, False):
        trainer = make_trainer(capture=wanted)
        with pytest.raises(KeyboardInterrupt):
            list(trainer.fit(*pictures(), epochs=3, progress=stop))
        assert trainer.optimizer.step_count == 5 + stopped_after
        states.append(everything(trainer))
    assert states[0] == states[1]


@pytest.mark.usefixtures("gpu")
def test_progress_reads_the_scores_of_the_steps_so_far():
    seen = [], []
    for numbers, wanted in zip(seen, (True, False), strict=True):
        trainer = make_trainer(capture=wanted)
        list(trainer.fit(*pictures(), epochs=2, progress=lambda p, numbers=numbers: numbers.append(p.scores())))
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 10


@pytest.mark.usefixtures("gpu")
def test_a_warm_up_records_elsewhere():
    trainer, eager = make_trainer(), make_trainer(capture=False)
    before = everything(trainer)
    assert warm_up(trainer, *pictures()) > 0
    assert everything(trainer) == before
    assert trainer.capture.steps is None
    assert train(trainer) == train(eager)
    twin = copy.deepcopy(trainer)
    assert twin.capture.steps is None
    assert everything(twin) == everything(trainer)


# ------------------------------------------------------------------------------------------------ memory of a recording


@pytest.fixture
def lost(emulated):
    """Bytes that pools of the stand-in took and never gave back, in this test."""
    gc.collect()
    fake_cupy.MemoryPool.lost.clear()
    return fake_cupy.MemoryPool.lost


def test_memory_goes_back_with_its_recording(lost):
    trainer = make_trainer()
    train(trainer, epochs=1)
    trainer.batch_size = 10
    train(trainer, epochs=1)  # recorded anew
    del trainer
    gc.collect()
    assert lost == []


@pytest.mark.parametrize(
    "error", [RuntimeError("refused"), fake_cupy.OutOfMemoryError("no more")], ids=["refused", "full"]
)
@pytest.mark.parametrize("when", ["run", "recorded"])
def test_memory_goes_back_when_there_is_no_recording(lost, when, error):
    def work():
        fake_cupy.zeros(1000)
        if (fake_cupy.capture is not None) == (when == "recorded"):
            raise error

    recorder = tinycnn.get_backend().recorder()
    with recorder.session(), pytest.raises(BackendError if when == "recorded" else type(error)):
        recorder.record(work)
    error.__traceback__ = None
    gc.collect()
    assert lost == []


@pytest.mark.usefixtures("emulated")
def test_a_recording_gets_the_memory_that_others_keep_free(monkeypatch):
    """CuPy's pools do not ask each other: one that is refused memory would not get what another holds for later."""
    emptied = []
    monkeypatch.setattr(fake_cupy.default_pool, "free_all_blocks", lambda: emptied.append(True))
    recorder = tinycnn.get_backend().recorder()
    with recorder.session():
        recorder.record(lambda: None)
    assert emptied == [True]


def test_a_pool_that_is_only_dropped_would_be_noticed(lost):
    fake_cupy.MemoryPool().malloc(512)
    gc.collect()
    assert lost == [512]


@pytest.mark.usefixtures("emulated")
def test_a_graph_in_the_default_memory_pool_would_be_noticed(monkeypatch):
    monkeypatch.setattr(fake_cupy.cuda, "using_allocator", lambda allocator: contextlib.nullcontext())
    trainer = make_trainer()
    train(trainer)
    assert "a graph allocates from the default pool, which other arrays share" in trainer.why_eager


@pytest.mark.usefixtures("emulated")
def test_a_graph_without_its_memory_would_be_noticed():
    recorder = tinycnn.get_backend().recorder()
    with recorder.session():
        recording = recorder.record(lambda: fake_cupy.zeros(1000))
        recording()
        with fake_cupy.cuda.using_allocator(recording.pool.malloc), pytest.raises(RuntimeError, match="outside the"):
            fake_cupy.zeros(10)
        recording.pool.free_all_blocks()
        with pytest.raises(RuntimeError, match="was given back"):
            recording()


# -------------------------------------------------------------------------------------------------- eager all the same


class Noise(Layer):
    """Adds something else in every step, from where no recording looks."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return x + 1.0 / self.calls


class Custom(Adam):
    """An optimizer of one's own."""


@pytest.mark.usefixtures("gpu")
def test_layers_and_optimizers_of_ones_own_are_not_recorded():
    recorded, eager = (make_trainer(extra=[Noise()], capture=capture) for capture in (True, False))
    assert train(recorded) == train(eager)
    assert "Noise is not part of tinycnn" in recorded.why_eager
    recorded.model = make_trainer().model
    recorded.optimizer = Custom(recorded.model.parameters())
    assert "Custom is not part of tinycnn" in capture.reason_not_recordable(recorded.training_step, pictures()[0])


@pytest.mark.usefixtures("emulated")
def test_what_the_driver_refuses_runs_eagerly_and_says_so(monkeypatch):
    monkeypatch.setattr(fake_cupy, "BLAS", {"matmul"})
    recorded, eager = (make_trainer(capture=capture) for capture in (True, False))
    recorded.model.fuse = eager.model.fuse = False  # so that matrix products are CuPy's
    assert train(recorded) == train(eager)
    assert recorded.why_eager.startswith("a CUDA graph cannot hold it (NotImplementedError: matmul calls cuBLAS")
    assert fake_cupy.capture is None  # the capture that failed was ended
    assert recorded.capture.steps.replays == {}


@pytest.mark.usefixtures("emulated")
def test_a_warm_up_reports_what_cannot_be_recorded(monkeypatch):
    monkeypatch.setattr(fake_cupy, "BLAS", {"matmul"})
    trainer = make_trainer()
    trainer.model.fuse = False
    warm_up(trainer, *pictures())
    assert "cuBLAS" in trainer.why_eager


class FirstOfTwo(SingleProcess):
    """What rank 0 sees of two ranks where the other adds nothing to any sum."""

    size = 2


@pytest.mark.usefixtures("gpu")
def test_a_warm_up_reports_that_several_ranks_record_nothing(monkeypatch):
    trainer, taken = make_trainer(), counted_steps(monkeypatch)
    with use_communicator(FirstOfTwo()):
        warm_up(trainer, *pictures())
    assert trainer.why_eager == "several ranks share each batch"
    assert len(taken) == 1  # by the warm-up; no step was taken to record it


def test_a_backend_without_recorder_runs_eagerly_and_has_nothing_to_say():
    with tinycnn.use_backend("numpy"):
        trainer = make_trainer()
        train(trainer, epochs=1)
    assert trainer.capture.steps is None
    assert trainer.why_eager == ""


@pytest.mark.usefixtures("emulated")
def test_an_error_of_the_step_itself_is_not_taken_for_one_of_the_recording(monkeypatch):
    def broken(self, batch):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(TrainingStep, "forward_backward", broken)
    with pytest.raises(ZeroDivisionError):
        train(make_trainer())


@pytest.mark.usefixtures("gpu")
def test_an_epoch_is_taken_up_where_it_was_left():
    """As after a resumed run: the table begins at the step that comes next, the sums at those so far."""
    backend = tinycnn.get_backend()
    images, labels = map(backend.asarray, pictures())
    whole, parts = make_trainer(), make_trainer()
    whole.train_epoch(images, labels, epoch=1)
    running = Progress(1, 5)
    epoch = parts.training_step, parts.sampler, images, labels, running
    with parts.capture.epoch(*epoch) as captured:
        captured.take(running)
        captured.take(running)
    running.loss_sum, running.correct = running.loss_sum.copy(), running.correct.copy()
    with parts.capture.epoch(*epoch) as captured:
        while running.step < 5:
            assert captured.take(running)
    assert everything(parts) == everything(whole)
    assert running.seen == IMAGES


# ---------------------------------------------------------------------------------------------------------------- TF32


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_tf32_is_refused_where_there_are_no_tensor_cores(name):
    with tinycnn.use_backend(name):
        tinycnn.backends.use_tf32(False)
        with pytest.raises(SettingError, match=f"TF32 is for tensor cores, which backend '{name}' does not use"):
            tinycnn.backends.use_tf32()
