"""Values of every operation against independent formulas, and an error with a reason for every wrong argument."""

import itertools
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import special
from scipy.signal import correlate2d

import tinycnn
from tinycnn import Tensor, models, ops
from tinycnn.errors import DataError, DtypeError, SettingError, ShapeError, TinyCNNError

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
WINDOWS = pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)},
        {"kernel_size": (3, 3), "stride": (1, 1), "padding": (1, 1)},
        {"kernel_size": (3, 2), "stride": (2, 3), "padding": (1, 0)},
        {"kernel_size": (1, 4), "stride": (3, 1), "padding": (0, 2)},
    ],
    ids=str,
)


def normal(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def assert_close(ours, wanted):
    """The dtype of the input is kept, and the values agree as far as it is precise."""
    tolerance = 1e-5 if ours.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(ours.numpy(), wanted, rtol=tolerance, atol=tolerance)


def windows_of(x, kernel_size, stride, padding, value):
    """``x (N, H, W, C)`` → every whole window, ``(N, OH, OW, C, KH, KW)``, by NumPy's own sliding windows."""
    (PH, PW), (SH, SW) = padding, stride
    padded = np.pad(x, ((0, 0), (PH, PH), (PW, PW), (0, 0)), constant_values=value)
    return np.lib.stride_tricks.sliding_window_view(padded, kernel_size, axis=(1, 2))[:, ::SH, ::SW]


@DTYPES
class TestValues:
    @WINDOWS
    @pytest.mark.parametrize("bias", [True, False])
    def test_conv2d(self, any_backend, dtype, settings, bias):
        x, weight = normal(2, 6, 5, 3, dtype=dtype), normal(*settings["kernel_size"], 3, 4, dtype=dtype, seed=1)
        b = normal(4, dtype=dtype, seed=2)
        (PH, PW), (SH, SW) = settings["padding"], settings["stride"]
        padded = np.pad(x, ((0, 0), (PH, PH), (PW, PW), (0, 0))).astype(np.float64)
        tensors = Tensor(x), Tensor(weight), Tensor(b) if bias else None
        y = ops.conv2d(*tensors, stride=settings["stride"], padding=settings["padding"])
        assert y.dtype == dtype
        for n, f in np.ndindex(2, 4):
            wanted = sum(correlate2d(padded[n, :, :, c], weight[:, :, c, f], mode="valid") for c in range(3))
            assert_close(Tensor(y.data[n, :, :, f]), wanted[::SH, ::SW] + (b[f] if bias else 0))

    @WINDOWS
    def test_max_pool2d(self, any_backend, dtype, settings):
        if any(2 * pad > size for pad, size in zip(settings["padding"], settings["kernel_size"], strict=True)):
            settings = settings | {"padding": (0, 0)}
        x = normal(2, 6, 5, 3, dtype=dtype)
        wanted = windows_of(x, **settings, value=-np.inf).max(axis=(4, 5))
        y = ops.max_pool2d(Tensor(x), **settings)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y.numpy(), wanted)

    @WINDOWS
    def test_avg_pool2d(self, any_backend, dtype, settings):
        if any(2 * pad > size for pad, size in zip(settings["padding"], settings["kernel_size"], strict=True)):
            settings = settings | {"padding": (0, 0)}
        x = normal(2, 6, 5, 3, dtype=dtype)
        assert_close(ops.avg_pool2d(Tensor(x), **settings), windows_of(x, **settings, value=0).mean(axis=(4, 5)))

    def test_dense(self, any_backend, dtype):
        x, weight, bias = (normal(*shape, dtype=dtype) for shape in [(3, 4), (4, 2), (2,)])
        assert_close(ops.dense(Tensor(x), Tensor(weight), Tensor(bias)), np.einsum("ni,ij->nj", x, weight) + bias)
        assert_close(ops.dense(Tensor(x), Tensor(weight)), np.einsum("ni,ij->nj", x, weight))

    def test_relu(self, any_backend, dtype):
        x = np.array([[-1.5, -0.0, 0.0], [2.5, np.inf, -np.inf]], dtype)
        assert ops.relu(Tensor(x)).numpy().tolist() == [[0, 0, 0], [2.5, np.inf, 0]]
        assert np.isnan(ops.relu(Tensor(np.array([np.nan], dtype))).numpy()).all()

    def test_flatten_keeps_channels_last(self, any_backend, dtype):
        x = np.arange(24, dtype=dtype).reshape(2, 3, 2, 2)
        assert ops.flatten(Tensor(x)).numpy().tolist() == [list(range(12)), list(range(12, 24))]
        assert ops.flatten(Tensor(np.zeros((0, 3, 2), dtype))).shape == (0, 6)
        assert ops.flatten(Tensor(np.zeros(3, dtype))).shape == (3, 1)

    @pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 4)], ids=str)
    def test_softmax(self, any_backend, dtype, shape):
        x = 3 * normal(*shape, dtype=dtype)
        assert_close(ops.softmax(Tensor(x)), special.softmax(x.astype(np.float64), axis=-1))
        assert_close(ops.log_softmax(Tensor(x)), special.log_softmax(x.astype(np.float64), axis=-1))

    def test_softmax_cross_entropy(self, any_backend, dtype):
        x, labels = 3 * normal(6, 4, dtype=dtype), np.array([0, 3, 1, 1, 2, 0])
        log_p = special.log_softmax(x.astype(np.float64), axis=-1)
        wanted = -log_p[np.arange(6), labels].mean()
        one_hot = np.eye(4)[labels]
        for same in (labels, labels.tolist(), labels.astype(np.uint8), one_hot, one_hot.astype(np.int64)):
            assert_close(ops.softmax_cross_entropy(Tensor(x), same), wanted)
            assert_close(ops.nll_loss(Tensor(log_p.astype(dtype)), same), wanted)
        smooth = np.random.default_rng(0).dirichlet(np.ones(4), 6)
        assert_close(ops.softmax_cross_entropy(Tensor(x), smooth), -(smooth * log_p).sum(axis=1).mean())
        assert_close(ops.softmax_cross_entropy(Tensor(x), Tensor(smooth)), -(smooth * log_p).sum(axis=1).mean())

    @pytest.mark.parametrize("shape", [(5, 2), (3, 4, 2, 2)], ids=str)
    def test_batch_norm(self, any_backend, dtype, shape):
        x, gamma, beta = normal(*shape, dtype=dtype), normal(2, dtype=dtype, seed=1), normal(2, dtype=dtype, seed=2)
        rows = x.reshape(-1, 2).astype(np.float64)
        mean, var = rows.sum(axis=0) / len(rows), ((rows - rows.mean(axis=0)) ** 2).sum(axis=0) / len(rows)
        wanted = gamma * (x - mean) / np.sqrt(var + 1e-3) + beta
        tensors = Tensor(x), Tensor(gamma), Tensor(beta)
        assert_close(ops.batch_norm(*tensors), wanted)
        running = [any_backend.asarray(array.astype(dtype)) for array in (np.array([1, 2]), np.array([3, 4]))]
        names = ("running_mean", "running_var")
        ops.batch_norm(*tensors, **dict(zip(names, running, strict=True)), momentum=0.2)
        assert_close(Tensor(running[0]), 0.8 * np.array([1, 2]) + 0.2 * mean)
        assert_close(Tensor(running[1]), 0.8 * np.array([3, 4]) + 0.2 * var)
        fixed = ops.batch_norm(*tensors, **dict(zip(names, running, strict=True)), training=False, eps=0.1)
        mean, var = (any_backend.to_host(array) for array in running)
        assert_close(fixed, gamma * (x - mean) / np.sqrt(var + dtype(0.1)) + beta)

    def test_dropout(self, any_backend, dtype):
        x = 1 + np.arange(12, dtype=dtype).reshape(3, 4)
        y = ops.dropout(Tensor(x), p=0.5, key=(7, 1)).numpy()
        assert y.dtype == dtype
        assert ((y == 0) | (y == 2 * x)).all()
        assert 0 < (y == 0).sum() < 12
        np.testing.assert_array_equal(ops.dropout(Tensor(x), p=0.5, key=(7, 1)).numpy(), y)

    @pytest.mark.parametrize("size", [1e4, 1e30], ids=str)
    def test_extreme_logits_stay_finite(self, any_backend, dtype, size):
        logits = Tensor(np.array([[size, -size, 0], [-size, -size, -size]], dtype), requires_grad=True)
        assert ops.softmax(logits).numpy()[0].tolist() == [1, 0, 0]
        assert np.isfinite(ops.log_softmax(logits).numpy()).all()
        loss = ops.softmax_cross_entropy(logits, [1, 2])
        loss.backward()
        assert loss.item() == pytest.approx((2 * size + np.log(3)) / 2, rel=1e-5)
        assert_close(Tensor(logits.grad), [[0.5, -0.5, 0], [1 / 6, 1 / 6, -1 / 3]])

    def test_an_impossible_class_adds_no_loss_unless_it_is_the_target(self, any_backend, dtype):
        log_p = Tensor(np.array([[0, -np.inf]], dtype))
        assert ops.nll_loss(log_p, [0]).item() == 0
        assert ops.nll_loss(log_p, [1]).item() == np.inf

    @pytest.mark.parametrize("op", [ops.relu, ops.max_pool2d, ops.avg_pool2d, ops.flatten, ops.softmax])
    def test_an_empty_batch_stays_empty(self, any_backend, dtype, op):
        x = Tensor(np.zeros((0, 4, 4, 2), dtype), requires_grad=True)
        y = op(x)
        y.sum().backward()
        assert (y.shape[0], y.dtype, x.grad.shape) == (0, dtype, x.shape)

    def test_an_empty_batch_through_conv_and_dense(self, any_backend, dtype):
        x, weight = Tensor(np.zeros((0, 4, 4, 2), dtype)), Tensor(np.ones((3, 3, 2, 5), dtype), requires_grad=True)
        y = ops.dense(ops.flatten(ops.conv2d(x, weight)), Tensor(np.ones((20, 3), dtype)))
        y.sum().backward()
        assert (y.shape, y.dtype) == ((0, 3), dtype)
        np.testing.assert_array_equal(any_backend.to_host(weight.grad), np.zeros(weight.shape))

    @pytest.mark.parametrize("name", models.MODELS)
    def test_an_empty_batch_through_the_networks(self, backend, dtype, name):
        model = models.create(name, dtype=dtype).eval()
        x = Tensor(np.zeros((0, 28, 28, 1), dtype), requires_grad=True)
        y = model.logits(x)
        y.sum().backward()
        assert (y.shape, y.dtype, x.grad.shape) == ((0, 10), dtype, x.shape)
        for parameter in model.parameters():
            np.testing.assert_array_equal(backend.to_host(parameter.grad), np.zeros(parameter.shape))


