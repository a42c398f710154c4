"""Fused kernels of the Numba backend: several layers in one pass; each forward answers ``(y, saved)`` for backward.

Names and arguments are those that ``ops/fused.py`` explains; here is only the bookkeeping: who packs what, which part
of the images a thread takes, and how partial sums are added in a fixed order.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinycnn import ranks
from tinycnn.backends.base import Pair, window_grid
from tinycnn.backends.numba_kernels import batch_norm, plain
from tinycnn.backends.numba_kernels.conv_plan import ConvPlan, PackedWeight, conv_plan
from tinycnn.backends.numba_kernels.lanes import LANES
from tinycnn.backends.threads import in_parallel, pieces

Array = np.ndarray
Pool = tuple[Pair, Pair]  # window, stride
NO_POOL: Pool = ((1, 1), (1, 1))
MOST_PARTIAL_SUMS = 8  # of a weight gradient: each is as large as the weights, and has to be zeroed and added
SCRATCH_BYTES = 512 << 10  # what a thread may use to hand results from one kernel to the next: it stays in the L2 cache
SAFE_GAMMA = 0.1  # above it, x̂ = (y - beta) / gamma has lost no more than a digit
MEMORY = 16  # operations take as long as reading or writing one float
LANES_USED = 16  # fewer filters than a SIMD register has lanes take as long as a full one


def padded_images(x: Array, padding: Pair) -> Array:
    """``x (N, H, W, C)`` with zeros around the edge, C-contiguous, as the kernels want it."""
    PH, PW = padding
    x = np.pad(x, ((0, 0), (PH, PH), (PW, PW), (0, 0))) if PH or PW else x
    return np.ascontiguousarray(x)  # (N, H + 2*PH, W + 2*PW, C)


class Conv(NamedTuple):
    """A convolution with what follows it: its arrays, and how they are worked on."""

    plan: ConvPlan
    packed: PackedWeight
    padding: Pair
    x: Array  # padded
    y: Array
    winner: Array
    relu: bool
    pooled: bool
    flops: int  # per image

    def compute(self, some: slice) -> None:
        """Some images of ``y`` and ``winner``."""
        self.plan.forward(self.x, self.packed, self.y, self.winner, some.start, some.stop, self.relu)

    def gradients(
        self, grad_of: Callable[[slice], Array], need_grad_x: bool, need_grad_weight: bool
    ) -> tuple[Array | None, Array | None, Array | None]:
        """``grad_x (N, H, W, C)``, ``grad_weight (KH, KW, C, F)``, ``grad_bias (F,)``; None for what is not needed.

        ``grad_of(some)`` answers the gradient of the block's output for some images. It is called for a few images at a
        time, so that what it computes is used while it lies in the cache.
        """
        plan, x = self.plan, self.x
        grad_x = np.empty(x.shape, np.float32) if need_grad_x else None
        parts = pieces(len(x), self.flops, MOST_PARTIAL_SUMS)
        weight_parts, bias_parts = plan.new_parts(len(parts) if need_grad_weight else 0)
        block = max(1, SCRATCH_BYTES // (4 * math.prod(plan.output_shape)))

        def work(part: int) -> None:
            if need_grad_weight:
                weight_parts[part] = bias_parts[part] = 0
            for some in blocks(*parts[part], block):
                grad, winner = grad_of(some), self.winner[some]
                if need_grad_weight:
                    plan.grad_weight(x[some], grad, winner, weight_parts[part], bias_parts[part], 0, len(grad))
                if grad_x is not None:
                    plan.grad_x(self.packed, grad, winner, grad_x[some], 0, len(grad))

        in_parallel(work, len(parts))
        sums = plan.gradients(added(weight_parts), added(bias_parts)) if need_grad_weight else (None, None)
        return (None if grad_x is None else cropped(grad_x, self.padding)), *sums


def added(parts: Array) -> Array:
    """Partial sums ``(parts, …)``, added in order."""
    total = np.empty(parts.shape[1:], np.float32)
    some = pieces(len(total), MEMORY * parts[:, :1].size)
    in_parallel(lambda part: np.sum(parts[:, slice(*some[part])], axis=0, out=total[slice(*some[part])]), len(some))
    return total


def make_conv(
    x: Array,
    weight: Array,
    bias: Array,
    stride: Pair,
    padding: Pair,
    *,
    relu: bool,
    pool: Pool | None,
    need_grad_x: bool,
) -> Conv:
    """Everything ready, nothing computed yet: ``y`` and ``winner`` are empty."""
    KH, KW, C, F = weight.shape
    x = padded_images(x, padding)
    plan = conv_plan(x.shape[1:], (KH, KW), F, stride, *(pool or ()))
    packed = plan.new_packed(need_grad_x)
    plan.pack(np.ascontiguousarray(weight), bias, packed)
    y = np.empty((len(x), *plan.output_shape), np.float32)
    winner = np.empty(y.shape if pool else (len(x), 0), np.uint8)
    OH, OW = window_grid(x.shape, (KH, KW), stride, (0, 0))
    flops = 2 * OH * OW * KH * KW * C * max(F, LANES_USED)
    return Conv(plan, packed, padding, x, y, winner, relu, pool is not None, flops)


def conv_forward(
    x: Array,
    weight: Array,
    bias: Array,
    *,
    stride: Pair,
    padding: Pair,
    relu: bool,
    pool: Pool | None,
    need_grad_x: bool,
) -> tuple[Array, Conv]:
    """``x (N, H, W, C)`` → convolve, ReLU if ``relu``, max-pool if ``pool (window, stride)`` → ``(N, OH, OW, F)``."""
    conv = make_conv(x, weight, bias, stride, padding, relu=relu, pool=pool, need_grad_x=need_grad_x)
    parts = pieces(len(conv.x), conv.flops)
    in_parallel(lambda part: conv.compute(slice(*parts[part])), len(parts))
    return conv.y, conv


def conv_backward(
    conv: Conv, grad_y: Array, need_grad_x: bool, need_grad_weight: bool = True
) -> tuple[Array | None, Array | None, Array | None]:
    """``grad_y (N, OH, OW, F)`` → ``grad_x (N, H, W, C)``, ``grad_weight (KH, KW, C, F)``, ``grad_bias``, or None."""
    grad_y = np.ascontiguousarray(grad_y)
    if conv.pooled or not conv.relu:  # a pooled block's winners know where ReLU was off
        return conv.gradients(grad_y.__getitem__, need_grad_x, need_grad_weight)

    def masked(some: slice) -> Array:
        grad = np.empty_like(grad_y[some])
        plain.relu_backward(grad_y[some].reshape(-1), conv.y[some].reshape(-1), grad.reshape(-1))
        return grad

    return conv.gradients(masked, need_grad_x, need_grad_weight)


def blocks(start: int, stop: int, size: int) -> list[slice]:
    """``range(start, stop)`` as slices of ``size``: so many images are worked on while they lie in the cache."""
    return [slice(first, min(first + size, stop)) for first in range(start, stop, size)]


def cropped(x: Array, padding: Pair) -> Array:
    """``x`` without its edge: what ``padded_images`` added is taken away."""
    PH, PW = padding
    return np.ascontiguousarray(x[:, PH : x.shape[1] - PH, PW : x.shape[2] - PW])


class Source(NamedTuple):
    """The images that a batch normalisation reads, twice in each pass: an array, or one that is still to be filled.

    ``first`` answers some images at the first visit, ``again`` at every later one.
    """

    shape: tuple[int, ...]  # (N, H, W, C)
    first: Callable[[slice], Array]
    again: Callable[[slice], Array]


class Norm(NamedTuple):
    """A batch normalisation, and the max-pool after it, as the backward pass needs it."""

    source: Source
    mean: Array
    inverse_std: Array
    beta: Array
    y: Array
    winner: Array
    window: Pool
    batch: int  # how many values the mean was taken of; 0 where mean and variance were given

    def slopes(self, gamma: Array, grad_gamma: Array, grad_beta: Array) -> tuple[Array, Array, Array]:
        """The three factors of ``grad_x``, each ``(C,)``, see ``ops/batch_norm.py``; fixed statistics leave one."""
        slope = gamma * self.inverse_std
        if not self.batch:
            return slope, np.zeros_like(slope), np.zeros_like(slope)
        grad_gamma, grad_beta = ranks.whole_sums(grad_gamma, grad_beta)
        M = np.float32(self.batch)
        return slope, slope * grad_beta / M, slope * self.inverse_std * grad_gamma / M


def inverse(var: Array, eps: float) -> Array:
    """One over the standard deviation."""
    return 1 / np.sqrt(var + np.float32(eps))


def slope_and_shift(gamma: Array, beta: Array, mean: Array, var: Array, eps: float) -> tuple[Array, Array]:
    """Batch norm as ``slope · x + shift``, each ``(C,)``."""
    slope = gamma * inverse(var, eps)
    return slope, beta - mean * slope


def normalise(
    source: Source, gamma: Array, beta: Array, mean: Array | None, var: Array | None, eps: float, pool: Pool
) -> tuple[Array, Array, Array, Norm]:
    """Normalise, scale, shift, max-pool: a source ``(N, H, W, C)`` → ``y (N, OH, OW, C)``, and the statistics used.

    ``mean`` and ``var`` of the batch are computed where they are None.
    """
    N, H, W, C = source.shape
    parts = pieces(N, 16 * MEMORY * H * W * C)  # small parts: what is read twice stays in the cache
    visit, batch = source.first, 0
    if mean is None or var is None:
        means, squares = np.empty((2, len(parts), C), np.float32)

        def measure(part: int) -> None:
            x = source.first(slice(*parts[part]))
            batch_norm.channel_moments(x.reshape(-1, C), means[part], squares[part])

        in_parallel(measure, len(parts))
        counts = np.array([stop - start for start, stop in parts], np.float64) * H * W
        batch, mean, var = ranks.whole_moments(N * H * W, *ranks.merged_moments(counts, means, squares))
        mean, var = mean.astype(np.float32), var.astype(np.float32)
        visit = source.again
    slope, shift = slope_and_shift(gamma, beta, mean, var, eps)
    y = np.empty((N, *window_grid(source.shape, *pool, (0, 0)), C), np.float32)
    winner = np.empty(y.shape, np.uint8)

    def work(part: int) -> None:
        some = slice(*parts[part])
        batch_norm.normalise_pool(visit(some), slope, shift, *pool, y[some], winner[some])

    in_parallel(work, len(parts))
    return y, mean, var, Norm(source, mean, inverse(var, eps), beta, y, winner, pool, batch)


def norm_forward(
    x: Array, gamma: Array, beta: Array, mean: Array | None, var: Array | None, *, eps: float, pool: Pool
) -> tuple[Array, Array, Array, Norm]:
    """``x (N, H, W, C)`` → batch norm, max-pool → ``y (N, OH, OW, C)``, and the statistics used."""
    x = np.ascontiguousarray(x)
    source = Source(x.shape, x.__getitem__, x.__getitem__)
    return normalise(source, gamma, beta, mean, var, eps, pool)


def grad_gamma_beta(norm: Norm, gamma: Array, grad_y: Array) -> tuple[Array, Array]:
    """``grad_y (N, OH, OW, C)`` → ``grad_gamma``, ``grad_beta``, both ``(C,)``.

    The winners' ``x̂`` come from ``y``, a quarter of the memory of ``x``, unless a small gamma has rounded them away.
    """
    N, H, W, C = norm.source.shape
    parts = pieces(N, 16 * MEMORY * H * W * C)
    gamma_parts, beta_parts = np.empty((2, len(parts), C), np.float32)
    from_y = bool((np.abs(gamma) > SAFE_GAMMA).all())

    def work(part: int) -> None:
        some, sums = slice(*parts[part]), (gamma_parts[part], beta_parts[part])
        if from_y:
            rows = norm.y[some].reshape(-1, C), norm.beta, grad_y[some].reshape(-1, C)
            batch_norm.grad_gamma_beta_from_y(*rows, *sums)
        else:
            arrays = norm.source.again(some), grad_y[some], norm.winner[some], norm.mean, norm.inverse_std
            batch_norm.grad_gamma_beta(*arrays, *norm.window, *sums)

    in_parallel(work, len(parts))
    grad_gamma = gamma_parts.sum(axis=0)
    return grad_gamma / gamma if from_y else grad_gamma, beta_parts.sum(axis=0)


def needed_sums(norm: Norm, gamma: Array, grad_y: Array, need_grad_gamma: bool) -> tuple[Array, Array]:
    """``grad_gamma`` and ``grad_beta``, both ``(C,)``; zeros where nobody needs them, ``grad_x`` neither."""
    needed = need_grad_gamma or norm.batch
    return grad_gamma_beta(norm, gamma, grad_y) if needed else (np.zeros_like(gamma), np.zeros_like(gamma))


def norm_backward(
    norm: Norm, gamma: Array, grad_y: Array, need_grad_x: bool = True, need_grad_gamma: bool = True
) -> tuple[Array | None, Array, Array]:
    """``grad_y (N, OH, OW, C)`` → ``grad_x (N, H, W, C)`` or None, ``grad_gamma``, ``grad_beta``."""
    grad_y = np.ascontiguousarray(grad_y)
    sums = needed_sums(norm, gamma, grad_y, need_grad_gamma)
    if not need_grad_x:
        return None, *sums
    slopes, grad_x = norm.slopes(gamma, *sums), np.empty(norm.source.shape, np.float32)
    parts = pieces(len(grad_x), 16 * MEMORY * math.prod(grad_x.shape[1:]))

    def work(part: int) -> None:
        some = slice(*parts[part])
        norm_grad_x(norm, grad_y, slopes, some, False, grad_x[some])

    in_parallel(work, len(parts))
    return grad_x, *sums


def norm_grad_x(norm: Norm, grad_y: Array, slopes: tuple[Array, ...], some: slice, relu: bool, out: Array) -> None:
    """The gradient of some images of the source into ``out``; of what was before the ReLU that made it, if ``relu``."""
    arrays = norm.source.again(some), grad_y[some], norm.winner[some]
    batch_norm.grad_x(*arrays, norm.mean, *slopes, *norm.window, relu, out)


def conv_norm_forward(
    x: Array,
    weight: Array,
    bias: Array,
    gamma: Array,
    beta: Array,
    mean: Array | None,
    var: Array | None,
    *,
    stride: Pair,
    padding: Pair,
    eps: float,
    pool: Pool,
    need_grad_x: bool,
) -> tuple[Array, Array, Array, Callable[[], tuple[Conv, Norm]]]:
    """Convolution, ReLU, batch norm, max-pool: ``x (N, H, W, C)`` → ``y (N, OH, OW, F)``, and the statistics used.

    With fixed statistics, batch norm is ``slope · x + shift``, and under positive slopes the largest of a window stays
    the largest: pooling first leaves a quarter of the work. A gradient takes the long way after all.
    """

    def long_way() -> tuple[Array, Array, Array, tuple[Conv, Norm]]:
        conv = make_conv(x, weight, bias, stride, padding, relu=True, pool=None, need_grad_x=need_grad_x)

        def compute(some: slice) -> Array:
            conv.compute(some)
            return conv.y[some]

        source = Source(conv.y.shape, compute, conv.y.__getitem__)
        y, used_mean, used_var, norm = normalise(source, gamma, beta, mean, var, eps, pool)
        return y, used_mean, used_var, (conv, norm)

    if mean is not None and var is not None and pool != NO_POOL and (gamma > 0).all():
        conv = make_conv(x, weight, bias, stride, padding, relu=True, pool=pool, need_grad_x=False)
        return pooled_then_scaled(conv, *slope_and_shift(gamma, beta, mean, var, eps)), mean, var, lambda: long_way()[3]
    y, used_mean, used_var, saved = long_way()
    return y, used_mean, used_var, lambda: saved


def pooled_then_scaled(conv: Conv, slope: Array, shift: Array) -> Array:
    """A pooled block's output ``(N, OH, OW, F)`` times ``slope (F,)`` plus ``shift (F,)``."""
    parts = pieces(len(conv.y), conv.flops)

    def work(part: int) -> None:
        some = slice(*parts[part])
        conv.compute(some)
        batch_norm.normalise_pool(conv.y[some], slope, shift, *NO_POOL, conv.y[some], conv.winner[some])

    in_parallel(work, len(parts))
    return conv.y


