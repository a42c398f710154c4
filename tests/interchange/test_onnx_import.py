"""ONNX import: the network computes what ONNX Runtime and PyTorch compute; unsupported files are refused."""

import json
import os
import sys
import warnings
from collections import Counter

import numpy as np
import pytest

import tinycnn
from tests.support.memory_held import linux_only, output_of
from tests.support.onnx_networks import LAYERS, unlike_fresh
from tinycnn import convert, models, no_grad
from tinycnn.commands import main
from tinycnn.errors import FileFormatError, SettingError
from tinycnn.interchange.onnx import file as reader
from tinycnn.interchange.onnx.exporter import export_onnx, to_onnx
from tinycnn.interchange.onnx.importer import import_onnx, largest_difference
from tinycnn.interchange.preparation import Preparation
from tinycnn.layers import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    LogSoftmax,
    MaxPool2d,
    ReLU,
    Rescaling,
    Sequential,
    Softmax,
)

onnx = pytest.importorskip("onnx", reason="ONNX files need: pip install 'tinycnn[onnx]'")
from tests.support.onnx_graphs import FLOAT, Drawn, drawn, imported, ints, kinds, random  # noqa: E402

onnxruntime = pytest.importorskip("onnxruntime", reason="running them needs: pip install 'tinycnn[onnx]'")
random_graphs = pytest.importorskip("tests.interchange.random_graphs")
rng = np.random.default_rng(0)


# ---------------------------------------------------------------------------------------------------- our own files


@pytest.mark.parametrize("name", models.NETWORKS)
def test_an_exported_network_is_restored(backend, name, tmp_path):
    model = unlike_fresh(models.create(name))
    export_onnx(model, tmp_path / "model.onnx")
    again = tinycnn.from_onnx(tmp_path / "model.onnx")
    assert [kind for kind in kinds(model) if kind is not Dropout] == kinds(again)
    assert not again.training
    x = rng.uniform(0, 1, (2, *model.input_shape)).astype(np.float32)
    with no_grad():
        np.testing.assert_array_equal(again(backend.asarray(x)).numpy(), model(backend.asarray(x)).numpy())


def test_class_names_and_picture_kind_are_restored(tmp_path):
    model = Sequential(Flatten(), Dense(2), input_shape=(5, 5, 1))
    export_onnx(model, tmp_path / "model.onnx")
    assert tinycnn.from_onnx(tmp_path / "model.onnx").metadata() == {}
    model.class_names, model.pictures = ["mésange", "青"], "whole"
    export_onnx(model, tmp_path / "model.onnx")
    assert tinycnn.from_onnx(tmp_path / "model.onnx").metadata() == model.metadata() != {}


@pytest.mark.parametrize("layers", LAYERS.values(), ids=list(LAYERS))
def test_every_exported_layer_is_restored(layers, tmp_path):
    model = unlike_fresh(Sequential(*layers, input_shape=(7, 6, 2)))
    export_onnx(model, tmp_path / "model.onnx")
    again = tinycnn.from_onnx(tmp_path / "model.onnx")
    x = random(3, 7, 6, 2)
    with no_grad():
        np.testing.assert_allclose(again(x).numpy(), model(x).numpy(), rtol=1e-6, atol=1e-6)


def test_the_momentum_of_batch_norm_is_restored(tmp_path):
    for momentum in (0.01, 0.1, 0.25, 0.003, 1.0):
        model = Sequential(BatchNorm(momentum=momentum), input_shape=(7, 6, 2))
        export_onnx(model, tmp_path / "model.onnx")
        assert tinycnn.from_onnx(tmp_path / "model.onnx").layers["batchnorm_1"].momentum == momentum


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_either_dtype(dtype, tmp_path):
    model = unlike_fresh(Sequential(Dense(4), BatchNorm(), Dense(2), input_shape=(5,), dtype=dtype))
    export_onnx(model, tmp_path / "model.onnx")
    again = tinycnn.from_onnx(tmp_path / "model.onnx")
    assert again.dtype == dtype
    x = rng.normal(size=(3, 5)).astype(dtype)
    with no_grad():
        np.testing.assert_array_equal(again(x).numpy(), model(x).numpy())


# --------------------------------------------------------------------------------------- files as PyTorch writes them


def as_torch_writes_it(model, batch="N"):
    """The same network with channels second, PyTorch's weights, and no Transpose anywhere."""
    H, W, C = model.input_shape
    graph, weights = Drawn(C, H, W, batch=batch), convert.to_torch_state_dict(model)
    x = "x"
    for name, layer in model.layers.items():
        own = [array for key, array in weights.items() if key.startswith(f"{name}.")]
        match layer:
            case Conv2d():
                x = graph("Conv", x, *own, kernel_shape=[3, 3])
            case Dense():
                x = graph("Gemm", x, *own, transB=1)
            case BatchNorm():
                x = graph("BatchNormalization", x, *own, epsilon=layer.eps)
            case MaxPool2d():
                x = graph("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
            case Flatten():
                x = flattened_by_view(graph, x) if batch == "N" else graph("Reshape", x, ints(batch, -1))
            case Rescaling():
                x = graph("Mul", x, np.float32([layer.scale]))
            case Dropout():
                x = graph("Identity", x)
            case ReLU():
                x = graph("Relu", x)
            case Softmax() | LogSoftmax():
                x = graph(type(layer).__name__, x, axis=1)
    return graph


def flattened_by_view(graph, x):
    """``x.view(x.size(0), -1)``, as PyTorch traces it."""
    count = graph("Gather", graph("Shape", x), np.array(0))
    count = graph("Unsqueeze", count, ints(0))
    return graph("Reshape", x, graph("Concat", count, ints(-1), axis=0))


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("batch", ["N", 3])
def test_the_five_networks_as_torch_writes_them(name, batch, tmp_path):
    model = unlike_fresh(models.create(name))
    again = imported(as_torch_writes_it(model, batch), tmp_path)
    assert again.input_shape == (28, 28, 1)
    x = random(4, 28, 28, 1)
    with no_grad():
        np.testing.assert_allclose(again(x).numpy(), model(x).numpy(), rtol=1e-5, atol=1e-5)


def torch_network(name):
    """The five networks written with PyTorch."""
    from torch import nn

    def block(C, F, norm=False):
        return [nn.Conv2d(C, F, 3), nn.ReLU(), *([nn.BatchNorm2d(F)] if norm else [])]

    pool = nn.MaxPool2d(2)
    match name:
        case "lenet":
            body = [*block(1, 6), pool, *block(6, 16), pool, nn.Flatten(), nn.Linear(400, 120), nn.ReLU()]
            return [*body, nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10), nn.LogSoftmax(1)]
        case "keras_cnn":
            body = [*block(1, 32), pool, *block(32, 64), pool, nn.Flatten(), nn.Linear(1600, 128), nn.ReLU()]
            return [*body, nn.Linear(128, 10), nn.Softmax(1)]
        case "batchnorm_cnn":
            body = [*block(1, 32, True), pool, *block(32, 64, True), pool, *block(64, 128, True), nn.Flatten()]
            head = [nn.Linear(1152, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.3)]
            return [*body, *head, nn.Linear(64, 10), nn.Softmax(1)]
        case "single_conv":
            return [
                *block(1, 32),
                pool,
                nn.Flatten(),
                nn.Linear(5408, 128),
                nn.ReLU(),
                nn.Linear(128, 10),
                nn.Softmax(1),
            ]
        case "three_conv":
            body = [*block(1, 32), pool, *block(32, 64), pool, *block(64, 128), pool, nn.Flatten(), nn.Dropout(0.5)]
            return [*body, nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)]
    raise AssertionError(name)


