"""ONNX operators and structures that few exporters write: norms of TensorFlow, transposed convolutions, cut edges.

Every network is compared with ONNX Runtime.
"""

import numpy as np
import pytest

pytest.importorskip("onnx", reason="ONNX files need: pip install 'tinycnn[onnx]'")
from tests.support.onnx_graphs import Drawn, drawn, imported, ints, kinds, random
from tinycnn.errors import FileFormatError
from tinycnn.interchange.onnx.exporter import export_onnx
from tinycnn.interchange.onnx.importer import from_onnx
from tinycnn.layers import (
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Crop2d,
    Dense,
    Flatten,
    GroupNorm,
    LayerNorm,
    Multiply,
    ReLU,
    Rescaling,
    Sequential,
    Softplus,
    Softsign,
    Transpose2d,
)

EPS = np.float32(1e-3)


def of_tensorflow(g, x, axes, shape, gamma=True, beta=True, reshaped=None, other_mean=None):
    """``x w + (beta - mean w)`` with ``w = gamma / sqrt(variance + eps)``, as tf.nn.batch_normalization computes it."""
    mean = g("ReduceMean", x, axes=list(axes))
    square = g("Sub", x, g("Reshape", mean, ints(*reshaped)) if reshaped else mean)
    variance = g("ReduceMean", g("Mul", square, square), axes=list(axes))
    w = g("Reciprocal", g("Sqrt", g("Add", variance, EPS)))
    w = g("Mul", w, random(*shape)) if gamma else w
    shift = g("Mul", g("Neg", other_mean or mean), w)
    return g("Add", g("Mul", x, w), g("Add", shift, random(*shape)) if beta else shift)


def of_keras_with_torch(g, x, axes, shape):
    """The variance is ``mean(x²) - mean²``; conversions to float32 stand in between."""
    x = g("Cast", x, to=1)
    mean = g("ReduceMean", x, axes=list(axes))
    variance = g("Sub", g("ReduceMean", g("Mul", x, x), axes=list(axes)), g("Mul", mean, mean))
    w = g("Mul", g("Div", np.float32(1), g("Sqrt", g("Cast", g("Add", variance, EPS), to=1))), random(*shape))
    return g("Add", g("Mul", x, w), g("Add", random(*shape), g("Mul", w, g("Neg", mean))))


