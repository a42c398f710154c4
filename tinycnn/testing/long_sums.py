"""Sums over many values in the fused kernels: those of a batch norm, of a bias, of a loss.

A float32 sum to which 0.1 is added ten thousand times is wrong in the fifth digit. The terms here have one sign and are
not exact in float32, so that errors do not cancel. The contract asks for sums in float64, pairwise or with
compensation: ``CLOSE`` allows a few roundings.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from tinycnn.backends.array_types import Array, Pool
from tinycnn.backends.base import Backend
from tinycnn.testing.fused_cases import CONVS, GAMMA, NO_POOL, POOLS, WEIGHT, X, fused, run
from tinycnn.testing.kernel_cases import KernelCase, window_label
from tinycnn.testing.kernel_checks import CLOSE, compare_values

TENTH = np.float32(0.1)
EPS = 1e-5
STRIPES = np.where(
    np.arange(64) // 2 % 2, np.float32(0.3), np.float32(-0.3)
)  # in pairs: both pixels of a pool are equal
BETA = [0.5, 0, 0.25, 0]


def check_within(name: str, ours: np.ndarray, expected: np.ndarray, scale: np.ndarray | float) -> None:
    """Raise KernelError where a value differs by more than ``CLOSE`` of ``scale``."""
    compare_values(name, (ours - np.float64(expected)) / scale, np.zeros(ours.shape), absolute=CLOSE)


# ---------------------------------------------------------------------------------------------------------- batch norm


def check_norm(backend: Backend, kernel: str, pool: Pool, gamma: list[float]) -> None:
    """Values, statistics and gradients of ``norm`` or ``conv_norm``; the convolution before the norm changes nothing.

    Channels: one number everywhere, two numbers by turns (twice), two large numbers by turns.
    """
    x = np.empty((2, 64, 64, 4), np.float32)
    x[...] = np.stack([np.full(64, 200.1), 5 + STRIPES, 5 + STRIPES, 1000 + STRIPES], axis=1)
    grad_y = np.empty((2, 64 // pool[1][0], 64 // pool[1][1], 4), np.float32)
    signs = np.sign(STRIPES[:: pool[1][1]])
    grad_y[...] = TENTH * np.stack([signs**2, signs, signs**2, signs], axis=1)  # with x̂, and against it
    parameters = [np.array(numbers, np.float32) for numbers in (gamma, BETA)]
    before = [np.eye(4, dtype=np.float32).reshape(1, 1, 4, 4), np.zeros(4, np.float32)] if kernel == "conv_norm" else []
    conv = {"stride": (1, 1), "padding": (0, 0), "need_grad_x": False} if before else {}
    flags = {X: not before, GAMMA: True} | ({WEIGHT: False} if before else {})

    def compute(x: Array, gamma: Array, beta: Array, grad_y: Array, *before: Array) -> list[Array]:
        forward, backward = fused(backend, f"{kernel}_forward"), fused(backend, f"{kernel}_backward")
        y, mean, var, saved = forward(x, *before, gamma, beta, None, None, eps=EPS, pool=pool, **conv)
        gradients = backward(saved, gamma, grad_y, **flags)
        return [y, mean, var, *gradients[-2:], *([] if before else gradients[:1])]

    y, mean, var, grad_gamma, grad_beta, *grad_x = run(backend, compute, [x, *parameters, grad_y, *before])

    M, images = x[..., 0].size, x.astype(np.float64)
    exact_mean, exact_var = images.mean(axis=(0, 1, 2)), images.var(axis=(0, 1, 2))  # (4,)
    inverse_std = 1 / np.sqrt(exact_var + EPS)
    x_hat = (images - exact_mean) * inverse_std  # (N, H, W, 4)
    full = np.zeros(x.shape)
    full[:, :: pool[1][0], :: pool[1][1]] = grad_y  # of equal pixels, the first wins
    exact_gamma, exact_beta = (full * x_hat).sum(axis=(0, 1, 2)), full.sum(axis=(0, 1, 2))
    terms = np.abs(full).sum(axis=(0, 1, 2))  # without cancellation
    check_within("mean", mean, exact_mean, exact_mean)
    check_within("var", var, exact_var, exact_var + 1e-3)
    exact_y = (gamma * x_hat + BETA)[:, :: pool[1][0], :: pool[1][1]]
    compare_values("y", y.astype(np.float64), exact_y, absolute=2e-3)  # mean may be rounded to float32
    check_within("grad_gamma", grad_gamma, exact_gamma, terms * [2e3, 1, 4, 1])  # so may x̂, by the mean
    check_within("grad_beta", grad_beta, exact_beta, terms)
    for grad in grad_x:
        exact_x = gamma * inverse_std * (full - exact_beta / M - x_hat * exact_gamma / M)
        check_within("grad_x", grad, exact_x, np.abs(gamma) * inverse_std)


def norm_cases() -> Iterator[KernelCase]:
    """Batch norm alone and after a convolution, with and without a pool."""
    for kernel in ("norm", "conv_norm"):
        for pool_name, gamma in (("no pool", [1.0, 2.0, 1.0, -1.0]), ("pool 2x2", [0.05, -0.05, 0.05, 0.05])):
            check = partial(check_norm, kernel=kernel, pool=POOLS[pool_name] or NO_POOL, gamma=gamma)
            for direction in ("forward", "backward"):
                yield KernelCase(f"{kernel}_{direction}", f"long sums, {pool_name}", check)


# ------------------------------------------------------------------------------------------------------- bias and loss


def check_conv_bias(backend: Backend, shape: tuple[int, ...], filters: int, window: dict, pool: Pool | None) -> None:
    """The gradient of the bias if the gradient of each output is 0.1 and passes ReLU."""
    weight = np.zeros((*window["kernel_size"], shape[3], filters), np.float32)
    arrays = [np.zeros(shape, np.float32), weight, np.ones(filters, np.float32)]
    settings = {"stride": window["stride"], "padding": window["padding"], "relu": True, "pool": pool}

    def compute(*inputs: Array) -> list[Array]:
        y, saved = fused(backend, "conv_forward")(*inputs, **settings, need_grad_x=False)
        grad_y = backend.asarray(np.full(y.shape, TENTH))
        gradients = fused(backend, "conv_backward")(saved, grad_y, need_grad_x=False, need_grad_weight=True)
        return [gradients[2], backend.asarray(np.array(y.shape))]

    grad_bias, y_shape = run(backend, compute, arrays)
    exact = float(TENTH) * float(np.prod(y_shape[:3]))
    check_within("grad_bias", grad_bias, np.full(filters, exact), exact)


def check_depthwise_gradients(backend: Backend, shape: tuple[int, int, int, int]) -> None:
    """The gradients of weight and bias if every pixel is 1 and the gradient of each output is 0.1."""
    N, H, W, C = shape
    x, weight = np.ones(shape, np.float32), np.zeros((3, 3, 1, C), np.float32)
    settings = {"stride": (1, 1), "padding": (0, 0)}

    def compute(*inputs: Array) -> list[Array]:
        y, saved = fused(backend, "depthwise_forward")(*inputs, **settings)
        grad_y = backend.asarray(np.full(y.shape, TENTH))
        return [*fused(backend, "depthwise_backward")(saved, grad_y, need_grad_x=False, need_grad_weight=True)[1:]]

    grad_weight, grad_bias = run(backend, compute, [x, weight, np.zeros(C, np.float32)])
    exact = float(TENTH) * N * (H - 2) * (W - 2)
    check_within("grad_weight", grad_weight, np.full(weight.shape, exact), exact)
    check_within("grad_bias", grad_bias, np.full(C, exact), exact)


def check_dense_bias(backend: Backend, images: int) -> None:
    """The gradient of the bias if the gradient of each output is 0.1 and passes ReLU."""
    x, weight = np.zeros((images, 3), np.float32), np.zeros((3, 2), np.float32)
    arrays = [x, weight, np.ones((images, 2), np.float32), np.full((images, 2), TENTH)]

    def compute(*inputs: Array) -> list[Array]:
        return [fused(backend, "dense_backward")(*inputs, relu=True, need_grad_x=False, need_grad_weight=True)[2]]

    (grad_bias,) = run(backend, compute, arrays)
    exact = float(TENTH) * images
    check_within("grad_bias", grad_bias, np.full(2, exact), exact)


def check_mean_loss(backend: Backend, shape: tuple[int, int]) -> None:
    """The mean loss where every class but the right one has the score -2.3, about a tenth of its probability."""
    logits, labels = np.full(shape, -2.3, np.float32), np.zeros(shape[0], np.int64)
    logits[:, 0] = 0
    loss, _ = run(backend, fused(backend, "softmax_cross_entropy"), [logits, labels])
    exact = np.log(1 + (shape[1] - 1) * np.exp(np.float64(logits[0, 1])))
    check_within("loss", loss, exact, exact)


def bias_and_loss_cases() -> Iterator[KernelCase]:
    """The bias of convolutions with and without a pool and of dense layers; the loss of many images or classes."""
    convs: list[tuple[tuple[int, ...], int, list[str]]] = [
        ((40, 14, 13, 2), 5, ["no pool", "pool 2x2"]),
        ((80, 9, 8, 16), 16, ["no pool", "pool 2x2"]),
        ((160, 9, 8, 4), 6, ["pool 2x2"]),
    ]
    for shape, filters, pools in convs:
        for pool in pools:
            check = partial(check_conv_bias, shape=shape, filters=filters, window=CONVS[1], pool=POOLS[pool])
            label = f"long sums, {shape} to {filters} channels, {window_label(CONVS[1])}, {pool}"
            yield KernelCase("conv_backward", label, check)
    for images in ((40, 12, 13, 5), (1, 90, 91, 3)):
        check = partial(check_depthwise_gradients, shape=images)
        yield KernelCase("depthwise_backward", f"long sums, {images}", check)
    yield KernelCase("dense_backward", "long sums, 20000 images", partial(check_dense_bias, images=20_000))
    for shape in ((20_000, 3), (2, 20_000)):
        yield KernelCase("softmax_cross_entropy", f"long sums, {shape}", partial(check_mean_loss, shape=shape))


CASES = [*norm_cases(), *bias_and_loss_cases()]