@pytest.mark.parametrize("dynamo", [False, True], ids=["TorchScript", "dynamo"])
@pytest.mark.parametrize("name", models.MODELS)
def test_the_five_networks_by_torch_itself(name, dynamo, tmp_path):
    """By its old exporter, and by the new one, which is the default since PyTorch 2.9."""
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'tinycnn[bench]'")
    if dynamo:
        pytest.importorskip("onnxscript", reason="PyTorch's exporter needs it: pip install 'tinycnn[bench]'")
        varying = {"dynamic_shapes": ({0: torch.export.Dim("N")},), "external_data": False, "verbose": False}
    else:
        varying = {"dynamic_axes": {"x": {0: "N"}}, "input_names": ["x"]}
    torch.manual_seed(0)
    module = torch.nn.Sequential(*torch_network(name))
    module(torch.rand(32, 1, 28, 28))  # sets the running statistics
    module.eval()
    path = tmp_path / "torch.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, about its two exporters
        torch.onnx.export(module, (torch.rand(2, 1, 28, 28),), path, dynamo=dynamo, **varying)
    model = tinycnn.from_onnx(path)
    x = torch.rand(7, 1, 28, 28)
    with no_grad(), torch.no_grad():
        ours, theirs = model(x.numpy().transpose(0, 2, 3, 1)).numpy(), module(x).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


# ----------------------------------------------------------------------------------------- files as Keras writes them


