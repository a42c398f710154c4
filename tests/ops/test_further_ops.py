"""The operations in the folders of ``ops/``: values from elsewhere, tails, infinities, kinks, and laws that they obey.

The numbers are those of PyTorch 2.13 in float64; where PyTorch is installed, many more are compared.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinycnn import Tensor, ops
from tinycnn.backends import get_backend
from tinycnn.errors import SettingError, ShapeError

X = [-1000.0, -12.5, -3.0, -2.25, -0.75, -1e-9, 0.0, 1e-9, 0.5, 1.5, 3.0, 4.25, 1000.0]
# Outputs and slopes at X. PyTorch's GELU is exactly 0 at -12.5; the true value is in TAILS.
FROM_TORCH = {
    "tanh": (
        [
            -1.0,
            -0.9999999999722241,
            -0.9950547536867305,
            -0.9780261147388136,
            -0.6351489523872873,
            -1e-09,
            0.0,
            1e-09,
            0.46211715726000974,
            0.9051482536448664,
            0.9950547536867305,
            0.9995931460438896,
            1.0,
        ],
        [
            0.0,
            5.5551785393187607e-11,
            0.009866037165440166,
            0.04346491888890097,
            0.5965858082813315,
            1.0,
            1.0,
            1.0,
            0.7864477329659274,
            0.1807066389236486,
            0.009866037165440166,
            0.000813542382079193,
            0.0,
        ],
    ),
    "sigmoid": (
        [
            0.0,
            3.726639284186561e-06,
            0.04742587317756678,
            0.09534946489910949,
            0.320821300824607,
            0.49999999975,
            0.5,
            0.50000000025,
            0.6224593312018546,
            0.8175744761936437,
            0.9525741268224334,
            0.9859363729567544,
            1.0,
        ],
        [
            0.0,
            3.7266253963462068e-06,
            0.04517665973091214,
            0.08625794444256298,
            0.21789499376181404,
            0.25,
            0.25,
            0.25,
            0.2350037122015945,
            0.14914645207033286,
            0.045176659730912,
            0.013865841437634087,
            0.0,
        ],
    ),
    "silu": (
        [
            -0.0,
            -4.658299105233201e-05,
            -0.14227761953270035,
            -0.21453629602299634,
            -0.24061597561845527,
            -4.9999999975e-10,
            0.0,
            5.000000002500001e-10,
            0.3112296656009273,
            1.2263617142904655,
            2.8577223804672998,
            4.190229585066207,
            1000.0,
        ],
        [
            -0.0,
            -4.285617817014102e-05,
            -0.08810410601516962,
            -0.09873091009665723,
            0.1574000555032465,
            0.49999999949999996,
            0.5,
            0.5000000005,
            0.7399611873026519,
            1.041294154299143,
            1.0881041060151693,
            1.0448661990666994,
            1.0,
        ],
    ),
    "softplus": (
        [
            0.0,
            3.7266462281239904e-06,
            0.04858735157374206,
            0.10020655891674721,
            0.38687100611489994,
            0.6931471800599454,
            0.6931471805599453,
            0.6931471810599453,
            0.9740769841801067,
            1.7014132779827524,
            3.048587351573742,
            4.264163456931505,
            1000.0,
        ],
        [
            0.0,
            3.726639284186561e-06,
            0.04742587317756678,
            0.09534946489910949,
            0.320821300824607,
            0.49999999975,
            0.5,
            0.50000000025,
            0.6224593312018546,
            0.8175744761936437,
            0.9525741268224334,
            0.9859363729567544,
            1.0,
        ],
    ),
    "gelu": (
        [
            -0.0,
            -0.0,
            -0.00404969409489031,
            -0.02750506347385051,
            -0.16997051428265111,
            -4.999999996010577e-10,
            0.0,
            5.000000003989423e-10,
            0.34573123063700656,
            1.399789198096713,
            2.99595030590511,
            4.249954573765456,
            1000.0,
        ],
        [
            0.0,
            -5.868994197468933e-34,
            -0.01194564720418392,
            -0.059189743975207015,
            0.0007742782607648158,
            0.49999999920211546,
            0.5,
            0.5000000007978846,
            0.8674951246561629,
            1.1274691922299795,
            1.011945647204184,
            1.0001921156795253,
            1.0,
        ],
    ),
    "gelu approximate": (
        [
            -0.0,
            -0.0,
            -0.0036373920817729943,
            -0.02720132989728863,
            -0.17003944483437966,
            -4.999999996010577e-10,
            0.0,
            5.000000003989423e-10,
            0.34571400982514394,
            1.3995715769802328,
            2.996362607918227,
            4.2499798579641554,
            1000.0,
        ],
        [
            0.0,
            0.0,
            -0.011584166630969648,
            -0.05991453451776224,
            0.001061743862585618,
            0.49999999920211546,
            0.5,
            0.5000000007978846,
            0.8673699035346424,
            1.127710793151433,
            1.0115841666309695,
            1.0001052821841525,
            1.0,
        ],
    ),
    "elu": (
        [
            -0.7,
            -0.6999973913427795,
            -0.6651490521424952,
            -0.6262205428066949,
            -0.3693434130812897,
            -6.9999999965e-10,
            0.0,
            1e-09,
            0.5,
            1.5,
            3.0,
            4.25,
            1000.0,
        ],
        [
            0.0,
            2.6086572204550697e-06,
            0.03485094785750476,
            0.07377945719330503,
            0.33065658691871025,
            0.6999999993,
            0.7,
            1.0,
            1.0,
            1.0,
            1.0,
            1.0,
            1.0,
        ],
    ),
    "hardswish": (
        [
            -0.0,
            -0.0,
            -0.0,
            -0.28125,
            -0.28125,
            -4.999999998333334e-10,
            0.0,
            5.000000001666667e-10,
            0.2916666666666667,
            1.125,
            3.0,
            4.25,
            1000.0,
        ],
        [
            0.0,
            0.0,
            0.0,
            -0.25,
            0.25,
            0.49999999966666664,
            0.5,
            0.5000000003333334,
            0.6666666666666666,
            1.0,
            1.0,
            1.0,
            1.0,
        ],
    ),
    "leaky_relu": (
        [
            -200.0,
            -2.5,
            -0.6000000000000001,
            -0.45,
            -0.15000000000000002,
            -2.0000000000000003e-10,
            0.0,
            1e-09,
            0.5,
            1.5,
            3.0,
            4.25,
            1000.0,
        ],
        [0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    ),
    "clip": (
        [-2.25, -2.25, -2.25, -2.25, -0.75, -1e-09, 0.0, 1e-09, 0.5, 1.5, 3.0, 3.0, 3.0],
        [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0],
    ),
    "relu6": (
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1e-09, 0.5, 1.5, 3.0, 4.25, 6.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
    ),
}
CALLS = {
    "gelu approximate": lambda x: ops.gelu(x, approximate=True),
    "elu": lambda x: ops.elu(x, 0.7),
    "leaky_relu": lambda x: ops.leaky_relu(x, 0.2),
    "clip": lambda x: ops.clip(x, -2.25, 3.0),
    "relu6": lambda x: ops.clip(x, 0, 6),
    **{name: getattr(ops, name) for name in ("tanh", "sigmoid", "silu", "softplus", "gelu", "hardswish")},
}


def value_and_gradients(call, *arrays, upstream=None):
    """The output, and the gradient of every input."""
    inputs = [Tensor(get_backend().asarray(np.asarray(array)), requires_grad=True) for array in arrays]
    y = call(*inputs)
    y.backward(np.ones(y.shape, y.dtype) if upstream is None else np.asarray(upstream))
    return y.numpy(), *(get_backend().to_host(x.grad) for x in inputs)


def test_softsign_has_its_numbers_by_hand(backend):
    y, slope = value_and_gradients(ops.softsign, [-3.0, 0.0, 1.0, 1e9])
    np.testing.assert_allclose(y, [-0.75, 0, 0.5, 1 - 1 / (1 + 1e9)], rtol=1e-15)
    np.testing.assert_allclose(slope, [1 / 16, 1, 1 / 4, 1 / (1 + 1e9) ** 2], rtol=1e-15)


@pytest.mark.parametrize("name", FROM_TORCH)
def test_activations_have_the_numbers_of_pytorch(name, backend):
    for got, wanted in zip(value_and_gradients(CALLS[name], X), FROM_TORCH[name], strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)
    for got, wanted in zip(value_and_gradients(CALLS[name], np.float32(X)), FROM_TORCH[name], strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=2e-7)


TAILS = {  # x Φ(x) in 40 digits
    -37: -2.1184613523340934244e-298,
    -20.3: -1.3051366269427643524e-90,
    -10: -7.619853024160526066e-23,
    -5.5: -1.0444259356238245661e-7,
    -1: -0.15865525393145705141,
    -0.01: -0.0049601064368536840654,
    2.5: 2.4844758366855596621,
}


def test_gelu_has_all_digits_far_to_the_left(backend):
    """To four roundings; ``1 + erf(x/√2)`` has none left at -10."""
    got, _ = value_and_gradients(ops.gelu, list(TAILS))
    np.testing.assert_allclose(got, list(TAILS.values()), rtol=9e-16)


def test_the_sigmoid_has_all_digits_on_both_sides(backend):
    x = np.array([-700.0, -30.0, 30.0, 700.0])
    y, slope = value_and_gradients(ops.sigmoid, x)
    np.testing.assert_allclose(y[:2], np.exp(x[:2]), rtol=1e-12)
    np.testing.assert_allclose(slope, np.exp(-abs(x)), rtol=1e-12)


LIMITS = {  # the limits of output and slope to the left and to the right; None: infinite, as the input
    "tanh": ((-1, 0), (1, 0)),
    "sigmoid": ((0, 0), (1, 0)),
    "silu": ((0, 0), (None, 1)),
    "softplus": ((0, 0), (None, 1)),
    "gelu": ((0, 0), (None, 1)),
    "gelu approximate": ((0, 0), (None, 1)),
    "elu": ((-0.7, 0), (None, 1)),
    "hardswish": ((0, 0), (None, 1)),
    "leaky_relu": ((None, 0.2), (None, 1)),
    "clip": ((-2.25, 0), (3, 0)),
    "relu6": ((0, 0), (6, 0)),
}


@pytest.mark.parametrize("name", LIMITS)
def test_tails_go_to_their_limits_without_a_warning(name, backend):
    for dtype, far in ((np.float32, 3e38), (np.float64, 1e308)):
        x = np.array([-np.inf, -far, far, np.inf], dtype)
        y, slope = value_and_gradients(CALLS[name], x)
        for side, (value, wanted_slope) in zip((slice(2), slice(2, 4)), LIMITS[name], strict=True):
            np.testing.assert_allclose(slope[side], wanted_slope, rtol=1e-6)
            np.testing.assert_allclose(y[side], x[side] * wanted_slope if value is None else value, rtol=1e-6)
        assert np.isnan(value_and_gradients(CALLS[name], np.array([np.nan], dtype))[0]).all()


def test_slopes_at_the_kinks(backend):
    """The conventions that the files state."""
    for call, x, wanted in (
        (ops.leaky_relu, 0, 0.01),
        (lambda x: ops.elu(x, 0.5), 0, 0.5),
        (ops.hardswish, [-3, 3], [0, 1]),
        (lambda x: ops.clip(x, 0, 6), [0, 6], [0, 0]),
        (ops.abs, [0, -0.0], [0, 0]),
    ):
        np.testing.assert_array_equal(value_and_gradients(call, np.float64(x))[1], wanted)
    a, b = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    y, grad_a, grad_b = value_and_gradients(ops.maximum, a, b)
    assert (y.tolist(), grad_a.tolist(), grad_b.tolist()) == ([1, 3, 3], [1, 0, 1], [0, 1, 0])
    y, grad_a, grad_b = value_and_gradients(ops.minimum, a, b)
    assert (y.tolist(), grad_a.tolist(), grad_b.tolist()) == ([1, 2, 2], [1, 1, 0], [0, 0, 1])
    assert np.isnan(value_and_gradients(ops.maximum, [np.nan, 1.0], [1.0, np.nan])[0]).all()


numbers = st.floats(-50, 50)


@settings(deadline=None, max_examples=30)
@given(st.lists(numbers, min_size=1, max_size=20))
def test_laws_of_the_activations(x):
    x = np.array(x)
    value = {name: call(Tensor(x)).numpy() for name, call in CALLS.items()}
    mirrored = {name: call(Tensor(-x)).numpy() for name, call in CALLS.items()}
    np.testing.assert_array_equal(value["tanh"], -mirrored["tanh"])
    np.testing.assert_allclose(value["sigmoid"] + mirrored["sigmoid"], 1, rtol=1e-15)
    np.testing.assert_allclose(value["tanh"], 2 * ops.sigmoid(Tensor(2 * x)).numpy() - 1, atol=1e-15)
    for gate in ("silu", "gelu", "gelu approximate"):
        np.testing.assert_allclose(value[gate] - mirrored[gate], x, rtol=1e-15)  # x G(x) + x G(-x)
    np.testing.assert_allclose(value["gelu approximate"], value["gelu"], atol=5e-4)
    np.testing.assert_allclose(ops.clip(Tensor(x), low=0).numpy(), ops.relu(Tensor(x)).numpy())
    np.testing.assert_allclose(ops.sqrt(Tensor(x * x)).numpy(), ops.abs(Tensor(x)).numpy(), rtol=1e-15, atol=1e-160)


# ------------------------------------------------------------------------------------------------------------- shapes


def test_joining_and_padding_are_those_of_numpy(backend):
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=(2, size, 3)) for size in (1, 4, 2))
    np.testing.assert_array_equal(ops.concatenate([a, b, c], axis=1).numpy(), np.concatenate([a, b, c], axis=1))
    np.testing.assert_array_equal(ops.stack([a, a + 1], axis=-1).numpy(), np.stack([a, a + 1], axis=-1))
    pads = ((0, 1), (2, 0), (1, 1))
    np.testing.assert_array_equal(ops.pad(b, pads, value=-1.5).numpy(), np.pad(b, pads, constant_values=-1.5))
    images = rng.normal(size=(2, 3, 2, 2)).astype(np.float32)
    wanted = images.repeat(3, axis=1).repeat(2, axis=2)
    assert ops.upsample2d(images, scale=(3, 2)).dtype == np.float32
    np.testing.assert_array_equal(ops.upsample2d(images, scale=(3, 2)).numpy(), wanted)


def test_a_transposed_convolution_by_hand(backend):
    """Two pixels paint windows of three, two apart: they share a column; the rest is cut off or added at the right."""
    x, weight, bias = np.array([[[[1.0], [10.0]]]]), np.array([[[[2.0]], [[3.0]], [[4.0]]]]), np.array([0.5])
    for windows, wanted in (
        ({}, [2.5, 3.5, 24.5, 30.5, 40.5]),
        ({"padding": (0, 1)}, [3.5, 24.5, 30.5]),
        ({"padding": ((0, 0), (2, 0)), "output_padding": (0, 1)}, [24.5, 30.5, 40.5, 0.5]),
        ({"padding": "same"}, [2.5, 3.5, 24.5, 30.5]),
    ):
        y = ops.conv_transpose2d(x, weight, bias, stride=(1, 2), **windows)
        assert y.numpy()[0, 0, :, 0].tolist() == wanted


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (
            lambda: ops.conv_transpose2d(np.ones((1, 2, 2, 3)), np.ones((2, 2, 3, 4))),
            ShapeError, "expected x .N, H, W, C. and weight .KH, KW, F, C.",
        ),
        (
            lambda: ops.conv_transpose2d(np.ones((1, 2, 2, 1)), np.ones((2, 2, 3, 1)), np.ones(2)),
            ShapeError, "bias has shape .2,., expected .3,.",
        ),
        (
            lambda: ops.conv_transpose2d(np.ones((1, 2, 2, 1)), np.ones((2, 2, 1, 1)), padding=2),
            ShapeError, "leaves -1x-1 pixels",
        ),
        (
            lambda: ops.conv_transpose2d(np.ones((1, 2, 2, 1)), np.ones((2, 2, 1, 1)), stride=2, output_padding=2),
            SettingError, "output_padding=2`: expected less than the stride",
        ),
        (lambda: ops.concatenate([]), SettingError, "expected a list of at least one tensor"),
        (lambda: ops.concatenate([np.ones((2, 3)), np.ones((3, 2))]), ShapeError, "differ in another axis than 0"),
        (lambda: ops.concatenate([np.ones((2, 3)), np.ones(3)]), ShapeError, "differ in another axis"),
        (lambda: ops.concatenate([np.ones(3)], axis=1), ShapeError, "axis=1`, expected an integer from -1 to 0"),
        (lambda: ops.stack([np.ones(3), np.ones(2)]), ShapeError, "expected equal shapes"),
        (lambda: ops.stack([np.ones(3)], axis=3), ShapeError, "axis=3`, expected an integer from -2 to 1"),
        (lambda: ops.pad(np.ones(3), [(1, 1), (1, 1)]), ShapeError, "2 pairs for an array of shape"),
        (lambda: ops.pad(np.ones(3), [(1, -1)]), SettingError, "a pair of non-negative integers for each axis"),
        (lambda: ops.upsample2d(np.ones((2, 2))), ShapeError, "expected images"),
        (lambda: ops.layer_norm(np.ones((2, 3)), np.ones(2), np.ones(3)), ShapeError, "gamma and beta"),
        (lambda: ops.group_norm(np.ones((2, 6)), *np.ones((2, 6)), groups=4), ShapeError, "cannot form 4 groups"),
        (lambda: ops.clip(np.ones(2)), SettingError, "at least one of `low` and `high`"),
        (lambda: ops.maximum(np.ones(2), np.ones(3)), ShapeError, "cannot be broadcast"),
    ],
)  # fmt: skip
def test_what_is_refused(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


# ----------------------------------------------------------------------------------------------------------- indexing


def test_an_element_that_was_chosen_several_times_adds_its_gradients(backend):
    x = np.arange(6.0).reshape(3, 2)
    y, grad = value_and_gradients(lambda x: x[[2, 0, 2, 2]], x, upstream=np.arange(8.0).reshape(4, 2))
    np.testing.assert_array_equal(y, x[[2, 0, 2, 2]])
    np.testing.assert_array_equal(grad, [[2, 3], [0, 0], [0 + 4 + 6, 1 + 5 + 7]])


def test_repeated_indices_add_exactly(backend):
    """100,000 gradients for one element, in float32: their sum is rounded once, as the contract of sums demands."""
    count = 100_000
    upstream = np.random.default_rng(0).uniform(size=count).astype(np.float32)
    index = np.arange(count) % 3
    _, grad = value_and_gradients(lambda x: x[index], np.zeros(4, np.float32), upstream=upstream)
    exact = np.bincount(index, upstream.astype(np.float64), minlength=4)
    np.testing.assert_allclose(grad, exact, rtol=6e-8)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 9), max_size=60), st.integers(0, 2**32))
def test_sums_by_place(places, seed):
    values = np.random.default_rng(seed).normal(size=len(places))
    x = Tensor(np.zeros(10), requires_grad=True)
    x[np.array(places, int)].backward(values)
    np.testing.assert_allclose(x.grad, np.bincount(places, values, minlength=10), rtol=1e-12, atol=1e-12)


def test_comparisons_give_masks_for_indexing(backend):
    x = Tensor(backend.asarray(np.array([[1.0, -2.0], [-3.0, 4.0]])), requires_grad=True)
    (x[x > 0] * 2).sum().backward()
    np.testing.assert_array_equal(get_backend().to_host(x.grad), [[2, 0], [0, 2]])
    rows = [row.sum() for row in x * 1]
    assert [row.item() for row in rows] == [-1, 1]
    rows[1].backward()
    np.testing.assert_array_equal(get_backend().to_host(x.grad), [[2, 0], [1, 3]])


@pytest.mark.parametrize("index", [5, -4, "a", 1.0, [0, 3], [0.5], (0, 0, 0), [[1, 2], [3]], np.ones((2, 2), bool), {}])
def test_an_index_outside_of_the_tensor_is_refused(index, backend):
    with pytest.raises(ShapeError, match=r"index .* for a tensor of shape \(3, 2\)"):
        Tensor(backend.asarray(np.zeros((3, 2))))[index]


# ------------------------------------------------------------------------------------------------------ normalisation

ROWS = [[0.5, -1.0, 2.0, 3.0], [-2.0, 0.25, 0.0, 1.0]]
GAMMA, BETA, UPSTREAM = [1.0, 2.0, -1.0, 0.5], [0.0, 1.0, 2.0, 3.0], [[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, -1.0, 2.0]]
NORMS = {  # output, and gradients of x, gamma and beta, from PyTorch, with eps=0.1
    "layer_norm": (
        [[-0.4036986754991144, -1.745150993393978, 1.4348218543012399, 3.6055480132486717],
         [-1.5713599362732655, 1.758587555442266, 1.8374455238338, 3.514755841192966]],
        [[1.4004712330743725, -0.793291582414948, -0.6042321766270968, -0.002947474032327424],
         [-0.2026124298740185, 0.7065981222742155, -0.06872532169093593, -0.43526037070926105]],
        [-0.4036986754991144, 3.124444771115111, 0.12003459668318017, 5.692311444263894],
        [1.0, -1.0, -0.5, 5.0],
    ),
    "group_norm": (
        [[0.9214426752509268, -0.8428853505018536, 2.845154254728517, 3.4225771273642582],
         [-0.9626907371412556, 2.9253814742825113, 2.8451542547285165, 3.4225771273642582]],
        [[0.46361895610109494, -0.46361895610109494, -0.48294528841629525, 0.48294528841629436],
         [-0.06266179219632906, 0.06266179219632906, 0.0, 0.0]],
        [0.9214426752509268, 2.805576087643109, 0.4225771273642583, 4.225771273642583],
        [1.0, -1.0, -0.5, 5.0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NORMS)
def test_norms_have_the_numbers_of_pytorch(name, backend):
    groups = {"groups": 2} if name == "group_norm" else {}
    call = lambda *x: getattr(ops, name)(*x, eps=0.1, **groups)  # noqa: E731
    for got, wanted in zip(
        value_and_gradients(call, *map(np.array, (ROWS, GAMMA, BETA)), upstream=UPSTREAM), NORMS[name], strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14)


def test_a_long_group_is_normalised_exactly(backend):
    """A million numbers with a mean of 1000 in float32: sums rounded after each addition would be off by percents."""
    x = (np.random.default_rng(0).normal(size=(1, 1000, 250, 4)) + 1000).astype(np.float32)
    y = ops.group_norm(x, np.ones(4, np.float32), np.zeros(4, np.float32), groups=1).numpy().astype(np.float64)
    assert abs(y.mean()) < 1e-4
    assert abs(y.std() - 1) < 1e-3


# ------------------------------------------------------------------------------------------- against PyTorch, if there


def test_everything_against_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `pip install 'tinycnn[bench]'`")
    F = torch.nn.functional
    rng = np.random.default_rng(0)
    x, other = 3 * rng.normal(size=(4, 5, 6, 8)), rng.normal(size=(4, 5, 6, 8))
    gamma, beta = rng.normal(size=(2, 8))
    second = lambda x: x.movedim(-1, 1)  # noqa: E731
    last = lambda x: x.movedim(1, -1)  # noqa: E731
    index = [3, 0, 3, 3]
    pairs = {
        "tanh": (ops.tanh, torch.tanh, [x]),
        "sigmoid": (ops.sigmoid, torch.sigmoid, [x]),
        "silu": (ops.silu, F.silu, [x]),
        "softplus": (ops.softplus, lambda x: F.softplus(x, threshold=1e9), [x]),
        "softsign": (ops.softsign, F.softsign, [x]),
        "gelu": (ops.gelu, F.gelu, [x]),
        "gelu tanh": (lambda x: ops.gelu(x, True), lambda x: F.gelu(x, approximate="tanh"), [x]),
        "elu": (lambda x: ops.elu(x, 1.3), lambda x: F.elu(x, 1.3), [x]),
        "hardswish": (ops.hardswish, F.hardswish, [x]),
        "leaky_relu": (lambda x: ops.leaky_relu(x, 0.3), lambda x: F.leaky_relu(x, 0.3), [x]),
        "clip": (lambda x: ops.clip(x, -1, 2), lambda x: x.clamp(-1, 2), [x]),
        "abs": (ops.abs, torch.abs, [x]),
        "sqrt": (ops.sqrt, torch.sqrt, [np.abs(x)]),
        "maximum": (ops.maximum, torch.maximum, [x, other]),
        "minimum": (ops.minimum, torch.minimum, [x, other]),
        "concatenate": (lambda *x: ops.concatenate(x, 2), lambda *x: torch.cat(x, 2), [x, other[:, :, :2]]),
        "stack": (lambda *x: ops.stack(x, 1), lambda *x: torch.stack(x, 1), [x, other]),
        "pad": (lambda x: ops.pad(x, ((0, 0), (1, 2), (3, 0), (0, 0))), lambda x: F.pad(x, (0, 0, 3, 0, 1, 2)), [x]),
        "conv_transpose": (
            lambda x, w, b: ops.conv_transpose2d(x, w, b, stride=(3, 2), padding=(1, 0), output_padding=(2, 1)),
            lambda x, w, b: last(F.conv_transpose2d(second(x), w.permute(3, 2, 0, 1), b, (3, 2), (1, 0), (2, 1))),
            [x, rng.normal(size=(3, 4, 5, 8)), rng.normal(size=5)],
        ),
        "upsample": (
            lambda x: ops.upsample2d(x, scale=3), lambda x: last(F.interpolate(second(x), scale_factor=3)), [x]
        ),
        "index": (lambda x: x[:, index], lambda x: x[:, index], [x]),
        "layer_norm": (
            lambda *x: ops.layer_norm(*x, eps=1e-5), lambda x, *affine: F.layer_norm(x, (8,), *affine), [x, gamma, beta]
        ),
        "group_norm": (
            lambda *x: ops.group_norm(*x, groups=4, eps=1e-5),
            lambda x, *affine: last(F.group_norm(second(x), 4, *affine)), [x, gamma, beta],
        ),
    }  # fmt: skip
    for name, (ours, theirs, arrays) in pairs.items():
        inputs = [torch.tensor(array, requires_grad=True) for array in arrays]
        y = theirs(*inputs)
        upstream = rng.normal(size=tuple(y.shape))
        y.backward(torch.tensor(upstream))
        wanted = [y.detach().numpy(), *(x.grad.numpy() for x in inputs)]
        for got, expected in zip(value_and_gradients(ours, *arrays, upstream=upstream), wanted, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9, err_msg=name)
