"""Frozen layers: no gradient, no change, no work; and what is left to train learns as if nothing were frozen."""

import dataclasses
import itertools
import re

import numpy as np
import pytest

import tinycnn
from tests.support.backends import activated
from tinycnn import ops
from tinycnn.errors import SettingError
from tinycnn.explain import step_gradients
from tinycnn.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU, Sequential
from tinycnn.optim import SGD, Adam, AdamW
from tinycnn.saving.state_file import arrays_in
from tinycnn.tensor import Function, Tensor
from tinycnn.train.checkpoint import Checkpoints, TrainingStopped
from tinycnn.train.trainer import Trainer

INPUT_SHAPE, CLASSES, BATCH = (9, 8, 2), 3, 8


def plain(**settings):
    """Every kind of block without batch norm: with a pool, without, without bias."""
    blocks = [
        Conv2d(4),
        ReLU(),
        MaxPool2d(2),
        Conv2d(5, 2),
        ReLU(),
        Conv2d(3, 1, bias=False),
        Flatten(),
        Dense(6),
        ReLU(),
    ]
    return Sequential(*blocks, Dense(CLASSES), input_shape=INPUT_SHAPE, **settings)


def normed(**settings):
    """Every kind of block with batch norm: after the ReLU, before it, without a pool, and on rows."""
    blocks = [Conv2d(4), ReLU(), BatchNorm(), MaxPool2d(2), Conv2d(5, 2), BatchNorm(), ReLU(), Flatten(), Dense(6)]
    model = Sequential(*blocks, BatchNorm(), Dense(CLASSES), input_shape=INPUT_SHAPE, **settings)
    rng = np.random.default_rng(3)
    for name, buffer in model.named_buffers():  # as if it had been trained: statistics that are not those of any batch
        values = rng.uniform(0.5, 2, buffer.shape) if name.endswith("var") else rng.normal(size=buffer.shape)
        buffer[...] = tinycnn.get_backend().asarray(values.astype(buffer.dtype))
    return model


NETWORKS = {"plain": plain, "normed": normed}


def with_parameters(model):
    return [name for name, layer in model.layers.items() if layer.parameters()]


def subsets(names):
    """All choices of some, but not all of the names."""
    return itertools.chain.from_iterable(itertools.combinations(names, count) for count in range(len(names)))


def batch(count=BATCH, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, *INPUT_SHAPE)), rng.integers(0, CLASSES, count)


def gradients(model, *, of_input=False):
    """Of everything that has one, after one step; the loss under ``loss``."""
    x, labels = batch()
    tensor = Tensor(x.astype(model.dtype), requires_grad=of_input)
    loss = ops.softmax_cross_entropy(model.logits(tensor), tinycnn.get_backend().asarray(labels))
    loss.backward()
    found = {"loss": loss.data} | {"x": tensor.grad} | {name: p.grad for name, p in model.named_parameters()}
    return {name: tinycnn.get_backend().to_host(array) for name, array in found.items() if array is not None}


def check_gradients(make, frozen, of_input):
    """The gradients beside frozen layers are those without; frozen ones have none. Batch norms are frozen by both."""
    model, free = make().train().freeze_only(*frozen), make().train()
    for name in frozen:
        free.layers[name].eval()  # what freezing does to the value of a batch norm
    expected = gradients(free, of_input=of_input)
    left = {name: grad for name, grad in expected.items() if name.partition(".")[0] not in frozen}
    found = gradients(model, of_input=of_input)
    assert found.keys() == left.keys()
    for name, grad in left.items():
        np.testing.assert_array_equal(found[name], grad, err_msg=f"{name}, frozen: {frozen}")


# ---------------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("of_input", [False, True], ids=["", "of the input, too"])
@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_frozen_layers_do_not_change_other_gradients(backend, make, of_input, dtype):
    every = 4 if backend.name == "cupy-emulated" else 1  # the emulated GPU takes as long as all others together
    every = every if dtype == "float32" else 3
    for frozen in list(subsets(with_parameters(make())))[::every]:
        check_gradients(lambda: make(dtype=dtype), frozen, of_input)