def test_shortcuts_for_settings():
    x, weight = Tensor(normal(1, 6, 6, 2)), Tensor(normal(3, 3, 2, 1))
    same = [
        (ops.conv2d(x, weight, stride=2, padding=1), ops.conv2d(x, weight, stride=(2, 2), padding=[1, 1])),
        (ops.max_pool2d(x), ops.max_pool2d(x, kernel_size=(2, 2), stride=(2, 2), padding=(0, 0))),
        (ops.max_pool2d(x, kernel_size=3), ops.max_pool2d(x, kernel_size=3, stride=3)),
        (ops.avg_pool2d(x), ops.avg_pool2d(x, kernel_size=(2, 2), stride=(2, 2), padding=(0, 0))),
        (ops.avg_pool2d(x, kernel_size=(3, 2)), ops.avg_pool2d(x, kernel_size=(3, 2), stride=(3, 2))),
    ]
    for a, b in same:
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_average_pool_with_an_odd_number_of_windows(any_backend):
    x = Tensor(np.ones((1, 2, 2, 3)), requires_grad=True)
    ops.avg_pool2d(x).sum().backward()
    np.testing.assert_array_equal(any_backend.to_host(x.grad), np.full(x.shape, 0.25))


def fixed_batch_norm(x, gamma, beta):
    mean, var = map(tinycnn.get_backend().asarray, (np.array([0.5, -1.0]), np.array([4.0, 0.25])))
    return ops.batch_norm(x, gamma, beta, running_mean=mean, running_var=var, training=False)


