"""Losses: values worked out by hand or by SciPy, weights, numbers that overflow, and calls that are refused."""

import numpy as np
import pytest
from scipy import special

from tinycnn import Tensor, ops
from tinycnn.backends import get_backend
from tinycnn.errors import DataError, SettingError, ShapeError
from tinycnn.ops.losses.labels import smoothed

BCE, CE = ops.binary_cross_entropy_with_logits, ops.softmax_cross_entropy
X = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
T = np.array([[0.0, -1.0, 0.5], [2.0, 3.0, -4.0]])


def value_and_gradient(loss, x, *arguments, **settings):
    x = Tensor(x, requires_grad=True)
    y = loss(x, *arguments, **settings)
    y.backward()
    assert y.shape == ()
    return y.item(), get_backend().to_host(x.grad)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_errors_by_hand(any_backend, dtype):
    """X - T is [[1, -1, 0], [-2, 0, 3]]: squares 15, absolute values 7, six numbers."""
    x, t = X.astype(dtype), T.astype(dtype)
    value, gradient = value_and_gradient(ops.mse_loss, x, t)
    assert value == pytest.approx(15 / 6, rel=1e-6)
    np.testing.assert_allclose(gradient, np.array([[1, -1, 0], [-2, 0, 3]]) / 3, rtol=1e-6)
    value, gradient = value_and_gradient(ops.l1_loss, x, t)
    assert value == pytest.approx(7 / 6, rel=1e-6)
    np.testing.assert_allclose(gradient, np.array([[1, -1, 0], [-1, 0, 1]]) / 6, rtol=1e-6)
    assert gradient.dtype == dtype
    value, gradient = value_and_gradient(ops.l1_loss, x, t, weights=[2, 0.5])
    assert value == pytest.approx((2 * 2 + 0.5 * 5) / 6, rel=1e-6)
    np.testing.assert_allclose(gradient, np.array([[2, -2, 0], [-0.5, 0, 0.5]]) / 6, rtol=1e-6)
    value, gradient = value_and_gradient(ops.mse_loss, x, t, weights=any_backend.asarray(np.array([2, 0.5])))
    assert value == pytest.approx((2 * 2 + 0.5 * 13) / 6, rel=1e-6)


def test_targets_may_require_a_gradient_and_be_whole_numbers():
    for loss in (ops.mse_loss, ops.l1_loss):
        x, t = (Tensor(array, requires_grad=True) for array in (X, T))
        loss(x, t).backward()
        assert np.array_equal(t.grad, -x.grad)
    assert ops.mse_loss(Tensor(X.astype(np.float32)), np.array([[1, 2, 3], [4, 5, 6]], np.uint8)).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_cross_entropy_by_scipy(any_backend, dtype):
    """``log_expit`` is the logarithm of the logistic function, and ``1 - expit(x)`` is ``expit(-x)``."""
    t, c, w = np.array([[1, 0, 0.25], [0, 1, 1]]), np.array([2, 0.5, 3]), np.array([1.5, 0.5])
    losses = -(c * t * special.log_expit(X) + (1 - t) * special.log_expit(-X))
    gradient = -c * t * special.expit(-X) + (1 - t) * special.expit(X)
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-12}
    value, grad = value_and_gradient(BCE, X.astype(dtype), t, c)
    assert value == pytest.approx(losses.mean(), rel=tolerance["rtol"])
    np.testing.assert_allclose(grad, gradient / 6, **tolerance)
    value, grad = value_and_gradient(BCE, X.astype(dtype), t, c, weights=w)
    assert value == pytest.approx((losses * w[:, None]).mean(), rel=tolerance["rtol"])
    np.testing.assert_allclose(grad, gradient * w[:, None] / 6, **tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_cross_entropy_of_logits_far_from_0(any_backend, dtype):
    """Right with certainty costs e^-1000 = 0, wrong with certainty 1000; the gradients are 0 and ±1."""
    x = np.array([[1000, -1000, 1000, -1000, 40, -40]], dtype)
    value, gradient = value_and_gradient(BCE, x, [[1, 0, 0, 1, 1, 0]])
    assert value == pytest.approx((2000 + 2 * np.exp(-40)) / 6)
    np.testing.assert_allclose(6 * gradient, [[0, 0, 1, -1, -np.exp(-40), np.exp(-40)]], rtol=1e-5, atol=1e-7)
    only = BCE(Tensor(np.array([[40]], dtype)), [[1]]).item()
    assert only == pytest.approx(np.exp(-40), rel=1e-5, abs=0)


def cross_entropy_by_hand(x, labels, class_weights, smoothing, weights):
    """The sums of the definition, label by label."""
    log_p, K = special.log_softmax(x, axis=1), x.shape[1]
    total = divisor = 0.0
    for n, label in enumerate(labels):
        for k in range(K):
            target = (1 - smoothing) * (k == label) + smoothing / K
            total -= weights[n] * class_weights[k] * target * log_p[n, k]
        divisor += class_weights[label]
    return total / divisor


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("class_weights", [None, [1, 2, 0.5], [0.1, 0.02, 0.05]], ids=["equal", "weighted", "small"])
@pytest.mark.parametrize("weights", [None, [0.5, 0, 2, 1]], ids=["", "images"])
def test_cross_entropy_with_weights_and_smoothing(any_backend, smoothing, class_weights, weights):
    x, labels = np.random.default_rng(0).normal(size=(4, 3)), [2, 0, 1, 2]
    given = {"class_weights": class_weights, "label_smoothing": smoothing, "weights": weights}
    expected = cross_entropy_by_hand(x, labels, class_weights or [1, 1, 1], smoothing, weights or [1, 1, 1, 1])
    assert CE(Tensor(x), labels, **given).item() == pytest.approx(expected, rel=1e-12)
    on_backend = {key: any_backend.asarray(np.array(v)) if isinstance(v, list) else v for key, v in given.items()}
    value = CE(Tensor(x.astype(np.float32)), any_backend.asarray(np.array(labels)), **on_backend)
    assert value.dtype == np.float32
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_weights_of_rows_of_probabilities_are_divided_by_the_number_of_images():
    """As in PyTorch: a row has no single class whose weight could be counted."""
    x, rows = np.log([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]]), np.array([[0.5, 0.5, 0], [0, 0, 1]])
    expected = -(2 * 0.5 * np.log(0.5) + 3 * 0.5 * np.log(0.25) + 4 * np.log(0.6)) / 2
    assert CE(Tensor(x), rows, [2, 3, 4]).item() == pytest.approx(expected)