@pytest.fixture(params=["numba", "cupy-emulated"])
def fusing(request):
    yield from activated(request)


@pytest.mark.parametrize(
    ("kernel", "make", "frozen"),
    [
        ("conv_backward", plain, ("conv2d_2",)),
        ("dense_backward", plain, ("dense_1",)),
        ("norm_backward", normed, ("batchnorm_2",)),
        ("conv_norm_backward", normed, ("batchnorm_1",)),
    ],
)
def test_a_kernel_with_wrong_gradients_beside_frozen_parameters_is_noticed(kernel, make, frozen, fusing, monkeypatch):
    """A planted bug: where something is frozen, the first of the gradients that are left is doubled."""
    right = getattr(fusing.fused, kernel)
    if right is None:
        pytest.skip(f"backend {fusing.name!r} fuses nothing here (TINYCNN_SIMD_LANES=0)")

    def wrong(*arguments, **settings):
        needs = [value for value in arguments if isinstance(value, bool)]
        needs += [value for name, value in settings.items() if name.startswith("need")]
        grads = list(right(*arguments, **settings))
        first = next(i for i, grad in enumerate(grads) if grad is not None)
        return grads if all(needs) else [*grads[:first], grads[first] * 2, *grads[first + 1 :]]

    monkeypatch.setattr(fusing, "fused", dataclasses.replace(fusing.fused, **{kernel: wrong}))
    with pytest.raises(AssertionError, match="frozen"):
        check_gradients(make, frozen, of_input=True)


def graph(loss):
    """The names of all functions that backward will visit."""
    found, to_visit = set(), [loss.creator]
    while to_visit:
        function = to_visit.pop()
        found.add(function)
        to_visit += [x.creator for x in function.inputs if x.creator and x.creator not in found]
    return sorted(function.name for function in found)


@pytest.mark.usefixtures("backend")
def test_backward_stops_where_everything_below_is_frozen():
    model, (x, labels) = plain().freeze_only("conv2d_1", "conv2d_2", "conv2d_3", "dense_1"), batch()
    loss = ops.softmax_cross_entropy(model.logits(Tensor(x.astype(np.float32))), tinycnn.get_backend().asarray(labels))
    assert [name.removeprefix("Fused") for name in graph(loss)] == ["Dense", "SoftmaxCrossEntropy"]


@pytest.mark.usefixtures("backend")
def test_frozen_weights_cost_no_matrix_product(monkeypatch):
    """Between trained layers, where a gradient has to pass through."""
    spent, original = [], Function.input_gradients

    def watching(self, grad_y):
        grads = original(self, grad_y)
        unwanted = zip(grads, self.needs_grad, self.inputs, strict=True)
        spent.extend(x.shape for grad, needed, x in unwanted if grad is not None and not needed and x.ndim > 1)
        return grads

    monkeypatch.setattr(Function, "input_gradients", watching)
    for make, trained in ((plain, ["conv2d_1", "dense_2"]), (normed, ["conv2d_1"]), (normed, ["batchnorm_1"])):
        model = make()
        model.freeze_only(*set(with_parameters(model)).difference(trained))
        found = gradients(model)
        assert {name.partition(".")[0] for name in found} - {"loss"} == set(trained)
    assert spent == []


# ---------------------------------------------------------------------------------------------------------- batch norm


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("fuse", [True, False])
def test_a_frozen_batch_norm_uses_and_keeps_its_statistics(fuse):
    model, x = normed(fuse=fuse), batch()[0].astype(np.float32)
    expected, before = model.eval()(x).numpy(), model.state_dict()
    model.freeze_only(*[name for name, _ in model.layers.items() if name.startswith("batchnorm")]).train()
    np.testing.assert_allclose(model(x).numpy(), expected, rtol=1e-5, atol=1e-6)  # pooled first, or normalised first
    assert_same(model.state_dict(), before)
    model.unfreeze()
    assert not np.allclose(model(x).numpy(), expected, rtol=0.01)
    moved = {name for name, values in model.state_dict().items() if not np.array_equal(values, before[name])}
    assert moved == {name for name, _ in model.named_buffers()}


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(state[name], values, err_msg=name)