def grouped(g, norm, groups, x="x", C=6):
    """A norm over groups of channels, channels last, between two Reshapes."""
    last = g("Transpose", g("Conv", x, random(C, 2, 3, 3)), perm=[0, 2, 3, 1])
    y = norm(g, g("Reshape", last, ints(-1, 5, 4, groups, C // groups)), (1, 2, 4), (1, 1, 1, groups, C // groups))
    return g("Reshape", y, ints(-1, 5, 4, C))


def conv_of_six(g):
    """So many channels that a variance as a difference is hardly rounded."""
    return g("Conv", "x", random(6, 2, 1, 1))


NORMS = {
    "of channels": (lambda g: of_tensorflow(g, g("Relu", "x"), (1,), (1, 2, 1, 1)), [ReLU, LayerNorm]),
    "its mean reshaped": (
        lambda g: of_tensorflow(g, "x", (1,), (1, 2, 1, 1), reshaped=(-1, 1, 7, 6)), [LayerNorm]),
    "channels last": (
        lambda g: of_tensorflow(g, g("Transpose", "x", perm=[0, 2, 3, 1]), (-1,), (1, 1, 1, 2)), [LayerNorm]),
    "without gamma": (lambda g: of_tensorflow(g, "x", (1,), (1, 2, 1, 1), gamma=False), [LayerNorm]),
    "without beta": (lambda g: of_tensorflow(g, "x", (1,), (1, 2, 1, 1), beta=False), [LayerNorm]),
    "of rows": (
        lambda g: of_tensorflow(g, g("MatMul", g("Flatten", "x"), random(84, 6)), (1,), (1, 6)),
        [Flatten, Dense, LayerNorm]),
    "of flattened images": (
        lambda g: g("MatMul", of_tensorflow(g, g("Flatten", "x"), (1,), (1, 84)), random(84, 3)),
        [Flatten, LayerNorm, Dense]),
    "of groups": (lambda g: grouped(g, of_tensorflow, 3), [Conv2d, GroupNorm]),
    "of one group": (lambda g: grouped(g, of_tensorflow, 1), [Conv2d, GroupNorm]),
    "of groups of one channel": (lambda g: grouped(g, of_tensorflow, 6), [Conv2d, GroupNorm]),
    "of groups, mean of squares": (lambda g: grouped(g, of_keras_with_torch, 2), [Conv2d, GroupNorm]),
    "of an image, channels second": (
        lambda g: of_tensorflow(g, conv_of_six(g), (1, 2, 3), (1, 6, 1, 1)), [Conv2d, GroupNorm]),
    "of each channel, between Reshapes": (
        lambda g: grouped(g, lambda g, x, axes, shape: of_tensorflow(g, x, (1, 2), shape), 3), [Conv2d, GroupNorm]),
    "of pixels, mean of squares": (
        lambda g: of_keras_with_torch(g, conv_of_six(g), (1,), (1, 6, 1, 1)), [Conv2d, LayerNorm]),
}  # fmt: skip


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_with_a_common_factor(name, tmp_path):
    draw, wanted = NORMS[name]
    model = imported(drawn(draw), tmp_path)
    assert kinds(model) == wanted
    norm = next(layer for layer in model.layers.values() if isinstance(layer, LayerNorm | GroupNorm))
    assert norm.eps == 1e-3


REFUSED = {
    "of another array": lambda g: of_tensorflow(
        g, g("Relu", "x"), (1,), (1, 2, 1, 1), other_mean=g("ReduceMean", "x", axes=[1])),
    "over another axis": lambda g: of_tensorflow(
        g, "x", (1,), (1, 2, 1, 1), other_mean=g("ReduceMean", "x", axes=[2])),
    "over rows of pixels": lambda g: of_tensorflow(g, "x", (2,), (1, 1, 7, 1)),
    "over the batch": lambda g: of_tensorflow(g, "x", (0,), (1, 2, 1, 1)),
    "gamma of another axis": lambda g: of_tensorflow(g, "x", (1,), (1, 1, 7, 1)),
    "its mean in another shape": lambda g: of_tensorflow(g, "x", (1,), (1, 2, 1, 1), reshaped=(-1, 1, 6, 7)),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_looks_like_a_norm_is_refused(name, tmp_path):
    with pytest.raises(FileFormatError, match="node '"):
        from_onnx(drawn(REFUSED[name]).save(tmp_path))


# ---------------------------------------------------------------------------------------------- a dense layer of pixels


def tensordot(g, x, weight, sizes):
    """As TensorFlow multiplies the last axis: the inner shape is a product of sizes."""
    shape = g("Cast", g("Shape", x), to=6)
    rows = g("ReduceProd", g("Gather", shape, ints(0, 1, 2)), axes=[0], keepdims=0)
    inner = g("Concat", g("Unsqueeze", rows, ints(0)), np.array([weight.shape[0]], np.int32), axis=0)
    outer = g("Concat", g("Gather", shape, ints(*range(len(sizes)))), np.array(sizes[-1:], np.int32), axis=0)
    y = g("MatMul", g("Reshape", x, g("Cast", inner, to=7)), weight)
    return g("Reshape", y, g("Cast", outer, to=7))


def test_a_dense_layer_of_pixels(tmp_path):
    def draw(g, sizes=(7, 6, 5), count=2):
        x = g("Relu", g("Transpose", "x", perm=[0, 2, 3, 1]))
        tensordot(g, x, random(count, 5), sizes)

    assert kinds(imported(drawn(draw), tmp_path)) == [ReLU, Conv2d]
    for settings in ({"sizes": (7, 5)}, {"count": 3}):
        with pytest.raises(FileFormatError, match=r"\(Reshape of a dense layer\): (returns|weight)"):
            from_onnx(drawn(lambda g, s=settings: draw(g, **s)).save(tmp_path))


# ---------------------------------------------------------------------------------------------- transposed convolutions


def transposed(g, x="x", C=2, F=3, K=(3, 3), **attributes):
    return g("ConvTranspose", x, random(C, F, *K), random(F), **attributes)


TRANSPOSED = {
    "plain": {},
    "stride": {"strides": [2, 2], "kernel_shape": [3, 3]},
    "gaps between the windows": {"strides": [4, 1], "K": (2, 3)},
    "pads": {"strides": [2, 1], "pads": [1, 0, 1, 2]},
    "output padding": {"strides": [2, 3], "pads": [1, 1, 1, 1], "output_padding": [1, 2]},
    "auto_pad, upper": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "auto_pad, lower": {"strides": [2, 2], "auto_pad": "SAME_LOWER", "K": (4, 3)},
    "auto_pad, valid": {"strides": [2, 1], "auto_pad": "VALID"},
    "output shape": {"strides": [2, 2], "output_shape": [14, 12]},
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolutions(name, tmp_path):
    model = imported(drawn(lambda g: g("Relu", transposed(g, **TRANSPOSED[name]))), tmp_path)
    assert kinds(model) == [ConvTranspose2d, ReLU]


def test_what_follows_a_transposed_convolution_becomes_part_of_it(tmp_path):
    def draw(g):
        y = g("ConvTranspose", "x", random(2, 3, 2, 2), strides=[2, 2])
        y = g("Mul", g("Add", y, random(3, 1, 1)), random(3, 1, 1))
        g("Div", y, 1 + np.abs(random(3, 1, 1)))

    assert kinds(imported(drawn(draw), tmp_path)) == [ConvTranspose2d]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"group": 2, "F": 1}, "group=2; tinycnn supports only 1"),
        ({"dilations": [2, 2]}, "dilations"),
        ({"C": 3}, "for 2 channels"),
        ({"pads": [9, 9, 9, 9]}, "leave no pixel"),
        ({"pads": [-1, 0, 0, 0]}, r"pads \(-1, 0, 0, 0\), expected"),
        ({"output_shape": [90, 90]}, "cannot return"),
        ({"output_shape": [9]}, "cannot return"),
        ({"output_padding": [1, 1]}, "expected less than the strides"),
        ({"strides": [0, 1]}, "strides"),
        ({"kernel_shape": [2, 2]}, "kernel_shape"),
        ({"auto_pad": "ODD"}, "not a value that ONNX defines"),
    ],
)
def test_transposed_convolutions_that_are_refused(attributes, words, tmp_path):
    with pytest.raises(FileFormatError, match=words):
        from_onnx(drawn(lambda g: transposed(g, **attributes)).save(tmp_path))


# ------------------------------------------------------------------------------------------------ edges, rows, softplus


def softplus_of_pytorch(g, x, limit, other=None):
    return g("Where", g("Greater", x, np.float32(limit)), other or x, g("Softplus", x))


READ = {
    "rows and columns": (lambda g: g("Slice", "x", ints(1, 2), ints(6, -1), ints(2, 3)), [Crop2d]),
    "to the end": (lambda g: g("Slice", "x", ints(0, 1), ints(2**31 - 1, 2**63 - 1), ints(0, -1)), [Crop2d]),
    "channels last": (
        lambda g: g("Slice", g("Transpose", "x", perm=[0, 2, 3, 1]), ints(0, 1, 1, 0), ints(2**40, 5, -1, 2)),
        [Crop2d]),
    "to one row": (
        lambda g: g("Conv", g("Slice", "x", ints(3), ints(4), ints(2)), random(3, 2, 1, 3)), [Crop2d, Conv2d]),
    "nothing": (lambda g: g("Relu", g("Slice", "x", ints(0), ints(7), ints(2), ints(1))), [ReLU]),
    "columns as rows": (
        lambda g: g("Conv", g("Transpose", "x", perm=[0, 1, 3, 2]), random(3, 2, 2, 3)), [Transpose2d, Conv2d]),
    "columns as rows, then flattened": (
        lambda g: g("MatMul", g("Flatten", g("Transpose", g("Conv", "x", random(3, 2, 1, 1)), perm=[0, 3, 2, 1])),
                    random(126, 3)), [Conv2d, Flatten, Dense]),
    "softplus": (lambda g: g("Softplus", g("Mul", "x", np.float32(3))), [Rescaling, Softplus]),
    "mish": (lambda g: g("Mul", "x", g("Tanh", g("Softplus", "x"))), [Multiply]),
    "softplus of PyTorch": (lambda g: softplus_of_pytorch(g, g("Mul", "x", np.float32(9)), 20), [Rescaling, Softplus]),
    "softsign of PyTorch": (lambda g: g("Div", "x", g("Add", g("Abs", "x"), np.float32(1))), [Softsign]),
    "mish as one operator": (lambda g: g("Mish", g("Conv", "x", random(3, 2, 1, 1))), [Conv2d, Multiply]),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_further_operators(name, tmp_path):
    draw, wanted = READ[name]
    assert kinds(imported(drawn(draw, opset=18 if "one operator" in name else 17), tmp_path)) == wanted


def test_other_choices_between_two_arrays_are_refused(tmp_path):
    for limit, other in ((2, None), (20, "x"), (float("nan"), None)):
        g = drawn(lambda g, limit=limit, other=other: softplus_of_pytorch(g, g("Relu", "x"), limit, other))
        with pytest.raises(FileFormatError, match=r"\(Greater\)|\(Where\)"):
            from_onnx(g.save(tmp_path))


def test_rows_as_columns_at_the_end(tmp_path):
    """The layout of the output of a file may be any; only exchanged rows and columns are a layer."""
    model = Sequential(Conv2d(3), Transpose2d(), input_shape=(7, 6, 2)).eval()
    export_onnx(model, tmp_path / "a.onnx")
    again, x = from_onnx(tmp_path / "a.onnx"), random(2, 7, 6, 2)
    assert kinds(again) == [Conv2d, Transpose2d]
    np.testing.assert_array_equal(again(x).numpy(), model(x).numpy())


def test_the_lists_of_a_slice_were_attributes(tmp_path):
    g = Drawn(2, 7, 6, opset=9)
    g("Slice", "x", starts=[1], ends=[5], axes=[3])
    model = imported(g, tmp_path)
    assert [layer.cropping for layer in model.layers.values()] == [((0, 0), (1, 1))]


@pytest.mark.parametrize(
    "lists",
    [
        ((0,), (1,), (1,)), ((0,), (1,), (0,)), ((5,), (5,), (2,)), ((0,), (7,), (2,), (2,)), ((6,), (0,), (2,), (-1,)),
        ((0,), (7,), (4,)), ((0, 0), (6, 6), (2, 2)), ((0,), (7,), (2,), (0,)), ((0,), (7, 7), (2,)),
    ],
)  # fmt: skip
def test_other_parts_are_refused(lists, tmp_path):
    """A channel, an image, nothing, every second row, rows backwards, an axis listed twice or that does not exist."""
    with pytest.raises(FileFormatError, match="'slice_"):
        from_onnx(drawn(lambda g: g("Slice", g("Relu", "x"), *(ints(*one) for one in lists))).save(tmp_path))


def test_a_part_of_a_row_is_refused(tmp_path):
    with pytest.raises(FileFormatError, match=r"of axis 1 of N, (HWC|CHW)"):
        from_onnx(drawn(lambda g: g("Slice", g("Flatten", "x"), ints(0), ints(3), ints(1))).save(tmp_path))


def test_a_factor_of_a_norm_that_is_no_batch_norm(tmp_path):
    """A product and a sum per channel after a transposed convolution are not taken for its norm."""
    model = imported(drawn(lambda g: g("Mul", g("Relu", transposed(g)), random(3, 1, 1))), tmp_path)
    assert kinds(model) == [ConvTranspose2d, ReLU, BatchNorm]