def conv_norm_backward(
    saved: Callable[[], tuple[Conv, Norm]],
    gamma: Array,
    grad_y: Array,
    need_grad_x: bool,
    need_grad_weight: bool = True,
    need_grad_gamma: bool = True,
) -> tuple[Array | None, ...]:
    """``grad_y (N, OH, OW, F)`` → the gradients of ``x, weight, bias, gamma, beta``."""
    conv, norm = saved()
    grad_y = np.ascontiguousarray(grad_y)
    sums = needed_sums(norm, gamma, grad_y, need_grad_gamma)
    if not (need_grad_x or need_grad_weight):
        return None, None, None, *sums
    slopes = norm.slopes(gamma, *sums)

    def before_relu(some: slice) -> Array:
        grad = np.empty_like(conv.y[some])
        norm_grad_x(norm, grad_y, slopes, some, True, grad)
        return grad

    return *conv.gradients(before_relu, need_grad_x, need_grad_weight), *sums


def dense_forward(x: Array, weight: Array, bias: Array, *, relu: bool) -> Array:
    """``x (N, in)`` → ``y (N, out)``, ReLU if ``relu``.

    A thread multiplies some of the inputs by their rows of the weights: those that it changed itself in the last step,
    see ``dense_backward`` and ``adam_all``, and may still have in its cache.
    """
    rows = pieces(len(weight), 2 * len(x) * weight.shape[1], MOST_PARTIAL_SUMS)
    products = np.empty((len(rows), len(x), weight.shape[1]), np.float32)

    def work(part: int) -> None:
        some = slice(*rows[part])
        np.matmul(x[:, some], weight[some], out=products[part])

    in_parallel(work, len(rows))
    y = added(products) if len(rows) > 1 else products[0]  # (N, out)
    plain.add_bias_relu(y, bias, relu, y)
    return y