FROZEN_FIRST = {
    "conv2d": (ops.conv2d, (2, 5, 5, 2), [(3, 3, 2, 4), (4,)]),
    "dense": (ops.dense, (3, 4), [(4, 5), (5,)]),
    "batch_norm": (ops.batch_norm, (6, 2), [(2,), (2,)]),
    "fixed batch_norm": (fixed_batch_norm, (6, 2), [(2,), (2,)]),
}


@pytest.mark.parametrize(("op", "shape", "parameters"), FROZEN_FIRST.values(), ids=FROZEN_FIRST)
def test_frozen_parameters_pass_on_the_gradient_of_the_input(any_backend, op, shape, parameters):
    """As in transfer learning, and the other way round: the first layer needs no gradient of its input."""

    def gradients(*wanted):
        x, *rest = [
            Tensor(normal(*s, seed=i), requires_grad=flag)
            for i, (s, flag) in enumerate(zip([shape, *parameters], wanted, strict=True))
        ]
        y = op(x, *rest)
        y.backward(normal(*y.shape, seed=9))
        return [None if t.grad is None else any_backend.to_host(t.grad) for t in (x, *rest)]

    every = gradients(True, True, True)
    for wanted in [some for some in itertools.product((False, True), repeat=3) if any(some)]:
        for grad, full, flag in zip(gradients(*wanted), every, wanted, strict=True):
            np.testing.assert_array_equal(grad, full if flag else None)


