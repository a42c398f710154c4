"""Fused steps equal the layers they stand for: values, gradients, running statistics, on every backend that fuses.

Inputs and weights are small whole numbers, so that float32 computes without rounding: fused and plain must agree to the
last bit, however differently they add up, and ties are everywhere. Batch norm divides, so there the plain path runs in
float64 and the tolerance is that of float32.
"""

import copy
import dataclasses
import itertools
import pickle
from collections.abc import Iterator
from operator import itemgetter

import numpy as np
import pytest

import tinycnn
from tests.support.backends import activated
from tests.support.batches import Batch, batches
from tinycnn import models, no_grad, ops
from tinycnn.backends.base import Backend
from tinycnn.backends.fused_kernels import FusedKernels
from tinycnn.errors import ShapeError
from tinycnn.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    Flatten,
    Layer,
    MaxPool2d,
    ReLU,
    Sequential,
    Softmax,
    fusion,
    pixel_scale,
)

Arrays = dict[str, np.ndarray]


@pytest.fixture(params=["numba", "cupy", "cupy-emulated"])
def fusing(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each backend that has fused kernels, active during the test."""
    for backend in activated(request):
        if backend.fused.conv_forward is None:
            pytest.skip(f"backend {backend.name!r} fuses nothing here (TINYCNN_SIMD_LANES=0)")
        yield backend


def whole_numbers(shape: tuple[int, ...], seed: int, low: int = -3, high: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.float32)


def with_whole_weights(model: Sequential) -> Sequential:
    for i, parameter in enumerate(model.parameters()):
        parameter.data[...] = tinycnn.get_backend().asarray(whole_numbers(parameter.shape, i))
    return model


def forward_and_backward(model: Sequential, x: np.ndarray, grad_y: np.ndarray) -> Arrays:
    """Output, and the gradients of the input and of all parameters."""
    to_host = tinycnn.get_backend().to_host
    tensor = tinycnn.Tensor(x, requires_grad=True)
    y = model(tensor)
    y.backward(grad_y.astype(x.dtype))
    grads = {name: to_host(parameter.grad) for name, parameter in model.named_parameters()}
    buffers = {name: to_host(buffer).copy() for name, buffer in model.named_buffers()}
    return {"y": y.numpy(), "x": to_host(tensor.grad)} | grads | buffers


def assert_fused_is_plain(layers: list[Layer], x: np.ndarray, steps: int) -> None:
    """Bit for bit, on whole numbers, in the number of steps that fusing should leave."""
    fused, plain = (
        with_whole_weights(Sequential(*layers_again(layers), input_shape=x.shape[1:], fuse=fuse))
        for fuse in (True, False)
    )
    assert len(fusion.plan(list(fused.layers.values()), tinycnn.get_backend())) == steps
    grad_y = whole_numbers((len(x), *fused.output_shape), 99)
    ours, expected = (forward_and_backward(model, x, grad_y) for model in (fused, plain))
    for name, values in expected.items():
        np.testing.assert_array_equal(ours[name], values, err_msg=name)


def layers_again(layers: list[Layer]) -> list[Layer]:
    return [type(layer)(**layer.settings()) for layer in layers]


def conv_settings() -> Iterator[dict]:
    """Kernel sizes 1 to 7, rectangular ones, strides and paddings, as far as they make sense together."""
    kernels = [*((k, k) for k in range(1, 8)), (1, 3), (4, 2)]
    for kernel, stride, padding in itertools.product(kernels, [(1, 1), (2, 1), (3, 2)], [(0, 0), (1, 2)]):
        yield {"kernel_size": kernel, "stride": stride, "padding": padding}
    for padding in ((0, 2), (2, 0)):
        yield {"kernel_size": (3, 3), "stride": (1, 1), "padding": padding}


POOLS = {
    "no pool": None,
    "2x2": MaxPool2d(2),
    "3x2": MaxPool2d((3, 2)),
    "overlapping": MaxPool2d(3, stride=2),
    "gaps": MaxPool2d(1, stride=2),
}


CONV_BLOCKS = [(pool, conv) for pool in POOLS for conv in conv_settings()]


@pytest.mark.parametrize("batch", batches(CONV_BLOCKS, itemgetter(0)), ids=str)
def test_conv_block(fusing: Backend, batch: Batch) -> None:
    batch.check(check_conv_block)


def check_conv_block(case: tuple[str, dict]) -> None:
    pool, conv = case
    layers: list[Layer] = [Conv2d(5, **conv), ReLU(), *([POOLS[pool]] if POOLS[pool] else [])]
    x = whole_numbers((3, 14, 13, 2), 1)
    assert_fused_is_plain(layers, x, steps=1)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    ("images", "channels", "filters"), [(1, 1, 1), (1, 3, 17), (2, 16, 16), (5, 1, 33), (37, 4, 6)]
)
@pytest.mark.parametrize("pool", [None, MaxPool2d(2)], ids=["no pool", "pool"])
def test_odd_sizes(
    fusing: Backend, images: int, channels: int, filters: int, pool: MaxPool2d | None, relu: bool
) -> None:
    layers: list[Layer] = [Conv2d(filters), *([ReLU()] if relu else []), *([pool] if pool else [])]
    x = whole_numbers((images, 9, 8, channels), 2)
    assert_fused_is_plain(layers, x, steps=1 if relu or not pool else 2)


UNCOVERED = {
    "pool without relu": ([Conv2d(4), MaxPool2d(2)], 2),
    "groups": ([Conv2d(4, groups=2), ReLU(), MaxPool2d(2)], 3),
    "dilation": ([Conv2d(4, dilation=2), ReLU(), MaxPool2d(2)], 3),
    "rounding up": ([Conv2d(4, padding=((0, 1), (0, 1))), ReLU(), MaxPool2d(2, ceil_mode=True)], 2),
    "padded pool": ([Conv2d(4), ReLU(), MaxPool2d(2, padding=1)], 2),
    "dense without bias": ([Flatten(), Dense(7, bias=False), ReLU()], 3),
}


@pytest.mark.parametrize(("layers", "steps"), list(UNCOVERED.values()), ids=list(UNCOVERED))
def test_layers_that_no_rule_covers_run_one_by_one(fusing: Backend, layers: list[Layer], steps: int) -> None:
    assert_fused_is_plain(layers, whole_numbers((3, 8, 8, 2), 3), steps)


def test_no_bias_is_a_bias_of_zeros(fusing: Backend) -> None:
    x = whole_numbers((3, 8, 8, 2), 3)
    assert_fused_is_plain([Conv2d(4, bias=False), ReLU(), MaxPool2d(2)], x, steps=1)
    assert_fused_is_plain([Conv2d(4, padding="same", stride=2, bias=False)], x, steps=1)
    layers, grad_y = (
        [Conv2d(4, padding=((0, 1), (1, 1)), bias=False), ReLU(), BatchNorm()],
        whole_numbers((3, 7, 8, 4), 9),
    )
    fused, plain = (
        forward_and_backward(
            with_whole_weights(Sequential(*layers_again(layers), input_shape=(8, 8, 2), fuse=fuse)), x, grad_y
        )
        for fuse in (True, False)
    )
    for name, values in plain.items():
        np.testing.assert_allclose(fused[name], values, rtol=1e-4, atol=1e-4 * abs(values).max(), err_msg=name)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("images", "inputs", "units"), [(1, 1, 1), (3, 50, 7), (64, 33, 130), (64, 601, 130)])
def test_dense(fusing: Backend, images: int, inputs: int, units: int, relu: bool) -> None:
    assert_fused_is_plain([Dense(units), *([ReLU()] if relu else [])], whole_numbers((images, inputs), 4), steps=1)


@pytest.mark.parametrize(
    "layers", [[Conv2d(3), ReLU(), MaxPool2d(2)], [BatchNorm(), MaxPool2d(2)]], ids=["conv", "norm"]
)
def test_nan_reaches_every_output_that_saw_it(fusing: Backend, layers: list[Layer]) -> None:
    """Also through batch norm, here by its running statistics; a mean of the batch would be NaN for all."""
    x = whole_numbers((2, 8, 8, 2), 5)
    x[0, 3, 4, 1] = np.nan
    outputs = []
    for fuse in (True, False):
        model = with_whole_weights(Sequential(*layers_again(layers), input_shape=x.shape[1:], fuse=fuse)).eval()
        outputs.append(model(tinycnn.Tensor(x)).numpy())
    np.testing.assert_allclose(*outputs, rtol=1e-6)
    assert np.isnan(outputs[0]).any()
    assert not np.isnan(outputs[0][1]).any()


NORMS = {
    "conv, relu, norm, pool": [Conv2d(5), ReLU(), BatchNorm(), MaxPool2d(2)],
    "conv, relu, norm": [Conv2d(5, stride=2, padding=1), ReLU(), BatchNorm()],
    "conv, norm, relu, pool": [Conv2d(5), BatchNorm(), ReLU(), MaxPool2d(2)],
    "norm, overlapping pool": [BatchNorm(), MaxPool2d(3, stride=2)],
    "norm": [BatchNorm()],
}


NORM_NUMBERS = {
    "beta": [0.5, -1, 2, 0, -0.25],
    "running_mean": [1, -2, 0, 0.5, 3],
    "running_var": [4, 0.25, 1, 9, 2],
}


@pytest.mark.parametrize("first_gamma", [-1.5, 1.5], ids=["a negative gamma", "positive gammas"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("images", [1, 19])
@pytest.mark.parametrize("layers", list(NORMS.values()), ids=list(NORMS))
def test_batch_norm(fusing: Backend, layers: list[Layer], images: int, training: bool, first_gamma: float) -> None:
    x = np.random.default_rng(6).normal(2, 3, (images, 9, 9, 3))
    models_by_dtype = [
        Sequential(*layers_again(layers), input_shape=x.shape[1:], dtype=dtype) for dtype in (np.float32, np.float64)
    ]
    numbers = {"gamma": [first_gamma, 0.5, 2, 1, 0.1], **NORM_NUMBERS}
    state = models_by_dtype[0].state_dict()
    for name in [name for name in state if name.endswith(tuple(numbers))]:
        state[name] = np.array(numbers[name.rpartition(".")[2]][: len(state[name])])
    for model in models_by_dtype:
        model.load_state_dict({name: array.astype(model.dtype) for name, array in state.items()})
        model.train(training)
    grad_y = np.random.default_rng(7).normal(size=(images, *models_by_dtype[0].output_shape))
    ours, expected = (forward_and_backward(model, x.astype(model.dtype), grad_y) for model in models_by_dtype)
    for name, values in expected.items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(ours[name], values, rtol=0, atol=max(2e-5 * scale, 2e-5), err_msg=name)


@pytest.mark.parametrize("name", list(models.NETWORKS))
def test_fused_networks_agree_with_plain_ones(fusing: Backend, name: str) -> None:
    """Loss and every gradient of each network, float32 fused against float64 plain.

    Ours on small images: among its 400,000 activations of a large one, rounding decides which side of a kink some are.
    """
    rng = np.random.default_rng(8)
    shape = (9, 9, 3) if models.NETWORKS[name].input_shape[2] == 3 else (28, 28, 1)
    pixels, labels = rng.integers(0, 256, (7, *shape)), rng.integers(0, 10, 7)
    results = []
    for dtype in (np.float32, np.float64):
        model = models.create(name, dtype=dtype, input_shape=shape)
        x = (pixels * pixel_scale(model)).astype(dtype)
        loss = ops.softmax_cross_entropy(model.logits(tinycnn.Tensor(x)), labels)
        loss.backward()
        grads = {k: tinycnn.get_backend().to_host(p.grad) for k, p in model.named_parameters()}
        results.append({"loss": loss.numpy()} | grads)
    for key, expected in results[1].items():
        assert np.linalg.norm(results[0][key] - expected) <= 1e-3 * np.linalg.norm(expected) + 1e-7, key


@pytest.mark.parametrize("layers", list(NORMS.values()), ids=list(NORMS))
def test_an_empty_batch(fusing: Backend, layers: list[Layer]) -> None:
    """It has no mean in training; in evaluation it stays empty, and moves no parameter."""
    model = Sequential(*layers_again(layers), input_shape=(9, 9, 3))
    x = np.zeros((0, 9, 9, 3), np.float32)
    with pytest.raises(ShapeError, match="is empty; pass at least one image"):
        model(tinycnn.Tensor(x))
    outcome = forward_and_backward(model.eval(), x, np.zeros((0, *model.output_shape), np.float32))
    assert (outcome["x"].shape, outcome["y"].shape) == (x.shape, (0, *model.output_shape))
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(outcome[name], np.zeros(parameter.shape), err_msg=name)


BLOCKS = {
    "conv": [Conv2d(3, padding=1), ReLU()],
    "conv and norm": [Conv2d(3, padding=1), ReLU(), BatchNorm(), MaxPool2d(2)],
    "norm": [BatchNorm(), MaxPool2d(2)],
    "dense": [Dense(4), ReLU()],
}


@pytest.mark.parametrize("layers", list(BLOCKS.values()), ids=list(BLOCKS))
def test_frozen_blocks_pass_on_the_gradient_of_the_input(fusing: Backend, layers: list[Layer]) -> None:
    x = whole_numbers((4, 6) if isinstance(layers[0], Dense) else (4, 6, 6, 2), 9)
    grads = []
    for frozen in (False, True):
        model = with_whole_weights(Sequential(*layers_again(layers), input_shape=x.shape[1:]))
        model.eval()  # as a frozen batch norm computes in any case
        assert len(fusion.plan(list(model.layers.values()), fusing)) == 1
        for parameter in model.parameters():
            parameter.requires_grad = not frozen
        tensor = tinycnn.Tensor(x, requires_grad=True)
        y = model(tensor)
        y.backward(whole_numbers(y.shape, 5))
        grads.append(fusing.to_host(tensor.grad))
    assert grads[0].any()
    np.testing.assert_array_equal(*grads)


@pytest.mark.parametrize("layers", list(BLOCKS.values()), ids=list(BLOCKS))
def test_each_parameter_alone_while_the_others_are_frozen(fusing: Backend, layers: list[Layer]) -> None:
    x = whole_numbers((4, 6) if isinstance(layers[0], Dense) else (4, 6, 6, 2), 9)
    model = with_whole_weights(Sequential(*layers_again(layers), input_shape=x.shape[1:])).eval()
    grad_y = whole_numbers((len(x), *model.output_shape), 5)
    together = forward_and_backward(model, x, grad_y)
    for name, learning in model.named_parameters():
        for parameter in model.parameters():
            parameter.requires_grad, parameter.grad = parameter is learning, None
        model(tinycnn.Tensor(x)).backward(grad_y)
        assert together[name].any()
        np.testing.assert_array_equal(fusing.to_host(learning.grad), together[name], err_msg=name)


def test_backends_without_fused_kernels_run_layer_by_layer() -> None:
    with tinycnn.use_backend("numpy") as backend:
        layers = list(models.create("batchnorm_cnn").layers.values())
        assert fusion.plan(layers, backend) == layers


def test_a_wrong_fused_kernel_is_noticed(fusing: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above fails for a kernel whose bias gradient is a mean instead of a sum."""
    right = fusing.fused.conv_backward

    def wrong(saved, grad_y, **needs):
        grad_x, grad_weight, grad_bias = right(saved, grad_y, **needs)
        return grad_x, grad_weight, grad_bias / len(grad_y)

    monkeypatch.setattr(fusing, "fused", dataclasses.replace(fusing.fused, conv_backward=wrong))
    with pytest.raises(AssertionError, match="bias"):
        assert_fused_is_plain([Conv2d(3), ReLU()], whole_numbers((4, 6, 6, 2), 9), steps=1)


def test_a_subclass_of_a_layer_is_not_fused(fusing: Backend) -> None:
    """A subclass may override ``forward``, so only the classes in the rules are fused."""

    class Doubled(Dense):
        def forward(self, x: tinycnn.Tensor) -> tinycnn.Tensor:
            return super().forward(x) * 2

    model = with_whole_weights(Sequential(Doubled(4), ReLU(), input_shape=(3,)))
    plain = with_whole_weights(Sequential(Dense(4), ReLU(), input_shape=(3,)))
    x = tinycnn.Tensor(whole_numbers((5, 3), 1))
    np.testing.assert_array_equal(model(x).numpy(), 2 * plain(x).numpy())


# ------------------------------------------------------------------------------------------------ the remembered plan


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The numbers of steps of all plans that are made, on the NumPy backend with a fused dense layer."""
    made, original = [], fusion.plan

    def dense_forward(x, weight, bias, *, relu):
        return np.maximum(x @ weight + bias, 0) if relu else x @ weight + bias

    def counted(layers, backend):
        steps = original(layers, backend)
        made.append(len(steps))
        return steps

    monkeypatch.setattr(fusion, "plan", counted)
    with tinycnn.use_backend("numpy") as backend:
        monkeypatch.setattr(backend, "fused", FusedKernels(dense_forward=dense_forward))
        yield made


def dense_network(**settings) -> Sequential:
    return Sequential(Flatten(), Dense(4), ReLU(), Dense(3), Softmax(), input_shape=(2, 3), **settings)


ROWS = np.random.default_rng(3).normal(size=(5, 2, 3)).astype(np.float32)


def test_the_plan_is_made_once(plans: list[int]) -> None:
    model = dense_network()
    for change in (model.train, model.eval, model.freeze, model.unfreeze, lambda: model.freeze_only("dense_1")):
        change()
        model(ROWS)
        model.logits(ROWS)
    model.load_state_dict(dense_network(seed=1).state_dict())
    np.testing.assert_allclose(model(ROWS).numpy(), dense_network(seed=1, fuse=False)(ROWS).numpy(), rtol=1e-6)
    assert plans == [4]


def test_the_plan_is_made_again_when_it_has_to_change(plans: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    model = dense_network()
    with no_grad():
        model(ROWS)
        kernels = tinycnn.get_backend().fused
        monkeypatch.setattr(tinycnn.get_backend(), "fused", FusedKernels())
        plain = model(ROWS).numpy()
        monkeypatch.setattr(tinycnn.get_backend(), "fused", kernels)
        np.testing.assert_allclose(model(ROWS).numpy(), plain, rtol=1e-6)
        assert plans == [4, 5, 4]
        with tinycnn.use_backend("loops"):
            model(ROWS)
        assert plans == [4, 5, 4, 5]
        model.fuse = False
        np.testing.assert_array_equal(model(ROWS).numpy(), plain)
        model.fuse = True
        del model.layers["relu_1"]
        model(ROWS)
        assert plans == [4, 5, 4, 5, 4]
        assert not np.allclose(model(ROWS).numpy(), plain)
    dense_network(dtype=np.float64)(ROWS.astype(np.float64))
    assert len(plans) == 5


def test_a_setting_that_no_kernel_computes_makes_another_plan(plans: list[int]) -> None:
    layer = Dense(3)
    model = Sequential(layer, input_shape=(4,))
    x = ROWS.reshape(-1, 6)[:, :4]
    with no_grad():
        model(x)
        vars(layer)["bias"] = False  # layer.bias = False is refused: it would leave the bias in place
        del layer.parameters_by_name["bias"]
        np.testing.assert_allclose(model(x).numpy(), x @ layer.parameters_by_name["weight"].numpy(), rtol=1e-5)
    assert plans == [1, 1]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_of_a_network_computes_with_its_own_weights(plans: list[int], copied) -> None:
    model = dense_network()
    expected = model(ROWS).numpy()
    other = copied(model)
    for parameter in model.parameters():
        parameter.data[...] = 0
    np.testing.assert_array_equal(other(ROWS).numpy(), expected)
    assert not np.allclose(model(ROWS).numpy(), expected)
    assert plans == [4, 4]
