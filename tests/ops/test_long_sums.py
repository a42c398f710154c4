"""Sums over many values: as exact as float32 can hold them, on every backend, in values and in gradients.

The expected values are worked out by hand: means of equal numbers, and numbers that float32 holds exactly.
"""

from itertools import product

import numpy as np
import pytest

import tinycnn
from tests.support.backends import usable_backend
from tinycnn import Tensor, ops, optim
from tinycnn.layers import BatchNorm, Conv2d, Dense, ReLU, Sequential
from tinycnn.train.history import Progress

FLOAT32 = np.float32


def normalised(x, grad_y, eps, gamma=1.0):
    """``y``, and the gradients of x, gamma and beta, of a batch norm in training, as arrays on the host."""
    backend = tinycnn.get_backend()
    model = Sequential(BatchNorm(eps=eps), input_shape=x.shape[1:], dtype=x.dtype)
    model.parameters()[0].data[...] = gamma
    tensor = Tensor(x, requires_grad=True)
    y = model(tensor)
    y.backward(backend.asarray(grad_y))
    return [backend.to_host(array) for array in (y.data, tensor.grad, *(p.grad for p in model.parameters()))]


@pytest.mark.parametrize("shape", [(8, 26, 26, 4), (3, 7, 5, 33), (5000, 2)], ids=str)
def test_a_constant_channel_is_normalised_to_beta(any_backend, shape):
    """Also where the mean of the numbers is no float32; a gradient of ones then has nothing to change."""
    for value, eps, gamma in product((0.7, 33.3, 123.456, 200.1, -1e4), (1e-3, 1e-5), (1.0, 0.01)):
        y, grad_x, _, grad_beta = normalised(np.full(shape, value, FLOAT32), np.ones(shape, FLOAT32), eps, gamma)
        assert np.abs(y).max() == 0, (value, eps)
        assert np.abs(grad_x).max() < 1e-4, (value, eps)
        assert (grad_beta == np.prod(shape[:-1])).all()


def errors_at(mean, gamma=1.0):
    """The largest errors of ``normalised`` against the formula in float64, those of sums as a share of M terms."""
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(16, 20, 20, 4)) + mean).astype(FLOAT32)
    grad_y = (rng.normal(size=x.shape) + 1 + (x - mean) / 2).astype(FLOAT32)
    ours = normalised(x, grad_y, 1e-5, gamma)
    x, grad_y, gamma = x.astype(np.float64), grad_y.astype(np.float64), float(FLOAT32(gamma))
    M, inverse_std = x[..., 0].size, 1 / np.sqrt(x.var(axis=(0, 1, 2)) + 1e-5)
    x_hat = (x - x.mean(axis=(0, 1, 2))) * inverse_std
    grad_gamma, grad_beta = (grad_y * x_hat).sum(axis=(0, 1, 2)), grad_y.sum(axis=(0, 1, 2))
    grad_x = gamma * inverse_std * (grad_y - grad_beta / M - x_hat * grad_gamma / M)
    pairs = zip(ours, (gamma * x_hat, grad_x, grad_gamma, grad_beta), (gamma, gamma, M, M), strict=True)
    return [np.abs(array - exact).max() / unit for array, exact, unit in pairs]


@pytest.mark.parametrize("mean", [0, 100, 1000])
def test_batch_norm_of_a_large_mean(any_backend, mean):
    """Y of PyTorch 2.13 in float32 is off by 7e-6 at a mean of 100 and by 3.5e-5 at 1000."""
    rounded = np.spacing(FLOAT32(mean)) / 2 * 1.2  # of the mean, to float32
    y, grad_x, grad_gamma, grad_beta = errors_at(mean)
    assert y < 1e-6 + rounded
    assert grad_x < 2e-6 + 5 * rounded
    assert grad_gamma < 1e-7 + rounded
    assert grad_beta < 1e-6


@pytest.mark.parametrize("gamma", [1.0, 0.05])
def test_fused_batch_norm_on_the_cpu_puts_back_what_rounding_took_from_the_mean(gamma, request):
    """With a small gamma, x̂ of the winners comes from x instead of y."""
    with tinycnn.use_backend(usable_backend("numba", request.config).name) as backend:
        if backend.fused.norm_forward is None:
            pytest.skip("Numba fuses nothing here (TINYCNN_SIMD_LANES=0)")
        y, grad_x, grad_gamma, _ = errors_at(1000, gamma)
    assert max(y, grad_x / 5, grad_gamma) < 1e-6  # the largest grad_y is 5