def test_running_statistics_may_be_views(any_backend):
    x = normal(6, 2, dtype=np.float32)
    mean, var = (any_backend.asarray(np.full((4,), value, np.float32))[::2] for value in (1, 3))
    gamma, beta = Tensor(np.ones(2, np.float32)), Tensor(np.zeros(2, np.float32))
    ops.batch_norm(Tensor(x), gamma, beta, running_mean=mean, running_var=var, momentum=0.2)
    assert_close(Tensor(mean), 0.8 * 1 + 0.2 * x.mean(axis=0))
    assert_close(Tensor(var), 0.8 * 3 + 0.2 * x.var(axis=0))


def test_running_statistics_are_given_together(any_backend):
    x, gamma, beta = Tensor(normal(6, 2)), Tensor(np.ones(2)), Tensor(np.zeros(2))
    alone = any_backend.asarray(np.array([1.0, 2.0]))
    for name in ("running_mean", "running_var"):
        np.testing.assert_array_equal(
            ops.batch_norm(x, gamma, beta, **{name: alone}).numpy(), ops.batch_norm(x, gamma, beta).numpy()
        )
        assert any_backend.to_host(alone).tolist() == [1, 2]
        with pytest.raises(SettingError, match="needs `running_mean` and `running_var`"):
            ops.batch_norm(x, gamma, beta, **{name: alone}, training=False)