def test_a_batch_whose_classes_have_no_weight_has_no_loss():
    value, gradient = value_and_gradient(CE, X, [1, 1], [1, 0, 1])
    assert value == 0
    assert not gradient.any()


def test_smoothed_labels(backend):
    labels = backend.asarray(np.array([1, 0]))

    def rows(share, classes, labels=labels):
        return backend.to_host(smoothed(labels, classes, share))

    assert np.array_equal(rows(0.0, 2), [1, 0])
    np.testing.assert_allclose(rows(0.2, 2), [[0.1, 0.9], [0.9, 0.1]])
    np.testing.assert_allclose(rows(0.3, 3)[0], [0.1, 0.8, 0.1])
    np.testing.assert_allclose(rows(0.3, 3, backend.asarray(np.array([[0, 0.5, 0.5]]))), [[0.1, 0.45, 0.45]])


WRONG = {
    "(N,) for (N, 1)": (lambda: ops.mse_loss(Tensor(np.ones((3, 1))), np.ones(3)), ShapeError, "the same shape"),
    "l1 of a number": (lambda: ops.l1_loss(Tensor(1.0), 1.0), ShapeError, r"l1_loss: outputs have shape \(\)"),
    "mse of nothing": (lambda: ops.mse_loss(np.ones((0, 3)), np.ones((0, 3))), ShapeError, "at least one example"),
    "mse of words": (lambda: ops.mse_loss(X, np.full((2, 3), "a")), DataError, "targets are <U1, expected numbers"),
    "rows of two lengths": (lambda: ops.l1_loss(X, [[1], [2, 3]]), DataError, "rows of different lengths"),
    "BCE above 1": (lambda: BCE(X, np.full((2, 3), 2)), DataError, "targets range from 2 to 2, expected 0 to 1"),
    "BCE below 0": (lambda: BCE(X, X), DataError, r"targets range from -2\.0 to 3\.0"),
    "BCE of NaN": (lambda: BCE(X, np.full((2, 3), np.nan)), DataError, "targets range from nan"),
    "BCE of classes": (lambda: BCE(X, [0, 1]), ShapeError, r"targets \(2,\)"),
    "pos_weight": (lambda: BCE(X, X > 0, [1, 2]), ShapeError, r"`pos_weight` has shape \(2,\), expected \(3,\)"),
    "negative pos_weight": (lambda: BCE(X, X > 0, [1, 2, -1]), SettingError, "`pos_weight` is .*at least 0"),
    "weights": (lambda: ops.mse_loss(X, T, weights=[1, 2, 3]), ShapeError, r"mse_loss: `weights` .*expected \(2,\)"),
    "class weights": (lambda: CE(X, [0, 1], [1, 2]), ShapeError, r"`class_weights` has shape \(2,\), expected \(3,\)"),
    "weights by name": (
        lambda: CE(X, [0, 1], {"a": 1, "b": 2}),
        SettingError,
        "expected a list of 3 numbers in the order of the classes, or a dictionary with the keys 0 to 2",
    ),
    "NaN class weights": (lambda: CE(X, [0, 1], [1, 2, np.nan]), SettingError, "`class_weights` is"),
    "words as weights": (lambda: CE(X, [0, 1], weights=["a", "b"]), SettingError, "`weights` is"),
    "ragged weights": (lambda: CE(X, [0, 1], weights=[[1], [2, 3]]), SettingError, r"expected numbers \(2,\)"),
    "smoothing": (lambda: CE(X, [0, 1], label_smoothing=1), SettingError, "`label_smoothing=1`: expected a number"),
}


def test_class_weights_by_label_as_in_keras():
    assert CE(X, [0, 1], {2: 0.5, 0: 1, 1: 2}).numpy() == CE(X, [0, 1], [1, 2, 0.5]).numpy()


@pytest.mark.parametrize(("call", "error", "words"), WRONG.values(), ids=WRONG)
def test_wrong_calls(call, error, words):
    with pytest.raises(error, match=words):
        call()
