"""Recorded steps: the same bits as eager ones, whatever changes from step to step; eager where recording fails.

Runs on the CPU, on a GPU where there is one, and on its stand-in, which refuses during a capture what the real one
refuses, runs nothing while it records, and fills the memory of what it did not compute with NaN.
"""

import contextlib
import copy
import gc
import re
from pathlib import Path

import numpy as np
import pytest

import tinycnn
from tests.support import fake_cupy
from tests.support.backends import activated
from tinycnn import layers, models, optim
from tinycnn.data.augment import Affine, AlternatingFlip, Elastic, Fade, FlipAndCrop
from tinycnn.distributed.communicator import SingleProcess, use_communicator
from tinycnn.errors import BackendError, DataError, SettingError
from tinycnn.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, Layer, MaxPool2d, ReLU, Sequential
from tinycnn.ops.convolutions.fused import FusedGroupedConv2dFunction
from tinycnn.ops.fused import FusedDenseFunction
from tinycnn.ops.relu import ReLUFunction
from tinycnn.optim import SGD, Adam, AdamW, FilterMuon, Muon, ParameterGroups, RMSprop, one_cycle, step_decay
from tinycnn.train import capture, objective
from tinycnn.train.batches import Sampler
from tinycnn.train.capture import CapturedSteps
from tinycnn.train.history import Progress
from tinycnn.train.step import TrainingStep, layer_and_inner
from tinycnn.train.trainer import Trainer
from tinycnn.train.warm_up import warm_up

IMAGES, BATCH = 37, 8  # four whole batches, and one of 5
EXTRAS = {"augment": Affine(), "fade": Fade(-3, 12), "label_smoothing": 0.1, "clip_norm": 0.1}
OPTIMIZERS = {
    "SGD": lambda parameters: SGD(parameters, 0.05, momentum=0.9, nesterov=True, schedule=step_decay(10)),
    "Adam": lambda parameters: Adam(parameters, 0.01, schedule=one_cycle(15)),
    "AdamW": lambda parameters: AdamW(parameters, 0.01, weight_decay=0.1, schedule=one_cycle(15)),
    "groups": lambda p: ParameterGroups(RMSprop(p[:3], 0.01), Adam(p[3:], 0.01, schedule=one_cycle(15))),
}


@pytest.fixture(params=["numba", "cupy", "cupy-emulated"])
def recording(request):
    """A backend that records steps."""
    yield from activated(request)


@pytest.fixture(params=["cupy", "cupy-emulated"])
def gpu(request):
    """A GPU, or its stand-in: all arithmetic of CuPy can be recorded, while NumPy's sums cannot."""
    yield from activated(request)


@pytest.fixture
def emulated(request):
    """The stand-in for CuPy, for tests that inspect it."""
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
    """The state that a run changes, as bytes and numbers."""
    arrays = trainer.model.state_dict()
    slots = trainer.optimizer.state_dict()["slots"]
    arrays |= {f"{i} {name}": array for i, by_name in enumerate(slots) for name, array in by_name.items()}
    steps = [layer.step for layer in trainer.model.layers.values() if isinstance(layer, Dropout)]
    return {name: array.tobytes() for name, array in arrays.items()}, steps, trainer.optimizer.step_count


def train(trainer, epochs=3, count=IMAGES):
    results = trainer.fit(*pictures(count), epochs=epochs, validation=pictures(10, seed=1))
    scores = [(r.train_loss, r.train_accuracy, r.validation_loss, r.validation_accuracy) for r in results]
    return scores, everything(trainer)


def counted_steps(monkeypatch):
    """A list that grows with every step that runs in Python."""
    taken, forward_backward = [], TrainingStep.forward_backward

    def counting(self, batch):
        taken.append(len(batch.chosen))
        return forward_backward(self, batch)

    monkeypatch.setattr(TrainingStep, "forward_backward", counting)
    return taken


# ------------------------------------------------------------------------------------------------------- the same bits