def test_the_loss_is_weighted_by_its_upstream_gradient(any_backend):
    x, labels = normal(4, 3, dtype=np.float32), [0, 2, 1, 1]
    grads = []
    for weight in (1, 3):
        logits = Tensor(x, requires_grad=True)
        (ops.softmax_cross_entropy(logits, labels) * weight).backward()
        grads.append(any_backend.to_host(logits.grad))
    assert_close(Tensor(grads[1]), 3 * grads[0])


def test_dropout_that_does_nothing_returns_its_input():
    x = Tensor([1, 2])
    assert ops.dropout(x, p=0, key=(0, 0)) is x
    assert ops.dropout(x, p=0.5, key=(0, 0), training=False) is x


def test_gradient_of_dropout_uses_the_mask_of_forward(any_backend):
    x = Tensor(np.ones((4, 5)), requires_grad=True)
    y = ops.dropout(x, p=0.3, key=(1, 2))
    y.sum().backward()
    np.testing.assert_array_equal(any_backend.to_host(x.grad), y.numpy())


def zeros(*shape):
    return Tensor(np.zeros(shape, np.float32))


IMAGES, FILTERS, SCORES = zeros(2, 5, 6, 3), zeros(3, 3, 3, 4), zeros(2, 3)
NUMBERS = np.ones(3, np.float32)
FRACTIONS = np.full((2, 3), 0.5, np.float32)


def norm(**settings):
    statistics = {"running_mean": NUMBERS.copy(), "running_var": NUMBERS.copy()}
    return ops.batch_norm(SCORES, zeros(3), zeros(3), **statistics | settings)