def dense_backward(
    x: Array, weight: Array, y: Array, grad_y: Array, *, relu: bool, need_grad_x: bool, need_grad_weight: bool = True
) -> tuple[Array | None, Array | None, Array]:
    """``grad_y (N, out)`` → ``grad_x (N, in)`` or None, ``grad_weight (in, out)`` or None, ``grad_bias (out,)``."""
    if relu:
        grad_y = grad_y * (y > 0)
    grad_x = np.empty_like(x) if need_grad_x else None
    grad_weight = np.empty_like(weight) if need_grad_weight else None
    rows = pieces(len(weight), 2 * len(x) * weight.shape[1])  # each part owns some inputs: nothing to add up

    def work(part: int) -> None:
        some = slice(*rows[part])
        if grad_weight is not None:
            np.matmul(x[:, some].T, grad_y, out=grad_weight[some])
        if grad_x is not None:
            grad_x[:, some] = grad_y @ weight[some].T

    in_parallel(work, len(rows))
    return grad_x, grad_weight, grad_y.sum(axis=0)


def adam_all(
    arrays: list[tuple[Array, Array, Array, Array]],
    rates: tuple[float, ...],
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
) -> None:
    """One step in place for all ``(p, g, m, v)``, see ``optim.Adam``; a third rate is what AdamW leaves of ``p``."""
    settings = *(*rates, 1.0)[:3], beta1, beta2, eps, weight_decay
    for flat in ([array.reshape(-1) for array in some] for some in arrays):
        parts = pieces(flat[0].size, MEMORY)
        if len(parts) == 1:
            plain.adam(*flat, *settings)
        else:
            step_in_parts(flat, settings, [slice(*part) for part in parts])