def test_the_gradient_of_gamma_is_a_long_sum(any_backend):
    """Two numbers by turns, so that every product of grad_y and x̂ is the same."""
    x = np.empty((9000, 3), FLOAT32)
    x[::2], x[1::2] = 5.25, 4.75
    grad_gamma = normalised(x, FLOAT32(0.4) * (x - 5), 1e-12)[2]
    np.testing.assert_allclose(grad_gamma, 9000 * float(FLOAT32(0.4)) / 4, rtol=1e-6)


def test_sums_and_means_do_not_stop(any_backend):
    """2^24 + 1 is no float32; a float32 sum of tenths is wrong in the fifth digit."""
    count = 2**20 + 2**16
    assert Tensor(np.full((count, 2), 21, FLOAT32)).sum(axis=0).numpy().tolist() == [21 * count, 21 * count]
    tenths = np.full((50_000, 3), 0.1, FLOAT32)
    for axis in (0, None, (0, 1)):
        np.testing.assert_array_equal(Tensor(tenths).mean(axis=axis).numpy(), FLOAT32(0.1))
    np.testing.assert_array_equal(Tensor(tenths.T.copy()).mean(axis=1).numpy(), FLOAT32(0.1))
    np.testing.assert_array_equal(Tensor(tenths[:999, :1]).mean().numpy(), FLOAT32(0.1))  # rounded once
    assert Tensor(tenths.astype(np.float64)).sum(axis=0).dtype == np.float64


def test_gradients_of_biases_are_sums_of_all_images(any_backend):
    tenth = float(FLOAT32(0.1))
    for layers, shape in (
        ([Dense(3)], (9000, 2)),
        ([Dense(3), ReLU()], (9000, 2)),
        ([Conv2d(5), ReLU()], (50, 14, 13, 2)),
        ([Conv2d(5)], (50, 14, 13, 2)),
    ):
        model = Sequential(*layers, input_shape=shape[1:])
        bias = model.parameters()[1]
        bias.data[...] = 1
        y = model(Tensor(np.zeros(shape, FLOAT32)))
        y.backward(np.full(y.shape, 0.1, FLOAT32))
        exact = tenth * np.prod(y.shape[:-1])
        np.testing.assert_allclose(any_backend.to_host(bias.grad), np.full(y.shape[-1], exact), rtol=1e-6)
    for shape in ((3,), (1, 3)):
        bias = Tensor(np.zeros(shape, FLOAT32), requires_grad=True)
        (Tensor(np.zeros((9000, 3), FLOAT32)) + bias).backward(np.full((9000, 3), 0.1, FLOAT32))
        np.testing.assert_allclose(any_backend.to_host(bias.grad), np.full(shape, 9000 * tenth), rtol=1e-6)


def test_a_fixed_batch_norm_adds_its_gradients_exactly(any_backend):
    shape = (9000, 3)
    gamma, beta = (Tensor(np.ones(3, FLOAT32), requires_grad=True) for _ in range(2))
    running = {f"running_{name}": any_backend.asarray(np.ones(3, FLOAT32)) for name in ("mean", "var")}
    y = ops.batch_norm(Tensor(np.full(shape, 2, FLOAT32)), gamma, beta, **running, training=False, eps=1e-12)
    y.backward(np.full(shape, 0.1, FLOAT32))
    for grad in (gamma.grad, beta.grad):
        np.testing.assert_allclose(any_backend.to_host(grad), np.full(3, 9000 * float(FLOAT32(0.1))), rtol=1e-6)


def test_losses_and_norms(any_backend):
    """The mean loss of many images, the sum of an epoch, the norm of a gradient, a mean over large windows."""
    scores = Tensor(np.zeros((30_000, 3), FLOAT32))
    for loss in (ops.softmax_cross_entropy, lambda x, labels: ops.nll_loss(ops.log_softmax(x), labels)):
        np.testing.assert_allclose(loss(scores, np.zeros(30_000, np.int64)).numpy(), np.log(3), rtol=1e-6)
    progress = Progress(1, 5000)
    for _ in range(5000):
        progress.add(any_backend.asarray(np.array(0.1, FLOAT32)), any_backend.asarray(np.array(1)), 2)
    assert abs(progress.scores().loss - float(FLOAT32(0.1))) < 1e-12
    weight = Tensor(np.zeros((300, 100), FLOAT32), requires_grad=True)
    weight.grad = any_backend.asarray(np.full((100, 300), 0.1, FLOAT32)).T
    np.testing.assert_allclose(float(optim.gradient_norm([weight])), 0.1 * np.sqrt(30_000), rtol=1e-6)
    image = Tensor(np.full((1, 100, 100, 2), 0.1, FLOAT32))
    np.testing.assert_array_equal(ops.avg_pool2d(image, kernel_size=100).numpy(), np.full((1, 1, 1, 2), 0.1, FLOAT32))