@pytest.mark.usefixtures("recording")
@pytest.mark.parametrize("settings", [{}, EXTRAS], ids=["plain", "augmented, smoothed, clipped"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_recorded_and_eager_steps_give_the_same_bits(optimizer, settings):
    recorded, eager = (make_trainer(optimizer, capture=capture, **settings) for capture in (True, False))
    assert train(recorded) == train(eager)
    assert recorded.why_eager == ""
    assert set(recorded.capture.steps.replays) == {8, 5}
    assert eager.capture.steps is None


@pytest.mark.usefixtures("recording")
@pytest.mark.parametrize("change", [np.asfortranarray, lambda x: np.repeat(x, 2, axis=0)[::2]], ids=["axes", "strides"])
def test_images_that_are_not_contiguous_are_recorded(change):
    images, labels = pictures()
    changed = change(images)
    assert not changed.flags.c_contiguous
    other, plain = make_trainer(), make_trainer()
    other.fit(changed, labels, epochs=1)
    plain.fit(images, labels, epochs=1)
    assert other.why_eager == ""
    assert everything(other) == everything(plain)


@pytest.mark.usefixtures("recording")
def test_a_rate_assigned_in_the_middle_of_an_epoch_is_used_from_the_next_step_on():
    states = []
    for wanted in (True, False):
        trainer = make_trainer("groups", capture=wanted, augment=Affine())

        def assign(progress, trainer=trainer):
            if (progress.epoch, progress.step) == (2, 2):
                trainer.optimizer.learning_rate = 0.002

        trainer.fit(*pictures(), epochs=3, progress=assign)
        states.append(everything(trainer))
    assert states[0] == states[1]
    other = make_trainer("groups", augment=Affine())
    other.fit(*pictures(), epochs=3)
    assert everything(other) != states[0]


def muon_trainer(kind, capture=True):
    """One layer has more outputs than inputs: there the rate is multiplied by a root."""
    trainer = make_trainer(capture=capture, extra=(Dense(9),))
    trainer.optimizer = kind(trainer.model.parameters(), schedule=one_cycle(15))
    return trainer


@pytest.mark.parametrize("kind", [Muon, FilterMuon])
def test_muon_is_recorded_on_a_cpu(kind):
    with tinycnn.use_backend("numba"):
        recorded, eager = muon_trainer(kind), muon_trainer(kind, capture=False)
        assert train(recorded) == train(eager)
        assert recorded.why_eager == ""


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_every_optimizer_of_the_command_is_recorded_on_a_cpu(name):
    with tinycnn.use_backend("numba"):
        trainer = muon_trainer(lambda parameters, schedule: optim.OPTIMIZERS[name](parameters, 0.01))
        trainer.fit(*pictures(), epochs=1)
        assert trainer.why_eager == ""


@pytest.mark.parametrize("kind", [Muon, FilterMuon])
def test_the_matrix_products_of_muon_are_not_recorded_on_a_gpu(emulated, kind):
    trainer = muon_trainer(kind)
    trainer.fit(*pictures(), epochs=1)
    assert "matmul" in trainer.why_eager


@pytest.mark.usefixtures("recording")
def test_averages_of_recorded_steps_have_the_bits_of_eager_ones():
    """Also where a run goes on after its network was given the averages, between two steps or two epochs."""
    recorded, eager = (make_trainer(capture=capture, average_weights=0.8) for capture in (True, False))
    for trainer in (recorded, eager):
        trainer.fit(*pictures(), epochs=1, progress=lambda progress, trainer=trainer: trainer.average.put_in())
    assert train(recorded) == train(eager)
    averages = [trainer.average.state_dict() for trainer in (recorded, eager)]
    assert averages[0]["count"] == averages[1]["count"] == 15
    assert [array.tobytes() for array in averages[0]["arrays"]] == [array.tobytes() for array in averages[1]["arrays"]]
    assert recorded.why_eager == ""
    assert set(recorded.capture.steps.replays) == {8, 5}


@pytest.mark.usefixtures("recording")
@pytest.mark.parametrize("count", [1, 8, 9, 16, 17])
def test_partial_batches_give_the_bits_of_eager_steps(count):
    recorded, eager = (make_trainer(capture=capture) for capture in (True, False))
    assert train(recorded, count=count) == train(eager, count=count)
    assert set(recorded.capture.steps.replays) == {size for size in (min(count, BATCH), count % BATCH) if size}


@pytest.mark.usefixtures("recording")
@pytest.mark.parametrize("name", models.MODELS)
def test_the_five_networks_are_recorded(name):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (6, 28, 28, 1), dtype=np.uint8), np.arange(6)
    results = []
    for wanted in (True, False):
        model = models.create(name)
        trainer = Trainer(model, Adam(model.parameters()), batch_size=4, capture=wanted)
        losses = [result.train_loss for result in trainer.fit(images, labels, epochs=2)]
        results.append((losses, everything(trainer)))
        assert trainer.why_eager == ""
        assert (trainer.capture.steps is not None and set(trainer.capture.steps.replays) == {4, 2}) == wanted
    assert results[0] == results[1]


def blocks():
    """Layers of every kind, also inside of blocks."""
    return Sequential(
        layers.Normalization(0.5, (0.25,)), layers.Pad2d(1), Conv2d(4), layers.GroupNorm(2), layers.SiLU(),
        layers.Softplus(), layers.Residual(Conv2d(4, padding=1), layers.GELU(), Dropout(0.3), layers.LayerNorm()),
        layers.Concatenate(layers.Identity(), [layers.GELU(approximate=True), MaxPool2d(), layers.Upsample()]),
        layers.Multiply(layers.Tanh(), [layers.GlobalAvgPool2d(keepdims=True), Conv2d(8, 1), layers.Sigmoid()]),
        layers.Maximum(layers.Softsign(), layers.Minimum(layers.Identity(), layers.Abs())),
        layers.Add(layers.ELU(), layers.HardSwish(), [layers.Clip(0, 6), layers.LeakyReLU(), Dropout(0.3)]),
        layers.Rescaling(2), layers.Reshape((8, 64)), Flatten(), Dense(3), layers.Softmax(), input_shape=(8, 8, 1),
    )  # fmt: skip


def windows():
    """Windows of every kind: uneven padding adds an edge to the images, or cuts one off again."""
    return Sequential(
        Conv2d(4, 3, stride=2, padding="same"), layers.ConvTranspose2d(4, stride=2, padding=1, output_padding=1),
        layers.Crop2d(((2, 2), (1, 3))), layers.Transpose2d(), layers.Upsample(2),
        Conv2d(4, 2, padding=((0, 1), (1, 0))), ReLU(),
        MaxPool2d(2, 1, padding=((0, 1), (0, 1))), layers.AvgPool2d(3, 2, padding="same"), layers.Upsample(2),
        Conv2d(4, 3, padding=1, groups=4), Conv2d(8, 3, padding=1, groups=4, bias=False), Conv2d(4, 3, padding=1,
        groups=2), Conv2d(8, 3, padding=1, dilation=2), layers.AvgPool2d(), layers.Residual(Conv2d(8, 1, bias=False)),
        layers.Concatenate(Conv2d(4, 3, padding="same", bias=False), Conv2d(3, 1)), layers.GlobalMaxPool2d(),
        Dense(6, bias=False), BatchNorm(), ReLU(), Dense(3), layers.LogSoftmax(), input_shape=(8, 8, 1),
    )  # fmt: skip


PAGE = Path(__file__).parents[2] / "docs" / "captured_step.md"


def test_the_page_lists_the_layers_that_are_recorded():
    listed = PAGE.read_text("utf-8").split("with any of their settings:")[1].split("Steps that cannot")[0]
    recorded = {type(layer).__name__ for network in (blocks, windows) for layer in layer_and_inner(network())}
    assert set(re.findall(r"`(\w+)`", listed)) == recorded
    kinds = {name for name in layers.__all__ if isinstance(getattr(layers, name), type)} - {"Layer"}
    assert recorded == kinds


def test_the_page_states_the_size_of_the_table_of_lenet():
    pytest.importorskip("numba")
    with tinycnn.use_backend("numba"):
        model = models.create("lenet")
        trainer = Trainer(model, Adam(model.parameters()), batch_size=64)
        trainer.fit(np.zeros((128, 28, 28, 1), np.uint8), np.arange(128) % 10, epochs=1)
    rows = trainer.capture.steps.replays[64].rows
    calls = sum(len(part) for row in rows for part in row)
    assert f"`lenet` has {len(rows)} rows with {calls} calls." in PAGE.read_text("utf-8")


@pytest.mark.parametrize("network", [blocks, windows])
def test_blocks_and_further_layers_are_recorded(recording, network):
    """Dropout inside of blocks takes its step from memory, and no layer copies anything from the host."""
    if network is windows and recording.name != "numba":
        pytest.skip("products with cuBLAS cannot be captured")
    results = []
    for wanted in (True, False):
        model = network()
        trainer = Trainer(model, Adam(model.parameters()), batch_size=BATCH, seed=1, capture=wanted)
        trainer.fit(*pictures(18), epochs=2)
        assert trainer.why_eager == ""
        assert (trainer.capture.steps is not None and set(trainer.capture.steps.replays) == {8, 2}) == wanted
        results.append((everything(trainer), model.counters()))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("kind", "broken", "name"),
    [
        (FusedGroupedConv2dFunction, "forward", "residual_1.body.conv2d_1 (Conv2d)"),
        (FusedGroupedConv2dFunction, "backward", "residual_1.body.conv2d_1 (Conv2d)"),
        (FusedDenseFunction, "forward", "dense_1 (Dense)"),
    ],
)
def test_the_reason_names_the_layer_by_its_full_name(kind, broken, name, monkeypatch):
    """Also where only the function of the layer is known, as in a backward pass, and for fused layers."""
    pytest.importorskip("numba")
    before = getattr(kind, broken)
    monkeypatch.setattr(kind, broken, lambda self, x, *rest: (x.argmax(), before(self, x, *rest))[1])
    with tinycnn.use_backend("numba"):
        inner = layers.Residual(layers.Tanh(), Conv2d(4, 3, padding=1, groups=2))
        model = Sequential(Conv2d(4), inner, Flatten(), Dense(3), input_shape=(8, 8, 1))
        trainer = Trainer(model, Adam(model.parameters()), batch_size=BATCH)
        trainer.fit(*pictures(17), epochs=1)
    reason = "it uses NumPy's `argmax`, which a recorded step cannot contain"
    assert trainer.why_eager == f"{name}: {reason}"


