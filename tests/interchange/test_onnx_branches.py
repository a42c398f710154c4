"""ONNX graphs with branches, and layers that exporters write as several operators: read right, or refused."""

import numpy as np
import pytest

import tinycnn
from tinycnn.errors import FileFormatError
from tinycnn.interchange import planned
from tinycnn.interchange.onnx.importer import import_onnx, largest_difference
from tinycnn.layers import (
    ELU,
    GELU,
    Add,
    AvgPool2d,
    BatchNorm,
    Clip,
    Concatenate,
    Conv2d,
    Dense,
    Flatten,
    GlobalAvgPool2d,
    GroupNorm,
    HardSwish,
    LayerNorm,
    Maximum,
    MaxPool2d,
    Minimum,
    Multiply,
    Normalization,
    Pad2d,
    ReLU,
    Rescaling,
    Reshape,
    Residual,
    SiLU,
    Upsample,
)

onnx = pytest.importorskip("onnx", reason="ONNX files need: pip install 'tinycnn[onnx]'")
pytest.importorskip("onnxruntime", reason="running them needs: pip install 'tinycnn[onnx]'")
from tests.support.onnx_graphs import drawn, imported, ints, kinds, random  # noqa: E402


def conv(g, x, C=2, F=2, K=3, **attributes):
    """A convolution that keeps the size of the image."""
    return g("Conv", x, random(F, C, K, K), random(F), **({"pads": [K // 2] * 4} | attributes))


def normalised(g, x, axes=(1,), eps=1e-5):
    """A layer norm as PyTorch writes it before opset 17: the centred input divided by the root of its mean square."""
    centred = g("Sub", x, g("ReduceMean", x, axes=list(axes)))
    variance = g("ReduceMean", g("Pow", centred, np.float32(2)), axes=list(axes))
    return g("Div", centred, g("Sqrt", g("Add", variance, np.float32(eps))))


def gelu(g, x, half_first=False):
    scaled = g("Erf", g("Div", x, np.float32(2**0.5)))
    x = g("Mul", x, np.float32(0.5)) if half_first else x
    product = g("Mul", x, g("Add", scaled, np.float32(1)))
    return product if half_first else g("Mul", product, np.float32(0.5))


def gelu_by_tanh(g, x):
    cube = g("Mul", x, g("Mul", x, x))
    total = g("Add", x, g("Mul", np.float32(0.044715), cube))
    bent = g("Tanh", g("Mul", np.float32((2 / np.pi) ** 0.5), total))
    return g("Mul", np.float32(0.5), g("Mul", x, g("Add", np.float32(1), bent)))


def dense_block(g, x):
    """Every layer takes all arrays of before, which each Concat lists again, as PyTorch writes it."""
    arrays = [g("Concat", x, axis=1)]
    for number in range(3):
        joined = g("Concat", *arrays, axis=1) if number else arrays[0]
        arrays.append(g("Relu", conv(g, joined, C=2 + 3 * number, F=3)))
    return g("Concat", *arrays, axis=1)


def group_norm(g, x, groups=2):
    reshaped = g("Reshape", x, ints(0, groups, -1))
    normal = g("InstanceNormalization", reshaped, np.ones(groups, np.float32), np.zeros(groups, np.float32))
    return g("Add", g("Mul", g("Reshape", normal, ints(-1, 4, 7, 6)), random(4, 1, 1)), random(4, 1, 1))


def excited(g, x):
    """Squeeze and excite by rows, as Keras does it: the row becomes an image of one pixel."""
    row = g("Squeeze", g("GlobalAveragePool", x), ints(2, 3))
    gate = g("Sigmoid", g("MatMul", g("Relu", g("MatMul", row, random(4, 3))), random(3, 4)))
    return g("Mul", x, g("Reshape", gate, ints(-1, 4, 1, 1)))


def last(g, x):
    return g("Transpose", x, perm=[0, 2, 3, 1])


READ = {
    "residual": (lambda g: g("Add", g("Relu", conv(g, "x")), "x"), [Residual]),
    "residual, the input first": (lambda g: g("Add", "x", g("Relu", conv(g, "x"))), [Residual]),
    "shortcut": (lambda g: g("Add", conv(g, g("Relu", conv(g, "x"))), conv(g, "x", K=1)), [Add]),
    "residual after residual": (
        lambda g: (y := g("Add", "x", conv(g, "x"))) and g("Relu", g("Add", conv(g, g("Relu", y)), y)),
        [Residual, Residual, ReLU],
    ),
    "residual in residual": (
        lambda g: (y := conv(g, "x")) and g("Add", "x", conv(g, g("Add", y, conv(g, g("Tanh", y))))),
        [Residual],
    ),
    "difference": (lambda g: g("Sub", conv(g, "x"), g("Tanh", "x")), [Add]),
    "sum of three": (lambda g: g("Sum", conv(g, "x"), "x", g("Sigmoid", "x")), [Add]),
    "twice the input": (lambda g: g("Add", "x", "x"), [Add]),
    "a square": (lambda g: conv(g, g("Mul", "x", "x")), [Multiply, Conv2d]),
    "a cube": (lambda g: g("Pow", "x", np.float32(3)), [Multiply]),
    "concatenation": (lambda g: g("Concat", conv(g, "x", F=3), "x", axis=1), [Concatenate]),
    "concatenation of channels last": (
        lambda g: g("Concat", last(g, conv(g, "x", F=3)), last(g, "x"), axis=-1),
        [Concatenate],
    ),
    "concatenation of grey images": (
        lambda g: g("Concat", conv(g, "x", F=1), conv(g, "x", F=1), axis=1),
        [Concatenate],
    ),
    "dense block": (lambda g: g("Relu", dense_block(g, "x")), [Concatenate, Concatenate, Concatenate, ReLU]),
    "flattened branches": (
        lambda g: g(
            "MatMul",
            g(
                "Concat",
                g("Flatten", conv(g, "x", F=3)),
                g("Flatten", g("AveragePool", "x", kernel_shape=[2, 2])),
                axis=1,
            ),
            random(126 + 60, 4),
        ),
        [Concatenate, Dense],
    ),
    "sum of flattened branches": (
        lambda g: g("MatMul", g("Add", g("Flatten", conv(g, "x")), g("Flatten", "x")), random(84, 4)),
        [Add, Dense],
    ),
    "gate": (
        lambda g: (y := conv(g, "x", F=4)) and g("Mul", y, g("Sigmoid", conv(g, g("GlobalAveragePool", y), 4, 4, 1))),
        [Conv2d, Multiply],
    ),
    "gate by rows": (lambda g: excited(g, conv(g, "x", F=4)), [Conv2d, Multiply]),
    "a gate of one channel": (lambda g: g("Mul", "x", g("Sigmoid", conv(g, "x", F=1))), [Multiply]),
    "casts between": (
        lambda g: g("Add", g("Cast", "x", to=1), g("Cast", conv(g, g("Cast", "x", to=1)), to=1)),
        [Residual],
    ),
    "SiLU": (lambda g: g("Mul", "x", g("Sigmoid", "x")), [SiLU]),
    "hard swish": (lambda g: g("Mul", "x", g("HardSigmoid", "x", alpha=1 / 6, beta=0.5)), [HardSwish]),
    "hard swish, by its formula": (
        lambda g: g(
            "Div", g("Mul", "x", g("Clip", g("Add", "x", np.float32(3)), np.float32(0), np.float32(6))), np.float32(6)
        ),
        [HardSwish],
    ),
    "x times a clip that is no hard swish": (
        lambda g: g("Mul", "x", g("Clip", g("Add", "x", np.float32(2)), np.float32(0), np.float32(6))),
        [Multiply],
    ),
    "GELU": (lambda g: gelu(g, "x"), [GELU]),
    "GELU, the half first": (lambda g: gelu(g, "x", half_first=True), [GELU]),
    "GELU by tanh": (lambda g: gelu_by_tanh(g, "x"), [GELU]),
    "SELU, CELU": (lambda g: g("Celu", g("Selu", "x"), alpha=0.5), [ELU, Rescaling, ELU, Rescaling]),
    "a slope per channel": (lambda g: g("PRelu", "x", random(2, 1, 1)), [Add]),
    "layer norm": (lambda g: g("LayerNormalization", last(g, "x"), random(2), random(2), axis=-1), [LayerNorm]),
    "layer norm, written out": (
        lambda g: g("Add", g("Mul", normalised(g, "x"), random(2, 1, 1)), random(2, 1, 1)),
        [LayerNorm],
    ),
    "layer norm of rows": (
        lambda g: g("Mul", normalised(g, g("MatMul", g("Flatten", "x"), random(84, 5))), random(5)),
        [Flatten, Dense, LayerNorm],
    ),
    "group norm": (lambda g: group_norm(g, conv(g, "x", F=4)), [Conv2d, GroupNorm]),
    "group norm of one group": (lambda g: group_norm(g, conv(g, "x", F=4), groups=1), [Conv2d, GroupNorm]),
    "instance norm": (lambda g: g("InstanceNormalization", "x", random(2), random(2)), [GroupNorm]),
    "batch norm, written out": (
        lambda g: g("Add", g("Mul", g("Relu", "x"), random(2, 1, 1)), random(2, 1, 1)),
        [ReLU, BatchNorm],
    ),
    "a factor for every channel of the input": (
        lambda g: g("Div", g("Sub", "x", random(2, 1, 1)), random(2, 1, 1) ** 2 + 1),
        [Normalization],
    ),
    "negative factors of the input": (lambda g: g("Mul", "x", np.float32([[[2]], [[-1]]])), [BatchNorm]),
    "bias of a convolution that others take": (
        lambda g: (y := g("Conv", "x", random(2, 2, 1, 1))) and g("Mul", g("Add", y, random(2, 1, 1)), g("Tanh", y)),
        [Conv2d, Multiply],
    ),
    "a border": (lambda g: g("Relu", g("Pad", "x", ints(0, 0, 1, 0, 0, 0, 2, 3))), [Pad2d, ReLU]),
    "a border of a convolution": (
        lambda g: g("Conv", g("Pad", "x", ints(0, 0, 0, 1, 0, 0, 1, 0)), random(3, 2, 2, 2), pads=[1, 0, 0, 0]),
        [Conv2d],
    ),
    "a border of a max-pool": (
        lambda g: g(
            "MaxPool", g("Pad", "x", ints(0, 0, 0, 0, 0, 0, 1, 0), mode="edge"), kernel_shape=[2, 2], strides=[2, 2]
        ),
        [MaxPool2d],
    ),
    "upsampled": (
        lambda g: g(
            "Resize",
            "x",
            "",
            np.float32([1, 1, 2, 3]),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        [Upsample],
    ),
    "a row as an image": (
        lambda g: conv(
            g, g("Reshape", g("Relu", g("MatMul", g("Flatten", "x"), random(84, 24))), ints(-1, 4, 2, 3)), C=4
        ),
        [Flatten, Dense, ReLU, Reshape, Conv2d],
    ),
    "clip in two halves": (lambda g: g("Min", g("Max", "x", np.float32(-1)), np.float32(0.5)), [Clip]),
    "ReLU6 in two halves": (lambda g: g("Clip", g("Relu", "x"), "", np.float32(6)), [Clip]),
    "a product with channels, last": (lambda g: g("MatMul", last(g, conv(g, "x")), random(2, 5)), [Conv2d, Conv2d]),
    "the larger of two branches": (lambda g: g("Max", conv(g, "x", F=2), "x"), [Maximum]),
    "the smallest of three branches": (
        lambda g: g("Min", conv(g, "x", F=2), g("Softsign", "x"), g("Abs", "x")),
        [Minimum],
    ),
    "sum of pixels": (
        lambda g: g("ReduceSum", conv(g, "x"), ints(2, 3), keepdims=0),
        [Conv2d, GlobalAvgPool2d, Rescaling],
    ),
}


@pytest.mark.parametrize(("draw", "layers"), READ.values(), ids=list(READ))
def test_read(draw, layers, tmp_path):
    model = imported(drawn(draw), tmp_path)
    assert kinds(model) == layers
    assert model.input_shape == (7, 6, 2)


def shared(g):
    """One convolution in two of three branches that no nesting expresses."""
    first = conv(g, "x")
    second = g("Tanh", conv(g, "x"))
    return g("Add", g("Mul", first, second), g("Add", g("Sigmoid", second), first))


def crossed_channels(g):
    x = g("Transpose", g("Reshape", conv(g, "x", F=4), ints(0, 2, 2, 7, 6)), perm=[0, 2, 1, 3, 4])
    return g("Reshape", x, ints(0, 4, 7, 6))


REFUSED = {
    "layers in two branches": (shared, r"\(Add\): its inputs share layers with weights"),
    "quotient of branches": (
        lambda g: g("Div", "x", g("Sigmoid", "x")),
        r"\(Div\): divides computed arrays by each other",
    ),
    "rows one below the other": (
        lambda g: g("Concat", "x", conv(g, "x"), axis=2),
        r"along axis 2; tinycnn joins channels only",
    ),
    "images one after the other": (lambda g: g("Concat", "x", conv(g, "x"), axis=0), r"along axis 0"),
    "an array and a constant": (lambda g: g("Concat", "x", random(1, 1, 7, 6), axis=1), r"and the constant 'c0'"),
    "channels first and last": (
        lambda g: g("Add", "x", g("Transpose", "x", perm=[0, 1, 3, 2])),
        r"needs the same axes|shapes",
    ),
    "two sizes": (
        lambda g: g("Add", g("MaxPool", "x", kernel_shape=[2, 2]), "x"),
        r"joins arrays of shapes \(6, 5, 2\) and",
    ),
    "erf alone": (lambda g: g("Erf", "x"), r"'erf_0' \(Erf\): tinycnn reads this operator only as a part of GELU"),
    "erf of another scale": (
        lambda g: g("Mul", "x", g("Add", g("Erf", "x"), np.float32(1))),
        r"\(Erf\): tinycnn reads",
    ),
    "a border of the edge": (
        lambda g: conv(g, g("Pad", "x", ints(0, 0, 1, 1, 0, 0, 1, 1), mode="edge")),
        r"part of a max-pool",
    ),
    "a mirrored border": (lambda g: g("Pad", "x", ints(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect"), r"mode='reflect'"),
    "a border of ones": (
        lambda g: g("Pad", "x", ints(0, 0, 1, 1, 0, 0, 1, 1), np.float32(1)),
        r"tinycnn pads with zeros",
    ),
    "a border of channels": (lambda g: g("Pad", "x", ints(0, 1, 0, 0, 0, 0, 0, 0)), r"tinycnn pads H and W only"),
    "an image cut": (lambda g: g("Pad", "x", ints(0, 0, -1, 0, 0, 0, 0, 0)), r"tinycnn adds pixels to images"),
    "pixels between pixels": (
        lambda g: g("Resize", "x", "", np.float32([1, 1, 2, 2]), mode="linear"),
        r"\(Resize\): mode='linear'; tinycnn supports only nearest",
    ),
    "half pixels": (lambda g: g("Resize", "x", "", np.float32([1, 1, 2.5, 2])), r"tinycnn repeats pixels only"),
    "pixels of unequal size": (
        lambda g: g("Resize", "x", "", np.float32([1, 1, 3, 3]), coordinate_transformation_mode="align_corners"),
        r"does not repeat each pixel equally",
    ),
    "channels in another order": (crossed_channels, r"\(Reshape\): puts the channels into another order"),
    "layer norm of the image": (lambda g: normalised(g, "x", axes=(1, 2, 3)), r"a mean over axes \[1, 2, 3\]"),
    "layer norm over rows of pixels": (
        lambda g: g("LayerNormalization", "x", random(7, 6), axis=2),
        r"over axis 2 of N, C, H, W",
    ),
    "a slope for every pixel": (lambda g: g("PRelu", "x", random(2, 7, 6)), r"one slope, or one per channel"),
    "bounds in the wrong order": (lambda g: g("Clip", "x", np.float32(1), np.float32(0)), r"bounds 1.0 and 0.0"),
    "another power": (lambda g: g("Pow", "x", np.float32(2.5)), r"the power 2.5"),
}


def test_a_row_becomes_an_image_whose_channels_are_last(tmp_path):
    """As Keras writes ``Reshape((7, 6, 2))`` in front of a convolution."""
    g = drawn(lambda g: conv(g, g("Transpose", g("Reshape", "x", ints(-1, 7, 6, 2)), perm=[0, 3, 1, 2])), shape=(84,))
    model = imported(g, tmp_path)
    assert kinds(model) == [Reshape, Conv2d]
    assert model.input_shape == (84,)


@pytest.mark.parametrize(("draw", "words"), REFUSED.values(), ids=list(REFUSED))
def test_refused(draw, words, tmp_path):
    path = drawn(draw).save(tmp_path)
    with pytest.raises(FileFormatError, match=words) as caught:
        tinycnn.from_onnx(path)
    assert len(str(caught.value)) < 700


def test_what_the_output_does_not_need_is_not_read(tmp_path):
    def draw(g):
        g("Sign", "x")
        g("Relu", "x")

    assert kinds(imported(drawn(draw), tmp_path)) == [ReLU]


def test_branches_have_limits(tmp_path, monkeypatch):
    """Of depth, of their number together, and of those that a short file repeats in every branch."""

    def nested(g, depth=40):
        if depth == 0:
            return g("Relu", "x")
        g.last = g("Add", nested(g, depth - 1), g("Tanh", "x"))
        return g("Sigmoid", g.last)

    def doubled(g):
        x = y = "x"
        for _ in range(60):
            x, y = g("Add", g("Relu", x), g("Tanh", y)), g("Relu", x)
        return x

    def repeated_branches(g):
        x = "x"
        for number in range(300):
            x = g("Tanh" if number % 2 else "Relu", x)
        return g("Sum", *[x] * 20, "x")

    step = planned.Step(planned.PlannedLayer(ReLU), None)
    with pytest.raises(FileFormatError, match="more than 4,096 layers"):  # before they are listed
        planned.branches_between("node", None, [step] * 4097)
    for draw, words in (
        (lambda g: g("Sum", *["x"] * 300), "joins 300 arrays, more than 256"),
        (repeated_branches, "its branches have more than 4,096 layers"),
        (nested, "branches within branches, more than 32 deep"),
        (doubled, "deep|have more than 4,096"),
    ):
        with pytest.raises(FileFormatError, match=words):
            tinycnn.from_onnx(drawn(draw).save(tmp_path))
    monkeypatch.setattr("tinycnn.interchange.onnx.chain.MAX_LAYERS", 3)
    with pytest.raises(FileFormatError, match="more than 3 layers one after the other"):
        tinycnn.from_onnx(drawn(lambda g: g("Relu", g("Tanh", g("Relu", g("Tanh", "x"))))).save(tmp_path))
    assert planned.MAX_DEPTH == 32


def test_weights_are_found_in_branches(tmp_path):
    model = import_onnx(drawn(lambda g: g("Add", conv(g, "x"), g("Mul", "x", conv(g, "x")))).save(tmp_path)).model
    names = [name for name in model.state_dict() if name.endswith("weight")]
    assert len(names) == 2
    assert names[0].startswith("add_1.")


@pytest.mark.parametrize("half", ["FLOAT16", "BFLOAT16"])
def test_a_file_in_half_precision_is_read_in_float32(half, tmp_path):
    """And compared with ONNX Runtime in float32, in which the numbers of the file are exact."""
    kind = getattr(onnx.TensorProto, half)
    model = drawn(lambda g: g("Relu", g("Cast", g("Conv", "x", random(3, 2, 3, 3), random(3)), to=kind))).proto()
    model.graph.input[0].type.tensor_type.elem_type = model.graph.output[0].type.tensor_type.elem_type = kind
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    for tensor, array in zip(model.graph.initializer, weights, strict=True):
        tensor.CopyFrom(onnx.helper.make_tensor(tensor.name, kind, array.shape, array.ravel().tolist()))
    path = tmp_path / "half.onnx"
    path.write_bytes(model.SerializeToString())
    found = import_onnx(path)
    assert (found.half, found.model.dtype) == (True, np.float32)
    ours = found.model.state_dict()["conv2d_1.weight"].transpose(3, 2, 0, 1)
    np.testing.assert_allclose(ours, weights[0], rtol=2**-7)
    assert not np.array_equal(ours, weights[0])
    assert largest_difference(found, path) < 1e-5


def repeated(g, x, axis, times):
    """Rows or columns of pixels repeated, as Keras' PyTorch backend writes it."""
    sizes = [1] * 5
    sizes[axis] = times
    shape = [-1, 7, 6, 2]
    shape[axis - 1] *= times
    return g("Reshape", g("Expand", g("Unsqueeze", x, ints(axis)), ints(*sizes)), ints(*shape))


def test_repeated_pixels_are_upsampled(tmp_path):
    model = imported(
        drawn(lambda g: conv(g, g("Transpose", repeated(g, last(g, conv(g, "x")), 2, 3), perm=[0, 3, 1, 2]))), tmp_path
    )
    assert kinds(model) == [Conv2d, Upsample, Conv2d]
    assert model.layers["upsample_1"].scale == (3, 1)
    with pytest.raises(FileFormatError, match="tinycnn repeats pixels only"):
        tinycnn.from_onnx(
            drawn(lambda g: g("Expand", g("Unsqueeze", "x", ints(1)), ints(1, 2, 1, 1, 1))).save(tmp_path)
        )


def test_a_mean_of_repeated_edges(tmp_path):
    """Keras' PyTorch backend repeats the last pixel in front of an average pool; the mean is that of the image."""

    def draw(g, K=2, S=2):
        x = g("Pad", conv(g, "x"), ints(0, 0, 0, 0, 0, 0, 1, 0), mode="edge")
        return g("AveragePool", x, kernel_shape=[K, K], strides=[S, S])

    model = imported(drawn(draw), tmp_path)
    assert kinds(model) == [Conv2d, AvgPool2d]
    with pytest.raises(FileFormatError, match="part of a max-pool"):
        tinycnn.from_onnx(drawn(lambda g: draw(g, K=3, S=1)).save(tmp_path))


def test_groups_with_a_scale_each(tmp_path):
    """Before opset 21, GroupNormalization has one per group, and InstanceNormalization has one in all files."""

    def of_instances(g):
        x = g("Reshape", conv(g, "x", F=6), ints(0, 3, -1))
        return g("Reshape", g("InstanceNormalization", x, random(3), random(3)), ints(-1, 6, 7, 6))

    def of_groups(count):
        return lambda g: g("GroupNormalization", conv(g, "x", F=6), random(count), random(count), num_groups=3)

    assert kinds(imported(drawn(of_instances), tmp_path)) == [Conv2d, GroupNorm]
    assert kinds(imported(drawn(of_groups(3), opset=18), tmp_path)) == [Conv2d, GroupNorm]
    assert kinds(imported(drawn(of_groups(6), opset=21), tmp_path)) == [Conv2d, GroupNorm]
    with pytest.raises(FileFormatError, match=r"constants \[\(3,\), \(3,\)\] for 6 channels"):
        tinycnn.from_onnx(drawn(of_groups(3), opset=21).save(tmp_path))


def test_shapes_are_divided_towards_zero(tmp_path):
    """-3 / 2 is -1, the size that a Reshape infers; rounded down it would be -2, which is no size."""

    def draw(g):
        inferred = g("Div", g("Sub", ints(4), ints(7)), ints(2))
        return g("Relu", g("Reshape", "x", g("Concat", inferred, ints(2, 7, 6), axis=0)))

    assert kinds(imported(drawn(draw), tmp_path)) == [ReLU]