# ----------------------------------------------------------------------------------------------- optimizers and trainer


def test_an_optimizer_takes_the_parameters_that_are_not_frozen():
    model = plain().freeze_only("conv2d_1", "dense_1")
    adam = Adam(model.parameters())
    assert len(adam.parameters) == len(adam.slots) == len(model.parameters()) - 4
    with pytest.raises(SettingError, match="nothing is left to train: all 9 parameters are frozen"):
        Adam(model.freeze().parameters())
    with pytest.raises(SettingError, match="at least one parameter"):
        Adam([])


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_parameters_frozen_after_the_optimizer_are_not_updated(kind):
    """Without a gradient there is no weight decay, and the old gradient is dropped."""
    model = plain()
    optimizer = kind(model.parameters(), 0.1, weight_decay=0.5)
    gradients(model)
    model.freeze_only("dense_1")
    before = model.state_dict()
    optimizer.step()
    changed = {name for name, values in model.state_dict().items() if not np.array_equal(values, before[name])}
    assert changed == {name for name in before if not name.startswith("dense_1")}


def make_trainer(*frozen, capture=True):
    model = Sequential(
        *(Conv2d(4), ReLU(), BatchNorm(), MaxPool2d(2), Flatten(), Dropout(0.3), Dense(6), ReLU(), Dense(CLASSES)),
        input_shape=(8, 8, 1),
    ).freeze_only(*frozen)
    return Trainer(model, AdamW(model.parameters(), 0.01, weight_decay=0.1), batch_size=BATCH, capture=capture)


def pictures(count=30):
    rng = np.random.default_rng(4)
    return rng.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8), rng.integers(0, CLASSES, count)


def bits(trainer):
    state = trainer.state_dict()
    losses = [(result["train_loss"], result["train_accuracy"]) for result in state["history"]]
    return losses, [array.tobytes() for array in arrays_in(state)], state["counters"]


FEATURES = ("conv2d_1", "batchnorm_1")


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("frozen", [FEATURES, ("dense_1",), ("conv2d_1", "dense_2")], ids=str)
def test_training_changes_all_parameters_but_the_frozen_ones(frozen):
    trainer = make_trainer(*frozen)
    before = trainer.model.state_dict()
    trainer.fit(*pictures(), epochs=2)
    after = trainer.model.state_dict()
    kept = {name for name, values in after.items() if np.array_equal(values, before[name])}
    assert kept == {name for name in before if name.partition(".")[0] in frozen}


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("stop_after", [3, 4, 6])
def test_a_resumed_run_with_frozen_layers_ends_with_the_same_bits(stop_after, tmp_path):
    expected = make_trainer(*FEATURES)
    expected.fit(*pictures(), epochs=2)
    stopped, again = make_trainer(*FEATURES), make_trainer(*FEATURES)
    with pytest.raises(TrainingStopped):
        stopped.fit(
            *pictures(),
            epochs=2,
            checkpoints=Checkpoints(tmp_path),
            stop=lambda: stopped.optimizer.step_count >= stop_after,
        )
    again.fit(*pictures(), epochs=2, checkpoints=Checkpoints(tmp_path, resume=True, report=lambda _: None))
    assert bits(again) == bits(expected)


def test_a_run_is_not_resumed_with_other_frozen_layers(tmp_path):
    stopped = make_trainer(*FEATURES)
    with pytest.raises(TrainingStopped):
        stopped.fit(*pictures(), epochs=2, checkpoints=Checkpoints(tmp_path), stop=lambda: True)
    for frozen in ((), ("dense_1",)):
        again = Checkpoints(tmp_path, resume=True)
        with pytest.raises(SettingError, match=r"another run: .*frozen"):
            make_trainer(*frozen).fit(*pictures(), epochs=2, checkpoints=again)