def as_keras_writes_it(shape, channels_moved_by):
    """Images channels last, Conv between two moves of the channels, a dense layer as MatMul and Add (tf2onnx)."""
    H, W, C = shape
    g = Drawn(H, W, C)
    x = (
        g("Transpose", "x", perm=[0, 3, 1, 2])
        if channels_moved_by == "Transpose"
        else g("Reshape", "x", ints(-1, C, H, W))
    )
    x = g("Relu", g("Add", g("Conv", x, random(4, C, 3, 3)), random(1, 4, 1, 1)))
    x = g("Transpose", g("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), perm=[0, 2, 3, 1])
    inputs = 4 * ((H - 2) // 2) * ((W - 2) // 2)
    x = g("Add", g("MatMul", g("Reshape", x, ints(-1, inputs)), random(inputs, 3)), random(3))
    g("Softmax", x, axis=-1)
    return g


@pytest.mark.parametrize(
    ("shape", "moved_by"), [((8, 6, 2), "Transpose"), ((8, 6, 1), "Transpose"), ((8, 6, 1), "Reshape")]
)
def test_a_file_of_keras(shape, moved_by, tmp_path):
    model = imported(as_keras_writes_it(shape, moved_by), tmp_path)
    assert model.input_shape == shape
    assert kinds(model) == [Conv2d, ReLU, MaxPool2d, Flatten, Dense, Softmax]
    assert {"conv2d_1.bias", "dense_1.bias"} <= model.state_dict().keys()


# ------------------------------------------------------------------------------------------------ operator by operator


def viewed(g, x, first):
    """``x.permute(0, 2, 3, 1).reshape(first(), -1)``; ``first`` adds N of an array before the permutation."""
    moved = g("Transpose", x, perm=[0, 2, 3, 1])
    return g("Reshape", moved, g("Concat", first(), ints(-1), axis=0), allowzero=1)


def flattened_by_slices(g, x):
    """Channels last, by the shape of the array before, in int32."""
    sizes = g("Cast", g("Gather", g("Shape", x), ints(0, 2, 3, 1)), to=onnx.TensorProto.INT32)
    first = g("Slice", sizes, ints(0), ints(1), ints(0))
    shape = g("Cast", g("Concat", first, np.array([84], np.int32), axis=0), to=onnx.TensorProto.INT64)
    return g("Reshape", g("Transpose", x, perm=[0, 2, 3, 1]), shape)


def sliced(g, x, start, end, axis, step):
    return g("Slice", g("Shape", x), ints(start), ints(end), ints(axis), ints(step))


READ = {
    "strides, pads": (
        lambda g: g("Conv", "x", random(3, 2, 3, 2), random(3), strides=[2, 1], pads=[2, 1, 2, 1]),
        [Conv2d],
    ),
    "same": (lambda g: g("Conv", "x", random(3, 2, 3, 5), auto_pad="SAME_UPPER"), [Conv2d]),
    "same, lower": (
        lambda g: g("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 5], auto_pad="SAME_LOWER"),
        [MaxPool2d],
    ),
    "valid": (lambda g: g("Conv", "x", random(3, 2, 3, 2), auto_pad="VALID"), [Conv2d]),
    "ceil that does nothing": (
        lambda g: g("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1),
        [MaxPool2d],
    ),
    "average": (lambda g: g("AveragePool", "x", kernel_shape=[3, 2], strides=[1, 2]), [AvgPool2d]),
    "average, padding counts": (
        lambda g: g("AveragePool", "x", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1),
        [AvgPool2d],
    ),
    "average, padding does not count": (
        lambda g: g("AveragePool", "x", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 1, 1, 1]),
        [AvgPool2d],
    ),
    "average, same": (
        lambda g: g("AveragePool", "x", kernel_shape=[3, 5], auto_pad="SAME_UPPER"),
        [AvgPool2d],
    ),
    "global average": (
        lambda g: g("Flatten", g("GlobalAveragePool", g("Conv", "x", random(3, 2, 2, 2)))),
        [Conv2d, GlobalAvgPool2d],
    ),
    "mean over the image": (
        lambda g: g("ReduceMean", g("Conv", "x", random(3, 2, 2, 2)), axes=[2, 3], keepdims=0),
        [Conv2d, GlobalAvgPool2d],
    ),
    "mean over the image, channels last": (
        lambda g: g("ReduceMean", g("Transpose", g("Conv", "x", random(3, 2, 2, 2)), perm=[0, 2, 3, 1]), axes=[-3, -2]),
        [Conv2d, GlobalAvgPool2d],
    ),
    "squeezed": (
        lambda g: g("Squeeze", g("GlobalAveragePool", "x"), ints(2, 3)),
        [GlobalAvgPool2d],
    ),
    "there and back": (
        lambda g: g(
            "Squeeze",
            g("Unsqueeze", g("Relu", g("Flatten", g("Conv", "x", random(3, 2, 7, 6)))), ints(1, 3)),
            ints(3, 1),
        ),
        [Conv2d, Flatten, ReLU],
    ),
    "factors of gemm": (
        lambda g: g("Gemm", g("Flatten", "x"), random(84, 3), random(1, 3), alpha=0.5, beta=2.0),
        [Flatten, Dense],
    ),
    "gemm with one bias": (
        lambda g: g("Gemm", g("Flatten", "x"), random(3, 84), random(1), transB=1),
        [Flatten, Dense],
    ),
    "one output": (lambda g: g("Add", g("MatMul", g("Flatten", "x"), random(84, 1)), random(1)), [Flatten, Dense]),
    "batch norm behind a convolution": (
        lambda g: g("BatchNormalization", g("Conv", "x", random(3, 2, 2, 2)), *(random(3) ** 2 for _ in range(4))),
        [Conv2d, BatchNorm],
    ),
    "batch norm of a flattened image": (
        lambda g: g(
            "MatMul",
            g(
                "BatchNormalization",
                g("Flatten", g("Conv", "x", random(3, 2, 2, 2))),
                *(random(90) ** 2 for _ in range(4)),
                epsilon=0.5,
            ),
            random(90, 4),
        ),
        [Conv2d, Flatten, BatchNorm, Dense],
    ),
    "scale and shift of channels": (
        lambda g: g(
            "Sub",
            g("Div", g("Mul", g("Conv", "x", random(3, 2, 2, 2), random(3)), random(3, 1, 1)), random(1, 3, 1, 1) + 9),
            random(3, 1, 1),
        ),
        [Conv2d],
    ),
    "one scale and shift": (
        lambda g: g("Relu", g("Div", g("Sub", "x", np.float32(0.1307)), np.float32([0.3081]))),
        [Rescaling, ReLU],
    ),
    "number minus image": (lambda g: g("Mul", g("Sub", np.float32(1), "x"), np.float32([[2]])), [Rescaling]),
    "log softmax of channels": (lambda g: g("LogSoftmax", "x", axis=1), [LogSoftmax]),
    "log softmax of channels, last": (lambda g: g("LogSoftmax", g("Transpose", "x", perm=[0, 2, 3, 1])), [LogSoftmax]),
    "cast to what it is": (lambda g: g("Relu", g("Cast", "x", to=FLOAT)), [ReLU]),
    "dropout": (lambda g: g("Dropout", g("Relu", "x"), np.float32(0.25)), [ReLU, Dropout]),
    "weight transposed in the file": (
        lambda g: g("MatMul", g("Flatten", "x"), g("Transpose", random(3, 84), perm=[1, 0])),
        [Flatten, Dense],
    ),
    "weight in a node": (
        lambda g: g("MatMul", g("Flatten", "x"), g("Constant", value=onnx.numpy_helper.from_array(random(84, 3)))),
        [Flatten, Dense],
    ),
    "weight reshaped in the file": (
        lambda g: g("MatMul", g("Flatten", "x"), g("Reshape", g("Identity", random(252)), ints(-1, 3))),
        [Flatten, Dense],
    ),
    "reshaped as by PyTorch's newer exporter": (
        lambda g: g(
            "MatMul", g("Reshape", "x", ints(-1, 84), allowzero=1), g("Reshape", random(252), ints(84, 3), allowzero=1)
        ),
        [Flatten, Dense],
    ),
    "a constant before the sum": (
        lambda g: g("Add", random(3), g("Mul", random(1, 3), g("MatMul", g("Flatten", "x"), random(84, 3)))),
        [Flatten, Dense],
    ),
    "a constant before the sum of an image": (
        lambda g: g("Sub", random(1, 3, 1, 1), g("Add", random(3, 1, 1), g("Conv", "x", random(3, 2, 2, 2)))),
        [Conv2d],
    ),
    "channels minus a convolution with bias": (
        lambda g: g("Sub", random(3, 1, 1), g("Conv", "x", random(3, 2, 2, 2), random(3))),
        [Conv2d],
    ),
    "a number in an attribute": (lambda g: g("Mul", "x", g("Constant", value_float=0.3)), [Rescaling]),
    "dropout that says it does not train": (
        lambda g: g("Relu", g("Dropout", "x", np.float32(0.25), np.array(False))),
        [Dropout, ReLU],
    ),
    "mean over joined axes": (
        lambda g: g("ReduceMean", g("Reshape", "x", ints(0, 0, -1)), axes=[2]),
        [GlobalAvgPool2d],
    ),
    "an older array's first axis": (lambda g: viewed(g, "x", lambda: g("Gather", g("Shape", "x"), ints(0))), [Flatten]),
    "part of a shape": (lambda g: viewed(g, "x", lambda: g("Shape", "x", start=0, end=1)), [Flatten]),
    "flattened as by tf2onnx": (
        lambda g: g("MatMul", flattened_by_slices(g, g("Relu", "x")), random(84, 3)),
        [ReLU, Flatten, Dense],
    ),
    "the last size, from the end": (
        lambda g: g("Relu", g("Reshape", "x", g("Concat", ints(-1, 2, 7), sliced(g, "x", -1, -3, 0, -2), axis=0))),
        [ReLU],
    ),
    "the sizes of a constant": (
        lambda g: g("Relu", g("Reshape", "x", g("Concat", ints(-1), g("Shape", random(2, 7, 6)), axis=0))),
        [ReLU],
    ),
    "same, strides above the window": (
        lambda g: g(
            "Conv", g("Conv", "x", random(3, 2, 2, 2)), random(2, 3, 1, 1), strides=[3, 2], auto_pad="SAME_LOWER"
        ),
        [Conv2d, Conv2d],
    ),
    "shape in a node": (lambda g: g("Relu", g("Reshape", "x", g("Constant", value_ints=[0, 0, 7, -1]))), [ReLU]),
}


@pytest.mark.parametrize(("draw", "layers"), READ.values(), ids=list(READ))
def test_an_operator(draw, layers, tmp_path):
    model = imported(drawn(draw), tmp_path)
    assert kinds(model) == layers
    assert model.input_shape == (7, 6, 2)


def test_axes_of_length_1_are_added_and_removed(tmp_path):
    """Added axes may be listed in any order; of a constant only the listed axes are removed."""
    g = Drawn(2, 1, 4)
    five = g("Unsqueeze", g("Squeeze", "x", ints(2)), ints(3, 1))  # (N, 1, C, 1, W)
    g("Conv", g("Squeeze", five, ints(1)), random(3, 2, 1, 2))
    assert kinds(imported(g, tmp_path)) == [Conv2d]
    g = Drawn(1)
    g("MatMul", "x", g("Squeeze", g.constant(random(1, 1, 3)), ints(0)))
    assert kinds(imported(g, tmp_path)) == [Dense]
    g = Drawn(5, 1, 3)  # one pixel wide, channels last: the flattened order is tinycnn's
    first = g("Conv", g("Transpose", "x", perm=[0, 3, 1, 2]), random(4, 3, 1, 1))
    g("Flatten", g("Transpose", first, perm=[0, 2, 3, 1]))
    assert kinds(imported(g, tmp_path)) == [Conv2d, Flatten]


def test_settings_used_only_in_training_are_read(tmp_path):
    """ONNX's momentum is the weight of the old value; ours is the weight of the new one."""
    g = Drawn(3, 5, 5)
    g("BatchNormalization", "x", *np.ones((4, 3), np.float32), momentum=0.75, epsilon=0.25)
    batch_norm = imported(g, tmp_path).layers["batchnorm_1"]
    assert batch_norm.settings() == {"momentum": 0.25, "eps": 0.25}
    g = Drawn(3, 5, 5)
    g("BatchNormalization", "x", *np.ones((4, 3), np.float32))
    assert imported(g, tmp_path).layers["batchnorm_1"].settings() == {"momentum": 0.1, "eps": 1e-5}
    g = Drawn(6)
    g("Dropout", "x", np.float32(0.125))
    assert imported(g, tmp_path).layers["dropout_1"].p == 0.125


def test_older_files(tmp_path):
    """Before opset 13, axes, dropout ratio and the axis of softmax were given differently."""
    g = Drawn(2, 7, 6, opset=11)
    x = g("Squeeze", g("GlobalAveragePool", g("Conv", "x", random(3, 2, 2, 2))), axes=[2, 3])
    g("Softmax", g("Dropout", x, ratio=0.25))
    model = imported(g, tmp_path)
    assert model.layers["dropout_1"].p == 0.25
    with pytest.raises(
        FileFormatError,
        match=r"node 'softmax_0' \(Softmax\): over axis 1 of N, C, H, W; tinycnn supports only the channels",
    ):
        tinycnn.from_onnx(drawn(lambda g: g("Softmax", "x"), opset=11).save(tmp_path))


def test_images_without_axis_for_channels(tmp_path):
    g = Drawn(28, 28)
    g("MatMul", g("Flatten", g("Div", "x", np.float32(255))), random(784, 10))
    model = imported(g, tmp_path)
    assert model.input_shape == (28, 28, 1)


def test_without_convolutions_channels_are_the_first_axis_after_n(tmp_path):
    g = Drawn(3, 4, 5)
    g("MatMul", g("Flatten", "x"), random(60, 2))
    model = imported(g, tmp_path)
    assert model.input_shape == (4, 5, 3)


@pytest.mark.parametrize("shape", [(28, 28, 1), (5, 6, 3), (7, 6, 4)])
def test_a_last_axis_as_long_as_pictures_have_channels(shape, tmp_path):
    """A network of dense layers, as Keras writes it; (2, 3, 5, 6) or (1, 28, 1) are read channels first."""
    g = Drawn(*shape)
    g("MatMul", g("Reshape", "x", ints(-1, np.prod(shape))), random(np.prod(shape), 10))
    assert imported(g, tmp_path).input_shape == shape
    g = Drawn(shape[2], *shape[:2])
    g("MatMul", g("Reshape", "x", ints(-1, np.prod(shape))), random(np.prod(shape), 10))
    assert imported(g, tmp_path).input_shape == shape


def test_constants_of_float64_keep_every_bit(tmp_path):
    """Also those near a float32: its shortest decimal is another number."""
    near = float(np.float32(0.1))
    for number in (0.1307123456789, near, 1 / 3):
        g = Drawn(3)
        g.input.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
        g("Add", g("Mul", "x", np.float64(number)), np.array([-number]))
        g("MatMul", g.last, rng.normal(size=(3, 2)))
        model = tinycnn.from_onnx(g.save(tmp_path))
        assert model.layers["rescaling_1"].settings() == {"scale": number, "offset": -number}
        export_onnx(model, tmp_path / "again.onnx")
        assert tinycnn.from_onnx(tmp_path / "again.onnx").layers["rescaling_1"].settings() == {
            "scale": number,
            "offset": -number,
        }


def test_random_graphs_are_read_right_or_refused(tmp_path):
    """Compared with ONNX's reference evaluator; ``random_graphs.py`` tries as many as one likes."""
    found = Counter(
        random_graphs.outcome(random_graphs.RandomGraph(seed), tmp_path).partition(":")[0] for seed in range(70)
    )
    assert found.keys() == {"same", "refused"}
    assert found["same"] > 10


def test_scale_and_offset_of_the_preprocessing(tmp_path):
    path = as_torch_writes_it(models.create("lenet")).save(tmp_path)
    plain, normalised = (
        tinycnn.from_onnx(path),
        tinycnn.from_onnx(path, scale=1 / 255 / 0.3081, offset=-0.1307 / 0.3081),
    )
    assert kinds(normalised) == [Rescaling, *kinds(plain)]
    pixels = rng.integers(0, 256, (3, 28, 28, 1)).astype(np.float32)
    with no_grad():
        np.testing.assert_allclose(
            normalised(pixels).numpy(), plain((pixels / 255 - 0.1307) / 0.3081).numpy(), atol=1e-5
        )
    assert largest_difference(import_onnx(path, Preparation(scale=0.1, offset=-3.0)), path) < 1e-3  # inputs up to 22


def test_an_added_rescaling_before_one_in_the_file(tmp_path):
    """Also when the first assumed layout is wrong: this is a file from Keras, with one channel."""
    g = Drawn(8, 6, 1)
    g("Conv", g("Reshape", g("Div", "x", np.float32(4)), ints(-1, 1, 8, 6)), random(2, 1, 3, 3))
    found = import_onnx(g.save(tmp_path), Preparation(scale=0.5, offset=1.0))
    assert found.model.layers["rescaling_1"].settings() == {"scale": 0.125, "offset": 0.25}
    assert largest_difference(found, tmp_path / "drawn.onnx") < 1e-4


# ------------------------------------------------------------------------------------------------ unsupported files


REFUSED = {
    "operator": (
        lambda g: g("Sign", "x"),
        r"node 'sign_0' \(Sign\): tinycnn has no layer for this operator; docs/interoperation.md lists",
    ),
    "groups of another size": (
        lambda g: g("Conv", "x", random(3, 1, 3, 3), group=2),
        r"node 'conv_0' \(Conv\): weight \(3, 1, 3, 3\) in 2 groups for 2 channels",
    ),
    "a pool with gaps": (
        lambda g: g("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 1]),
        r"\(MaxPool\): dilations=\(2, 1\)",
    ),
    "a pool with much padding": (
        lambda g: g("MaxPool", "x", kernel_shape=[3, 3], pads=[0, 2, 1, 1]),
        r"\(MaxPool\): pads \(\(0, 1\), \(2, 1\)\) are more than half of the window",
    ),
    "negative": (lambda g: g("Conv", "x", random(2, 2, 3, 3), pads=[-1] * 4), r"pads \(-1, -1, -1, -1\)"),
    "same, a pool with strides above its window": (
        lambda g: g("AveragePool", "x", kernel_shape=[1, 1], strides=[1, 2], auto_pad="SAME_UPPER"),
        r"\(AveragePool\): auto_pad with strides above the window",
    ),
    "unknown pad": (lambda g: g("Conv", "x", random(2, 2, 3, 3), auto_pad="ODD"), r"auto_pad='ODD'"),
    "one axis": (lambda g: g("MaxPool", "x", kernel_shape=[3]), r"window, strides, dilations \(3,\), \(1, 1\)"),
    "too large": (
        lambda g: g("MaxPool", "x", kernel_shape=[9, 9]),
        r"\(MaxPool\): .*9x9 window does not fit into the 7x6",
    ),
    "rounds up into the padding": (
        lambda g: g("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 3], pads=[1] * 4, ceil_mode=1),
        r"ceil_mode=1 with a last window in the padding",
    ),
    "mean of channels": (
        lambda g: g("ReduceMean", "x", axes=[1]),
        r"\(ReduceMean\): tinycnn reads this operator only as a part of LayerNorm",
    ),
    "mean of rows of pixels": (lambda g: g("ReduceMean", "x", axes=[2]), r"mean over axes \[2\] of N, C, H, W"),
    "unknown attribute": (
        lambda g: g("Relu", "x", slope=0.1),
        r"node 'relu_0' \(Relu\): tinycnn does not know its attribute 'slope'",
    ),
    "attribute of another kind": (
        lambda g: g("Conv", "x", random(2, 2, 3, 3), group="2"),
        r"group is '2', expected as in 1",
    ),
    "weight of another shape": (lambda g: g("Conv", "x", random(2, 3, 3)), r"weight \(2, 3, 3\)"),
    "weight for other channels": (
        lambda g: g("Conv", "x", random(2, 3, 3, 3)),
        r"layer conv2d_1 does not fit: weight is",
    ),
    "kernel is not the weight's": (
        lambda g: g("Conv", "x", random(2, 2, 3, 3), kernel_shape=[2, 2]),
        r"with kernel_shape \(2, 2\)",
    ),
    "rows expected": (lambda g: g("MatMul", "x", random(5, 3)), r"weight \(5, 3\) for images with the axes N, C, H, W"),
    "rows of another length": (
        lambda g: g("MatMul", g("Flatten", "x"), random(6, 3)),
        r"weight \(6, 3\) for rows of 84 numbers",
    ),
    "bias of another length": (
        lambda g: g("Gemm", g("Flatten", "x"), random(84, 3), random(2)),
        r"node 'gemm_1' \(Gemm\): .*broadcast",
    ),
    "images expected": (
        lambda g: g("MaxPool", g("Flatten", "x"), kernel_shape=[1, 1]),
        r"its input has rows of 84 numbers",
    ),
    "dense of two inputs": (
        lambda g: g("MatMul", g("Flatten", "x"), "flatten_0"),
        r"\(MatMul\): takes several computed arrays; tinycnn joins them by Add, Sub, Sum, Mul, Div, Max, Min, Concat",
    ),
    "weight first": (
        lambda g: g("MatMul", random(3, 84), g("Flatten", "x")),
        r"its input 1 is 'flatten_0', expected a constant",
    ),
    "statistics of another length": (
        lambda g: g("BatchNormalization", "x", *(random(3) for _ in range(4))),
        r"for 2 channels",
    ),
    "batch norm that trains": (
        lambda g: g("BatchNormalization", "x", *(random(2) for _ in range(4)), training_mode=1),
        r"training_mode=1",
    ),
    "epsilon of 0": (
        lambda g: g("BatchNormalization", "x", *(random(2) for _ in range(4)), epsilon=0.0),
        r"BatchNorm: `eps=0.0`: expected a number above 0",
    ),
    "scale of pixels": (
        lambda g: g("Mul", "x", random(7, 6)),
        r"\(Mul\): a constant of shape \(7, 6\); tinycnn supports only one number, or one per channel",
    ),
    "number divided by image": (
        lambda g: g("Div", np.float32(2), "x"),
        r"divides by the result of the previous layers",
    ),
    "one divided by image": (
        lambda g: g("Div", np.float32(1), "x"),
        r"\(Div\): tinycnn reads this operator only as a part of LayerNorm, which it is not here",
    ),
    "division by 0": (lambda g: g("Div", "x", np.float32(0)), r"\(Div\): divides by 0"),
    "infinite": (lambda g: g("Mul", "x", np.float32(np.inf)), r"Rescaling: `scale=inf`: expected a number"),
    "a constant with more axes": (
        lambda g: g("Add", "x", random(1, 1, 1, 1, 1)),
        r"\(Add\): a constant of shape \(1, 1, 1, 1, 1\) adds axes to an array with N, C, H, W",
    ),
    "a row with more axes": (
        lambda g: g("Add", g("MatMul", g("Flatten", "x"), random(84, 3)), random(1, 1, 3)),
        r"\(Add\): a constant of shape \(1, 1, 3\) adds axes to an array with N, C",
    ),
    "a constant that spreads": (lambda g: g("Add", g("GlobalAveragePool", "x"), random(2, 3, 1)), r"\(2, 3, 1\); tiny"),
    "a recurrent layer": (
        lambda g: g("LSTM", "x"),
        r"\(LSTM\): tinycnn has layers for convolutional networks, not for seq",
    ),
    "a sum of two dtypes": (lambda g: g("Add", "x", np.float64(0.1)), r"its input 1 is float64, expected float32"),
    "a whole number": (lambda g: g("Mul", np.int64(2), "x"), r"\(Mul\): its input 0 is int64, expected float32"),
    "a bias of another dtype": (
        lambda g: g("Conv", "x", random(3, 2, 2, 2), np.ones(3)),
        r"\(Conv\): its input 2 is float64, expected float32",
    ),
    "channels divided by 0": (
        lambda g: g("Div", g("Conv", "x", random(2, 2, 1, 1)), np.float32([[[1]], [[0]]])),
        r"\(Div\): divides by 0",
    ),
    "results of training": (
        lambda g: g.more("BatchNormalization", 5, "x", *(random(2) ** 2 for _ in range(4)), training_mode=1),
        r"\(BatchNormalization\): is in training mode; .* \(training_mode=1\)",
    ),
    "results of training, older": (
        lambda g: g.more("BatchNormalization", 5, "x", *(random(2) ** 2 for _ in range(4))),
        r"\(BatchNormalization\): is in training mode; export",
    ),
    "two results": (lambda g: g.more("MaxPool", 2, "x", kernel_shape=[2, 2]), r"\(MaxPool\): has 2 results, expected"),
    "a ratio that is no number": (lambda g: g("Dropout", "x", ints(0, 1)), r"a ratio int64 \(2,\), expected one"),
    "a slice of weights": (
        lambda g: g("MatMul", g("Flatten", "x"), g("Slice", random(90, 3), ints(0), ints(84))),
        r"\(Slice\): computes with a constant of shape \(90, 3\)",
    ),
    "images where their number should be": (
        lambda g: g("Reshape", "x", g("Concat", ints(84), g("Shape", "x", start=0, end=1), axis=0)),
        r"\(Reshape\): to \[84, N\]; only the first axis may depend on N",
    ),
    "an index that depends on the number of images": (
        lambda g: g("Reshape", "x", g("Gather", ints(0, 84), g("Shape", "x", start=0, end=1))),
        r"\(Gather\): a constant object \(1,\), expected integers of a fixed shape",
    ),
    "an axis that does not exist": (lambda g: g("ReduceMean", "x", axes=[2, 7]), r"axes \[2, 7\] of 4; expected exist"),
    "an axis squeezed twice": (lambda g: g("Squeeze", "x", ints(1, -3)), r"axes \[1, 1\] of 4; expected existing axes"),
    "an output with joined axes": (
        lambda g: g("Relu", g("Reshape", "x", ints(0, 0, -1))),
        r"its output has 2 axes besides N, N, C, HW; tinycnn returns images with three, rows with one",
    ),
    "a row as an image": (
        lambda g: g("Relu", g("Unsqueeze", g("MatMul", g("Flatten", "x"), random(84, 3)), ints(2))),
        r"its output has 2 axes besides N, N, C, 1; tinycnn returns",
    ),
    "always drops": (lambda g: g("Dropout", "x", np.float32(0.5), np.array(True)), r"\(Dropout\): is in training mode"),
    "an axis twice": (lambda g: g("Transpose", "x", perm=[0, 1, 1, 3]), r"perm=\(0, 1, 1, 3\) of 4 axes"),
    "drops when 1": (lambda g: g("Dropout", "x", np.float32(0.5), np.array(1)), r"is in training mode"),
    "drops all": (lambda g: g("Dropout", "x", np.float32(1)), r"Dropout: `p=1.0`: expected a number at least 0, below"),
    "softmax of rows of an image": (
        lambda g: g("Softmax", g("Conv", "x", random(2, 2, 1, 1)), axis=-1),
        r"over axis -1 of N, C, H, W",
    ),
    "batch moved": (lambda g: g("Transpose", "x", perm=[1, 0, 2, 3]), r"perm=\(1, 0, 2, 3\).*N, must stay the first"),
    "all in one": (lambda g: g("Flatten", "x", axis=0), r"\(Flatten\): axis=0"),
    "batch reshaped": (lambda g: g("Reshape", "x", ints(1, -1)), r"to \[1, 84\]; the first axis must stay N"),
    "nothing reshaped": (lambda g: g("Reshape", "x", ints(0, -1), allowzero=1), r"allowzero=1; .* supports only 0"),
    "a constant reshaped to nothing": (
        lambda g: g("MatMul", g("Flatten", "x"), g("Reshape", random(252), ints(84, 0), allowzero=1)),
        r"allowzero=1; .* supports only 0",
    ),
    "another number of numbers": (lambda g: g("Reshape", "x", ints(0, 85)), r"to \[0, 85\]"),
    "an axis cut": (
        lambda g: g("Reshape", "x", ints(0, 4, 21)),
        r"to \[4, 21\] for each image, which splits an axis",
    ),
    "reshape without end": (
        lambda g: g("Reshape", "x", np.ones(9, np.int64)),
        r"int64 \(9,\) where a shape is expected",
    ),
    "all axes of length 1": (lambda g: g("Squeeze", "x"), r"removes the axes \[\]"),
    "an axis that holds numbers": (lambda g: g("Squeeze", "x", ints(1)), r"removes the axes \[1\]"),
    "an axis before N": (lambda g: g("Unsqueeze", "x", ints(0)), r"adds an axis before N"),
    "cast": (lambda g: g("Cast", "x", to=onnx.TensorProto.FLOAT16), r"to=10; tinycnn supports only 1"),
    "output channels first": (
        lambda g: g("Flatten", g("Conv", "x", random(3, 2, 2, 2))),
        r"its output is a flattened image, channels first",
    ),
    "another library's operator": (
        lambda g: g("Gelu", "x", domain="com.example"),
        r"node 'gelu_0': an operator of 'com.example'",
    ),
    "computed weights": (
        lambda g: g("Add", "x", g("RandomNormal", shape=[1])),
        r"node 'randomnormal_0' \(RandomNormal\): computes something from constants",
    ),
    "nothing at all": (lambda g: g("Identity", "x"), r"it has no operator that becomes a layer"),
    "no result": (
        lambda g: g("Relu", "x") and g.nodes[0].output.pop(),
        r"its output 'relu_0' does not depend on its input",
    ),
}


@pytest.mark.parametrize(("draw", "words"), REFUSED.values(), ids=[name.replace(" ", "-") for name in REFUSED])
def test_unsupported_files_are_refused(draw, words, tmp_path):
    path = drawn(draw).save(tmp_path)
    with pytest.raises(FileFormatError, match=words) as caught:
        tinycnn.from_onnx(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------ damaged and hostile files


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "cat.png",
            b"\x89PNG\r\n\x1a\n" + bytes(40),
            "this is a picture, not a network",
        ),
        ("cat.webp", b"RIFF\0\0\0\0WEBPVP8 " + bytes(40), "this is a picture"),
        ("cat.jpg", b"\xff\xd8\xff\xe0" + bytes(40), "this is a picture"),
        ("mine.onnx", b"\x89HDF\r\n\x1a\n" + bytes(40), "this is a file of Keras"),
    ],
)
def test_a_file_of_another_kind_is_named(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileFormatError, match="expected an ONNX file, but " + words):
        tinycnn.from_onnx(tmp_path / name)


def refused(content, folder):
    """The error message for a file of these bytes."""
    path = folder / "hostile.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    with pytest.raises(FileFormatError) as caught:
        tinycnn.from_onnx(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert len(text) < 600
    return text.removeprefix(f"{path}: ")


@pytest.fixture
def valid():
    """A valid file, for tests that then damage it."""
    return drawn(lambda g: g("Gemm", g("Flatten", "x"), random(84, 3), random(3))).proto()


def test_files_that_are_not_onnx_are_refused(tmp_path):
    for content in (b"", b"\x00", b"\xff" * 30, b"no ONNX file\n", b"\x08\x08", bytes(1000)):
        assert refused(content, tmp_path).startswith(("not a readable ONNX file (", "opset 0, expected 7 to "))
    with pytest.raises(FileFormatError, match="is a folder; give the file in it"):
        tinycnn.from_onnx(tmp_path)
    with pytest.raises(FileFormatError, match="no such file"):
        tinycnn.from_onnx(tmp_path / "gone.onnx")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.onnx")
        with pytest.raises(FileFormatError, match="a pipe, expected an ordinary file"):
            tinycnn.from_onnx(tmp_path / "pipe.onnx")


def test_names_of_a_file_do_not_forge_lines(valid, tmp_path):
    """Nor the operator, which is text as well."""
    for part in ("name", "op_type"):
        file = onnx.ModelProto()
        file.CopyFrom(valid)
        setattr(file.graph.node[0], part, "Conv\nerror: \x1b[31mred" + "x" * 10_000)
        file.graph.node[0].attribute.add(name="odd\n", type=onnx.AttributeProto.INT, i=1)
        text = refused(file, tmp_path)
        assert text.isprintable()
        assert "error: " in text


def test_every_truncation_of_a_valid_file(valid, tmp_path):
    content = valid.SerializeToString()
    for length in (*range(0, 200, 7), len(content) // 2, len(content) - 1):
        assert refused(content[:length], tmp_path)


def with_notes(file, **notes):
    onnx.helper.set_model_props(file, notes)
    return file


def test_metadata_is_checked(valid, tmp_path, monkeypatch):
    three = json.dumps(["a", "b", "c"])
    (tmp_path / "strange.onnx").write_bytes(with_notes(valid, class_names="cat;dog").SerializeToString())
    assert tinycnn.from_onnx(tmp_path / "strange.onnx").metadata() == {
        "pixels": "0..1"
    }  # keys of other programs are ignored
    valid.producer_name = "tinycnn"
    assert "not a readable ONNX file (" in refused(with_notes(valid, class_names="cat;dog"), tmp_path)
    assert "not a readable ONNX file (" in refused(with_notes(valid, class_names="[" * 100_000), tmp_path)
    assert "got 1 names for outputs" in refused(with_notes(valid, class_names='["a"]'), tmp_path)
    assert "expected a list" in refused(with_notes(valid, class_names='{"a": 1}'), tmp_path)
    assert "got 3; expected 1 to 100 printable characters" in refused(
        with_notes(valid, class_names='["a", "b", 3]'), tmp_path
    )
    assert "expected '0..1' or '0..255'" in refused(with_notes(valid, pixels='"1..2"'), tmp_path)
    assert "not a readable ONNX file (" in refused(with_notes(valid, pixels='{"a": 1, "a": 2}'), tmp_path)
    assert "expected 'drawing' or 'whole'" in refused(with_notes(valid, pictures="[1]"), tmp_path)
    (tmp_path / "ours.onnx").write_bytes(with_notes(valid, class_names=three).SerializeToString())
    assert tinycnn.from_onnx(tmp_path / "ours.onnx").class_names == ("a", "b", "c")
    monkeypatch.setattr(reader, "MAX_METADATA", len(three) - 1)
    assert "metadata for class names exceeds 14 characters" in refused(with_notes(valid, class_names=three), tmp_path)


def test_a_file_too_large(valid, tmp_path, monkeypatch):
    size = len(valid.SerializeToString())
    monkeypatch.setattr(reader, "MAX_FILE", size - 1)
    assert refused(valid, tmp_path) == f"{size:,} bytes; the limit for ONNX files is {size - 1:,}"


def test_weights_in_another_file_are_not_opened(valid, tmp_path):
    """Neither as an initializer nor in a node, because the path could be any on this machine."""
    secret = tmp_path / "weights.bin"
    secret.write_bytes(bytes(4 * 84 * 3))
    tensor = valid.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    assert "lies in another file, which is not opened; onnx.save_model" in refused(valid, tmp_path)
    node = drawn(lambda g: g("Relu", "x")).proto()
    node.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["w"], value=tensor))
    assert "lies in another file" in refused(node, tmp_path)


@pytest.mark.parametrize("dims", [(84, 4), (84, 3, 1, 1, 1, 1, 1, 1, 1), (-84, -3), (1 << 40, 1 << 40), (0, 3)])
def test_a_constant_whose_content_differs_from_its_shape(valid, dims, tmp_path):
    valid.graph.initializer[0].ClearField("dims")
    valid.graph.initializer[0].dims.extend(dims)
    assert "has shape (" in refused(valid, tmp_path)


@pytest.mark.parametrize("kind", [17, 2, 1000, 8, 0])
def test_a_constant_of_an_unsupported_type(valid, kind, tmp_path):
    valid.graph.initializer[0].data_type = kind
    assert "tinycnn reads floating-point numbers" in refused(valid, tmp_path)


def test_constants_without_raw_bytes_are_read(tmp_path):
    g = Drawn(3)
    g("MatMul", "x", g.constant(random(3, 2)))
    values = [0.5, 1.0, -2.0, 4.0, 8.0, 0.25]
    g.constants[0] = onnx.helper.make_tensor("c0", FLOAT, (3, 2), values)
    assert imported(g, tmp_path).state_dict()["dense_1.weight"].ravel().tolist() == values


def test_another_dtype_than_the_input(valid, tmp_path):
    valid.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((84, 3)), "c0"))
    assert "(Gemm): its input 1 is float64, expected float32" in refused(valid, tmp_path)
    valid.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    assert "its input 'x' holds no floating-point numbers" in refused(valid, tmp_path)


@pytest.mark.parametrize("shape", [(2, "H", 6), (2, 0, 6), (2, -7, 6), (), (3,) * 4, (3,) * 9])
def test_an_input_with_an_unsupported_shape(shape, tmp_path):
    g = drawn(lambda g: g("Relu", "x"), shape)
    assert refused(g.proto(), tmp_path).startswith("its input has ")


def test_a_giant_image_and_a_giant_padding(tmp_path):
    assert "numbers" in refused(drawn(lambda g: g("Relu", "x"), (1, 1 << 20, 1 << 20)).proto(), tmp_path)
    pads = drawn(lambda g: g("Conv", "x", random(1, 2, 1, 1), pads=[1 << 30] * 4)).proto()
    assert "expected (top, left, bottom, right) from 0 to 1,048,576" in refused(pads, tmp_path)
    pads = drawn(lambda g: g("Conv", "x", random(1, 2, 1, 1), pads=[1 << 20] * 4)).proto()
    assert "(2097159, 2097158, 1) for each image, more than 67,108,864 numbers" in refused(pads, tmp_path)


def second_input(file):
    """Make the weight of the dense layer an input."""
    weight = file.graph.initializer.pop(0)
    file.graph.input.append(onnx.helper.make_tensor_value_info(weight.name, FLOAT, ["M", *weight.dims[1:]]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda file: file.graph.node[0].input.__setitem__(0, file.graph.node[1].output[0]),
            "takes 'gemm_1', which no earlier node computes",
        ),
        (
            lambda file: file.graph.node[0].input.__setitem__(0, "flatten_0"),
            "takes 'flatten_0', which no earlier node computes",
        ),
        (lambda file: file.graph.initializer.pop(), "(Gemm): takes 'c1', which no earlier node computes"),
        (lambda file: file.graph.initializer[1].__setattr__("name", "c0"), "two constants have the same name"),
        (
            lambda file: file.graph.node[0].output.__setitem__(0, "c0"),
            "its result has the name 'c0', which is already used",
        ),
        (
            lambda file: file.graph.node[1].output.__setitem__(0, "x"),
            "its output 'gemm_1' does not depend on its input",
        ),
        (lambda file: file.graph.output.append(file.graph.output[0]), "1 inputs, 2 outputs"),
        (
            lambda file: file.graph.input.append(file.graph.output[0]),
            "its result has the name 'gemm_1', which is already",
        ),
        (lambda file: second_input(file), "2 inputs, 1 outputs"),
        (lambda file: file.graph.ClearField("input"), "0 inputs, 1 outputs"),
        (lambda file: file.graph.sparse_initializer.add(), "1 sparse constants"),
        (lambda file: file.opset_import[0].__setattr__("version", 6), "opset 6, expected 7 to"),
        (lambda file: file.opset_import[0].__setattr__("version", 1000), "opset 1000, expected 7 to"),
        (lambda file: file.opset_import[0].__setattr__("domain", "odd"), "opset 0, expected 7 to"),
        (
            lambda file: file.graph.node[0].attribute.add(name="body", type=5),
            "attribute 'body' has an unsupported type",
        ),
        (lambda file: file.graph.node[0].__setattr__("name", "n" * 10**6), "does not know its attribute 'odd'"),
    ],
)
def test_invalid_graphs_are_refused(valid, change, words, tmp_path):
    valid.graph.node[0].attribute.extend([onnx.helper.make_attribute("odd", 1)] if "odd'" in words else [])
    change(valid)
    assert words in refused(valid, tmp_path)


def in_a_field(number, content):
    """A protobuf field with a length."""
    length, size = bytearray(), len(content)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content


MANY = 2_000_000
BOMBS = {
    "nodes": in_a_field(7, b"\x0a\x00" * MANY),
    "constants": in_a_field(7, b"\x2a\x00" * MANY),
    "attributes": in_a_field(7, in_a_field(1, b"\x2a\x00" * MANY)),
    "names": in_a_field(7, in_a_field(1, b"\x0a\x00" * MANY)),
    "nested": b"",
}
for _ in range(1_000):
    BOMBS["nested"] = in_a_field(7, in_a_field(1, in_a_field(5, b"\x32" + BOMBS["nested"][1:])))


def shared_weight():
    """A chain of 500 layers around one constant of 1 MiB."""
    g = Drawn(512)
    x, weight = "x", g.constant(random(512, 512))
    for _ in range(500):
        x = g("MatMul", x, weight)
    return g.proto().SerializeToString()


def growing_shape():
    """A constant that doubles with every node."""
    g = Drawn(3)
    c = g.constant(ints(1, 2, 3))
    for _ in range(60):
        c = g("Concat", c, c, axis=0)
    g("Reshape", "x", c)
    return g.proto().SerializeToString()


def copied_weight():
    """A constant that would be copied by every node."""
    g = Drawn(512)
    c = g.constant(random(512, 512))
    for _ in range(300):
        c = g("Reshape", g("Transpose", c, perm=[1, 0]), ints(*((256, 1024) if len(g.nodes) % 4 == 1 else (512, 512))))
    g("MatMul", "x", c)
    return g.proto().SerializeToString()


BOMBS |= {"shared weight": shared_weight(), "growing shape": growing_shape(), "copied weight": copied_weight()}
IN_LITTLE_MEMORY = """
import sys, tinycnn, tinycnn.interchange.onnx.importer, onnx
from tests.support.memory_held import held
before = held("VmHWM")
for path in sys.argv[1:]:
    try:
        tinycnn.from_onnx(path)
    except tinycnn.errors.FileFormatError as error:
        print(held("VmHWM") - before, path, str(error)[-300:].replace("\\n", " "))
"""


@linux_only
def test_files_that_would_grow_in_memory_are_refused(tmp_path):
    """One after the other in one process, whose memory never grows by 100 MiB."""
    paths = [tmp_path / f"{name}.onnx" for name in BOMBS]
    for path in paths:
        path.write_bytes(BOMBS[path.stem])
    refused = output_of(IN_LITTLE_MEMORY, *paths).splitlines()
    assert [line for path, line in zip(paths, refused, strict=True) if f" {path} " not in line] == []
    assert [line for line in refused if float(line.split()[0]) >= 100] == []


@linux_only
def test_without_the_limit_memory_grows(tmp_path):
    """Two bytes of the file become two hundred in memory; the limit prevents that."""
    path = tmp_path / "bomb.onnx"
    path.write_bytes(BOMBS["nodes"])
    unlimited = IN_LITTLE_MEMORY.replace("before =", "tinycnn.interchange.onnx.file.MAX_FIELDS = 10**9; before =")
    assert float(output_of(unlimited, path).split()[0]) > 100


# ------------------------------------------------------------------------------------------------------ the command


def test_the_command_compares_and_writes(tmp_path, capsys):
    path = as_torch_writes_it(unlike_fresh(models.create("lenet"))).save(tmp_path)
    target = tmp_path / "model.safetensors"
    assert main(["import", str(path), "--model", str(target)]) == 0
    out = capsys.readouterr().out
    assert f"{target}: outputs of tinycnn and of ONNX Runtime with {path} agree up to " in out
    assert "60,074 trainable parameters" in out
    assert kinds(tinycnn.load(target)) == kinds(tinycnn.from_onnx(path))
    assert main(["import", str(path), "--model", str(target), "--scale", "0.0127", "--offset", "-0.424"]) == 0
    assert tinycnn.load(target).layers["rescaling_1"].settings() == {"scale": 0.0127, "offset": -0.424}
    assert main(["import", str(path), "--model", str(target), "--class-names", *"abcdefghij"]) == 0
    assert tinycnn.load(target).class_names == tuple("abcdefghij")


def test_the_command_refuses_bad_input(tmp_path, capsys, monkeypatch):
    path, target = as_torch_writes_it(models.create("lenet")).save(tmp_path), tmp_path / "model.safetensors"
    command = ["import", str(path), "--model", str(target)]
    assert main([*command, "--offset", "1"]) == 2
    assert "--offset: requires --scale" in capsys.readouterr().err
    assert main([*command, "--class-names", "cat", "dog"]) == 2
    assert "--class-names: got 2 names for outputs of shape (10,)" in capsys.readouterr().err
    assert main([*command, "--scale", "nan"]) == 2
    assert "--scale nan: expected a finite number" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr("tinycnn.interchange.onnx.importer.largest_difference", lambda *_: float("nan"))
        assert main(command) == 2
        assert "ONNX Runtime gives different results (up to nan); not written" in capsys.readouterr().err
    for package in ("onnx", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            assert main(command) == 2
            assert "pip install 'tinycnn[onnx]'" in capsys.readouterr().err
    spoilt = drawn(lambda g: g("MatMul", g("Flatten", "x"), random(84, 3) * np.float32(np.nan))).save(tmp_path)
    assert main(["import", str(spoilt), "--model", str(target)]) == 2
    assert "dense_1.weight is not finite" in capsys.readouterr().err
    assert not target.exists()


def test_the_comparison_detects_a_wrong_permutation(tmp_path, monkeypatch):
    """The comparison with ONNX Runtime can fail."""
    path = as_torch_writes_it(unlike_fresh(models.create("lenet"))).save(tmp_path)
    monkeypatch.setattr("tinycnn.interchange.onnx.chain.Chain.file_index", lambda self: slice(None))
    assert largest_difference(import_onnx(path), path) > 1e-3


def test_a_file_that_onnx_runtime_cannot_run(tmp_path):
    convolution = Sequential(Conv2d(2), input_shape=(5, 5, 1), dtype=np.float64)
    (tmp_path / "model.onnx").write_bytes(to_onnx(convolution))
    with pytest.raises(SettingError, match="ONNX Runtime cannot run"):
        largest_difference(import_onnx(tmp_path / "model.onnx"), tmp_path / "model.onnx")