ROWS = [[0.5, 0.5, 0.0], [0.2, 0.2, 0.2]]
WRONG_CALLS = {
    # convolution
    "channels first": (lambda: ops.conv2d(zeros(2, 3, 5, 6), FILTERS), ShapeError, r"\(2, 3, 5, 6\).*channels-last"),
    "image without batch": (lambda: ops.conv2d(zeros(5, 6, 3), FILTERS), ShapeError, r"expected x \(N, H, W, C\)"),
    "weight of 2 axes": (lambda: ops.conv2d(IMAGES, zeros(3, 4)), ShapeError, r"weight \(3, 4\).*\(KH, KW, C, F\)"),
    "no filters": (lambda: ops.conv2d(IMAGES, zeros(3, 3, 3, 0)), ShapeError, r"weight \(3, 3, 3, 0\)"),
    "bias of wrong size": (lambda: ops.conv2d(IMAGES, FILTERS, zeros(3)), ShapeError, r"bias.*\(3,\), expected \(4,\)"),
    "bias of two axes": (lambda: ops.conv2d(IMAGES, FILTERS, zeros(1, 4)), ShapeError, "one number per filter"),
    "window too large": (lambda: ops.conv2d(IMAGES, zeros(7, 3, 3, 1)), ShapeError, "7x3 window .* 5x6 image"),
    "still too large": (
        lambda: ops.conv2d(IMAGES, zeros(8, 3, 3, 1), padding=1), ShapeError, r"8x3 .* 7x8 image \(padding included\)",
    ),
    "stride 0": (lambda: ops.conv2d(IMAGES, FILTERS, stride=0), SettingError, "stride=0`: expected an integer, at"),
    "stride for one axis 0": (lambda: ops.conv2d(IMAGES, FILTERS, stride=(1, 0)), SettingError, r"stride=\(1, 0\)"),
    "stride 1.5": (lambda: ops.conv2d(IMAGES, FILTERS, stride=1.5), SettingError, "stride=1.5.*expected an integer"),
    "stride of three": (lambda: ops.conv2d(IMAGES, FILTERS, stride=(1, 1, 1)), SettingError, "or a pair"),
    "stride True": (lambda: ops.conv2d(IMAGES, FILTERS, stride=(True, 1)), SettingError, "expected an integer"),
    "negative padding": (lambda: ops.conv2d(IMAGES, FILTERS, padding=-1), SettingError, "padding=-1.*at least 0"),
    "padding full": (lambda: ops.conv2d(IMAGES, FILTERS, padding="full"), SettingError, "padding='full'"),
    # pooling
    "pool of rows": (lambda: ops.max_pool2d(SCORES), ShapeError, r"max_pool2d: x has shape \(2, 3\), expected"),
    "pool too large": (lambda: ops.max_pool2d(IMAGES, kernel_size=6), ShapeError, "max_pool2d: the 6x6 window"),
    "pool of size 0": (lambda: ops.max_pool2d(IMAGES, kernel_size=0), SettingError, "kernel_size=0.*at least 1"),
    "pool stride 0": (lambda: ops.avg_pool2d(IMAGES, stride=0), SettingError, "stride=0"),
    "pool padding": (lambda: ops.max_pool2d(IMAGES, padding=2), SettingError, "max_pool2d: .*more than half"),
    "average pool padding": (lambda: ops.avg_pool2d(IMAGES, padding=(0, 2)), SettingError, "avg_pool2d: .*more than"),
    "average pool of rows": (lambda: ops.avg_pool2d(SCORES), ShapeError, "avg_pool2d: x has shape"),
    # dense, flatten, softmax
    "dense on images": (lambda: ops.dense(IMAGES, zeros(3, 4)), ShapeError, "flatten images first"),
    "dense sizes": (lambda: ops.dense(SCORES, zeros(4, 3)), ShapeError, r"\(2, 3\) and weight \(4, 3\)"),
    "dense bias": (lambda: ops.dense(SCORES, zeros(3, 4), zeros(3)), ShapeError, r"bias.*expected \(4,\)"),
    "flatten a number": (lambda: ops.flatten(zeros()), ShapeError, "no batch axis"),
    "softmax of a number": (lambda: ops.softmax(zeros()), ShapeError, "softmax: .*at least one class"),
    "log_softmax of no class": (lambda: ops.log_softmax(zeros(2, 0)), ShapeError, "log_softmax: .*at least one class"),
    # losses
    "label too large": (lambda: ops.softmax_cross_entropy(SCORES, [0, 3]), DataError, "from 0 to 3, expected 0 to 2"),
    "label negative": (lambda: ops.softmax_cross_entropy(SCORES, [-1, 2]), DataError, "from -1 to 2"),
    "float labels": (lambda: ops.softmax_cross_entropy(SCORES, [0.0, 1.0]), DataError, "float64, expected integers"),
    "labels missing": (lambda: ops.softmax_cross_entropy(SCORES, [0]), ShapeError, r"labels \(1,\)"),
    "labels of two columns": (lambda: ops.nll_loss(SCORES, np.zeros((2, 2))), ShapeError, r"labels \(2, 2\)"),
    "rows not one": (lambda: ops.softmax_cross_entropy(SCORES, ROWS), DataError, "probabilities that sum to 1"),
    "negative probability": (lambda: ops.nll_loss(SCORES, [[2, -1, 0], [1, 0, 0]]), DataError, "nll_loss: .*row of"),
    "not a number": (lambda: ops.nll_loss(SCORES, [[np.nan, 1, 0], [1, 0, 0]]), DataError, "nll_loss: .*row of labels"),
    "empty batch": (lambda: ops.softmax_cross_entropy(zeros(0, 3), np.zeros(0, int)), ShapeError, "N and K >= 1"),
    "scores of three axes": (lambda: ops.nll_loss(zeros(1, 2, 3), [0]), ShapeError, r"expected scores \(N, K\)"),
    "mean of nothing": (lambda: zeros(0, 3).mean(axis=1), ShapeError, r"an array of shape \(0, 3\) is empty"),
    "max of nothing": (lambda: zeros(0, 3).max(), ShapeError, r"max: an array of shape \(0, 3\) is empty"),
    # batch norm, dropout
    "gamma of wrong size": (lambda: ops.batch_norm(IMAGES, zeros(4), zeros(3)), ShapeError, r"gamma \(4,\).*\(C,\)"),
    "one number per channel": (lambda: ops.batch_norm(zeros(3), zeros(3), zeros(3)), ShapeError, r"x \(N, \.\.\., C\)"),
    "empty batch norm": (lambda: ops.batch_norm(zeros(0, 3), zeros(3), zeros(3)), ShapeError, "at least one image"),
    "no statistics": (
        lambda: ops.batch_norm(SCORES, zeros(3), zeros(3), training=False), SettingError, "needs `running_mean`",
    ),
    "statistics of wrong size": (lambda: norm(running_mean=NUMBERS[:2]), ShapeError, r"mean` has shape \(2,\).*\(3,\)"),
    "statistics of another dtype": (lambda: norm(running_var=np.ones(3)), DtypeError, "var` is float64 and x float32"),
    "statistics as a list": (lambda: norm(running_mean=[0, 0, 0]), DtypeError, "`running_mean` is of type list"),
    "eps of 0": (lambda: norm(eps=0), SettingError, r"eps=0`: expected .* `eps` above 0"),
    "eps below 0": (lambda: norm(eps=-1e-3, training=False), SettingError, "`eps` above 0"),
    "eps NaN": (lambda: norm(eps=np.nan), SettingError, "eps=nan"),
    "eps of no number": (lambda: norm(eps="small"), SettingError, "eps='small'"),
    "momentum above 1": (lambda: norm(momentum=1.5), SettingError, r"momentum=1.5.* in \[0, 1\]"),
    "momentum below 0": (lambda: norm(momentum=-0.1), SettingError, "momentum=-0.1"),
    "dropout of no number": (lambda: ops.dropout(SCORES, p=None, key=(0, 0)), SettingError, "p=None"),
    "dropout without a step": (lambda: ops.dropout(SCORES, key=(0,)), SettingError, r"pair of .* \(seed, step\)"),
    "dropout of a negative seed": (lambda: ops.dropout(SCORES, key=(-1, 0)), SettingError, "non-negative"),
    "ragged labels": (lambda: ops.nll_loss(SCORES, [[1], [2, 3]]), DataError, "rows of different lengths"),
    "dropout of all": (lambda: ops.dropout(SCORES, p=1, key=(0, 0)), SettingError, r"p=1`, expected .* \[0, 1\)"),
    "dropout below 0": (lambda: ops.dropout(SCORES, p=-0.1, key=(0, 0)), SettingError, "p=-0.1"),
    "dropout NaN": (lambda: ops.dropout(SCORES, p=np.nan, key=(0, 0)), SettingError, "p=nan"),
}  # fmt: skip