@pytest.fixture(params=["cupy", "cupy-emulated"])
def gpu(request):
    yield from activated(request)


@pytest.mark.usefixtures("gpu")
def test_recorded_steps_follow_freezing_during_a_run():
    """A recording holds the backward pass as it was: freezing and unfreezing make a new one.

    AdamW has one rate for all parameters in a recording; a parameter that missed steps needs another.
    """
    recorded, eager = (make_trainer(capture=capture) for capture in (True, False))
    reasons = []
    for epochs, frozen in enumerate([(), FEATURES, (*FEATURES, "dense_1"), ()], start=1):
        for trainer in (recorded, eager):
            trainer.model.freeze_only(*frozen)
            trainer.fit(*pictures(), epochs=epochs)
        assert bits(recorded) == bits(eager)
        reasons.append(recorded.why_eager)
    assert reasons == ["", "", "", "a parameter that was frozen for some steps needs its own rates"]


# --------------------------------------------------------------------------------------------- what a person sees of it


def test_the_summary_marks_frozen_layers():
    model = plain()
    assert "frozen" not in model.summary()
    assert f"{model.parameter_count():,} trainable parameters" in model.summary()
    model.freeze_only("conv2d_1")
    frozen = sum(parameter.data.size for parameter in model.layers["conv2d_1"].parameters())
    count = model.parameter_count()
    assert f"{count:,} parameters ({count - frozen:,} trainable)" in model.summary()
    assert [line.split()[0] for line in model.summary().splitlines() if "(frozen)" in line] == ["conv2d_1"]


def test_only_layers_with_parameters_are_frozen():
    model = plain()
    assert not model.frozen
    assert model.freeze().frozen
    assert not model.layers["relu_1"].frozen
    model.layers["dense_2"].unfreeze()
    assert not model.frozen
    assert model.layers["dense_1"].frozen


def test_freezing_an_inner_network_freezes_its_layers():
    inner = Sequential(Conv2d(2), BatchNorm(), input_shape=(6, 6, 1))
    model = Sequential(inner, Flatten(), Dense(2), input_shape=(6, 6, 1)).freeze_only("sequential_1")
    assert all(layer.frozen for layer in inner.layers.values())
    assert len(SGD(model.parameters()).parameters) == 2


def test_step_gradients_leave_out_frozen_parameters():
    model = plain().freeze_only("conv2d_1", "dense_1")
    images = np.random.default_rng(0).integers(0, 256, (4, *INPUT_SHAPE), dtype=np.uint8)
    found = step_gradients(model, images, np.arange(4) % CLASSES)
    assert found.keys() == {name for name, p in model.named_parameters() if p.requires_grad}


def test_a_pattern_freezes_all_matching_layers():
    model = plain().freeze_only("conv2d_[13]", "*_2", "dense_1")
    assert [name for name, layer in model.layers.items() if layer.frozen] == with_parameters(model)
    model.freeze_only("conv*")
    assert [name for name, layer in model.layers.items() if layer.frozen] == ["conv2d_1", "conv2d_2", "conv2d_3"]


def test_unknown_names_raise_an_error_with_suggestions():
    names = r"available: conv2d_1, conv2d_2, conv2d_3, dense_1, dense_2$"
    with pytest.raises(SettingError, match=r"matches 'conv_1' \(did you mean conv2d_1 or conv2d_\d\?\); " + names):
        plain().freeze_only("conv_1")
    model = plain().freeze_only("dense_1")
    for name in ("relu_1", "batchnorm_*", ""):
        with pytest.raises(SettingError, match=rf"no layer with parameters matches '{re.escape(name)}'; {names}"):
            model.freeze_only("conv2d_1", name)
    assert [name for name, layer in model.layers.items() if layer.frozen] == ["dense_1"]  # nothing was changed
    with pytest.raises(SettingError, match=r"Conv2d has no parameters yet: add it to a network"):
        Conv2d(3).freeze()