@pytest.mark.parametrize("progress", [True, None])
def test_fit_reports_once_why_steps_are_not_recorded(progress, capsys):
    pytest.importorskip("numba")
    with tinycnn.use_backend("numba"):
        trainer = make_trainer(extra=[Noise()])
        for epochs in (2, 3):
            trainer.fit(*pictures(17), epochs=epochs, progress=progress)
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: every")]
    assert notes == [f"note: every step is run from Python, which is slower: {trainer.why_eager}"] * bool(progress)
    assert trainer.why_eager.startswith("Noise is not part of tinycnn")


def test_float64_gives_the_bits_of_eager_steps(recording, monkeypatch):
    """Float64 has no fused kernels: its matrix products are CuPy's, which only the stand-in allows in a capture."""
    monkeypatch.setattr(fake_cupy, "BLAS", set())
    trainers = []
    for wanted in (True, False):
        model = Sequential(Flatten(), Dropout(0.5), Dense(3), input_shape=(8, 8, 1), dtype=np.float64)
        trainers.append(Trainer(model, AdamW(model.parameters()), batch_size=BATCH, capture=wanted))
    assert train(trainers[0]) == train(trainers[1])
    if recording.name == "cupy":
        assert "cuBLAS" in trainers[0].why_eager
    elif recording.name == "numba":
        assert trainers[0].why_eager == (
            "dense_1 (Dense): it uses NumPy's `matmul`, which a recorded step cannot contain"
        )
    else:
        assert trainers[0].capture.steps.replays