ODD = [
    None,
    "a",
    -1,
    1.5,
    [1, 2],
    (1, 2, 3),
    (1.5, 2),
    {},
    np.zeros(4, np.float32),
    zeros(0, 3),
    zeros(2, 2),
    object(),
    1j,
]
RIGHT: dict[str, dict[str, Any]] = {
    "binary_cross_entropy_with_logits": {"logits": SCORES, "targets": FRACTIONS, "pos_weight": NUMBERS,
                                         "weights": [1, 2]},
    "avg_pool2d": {"x": IMAGES, "kernel_size": 1, "stride": 1, "padding": 0},
    "batch_norm": {"x": SCORES, "gamma": zeros(3), "beta": zeros(3), "running_mean": NUMBERS, "running_var": NUMBERS,
                   "momentum": 0.1, "eps": 1e-3},
    "concatenate": {"inputs": [SCORES, SCORES], "axis": 0},
    "conv2d": {"x": IMAGES, "weight": zeros(1, 1, 3, 2), "bias": zeros(2), "stride": 1, "padding": 0},
    "dense": {"x": SCORES, "weight": zeros(3, 2), "bias": zeros(2)},
    "dropout": {"x": SCORES, "p": 0.5, "key": (0, 1)},
    "flatten": {"x": SCORES},
    "l1_loss": {"outputs": SCORES, "targets": FRACTIONS, "weights": [1, 2]},
    "leaky_relu": {"x": SCORES, "slope": 0.1},
    "log_softmax": {"x": SCORES},
    "max_pool2d": {"x": IMAGES, "kernel_size": 1, "stride": 1, "padding": 0},
    "mse_loss": {"outputs": SCORES, "targets": FRACTIONS, "weights": [1, 2]},
    "nll_loss": {"log_probs": SCORES, "labels": [0, 1]},
    "relu": {"x": SCORES},
    "sigmoid": {"x": SCORES},
    "softmax": {"x": SCORES},
    "softmax_cross_entropy": {"logits": SCORES, "labels": [0, 1], "class_weights": NUMBERS, "label_smoothing": 0.1,
                              "weights": [1, 2]},
    "tanh": {"x": SCORES},
    "abs": {"x": SCORES},
    "clip": {"x": SCORES, "low": 0.0, "high": 6.0},
    "elu": {"x": SCORES, "alpha": 1.0},
    "gelu": {"x": SCORES, "approximate": True},
    "group_norm": {"x": zeros(1, 2, 2, 4), "gamma": zeros(4), "beta": zeros(4), "groups": 2, "eps": 1e-3},
    "hardswish": {"x": SCORES},
    "layer_norm": {"x": SCORES, "gamma": zeros(3), "beta": zeros(3), "eps": 1e-3},
    "maximum": {"a": SCORES, "b": SCORES},
    "minimum": {"a": SCORES, "b": SCORES},
    "pad": {"x": SCORES, "pads": [(0, 1), (1, 0)], "value": 0.0},
    "conv_transpose2d": {
        "x": IMAGES, "weight": zeros(2, 2, 3, IMAGES.shape[3]), "bias": zeros(3), "stride": 2, "padding": 1,
        "output_padding": 1,
    },
    "silu": {"x": SCORES},
    "softplus": {"x": SCORES},
    "softsign": {"x": SCORES},
    "sqrt": {"x": SCORES},
    "stack": {"inputs": [SCORES, SCORES], "axis": 0},
    "upsample2d": {"x": IMAGES, "scale": 2},
}  # fmt: skip