def step_in_parts(flat: list[Array], settings: tuple[float, ...], parts: list[slice]) -> None:
    """The same for one large parameter, by all threads."""
    in_parallel(lambda part: plain.adam(*(array[parts[part]] for array in flat), *settings), len(parts))


def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """``logits (N, K)``, ``labels (N,)`` or ``(N, K)`` → mean loss ``()`` and its gradient ``(N, K)``."""
    if labels.ndim == 1:
        labels = labels[:, None] == np.arange(logits.shape[1])  # (N, K)
    surprise, grad = np.empty(len(logits), logits.dtype), np.empty(logits.shape, logits.dtype)
    plain.softmax_cross_entropy(logits, labels.astype(logits.dtype), surprise, grad)
    return surprise.mean(), grad


SIMD_KERNELS: dict[str, Callable[..., Any]] = {
    "conv_forward": conv_forward,
    "conv_backward": conv_backward,
    "conv_norm_forward": conv_norm_forward,
    "conv_norm_backward": conv_norm_backward,
    "norm_forward": norm_forward,
    "norm_backward": norm_backward,
    "dense_forward": dense_forward,
    "dense_backward": dense_backward,
}
# Without SIMD registers, im2col and the matrix product of BLAS are faster than any loop of ours.
PLAIN_KERNELS: dict[str, Callable[..., Any]] = {"softmax_cross_entropy": softmax_cross_entropy, "adam_all": adam_all}
FUSED = SIMD_KERNELS | PLAIN_KERNELS if LANES else PLAIN_KERNELS