@pytest.mark.usefixtures("recording")
@pytest.mark.parametrize("augment", [Elastic(), FlipAndCrop(), AlternatingFlip(), FlipAndCrop(edge="black")])
def test_other_augmentations_are_captured(augment):
    recorded, eager = (make_trainer(augment=augment, capture=wanted) for wanted in (True, False))
    assert train(recorded) == train(eager)
    assert recorded.capture.steps.replays


@pytest.mark.usefixtures("recording")
def test_maps_of_the_next_epoch_are_drawn_during_this_epoch(monkeypatch):
    drawn, taken = [], []
    trainer, maps = make_trainer(augment=Elastic()), Sampler.maps

    def counting(self, count, epoch, step, chosen):
        drawn.append((epoch, step, len(taken)))
        return maps(self, count, epoch, step, chosen)

    def stepping(self, progress, take=CapturedSteps.take):
        done = take(self, progress)
        taken.append(progress.step)
        return done

    monkeypatch.setattr(Sampler, "maps", counting)
    monkeypatch.setattr(CapturedSteps, "take", stepping)
    train(trainer, epochs=2)
    first = [(1, number, 0) for number in range(5)]
    ahead = [(2 + number // 5, 5 + number, number) for number in range(10)]  # each while step `number` is queued
    assert drawn == first + ahead


@pytest.mark.usefixtures("recording")
@pytest.mark.parametrize("changed", ["augment", "fade", "seed"])
def test_new_settings_discard_maps_drawn_ahead(changed):
    ended = []
    for wanted in (True, False):
        trainer = make_trainer(augment=Affine(), fade=Fade(0, 1000), capture=wanted)
        for result in trainer.epochs(*pictures(), epochs=3):
            if result.epoch == 1:
                setattr(trainer, changed, {"augment": FlipAndCrop(), "fade": None, "seed": 2}[changed])
        ended.append(everything(trainer))
        assert (trainer.capture.steps is not None) == wanted
    assert ended[0] == ended[1]


@pytest.mark.usefixtures("recording")
def test_repeating_an_epoch_draws_its_maps_again():
    ended = []
    for wanted in (True, False):
        trainer = make_trainer(augment=Affine(), capture=wanted)
        trainer.fit(*pictures(), epochs=1)
        state = copy.deepcopy(trainer.state_dict())
        trainer.fit(*pictures(), epochs=3)
        trainer.load_state_dict(state)
        trainer.fit(*pictures(), epochs=2)
        ended.append(everything(trainer))
    assert ended[0] == ended[1]


@pytest.mark.parametrize("frozen", ["rates", "dropout_steps", "chosen", "maps"])
@pytest.mark.usefixtures("recording")
def test_a_field_frozen_by_the_capture_is_detected(frozen, monkeypatch):
    """If every step read one field from the first row of the table, the network would differ."""
    rows = capture.CapturedSteps.rows

    def with_a_frozen_field(self, epoch, done):
        table = rows(self, epoch, done)
        table[frozen] = table[frozen][0]
        return table

    eager = train(make_trainer(augment=Affine(), capture=False))
    monkeypatch.setattr(capture.CapturedSteps, "rows", with_a_frozen_field)
    assert train(make_trainer(augment=Affine())) != eager


# ------------------------------------------------------------------------------------------------------ really recorded


def test_python_runs_two_steps_per_batch_size_and_then_none(recording, monkeypatch):
    taken, trainer = counted_steps(monkeypatch), make_trainer()
    train(trainer, epochs=4)
    verified = [8, 5] * recording.verifies_recordings  # besides the first replay
    assert sorted(taken) == sorted([5, 5, 8, 8, *verified])  # one eager and one recorded
    assert trainer.optimizer.step_count == 20


@pytest.mark.usefixtures("emulated")
def test_the_number_of_host_reads_does_not_depend_on_the_steps():
    waits = []
    for count in (16, 160):
        trainer, (images, labels) = make_trainer(), map(fake_cupy.asarray, pictures(count))
        trainer.train_epoch(images, labels, epoch=1)
        before = fake_cupy.host_reads
        trainer.train_epoch(images, labels, epoch=2)
        waits.append(fake_cupy.host_reads - before)
    assert waits == [4, 4]  # the check for finite values, the end of the queue, the loss, the correct predictions


@pytest.mark.usefixtures("recording")
def test_steps_are_captured_once():
    trainer, (images, labels) = make_trainer(), map(tinycnn.get_backend().asarray, pictures())
    trainer.train_epoch(images, labels, epoch=1)
    first = trainer.capture.steps
    trainer.optimizer.base_lr = 0.5  # read from the table
    trainer.train_epoch(images, labels, epoch=2)
    assert trainer.capture.steps is first


@pytest.mark.usefixtures("recording")
@pytest.mark.parametrize(
    "change",
    ["data", "optimizer", "parameter", "setting", "batch size", "augmentation", "edge", "clipping", "layer", "frozen"],
)
def test_a_change_that_invalidates_a_capture_captures_again(change):
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
            case "edge":  # maps of the same size
                trainer.augment = FlipAndCrop(edge="black")
                trainer.train_epoch(images, labels, epoch=1)
                trainer.augment = FlipAndCrop()
            case "clipping":
                trainer.clip_norm = 0.01
            case "frozen":  # Adam: for an epoch, a parameter misses its updates
                trainer.model.layers["dense_1"].freeze()
                trainer.train_epoch(images, labels, epoch=1)
                trainer.model.layers["dense_1"].unfreeze()
            case "layer":
                trainer.model.layers["dropout_1"].p, trainer.model.layers["batchnorm_1"].momentum = 0.9, 0.5
        scores = trainer.train_epoch(images, labels, epoch=2)
        results.append((scores, everything(trainer)))
        if change == "frozen":
            assert sorted(set(trainer.optimizer.missed)) == [0, 5]
            assert trainer.why_eager == ("a parameter that was frozen for some steps needs its own rates" * wanted)
    assert results[0] == results[1]


@pytest.mark.usefixtures("recording")
def test_a_captured_step_uses_loaded_weights():
    trainer, eager = make_trainer(), make_trainer(capture=False)
    state = make_trainer("SGD").model.state_dict()
    results = []
    for one in (trainer, eager):
        images, labels = map(tinycnn.get_backend().asarray, pictures())
        one.train_epoch(images, labels, epoch=1)
        one.model.load_state_dict(state)
        results.append((one.train_epoch(images, labels, epoch=2), everything(one)))
    assert results[0] == results[1]


@pytest.mark.usefixtures("recording")
@pytest.mark.parametrize("stopped_after", [1, 3, 5])
def test_a_stopped_run_has_the_right_counters(stopped_after):
    def stop(progress):
        if progress.step == stopped_after and progress.epoch == 2:
            raise KeyboardInterrupt

    states = []
    for wanted in (True, False):
        trainer = make_trainer(capture=wanted)
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(*pictures(), epochs=3, progress=stop)
        assert trainer.optimizer.step_count == 5 + stopped_after
        states.append(everything(trainer))
    assert states[0] == states[1]


@pytest.mark.usefixtures("recording")
def test_progress_reads_the_scores_of_the_steps_so_far():
    seen = [], []
    for numbers, wanted in zip(seen, (True, False), strict=True):
        trainer = make_trainer(capture=wanted)
        trainer.fit(*pictures(), epochs=2, progress=lambda p, numbers=numbers: numbers.append(p.scores()))
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 10


@pytest.mark.usefixtures("recording")
def test_a_warm_up_does_not_change_the_captured_state():
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
    """Bytes that pools of the stand-in allocated and never freed in this test."""
    gc.collect()
    fake_cupy.MemoryPool.lost.clear()
    return fake_cupy.MemoryPool.lost


def test_memory_is_freed_with_its_capture(lost):
    trainer = make_trainer()
    train(trainer, epochs=1)
    trainer.batch_size = 10
    train(trainer, epochs=1)  # captured again
    del trainer
    gc.collect()
    assert lost == []


@pytest.mark.parametrize(
    "error", [RuntimeError("refused"), fake_cupy.OutOfMemoryError("no more")], ids=["refused", "full"]
)
@pytest.mark.parametrize("when", ["run", "recorded"])
def test_memory_is_freed_when_a_capture_fails(lost, when, error):
    def work(track):
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
def test_a_capture_can_use_free_blocks_of_other_pools(monkeypatch):
    """CuPy's pools are independent: free blocks of one pool are not available to another that runs out of memory."""
    emptied = []
    monkeypatch.setattr(fake_cupy.default_pool, "free_all_blocks", lambda: emptied.append(True))
    recorder = tinycnn.get_backend().recorder()
    with recorder.session():
        recorder.record(lambda track: None)
    assert emptied == [True]


def test_a_pool_dropped_before_it_is_emptied_is_detected(lost):
    fake_cupy.MemoryPool().malloc(512)
    gc.collect()
    assert lost == [512]


@pytest.mark.usefixtures("emulated")
def test_a_graph_in_the_default_memory_pool_is_detected(monkeypatch):
    monkeypatch.setattr(fake_cupy.cuda, "using_allocator", lambda allocator: contextlib.nullcontext())
    trainer = make_trainer()
    train(trainer)
    assert "a graph allocates from the default pool, which other arrays share" in trainer.why_eager


@pytest.mark.usefixtures("emulated")
def test_a_graph_without_its_memory_is_detected():
    recorder = tinycnn.get_backend().recorder()
    with recorder.session():
        recording = recorder.record(lambda track: fake_cupy.zeros(1000))
        recording()
        with fake_cupy.cuda.using_allocator(recording.pool.malloc), pytest.raises(RuntimeError, match="outside the"):
            fake_cupy.zeros(10)
        recording.pool.free_all_blocks()
        with pytest.raises(RuntimeError, match="was given back"):
            recording()


# --------------------------------------------------------------------------------------------------- eager fallback


def relu_unnoticed(self, x):
    """ReLU by NumPy on a copy of the memory: assignments to ordinary arrays cannot be noticed."""
    self.y = np.zeros(x.shape, x.dtype)
    self.y[...] = x
    np.maximum(self.y, 0, out=self.y)
    return self.y


def test_a_recording_that_misses_something_is_not_used(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(ReLUFunction, "forward", relu_unnoticed)
    with tinycnn.use_backend("numba"):
        recorded, eager = (make_trainer(capture=wanted) for wanted in (True, False))
        assert train(recorded) == train(eager)
    assert recorded.why_eager == "a replayed step gave other numbers than the same step run from Python"


def test_a_label_that_is_no_class_raises_as_in_a_step_from_python(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(objective, "check_classes", lambda *_: None)  # which finds it before the first step
    images, labels = pictures()
    labels[-1] = 3
    with tinycnn.use_backend("numba"):
        for wanted in (True, False):
            with pytest.raises(DataError, match="labels range from 0 to 3, expected 0 to 2"):
                make_trainer(capture=wanted).fit(images, labels, epochs=1)


class Noise(Layer):
    """Adds a number that changes in every step without the recorder's knowledge."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return x + 1.0 / self.calls


class Custom(Adam):
    """A custom optimizer."""


@pytest.mark.usefixtures("recording")
def test_custom_layers_and_optimizers_are_not_captured():
    recorded, eager = (make_trainer(extra=[Noise()], capture=capture) for capture in (True, False))
    assert train(recorded) == train(eager)
    assert "Noise is not part of tinycnn" in recorded.why_eager
    recorded.model = make_trainer().model
    recorded.optimizer = Custom(recorded.model.parameters())
    assert "Custom is not part of tinycnn" in capture.reason_not_recordable(recorded.training_step, pictures()[0])


@pytest.mark.usefixtures("emulated")
def test_an_operation_that_cannot_be_captured_runs_eagerly_with_a_reason(monkeypatch):
    monkeypatch.setattr(fake_cupy, "BLAS", {"matmul"})
    recorded, eager = (make_trainer(capture=capture) for capture in (True, False))
    recorded.model.fuse = eager.model.fuse = False  # so that matrix products are CuPy's
    assert train(recorded) == train(eager)
    assert recorded.why_eager.startswith(
        "conv2d_1 (Conv2d): a CUDA graph cannot hold it (NotImplementedError: matmul calls cuBLAS"
    )
    assert fake_cupy.capture is None  # the capture that failed was ended
    assert recorded.capture.steps.replays == {}


@pytest.mark.usefixtures("emulated")
def test_a_warm_up_reports_why_a_step_is_not_captured(monkeypatch):
    monkeypatch.setattr(fake_cupy, "BLAS", {"matmul"})
    trainer = make_trainer()
    trainer.model.fuse = False
    warm_up(trainer, *pictures())
    assert "cuBLAS" in trainer.why_eager


class FirstOfTwo(SingleProcess):
    """Rank 0 of two ranks, where the other adds zero to every sum."""

    size = 2


@pytest.mark.usefixtures("recording")
def test_a_warm_up_reports_that_several_ranks_do_not_capture(monkeypatch):
    trainer, taken = make_trainer(), counted_steps(monkeypatch)
    with use_communicator(FirstOfTwo()):
        warm_up(trainer, *pictures())
    assert trainer.why_eager == "several ranks share each batch"
    assert len(taken) == 1  # by the warm-up; no step was run for a capture


def test_a_backend_without_recorder_runs_eagerly_without_a_reason():
    with tinycnn.use_backend("numpy"):
        trainer = make_trainer()
        train(trainer, epochs=1)
    assert trainer.capture.steps is None
    assert trainer.why_eager == ""


@pytest.mark.usefixtures("emulated")
def test_an_error_in_the_step_is_raised_and_not_attributed_to_the_capture(monkeypatch):
    def broken(self, batch):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(TrainingStep, "forward_backward", broken)
    with pytest.raises(ZeroDivisionError):
        train(make_trainer())


@pytest.mark.usefixtures("recording")
def test_a_captured_epoch_resumes_at_any_step():
    """As after resuming: the table begins at the next step, the sums at their values so far."""
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
def test_tf32_raises_without_tensor_cores(name):
    with tinycnn.use_backend(name):
        tinycnn.backends.use_tf32(False)
        with pytest.raises(SettingError, match=f"TF32 is for tensor cores, which backend '{name}' does not use"):
            tinycnn.backends.use_tf32()
