"""Fused kernels of the Numba backend: several layers in one pass, each forward answering ``(y, saved)`` for its backward.

Names and arguments are those that ``ops/fused.py`` explains; here is only the bookkeeping: who packs what, which part of
the images a thread takes, and how partial sums are added in a fixed order.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinycnn.backends.base import Pair, window_grid
from tinycnn.backends.numba_kernels import batch_norm, plain
from tinycnn.backends.numba_kernels.conv_plan import ConvPlan, PackedWeight, conv_plan
from tinycnn.backends.threads import in_parallel, ranges

Array = np.ndarray
Parts = list[tuple[int, int]]
PARTIAL_SUMS_BYTES = 2 << 20  # what all partial sums of a weight gradient may take: they are zeroed, filled and added
SCRATCH_BYTES = 512 << 10  # what a thread may use to hand results from one kernel to the next: it stays in the L2 cache
FLOPS_PER_PART = 2e6  # about 20 µs: what handing a part to another thread costs is small beside it


def image_parts(images: int, flops_per_image: float) -> Parts:
    """Ranges of images for the threads: their number depends on the work alone, never on the number of threads."""
    return ranges(images, int(max(1, min(images, 32, images * flops_per_image / FLOPS_PER_PART))))


def padded_images(x: Array, padding: Pair) -> Array:
    PH, PW = padding
    x = np.pad(x, ((0, 0), (PH, PH), (PW, PW), (0, 0))) if PH or PW else x
    return np.ascontiguousarray(x)  # (N, H + 2*PH, W + 2*PW, C)


class ConvSaved(NamedTuple):
    """What the backward pass of a convolution block needs."""

    plan: ConvPlan
    packed: PackedWeight
    parts: Parts
    padding: Pair
    x: Array
    y: Array
    winner: Array
    relu: bool


def conv_forward(
    x: Array, weight: Array, bias: Array, *, stride: Pair, padding: Pair, relu: bool, pool: tuple[Pair, Pair] | None
) -> tuple[Array, ConvSaved]:
    """``x (N, H, W, C)`` → convolution, ReLU if ``relu``, max-pool if ``pool = (window, stride)`` → ``y (N, OH, OW, F)``."""
    KH, KW, C, F = weight.shape
    x = padded_images(x, padding)
    plan = conv_plan(x.shape[1:], (KH, KW), F, stride, *(pool or ()))
    packed = plan.pack(weight, bias)
    y = np.empty((len(x), *plan.output_shape), np.float32)
    winner = np.empty(y.shape if pool else (0,), np.uint8)
    OH, OW = window_grid(x.shape, (KH, KW), stride, (0, 0))
    parts = image_parts(len(x), 2 * OH * OW * KH * KW * C * F)
    in_parallel(lambda part: plan.forward(x, packed, y, winner, *parts[part], relu), len(parts))
    return y, ConvSaved(plan, packed, parts, padding, x, y, winner, relu)


def conv_backward(saved: ConvSaved, grad_y: Array, need_grad_x: bool) -> tuple[Array | None, Array, Array]:
    """``grad_y (N, OH, OW, F)`` → ``grad_x (N, H, W, C)`` or None, ``grad_weight (KH, KW, C, F)``, ``grad_bias (F,)``."""
    plan, x = saved.plan, saved.x
    grad_y = np.ascontiguousarray(grad_y)
    grad_x = np.empty(x.shape, np.float32) if need_grad_x else None
    parts = ranges(len(x), min(len(saved.parts), max(8, PARTIAL_SUMS_BYTES // saved.packed.weight.nbytes)))
    weight_parts, bias_parts = plan.new_parts(len(parts))

    block = max(1, SCRATCH_BYTES // grad_y[:1].nbytes)

    def work(part: int) -> None:
        masked = np.empty((block, *grad_y.shape[1:]), np.float32) if saved.relu and not plan.pooled else None
        for some in blocks(*parts[part], block):
            grad, winner = grad_y[some], saved.winner[some]
            if masked is not None:
                grad = masked[: len(grad)]
                plain.relu_backward(grad_y[some].reshape(-1), saved.y[some].reshape(-1), grad.reshape(-1))
            plan.grad_weight(x[some], grad, winner, weight_parts[part], bias_parts[part], 0, len(grad))
            if grad_x is not None:
                plan.grad_x(saved.packed, grad, winner, grad_x[some], 0, len(grad))

    in_parallel(work, len(parts))
    return (None if grad_x is None else cropped(grad_x, saved.padding)), *plan.sum_parts(weight_parts, bias_parts)


def blocks(start: int, stop: int, size: int) -> list[slice]:
    """``range(start, stop)`` as slices of ``size``: so many images are worked on while they lie in the cache."""
    return [slice(first, min(first + size, stop)) for first in range(start, stop, size)]


def cropped(x: Array, padding: Pair) -> Array:
    PH, PW = padding
    return np.ascontiguousarray(x[:, PH : x.shape[1] - PH, PW : x.shape[2] - PW])


class NormSaved(NamedTuple):
    """What the backward pass of batch norm and pool needs."""

    x: Array
    winner: Array
    mean: Array
    inverse_std: Array
    window: tuple[Pair, Pair]
    parts: Parts


def batch_moments(x: Array, parts: Parts) -> tuple[Array, Array]:
    """Mean and biased variance of each channel of ``x (N, H, W, C)``, both ``(C,)``, from parts merged in order.

    Merging as in Chan, Golub, LeVeque, 1979: distances are taken from a mean, so nothing cancels in float32.
    """
    N, H, W, C = x.shape
    rows, counts = x.reshape(-1, C), np.array([stop - start for start, stop in parts], np.float64) * H * W
    means, squares = np.empty((2, len(parts), C), np.float32)
    in_parallel(
        lambda part: batch_norm.channel_moments(
            rows, means[part], squares[part], parts[part][0] * H * W, parts[part][1] * H * W
        ),
        len(parts),
    )
    weights = (counts / counts.sum())[:, None]
    mean = (weights * means).sum(axis=0)  # float64
    var = squares.sum(axis=0, dtype=np.float64) / counts.sum() + (weights * (means - mean) ** 2).sum(axis=0)
    return mean.astype(np.float32), var.astype(np.float32)


def norm_forward(
    x: Array, gamma: Array, beta: Array, mean: Array | None, var: Array | None, *, eps: float, pool: tuple[Pair, Pair]
) -> tuple[Array, Array, Array, NormSaved]:
    """Normalise, scale, shift, max-pool: ``x (N, H, W, C)`` → ``y (N, OH, OW, C)``, and the statistics used.

    ``mean`` and ``var`` of the batch are computed where they are None.
    """
    x = np.ascontiguousarray(x)
    parts = image_parts(len(x), 16 * x[0].size)
    if mean is None or var is None:
        mean, var = batch_moments(x, parts)
    inverse_std = 1 / np.sqrt(var + np.float32(eps))
    scale = gamma * inverse_std
    shift = beta - mean * scale
    y_shape = (len(x), *window_grid(x.shape, *pool, (0, 0)), x.shape[3])
    y, winner = np.empty(y_shape, np.float32), np.empty(y_shape, np.uint8)
    in_parallel(
        lambda part: batch_norm.normalise_pool(x, scale, shift, *pool, y, winner, *parts[part]), len(parts)
    )
    return y, mean, var, NormSaved(x, winner, mean, inverse_std, pool, parts)


def norm_backward(saved: NormSaved, gamma: Array, grad_y: Array, batch: bool) -> tuple[Array, Array, Array]:
    """``grad_y (N, OH, OW, C)`` → ``grad_x``, ``grad_gamma``, ``grad_beta``; ``batch``: the statistics were the batch's."""
    x, winner, mean, inverse_std, window, parts = saved
    grad_y = np.ascontiguousarray(grad_y)
    sums = np.empty((2, len(parts), x.shape[3]), np.float32)
    in_parallel(
        lambda part: batch_norm.grad_gamma_beta(
            x, grad_y, winner, mean, inverse_std, *window, sums[0, part], sums[1, part], *parts[part]
        ),
        len(parts),
    )
    grad_gamma, grad_beta = sums.sum(axis=1)  # (C,)
    slope, M = gamma * inverse_std, np.float32(x.size // x.shape[3])
    offset = slope * grad_beta / M * batch
    stretch = slope * inverse_std * grad_gamma / M * batch
    grad_x = np.empty_like(x)
    in_parallel(
        lambda part: batch_norm.grad_x(
            x, grad_y, winner, mean, slope, offset, stretch, *window, grad_x, *parts[part]
        ),
        len(parts),
    )
    return grad_x, grad_gamma, grad_beta


def dense_forward(x: Array, weight: Array, bias: Array, *, relu: bool) -> Array:
    """``x (N, in)`` → ``y (N, out)``, ReLU if ``relu``."""
    y = np.empty((len(x), weight.shape[1]), np.float32)
    parts = image_parts(len(x), weight.size / 4)

    def work(part: int) -> None:
        start, stop = parts[part]
        np.matmul(x[start:stop], weight, out=y[start:stop])
        plain.add_bias_relu(y[start:stop], bias, relu)

    in_parallel(work, len(parts))
    return y


def dense_backward(
    x: Array, weight: Array, y: Array, grad_y: Array, *, relu: bool, need_grad_x: bool
) -> tuple[Array | None, Array, Array]:
    """``grad_y (N, out)`` → ``grad_x (N, in)`` or None, ``grad_weight (in, out)``, ``grad_bias (out,)``."""
    if relu:
        grad_y = grad_y * (y > 0)
    grad_weight, grad_x = np.empty_like(weight), np.empty_like(x) if need_grad_x else None
    rows = image_parts(len(weight), 2 * len(x) * weight.shape[1])  # each part owns some inputs: nothing to add up

    def work(part: int) -> None:
        some = slice(*rows[part])
        np.matmul(x[:, some].T, grad_y, out=grad_weight[some])
        if grad_x is not None:
            grad_x[:, some] = grad_y @ weight[some].T

    in_parallel(work, len(rows))
    return grad_x, grad_weight, grad_y.sum(axis=0)


def adam(
    p: Array, g: Array, m: Array, v: Array, step_size: float, v_scale: float, beta1: float, beta2: float, eps: float
) -> None:
    """One Adam step in place; formulas in ``optim.Adam``."""
    number = p.dtype.type
    settings = [number(s) for s in (step_size, v_scale, beta1, 1 - beta1, beta2, 1 - beta2, eps)]
    arrays = [array.reshape(-1) for array in (p, np.ascontiguousarray(g), m, v)]
    parts = image_parts(p.size, 64.0)
    in_parallel(lambda part: plain.adam(*(array[slice(*parts[part])] for array in arrays), *settings), len(parts))


FUSED: dict[str, Callable[..., Any]] = {
    "conv_forward": conv_forward,
    "conv_backward": conv_backward,
    "norm_forward": norm_forward,
    "norm_backward": norm_backward,
    "dense_forward": dense_forward,
    "dense_backward": dense_backward,
    "adam": adam,
}
