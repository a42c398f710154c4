"""Weights from and to PyTorch and Keras: branches, groups, norms, half precision, and layers of one's own."""

from typing import ClassVar

import numpy as np
import pytest

import tinycnn
from tinycnn import convert, initializers, no_grad
from tinycnn.errors import SettingError
from tinycnn.interchange.onnx.exporter import largest_difference, to_onnx
from tinycnn.layers import (
    Add,
    Concatenate,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    GlobalAvgPool2d,
    GroupNorm,
    Layer,
    LayerNorm,
    MaxPool2d,
    ReLU,
    Reshape,
    Residual,
    Sequential,
)

rng = np.random.default_rng(0)


def random(*shape):
    return rng.normal(size=shape).astype(np.float32)


def test_branches_keep_their_names():
    model = Sequential(Residual(Conv2d(2, padding=1), ReLU(), shortcut=Conv2d(2, 1)), input_shape=(4, 4, 2))
    arrays = convert.to_torch_state_dict(model)
    assert list(arrays) == [
        "residual_1.body.conv2d_1.weight",
        "residual_1.body.conv2d_1.bias",
        "residual_1.shortcut.weight",
        "residual_1.shortcut.bias",
    ]
    changed = {name: array + 1 for name, array in arrays.items()}
    tinycnn.load_torch_state_dict(model, changed)
    np.testing.assert_array_equal(
        convert.to_torch_state_dict(model)["residual_1.shortcut.weight"], changed["residual_1.shortcut.weight"]
    )
    theirs = {"block.conv1.weight": random(2, 2, 3, 3), "block.conv1.bias": random(2)}
    theirs |= {"block.downsample.0.weight": random(2, 2, 1, 1), "block.downsample.0.bias": random(2)}
    tinycnn.load_torch_state_dict(model, theirs)
    state = model.state_dict()
    np.testing.assert_array_equal(
        state["residual_1.body.conv2d_1.weight"], theirs["block.conv1.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(state["residual_1.shortcut.bias"], theirs["block.downsample.0.bias"])


def test_groups_and_norms_of_torch():
    model = Sequential(Conv2d(4, 3, groups=2), GroupNorm(2), LayerNorm(), input_shape=(4, 4, 2))
    state = {"conv.weight": random(4, 1, 3, 3), "conv.bias": random(4), "gn.weight": random(4), "gn.bias": random(4)}
    state |= {"ln.weight": random(4), "ln.bias": random(4)}
    tinycnn.load_torch_state_dict(model, state)
    ours = model.state_dict()
    np.testing.assert_array_equal(ours["conv2d_1.weight"][:, :, 0, 3], state["conv.weight"][3, 0])
    np.testing.assert_array_equal(ours["groupnorm_1.gamma"], state["gn.weight"])
    np.testing.assert_array_equal(ours["layernorm_1.beta"], state["ln.bias"])


def test_a_transposed_convolution():
    """PyTorch stores ``(C, F, KH, KW)``, Keras ``(KH, KW, F, C)`` as tinycnn does."""
    model = Sequential(ConvTranspose2d(3, (2, 4)), input_shape=(4, 4, 2))
    state = {"up.weight": random(2, 3, 2, 4), "up.bias": random(3)}
    tinycnn.load_torch_state_dict(model, state)
    weight = model.state_dict()["convtranspose2d_1.weight"]
    assert (weight.shape, weight[1, 3, 2, 0]) == ((2, 4, 3, 2), state["up.weight"][0, 2, 1, 3])
    np.testing.assert_array_equal(convert.to_torch_state_dict(model)["convtranspose2d_1.weight"], state["up.weight"])
    np.testing.assert_array_equal(convert.to_keras_weights(model)[0], weight)


@pytest.mark.parametrize("join", [Add, Concatenate])
def test_a_dense_layer_after_flattened_branches(join):
    """PyTorch flattens each branch channels first; the outputs must be the same for the same images."""
    branches = [Conv2d(2, 2), Flatten()], [MaxPool2d(2, 1), Conv2d(2, 1), Flatten()]
    model = Sequential(join(*branches), Dense(3), input_shape=(4, 3, 2)).eval()
    x = random(2, 4, 3, 2)
    inner = [branch.layers for branch in model.layers[0].branches]
    with no_grad():
        images = []
        for layers in inner:
            y = x
            for layer in list(layers.values())[:-1]:
                y = layer(y)
            images.append(y.numpy().transpose(0, 3, 1, 2).reshape(2, -1))  # flattened channels first
        rows = np.concatenate(images, 1) if join is Concatenate else images[0] + images[1]
        arrays = convert.to_torch_state_dict(model)
        theirs = rows @ arrays["dense_1.weight"].T + arrays["dense_1.bias"]
        np.testing.assert_allclose(model(x).numpy(), theirs, rtol=1e-5, atol=1e-5)
    again = Sequential(
        join(*([type(one)(**one.settings()) for one in layers.values()] for layers in inner)),
        Dense(3),
        input_shape=(4, 3, 2),
        seed=1,
    )
    tinycnn.load_torch_state_dict(again, arrays)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], array)


