"""Padding, gaps, groups and rounding of windows against their definitions, and against ONNX Runtime's SAME_UPPER."""

import itertools

import numpy as np
import pytest

import tinycnn
from tests.support import onnx_runtime
from tests.support.backends import usable_backend
from tinycnn import Tensor, ops
from tinycnn.errors import SettingError, ShapeError
from tinycnn.layers import AvgPool2d, Conv2d, GlobalAvgPool2d, GlobalMaxPool2d, MaxPool2d, Sequential
from tinycnn.layers.summary import flops
from tinycnn.ops.windows.padding import pads_for

CONVS = [
    {"padding": "same"},
    {"padding": "same", "stride": 2},
    {"padding": "same", "dilation": (2, 3)},
    {"padding": ((0, 2), (1, 0)), "stride": (1, 3)},
    {"padding": ((3, 1), (0, 2)), "stride": (2, 1), "dilation": (1, 2)},
    {"padding": "valid", "dilation": 2, "stride": (2, 3)},
]
POOLS = [
    {"kernel_size": 3, "stride": 2, "padding": "same"},
    {"kernel_size": (2, 3), "stride": 1, "padding": "same"},
    {"kernel_size": (3, 2), "stride": (2, 3), "padding": ((1, 0), (0, 1))},
    {"kernel_size": 3, "stride": 2, "padding": ((1, 0), (1, 0))},
    {"kernel_size": 2, "ceil_mode": True},
    {"kernel_size": 3, "stride": (2, 5), "padding": 1, "ceil_mode": True},
    {"kernel_size": (3, 4), "stride": (3, 2), "padding": ((0, 1), (2, 1)), "ceil_mode": True},
]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def starts(size, extent, stride, padding, ceil_mode=False):
    """Where the windows of an axis start, by counting them: the first pixel of the image is 0."""
    if padding == "same":  # as few zeros as let ceil(size / stride) windows fit, the odd one behind the image
        added = next(zeros for zeros in itertools.count() if (size + zeros - extent) // stride >= (size - 1) // stride)
        padding = added // 2, added - added // 2
    before, after = pair(padding)
    found = [start for start in range(-before, size, stride) if start + extent <= size + after]
    if (
        ceil_mode
        and (not found or found[-1] + extent < size + after)
        and (next_one := -before + len(found) * stride) < size
    ):
        found.append(next_one)
    return found, before, after


def definition(x, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    """For each window ``(oh, ow)``: its pixels of the image ``(KH, KW)`` as ``(kh, kw, h, w)``, and its padded size."""
    axes = []
    padding = (padding, padding) if padding == "same" else (0, 0) if padding == "valid" else pair(padding)
    settings = zip(x.shape[1:3], pair(kernel_size), pair(stride), padding, pair(dilation), strict=True)
    for size, kernel, step, pad, gap in settings:
        found, before, after = starts(size, (kernel - 1) * gap + 1, step, pad, ceil_mode)
        places = [[(k, start + k * gap) for k in range(kernel)] for start in found]
        counted = [sum(-before <= pixel < size + after for _, pixel in places_of_one) for places_of_one in places]
        inside = [[(k, pixel) for k, pixel in one if 0 <= pixel < size] for one in places]
        axes.append((inside, counted))
    (rows, row_counts), (columns, column_counts) = axes
    for (oh, row), (ow, column) in itertools.product(enumerate(rows), enumerate(columns)):
        pixels = [(kh, kw, h, w) for (kh, h), (kw, w) in itertools.product(row, column)]
        yield (oh, ow), pixels, row_counts[oh] * column_counts[ow]


def convolution(x, weight, bias, groups, **settings):
    """``{(oh, ow): y (N, F)}``"""
    per_group, F = weight.shape[2:]
    result = {}
    for place, pixels, _ in definition(x, weight.shape[:2], **settings):
        result[place] = np.tile(bias, (len(x), 1))
        for f in range(F):
            first = f // (F // groups) * per_group
            for kh, kw, h, w in pixels:
                result[place][:, f] += x[:, h, w, first : first + per_group] @ weight[kh, kw, :, f]
    return result


def assert_same_grid(y, expected):
    assert (y.shape[1], y.shape[2]) == tuple(max(axis) + 1 for axis in zip(*expected, strict=True))
    for (oh, ow), values in expected.items():
        np.testing.assert_allclose(y.numpy()[:, oh, ow], values, rtol=1e-12, atol=1e-12, err_msg=f"{oh}, {ow}")


@pytest.mark.parametrize("settings", CONVS, ids=str)
def test_a_convolution_is_its_definition(any_backend, settings):
    for groups in (1, 2, 4):
        x, weight, bias = normal(2, 6, 7, 4), normal(3, 2, 4 // groups, 8, seed=1), normal(8, seed=2)
        y = ops.conv2d(Tensor(x), Tensor(weight), Tensor(bias), groups=groups, **settings)
        assert_same_grid(y, convolution(x, weight, bias, groups, **settings))


@pytest.mark.parametrize("settings", POOLS, ids=str)
def test_a_pool_is_its_definition(any_backend, settings):
    x = normal(2, 6, 7, 3) - 5  # below zero, so that padding would win
    windows = list(definition(x, **({"stride": settings["kernel_size"]} | settings)))
    pixels = {place: np.stack([x[:, h, w] for _, _, h, w in some]) for place, some, _ in windows}
    assert_same_grid(ops.max_pool2d(Tensor(x), **settings), {place: some.max(axis=0) for place, some in pixels.items()})
    means = {place: some.mean(axis=0) for place, some in pixels.items()}
    assert_same_grid(ops.avg_pool2d(Tensor(x), **settings, count_include_pad=False), means)
    if settings.get("padding") != "same":
        means = {place: pixels[place].sum(axis=0) / count for place, _, count in windows}
    assert_same_grid(ops.avg_pool2d(Tensor(x), **settings), means)


def test_padding_never_wins(any_backend):
    """Where all pixels are minus infinity, as padding is, each gradient still reaches a pixel of the image."""
    for settings, value in itertools.product(POOLS, (-np.inf, -1.0, np.nan)):
        x = Tensor(np.full((1, 6, 7, 1), value), requires_grad=True)
        y = ops.max_pool2d(x, **settings)
        np.testing.assert_array_equal(y.numpy(), np.full(y.shape, value))
        y.backward(np.ones(y.shape))
        assert any_backend.to_host(x.grad).sum() == y.data.size


def test_same_adds_as_little_as_possible_and_the_larger_half_behind():
    """The numbers of Keras' MobileNet and of a kernel of even size; then every small case by its definition."""
    for (size, extent, stride), expected in {
        (224, 3, 2): (0, 1), (7, 3, 2): (1, 1), (5, 2, 1): (0, 1), (28, 5, 2): (1, 2), (6, 1, 3): (0, 0),
    }.items():  # fmt: skip
        assert pads_for("same", (1, size, 9, 1), (extent, 1), (stride, 1))[0] == expected
    for size, extent, stride in itertools.product(range(1, 9), range(1, 6), range(1, 5)):
        first, last = pads_for("same", (1, size, 9, 1), (extent, 1), (stride, 1))[0]
        found, *expected = starts(size, extent, stride, "same")
        assert ([first, last], len(found)) == (expected, -(-size // stride))


@pytest.mark.parametrize(
    "settings", [{"kernel_size": k, "stride": s} for k in (1, 2, 3, 5) for s in (1, 2, 3)], ids=str
)
def test_same_is_same_upper_of_onnx(settings):
    """ONNX Runtime computes the padding of ``auto_pad=SAME_UPPER`` itself."""
    helper = pytest.importorskip("onnx", reason="pip install 'tinycnn[onnx]'").helper
    pytest.importorskip("onnxruntime", reason="pip install 'tinycnn[onnx]'")
    x, weight = (normal(*shape).astype(np.float32) for shape in ((2, 7, 6, 3), (settings["kernel_size"],) * 2 + (3, 4)))
    kernel, stride = (pair(settings[name]) for name in ("kernel_size", "stride"))
    tensors = [Tensor(x), Tensor(weight)]
    pooled = {"kernel_size": kernel, "stride": stride, "padding": "same"}
    for operator, ours in {
        "Conv": ops.conv2d(*tensors, stride=stride, padding="same"),
        "MaxPool": ops.max_pool2d(tensors[0], **pooled),
        "AveragePool": ops.avg_pool2d(tensors[0], **pooled),
    }.items():
        if operator != "Conv" and settings["stride"] > settings["kernel_size"]:
            continue  # no padding is missing, and programs differ in what they make of a negative number
        float32 = helper.np_dtype_to_tensor_dtype(np.dtype(np.float32))
        arrays = {"x": x.transpose(0, 3, 1, 2), "w": weight.transpose(3, 2, 0, 1)}
        names = ["x", "w"] if operator == "Conv" else ["x"]
        window = {"kernel_shape": kernel, "strides": stride, "auto_pad": "SAME_UPPER"}
        node = helper.make_node(operator, names, ["y"], **window)
        values = [helper.make_tensor_value_info(name, float32, arrays[name].shape) for name in names]
        graph = helper.make_graph([node], "g", values, [helper.make_tensor_value_info("y", float32, None)])
        file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        (theirs,) = onnx_runtime.outputs(file.SerializeToString(), {name: arrays[name] for name in names})
        np.testing.assert_allclose(ours.numpy(), theirs.transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-5, err_msg=operator)


# -------------------------------------------------------------------------------------------------------------- layers

LAYERS = [
    (Conv2d(4, padding="same", stride=2), (7, 6, 2), (4, 3, 4)),
    (Conv2d(4, padding=((0, 1), (2, 0))), (7, 6, 2), (6, 6, 4)),
    (Conv2d(4, padding="same", dilation=3), (7, 6, 2), (7, 6, 4)),
    (Conv2d(4, padding="valid", dilation=(1, 2)), (7, 6, 2), (5, 2, 4)),
    (Conv2d(4, groups=2, bias=False), (7, 6, 2), (5, 4, 4)),
    (Conv2d(4, groups=1), (7, 6, 2), (5, 4, 4)),
    (MaxPool2d(3, 2, "same"), (7, 6, 2), (4, 3, 2)),
    (MaxPool2d(2, ceil_mode=True), (7, 6, 2), (4, 3, 2)),
    (MaxPool2d(2, 3, ceil_mode=True), (7, 6, 2), (3, 2, 2)),
    (AvgPool2d(3, 2, ((1, 0), (0, 1)), count_include_pad=False), (7, 6, 2), (3, 3, 2)),
    (AvgPool2d(2, ceil_mode=True), (7, 5, 2), (4, 3, 2)),
    (GlobalAvgPool2d(), (7, 6, 2), (2,)),
    (GlobalAvgPool2d(keepdims=True), (7, 6, 2), (1, 1, 2)),
    (GlobalMaxPool2d(), (7, 6, 2), (2,)),
    (GlobalMaxPool2d(keepdims=True), (7, 6, 2), (1, 1, 2)),
]  # fmt: skip


def test_layers_on_every_backend_and_from_a_file(any_backend, tmp_path):
    """The shape that was inferred, also for no image; settings and values survive the model file."""
    for layer, shape_in, shape_out in LAYERS:
        network = Sequential(type(layer)(**layer.settings()), input_shape=shape_in)
        assert network.output_shape == shape_out, layer
        x = normal(3, *shape_in).astype(np.float32)
        y = network(x).numpy()
        assert (y.shape, network(x[:0]).shape) == ((3, *shape_out), (0, *shape_out)), layer
        tinycnn.save(network, tmp_path / "m.tinycnn")
        again = tinycnn.load(tmp_path / "m.tinycnn")
        assert repr(again) == repr(network)
        np.testing.assert_array_equal(again(x).numpy(), y)


def test_operations_are_counted():
    """Per output of a convolution: a product and a sum for each weight of its filter, and the bias."""
    for layer, expected in {
        Conv2d(8, padding="same"): 7 * 6 * 8 * (2 * 9 * 4 + 1),
        Conv2d(8, padding="same", groups=2): 7 * 6 * 8 * (2 * 9 * 2 + 1),
        Conv2d(8, (3, 1), padding="same", groups=4, dilation=2, bias=False): 7 * 6 * 8 * 2 * 3,
        GlobalAvgPool2d(): 7 * 6 * 4,
        GlobalMaxPool2d(keepdims=True): 7 * 6 * 4,
        AvgPool2d(2, ceil_mode=True): 4 * 3 * 4 * 4,
    }.items():
        Sequential(layer, input_shape=(7, 6, 4))
        assert flops(layer, (7, 6, 4)) == expected, layer
    table = Sequential(Conv2d(8, groups=2), Conv2d(8), input_shape=(7, 6, 4)).summary()
    assert [line[:22] for line in table.splitlines()[3:5]] == ["conv2d_1 3x3 groups=2 ", "conv2d_2 3x3          "]


def test_global_pools(any_backend):
    x = Tensor(normal(3, 4, 5, 2), requires_grad=True)
    mean, largest = (
        Sequential(kind(), input_shape=(4, 5, 2), dtype=np.float64) for kind in (GlobalAvgPool2d, GlobalMaxPool2d)
    )
    np.testing.assert_allclose(mean(x).numpy(), x.numpy().mean(axis=(1, 2)), rtol=1e-12)
    np.testing.assert_array_equal(largest(x).numpy(), x.numpy().max(axis=(1, 2)))
    for network in (mean, largest):
        assert tinycnn.gradcheck(network, x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Conv2d(3, padding="full"), "padding='full'`: expected 'same', 'valid' or numbers"),
        (lambda: Conv2d(3, padding=(1, 2, 3)), r"padding=\(1, 2, 3\)`: expected an integer, at least 0, a pair"),
        (lambda: Conv2d(3, padding=((1, 2), (3, -1))), "expected an integer, at least 0"),
        (lambda: Conv2d(3, padding=((1, 2), (3, True))), "expected an integer, at least 0"),
        (lambda: Conv2d(3, padding=((1, 2), (3, 1 << 21))), "at most 1,048,576 pixels"),
        (lambda: Conv2d(3, dilation=0), "dilation=0`: expected an integer, at least 1"),
        (lambda: Conv2d(4, groups=0), r"groups=0\): expected a positive integer"),
        (lambda: Conv2d(4, groups=3), "4 `filters` cannot be divided into 3 equal `groups`"),
        (lambda: MaxPool2d(3, padding=((0, 2), (0, 0))), "is more than half of `kernel_size="),
        (lambda: MaxPool2d(3, ceil_mode=1), r"MaxPool2d\(ceil_mode=1\): expected True or False"),
        (
            lambda: ops.max_pool2d(Tensor(normal(1, 4, 4, 2)), ceil_mode="yes"),
            "`ceil_mode='yes'`: expected True or False",
        ),
        (lambda: ops.avg_pool2d(Tensor(normal(1, 4, 4, 2)), ceil_mode=0), "`ceil_mode=0`: expected True or False"),
        (lambda: ops.avg_pool2d(Tensor(normal(1, 4, 4, 2)), count_include_pad=2), "`count_include_pad=2`: expected"),
        (lambda: GlobalMaxPool2d(keepdims=0), r"GlobalMaxPool2d\(keepdims=0\): expected True or False"),
        (
            lambda: ops.conv2d(*map(Tensor, (normal(1, 4, 4, 2), normal(3, 3, 2, 2))), groups=1.0),
            "groups=1.0`: expected",
        ),
    ],
)
def test_wrong_settings(make, words):
    with pytest.raises(SettingError, match=words):
        make()


@pytest.mark.parametrize(
    ("layers", "shape", "words"),
    [
        (
            [Conv2d(4, groups=2)],
            (5, 5, 3),
            "groups=2` does not divide both the 3 channels of the images and the 4 filters",
        ),
        ([Conv2d(4, dilation=3)], (6, 9, 3), "the 7x7 window does not fit into the 6x9 image"),
        ([Conv2d(4, 4, padding=((1, 0), (0, 0)))], (2, 9, 3), "the 4x4 window does not fit into the 3x9 image"),
        ([GlobalAvgPool2d()], (9,), r"GlobalAvgPool2d: x has shape \('N', 9\), expected \(N, H, W, C\)"),
    ],
)
def test_what_does_not_fit(layers, shape, words):
    with pytest.raises(ShapeError, match=f"layer .*_1 does not fit: .*{words}"):
        Sequential(*layers, input_shape=shape)


def test_a_weight_of_other_groups_is_refused():
    for groups, words in ((2, "with `groups=2`, weight has C/2 in place of C"), (3, "with `groups=3`")):
        with pytest.raises(ShapeError, match=words):
            ops.conv2d(Tensor(normal(1, 5, 5, 4)), Tensor(normal(3, 3, 4, 6)), groups=groups)
    with pytest.raises(
        ShapeError, match="groups=2` does not divide both the 4 channels of the images and the 3 filters"
    ):
        ops.conv2d(Tensor(normal(1, 5, 5, 4)), Tensor(normal(3, 3, 2, 3)), groups=2)


def test_same_reaches_the_fused_kernels(request):
    """An even total is plain padding; an uneven one is added to the images, and the rest is fused as before."""
    backend = usable_backend("numba", request.config)
    if backend.fused.conv_forward is None:
        pytest.skip("TINYCNN_SIMD_LANES=0: nothing is fused")
    with tinycnn.use_backend("numba"):
        for stride, padding in ((1, "same"), (2, "same"), (1, ((0, 2), (1, 1)))):
            layers = [Conv2d(5, stride=stride, padding=padding), tinycnn.layers.ReLU(), MaxPool2d(2, padding="same")]
            network = Sequential(*layers, input_shape=(8, 8, 2))
            again = Sequential(*[type(one)(**one.settings()) for one in layers], input_shape=(8, 8, 2), fuse=False)
            assert len(network._steps()) == (1 if network.layers["maxpool2d_1"].pads == ((0, 0), (0, 0)) else 2)
            x = normal(3, 8, 8, 2).astype(np.float32)
            np.testing.assert_allclose(network(x).numpy(), again(x).numpy(), rtol=1e-4, atol=1e-5)