def test_odd_arguments_give_a_result_or_an_error_of_the_family():
    """Every argument of every operation, with values of a wrong type, shape or size."""
    assert RIGHT.keys() == set(ops.__all__)
    messages = []
    for name, right in RIGHT.items():
        getattr(ops, name)(**right)
        for argument, odd in product(right, ODD):
            arguments = {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in right.items()}
            try:
                with np.errstate(all="ignore"):  # NumPy warns of the root of a negative number
                    getattr(ops, name)(**arguments | {argument: odd})
            except TinyCNNError as error:
                messages.append(str(error))
    assert len(messages) > 250
    assert min(map(len, messages)) > 20


@pytest.mark.parametrize("number", [np.int64(2), np.uint8(2)])
def test_whole_numbers_of_numpy_are_whole_numbers(number):
    y = ops.conv2d(zeros(1, 5, 5, 3), zeros(2, 2, 3, 4), stride=number, padding=(number, 0))
    assert y.shape == (1, 4, 2, 4)
    assert ops.max_pool2d(zeros(1, 4, 4, 1), kernel_size=number).shape == (1, 2, 2, 1)


@pytest.mark.parametrize(("call", "error", "words"), WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_wrong_calls_raise_an_error_with_a_reason(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("padding", [10**30, (0, 10**12)])
def test_padding_that_no_memory_holds(padding):
    x, weight, bias = (Tensor(np.ones(shape)) for shape in ((1, 5, 5, 1), (3, 3, 1, 2), (2,)))
    with pytest.raises(SettingError, match="expected at most 1,048,576 pixels"):
        ops.conv2d(x, weight, bias, padding=padding)