def test_rows_that_cannot_be_ordered_are_refused():
    mixed = Sequential(Add([Flatten(), ReLU()], [GlobalAvgPool2d(), Dense(8)]), Dense(2), input_shape=(2, 2, 2))
    with pytest.raises(SettingError, match="add_1: joins a flattened image and a row that was none"):
        convert.to_torch_state_dict(mixed)
    decoder = Sequential(Dense(8), Reshape((2, 2, 2)), input_shape=(3,))
    with pytest.raises(SettingError, match=r"reshape_1: turns a row into images; PyTorch"):
        convert.to_torch_state_dict(decoder)
    assert len(convert.to_keras_weights(decoder)) == 2


def test_depthwise_filters_of_keras():
    model = Sequential(Conv2d(6, 3, groups=3), input_shape=(4, 4, 3))
    kernel, bias = random(3, 3, 3, 2), random(6)
    tinycnn.load_keras_weights(model, [kernel, bias])
    np.testing.assert_array_equal(model.state_dict()["conv2d_1.weight"][:, :, 0, 2 * 1 + 1], kernel[:, :, 1, 1])
    assert convert.to_keras_weights(model)[0].shape == kernel.shape
    np.testing.assert_array_equal(convert.to_keras_weights(model)[0], kernel)


def test_half_precision_becomes_float32():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for half in (np.float16, ml_dtypes.bfloat16):
        model = Sequential(Dense(2), input_shape=(3,))
        weight = random(2, 3).astype(half)
        tinycnn.load_torch_state_dict(model, {"fc.weight": weight, "fc.bias": np.zeros(2, half)})
        np.testing.assert_array_equal(model.state_dict()["dense_1.weight"], weight.astype(np.float32).T)


class Scaled(Layer):
    """A layer of one's own, with the two hooks."""

    torch_arrays: ClassVar = {"factor": ("scale", (1, 0))}

    def build(self, input_shape, rng, dtype):
        self._add_parameter("factor", (1, input_shape[-1]), initializers.ones, rng, dtype)
        return input_shape

    def forward(self, x):
        return x * self.parameters_by_name["factor"].reshape(-1)

    def onnx_nodes(self, graph, name, x):
        array = self.parameters_by_name["factor"].data.reshape(-1, *(1,) * (len(graph.shape) - 1))
        return graph.add("Mul", name, [x, graph.constant(f"{name}.factor", array)])


class Block(Layer):
    """Sublayers in ``__init__``, which are called in ``forward``."""

    def __init__(self):
        super().__init__()
        self.conv, self.rows, self.fc = Conv2d(2), Flatten(), Dense(3)

    def forward(self, x):
        return self.fc(self.rows(self.conv(x)))


def test_a_layer_of_ones_own_is_exported_and_takes_weights():
    pytest.importorskip("onnxruntime", reason="running them needs: pip install 'tinycnn[onnx]'")
    model = Sequential(Conv2d(2), Scaled(), input_shape=(4, 4, 1))
    state = {"conv.weight": random(2, 1, 3, 3), "conv.bias": random(2), "own.scale": random(2, 1)}
    tinycnn.load_torch_state_dict(model, state)
    np.testing.assert_array_equal(model.state_dict()["scaled_1.factor"], state["own.scale"].T)
    np.testing.assert_array_equal(convert.to_torch_state_dict(model)["scaled_1.scale"], state["own.scale"])
    assert largest_difference(model, to_onnx(model)) < 1e-5


def test_a_block_of_ones_own():
    model = Sequential(Block(), input_shape=(4, 4, 1)).eval()
    x = random(2, 4, 4, 1)
    arrays = convert.to_torch_state_dict(model)
    with no_grad():
        rows = model.layers["block_1"].conv(tinycnn.Tensor(x)).numpy()
        rows = rows.transpose(0, 3, 1, 2).reshape(2, -1)
        theirs = rows @ arrays["block_1.fc.weight"].T + arrays["block_1.fc.bias"]
        np.testing.assert_allclose(model(x).numpy(), theirs, rtol=1e-5, atol=1e-5)


def test_a_block_that_flattens_by_itself_is_refused():
    class Flattens(Layer):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = Conv2d(2), Dense(3)

        def forward(self, x):
            y = self.conv(x)
            return self.fc(y.reshape(y.shape[0], -1))

    with pytest.raises(SettingError, match=r"flattens_1\.fc: gets rows of 8 numbers, which no layer beside it returns"):
        convert.to_torch_state_dict(Sequential(Flattens(), input_shape=(4, 4, 1)))
