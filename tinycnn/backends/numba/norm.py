"""Batch normalisation and the max-pool after it. Each pass reads its images in parts that stay in the cache."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinycnn.backends.array_types import Array, Pool
from tinycnn.backends.base import window_grid
from tinycnn.backends.fused_kernels import Gradients
from tinycnn.backends.numba.kernels import batch_norm, norm_sums
from tinycnn.backends.numba.kernels.arrays import contiguous, empty, flat
from tinycnn.backends.numba.kernels.lanes import LANES
from tinycnn.backends.threads import MEMORY_ACCESS, in_parallel, pieces
from tinycnn.distributed import sharding

NO_POOL: Pool = ((1, 1), (1, 1))


class Source(NamedTuple):
    """The images that a batch normalisation reads twice in each pass: an array, or one that the first read fills.

    ``first`` returns some images at the first read, ``again`` at every later read.
    """

    shape: tuple[int, ...]  # (N, H, W, C)
    first: Callable[[slice], Array]
    again: Callable[[slice], Array]


class Norm(NamedTuple):
    """What the backward pass needs of a batch normalisation and the max-pool after it."""

    source: Source
    mean: Array
    rest: Array  # the rounding error of the mean in float32
    inverse_std: Array
    slope: Array
    beta: Array
    y: Array
    winner: Array
    window: Pool
    batch: int  # number of values that the mean was taken over; 0 if mean and variance were given

    def factors(self, grad_gamma: Array, grad_beta: Array) -> tuple[Array, Array, Array]:
        """``slope, offset, stretch`` of ``batch_norm.grad_x``, each ``(C,)``; fixed statistics make the last two 0.

        Formulas: ``ops/batch_norm.py``.
        """
        if not self.batch:
            return self.slope, np.zeros(self.slope.shape, np.float32), np.zeros(self.slope.shape, np.float32)
        sums = sharding.global_sums(grad_gamma, grad_beta)
        offset, stretch = empty(self.slope.shape), empty(self.slope.shape)
        norm_sums.grad_factors(self.slope, self.inverse_std, self.rest, *sums, self.batch, offset, stretch)
        return self.slope, offset, stretch


def inverse(var: Array, eps: float) -> Array:
    """One over the standard deviation."""
    return 1 / np.sqrt(var + np.float32(eps))


def image_parts(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Ranges of the images of a batch ``(N, H, W, C)``, so small that a part stays in the cache between two reads."""
    N, H, W, C = shape
    return pieces(N, 16 * MEMORY_ACCESS * H * W * C, added=True)


def batch_moments(source: Source) -> tuple[int, Array, Array]:
    """The number of values per channel in the batch of all ranks, and their mean and variance, ``(C,)`` float64."""
    N, H, W, C = source.shape
    parts = image_parts(source.shape)
    means, squares = empty((len(parts), C), np.float64), empty((len(parts), C), np.float64)
    mean, var = empty((C,), np.float64), empty((C,), np.float64)

    def measure(part: int) -> None:
        x = source.first(slice(*parts[part]))
        batch_norm.channel_moments(x.reshape(-1, C), means[part], squares[part])

    in_parallel(measure, len(parts))
    counts = np.array([stop - start for start, stop in parts], np.float64) * H * W
    norm_sums.merge_moments(counts, means, squares, mean, var)
    return sharding.global_moments(N, H * W, mean, var)


def normalise(
    source: Source, gamma: Array, beta: Array, mean: Array | None, var: Array | None, eps: float, pool: Pool
) -> tuple[Array, Array, Array, Norm]:
    """Normalise, scale, shift, max-pool: a source ``(N, H, W, C)`` → ``y (N, OH, OW, C)``, and the statistics used.

    Where ``mean`` or ``var`` is None, the statistics of the batch are computed.
    """
    N, _, _, C = source.shape
    visit, batch, rest = source.first, 0, np.zeros(C, np.float32)
    if mean is None or var is None:
        batch, *exact = batch_moments(source)
        visit, mean, var, rest = source.again, empty((C,)), empty((C,)), empty((C,))
        norm_sums.round_moments(*exact, mean, var, rest)
    mean = contiguous(mean)
    inverse_std, slope, shift = empty((C,)), empty((C,)), empty((C,))
    norm_sums.scales(var, rest, gamma, beta, np.float32(eps), inverse_std, slope, shift)
    y = empty((N, *window_grid(source.shape, *pool, (0, 0)), C))
    winner, parts = empty(y.shape, np.uint8), image_parts(source.shape)

    def work(part: int) -> None:
        some = slice(*parts[part])
        normalise_pool(visit(some), mean, slope, shift, pool, y[some], winner[some])

    in_parallel(work, len(parts))
    return y, mean, var, Norm(source, mean, rest, inverse_std, slope, beta, y, winner, pool, batch)


def normalise_pool(x: Array, mean: Array, slope: Array, shift: Array, pool: Pool, y: Array, winner: Array) -> None:
    """``x (N, H, W, C)`` → ``y`` and ``winner``, both ``(N, OH, OW, C)``; ``y`` may be ``x`` where there is no pool."""
    sizes = sizes_for(x.shape, y.shape, pool)
    scales = contiguous(mean), contiguous(slope), contiguous(shift)  # kernels load them into SIMD registers
    batch_norm.normalise_pool(flat(x), *scales, sizes, pool, count_of(x), flat(y), flat(winner))


def sizes_for(x_shape: tuple[int, ...], y_shape: tuple[int, ...], pool: Pool) -> tuple[int, ...]:
    """``N, H, W, C, OH, OW`` for kernels; without a pool, all pixels are one row, because short rows take longer."""
    N, H, W, C = x_shape
    return (1, 1, N * H * W, C, 1, N * H * W) if pool == NO_POOL else (N, H, W, C, *y_shape[1:3])


def count_of(x: Array) -> int | None:
    """The number of channels, or None where they fill whole SIMD registers, see ``simd.py``."""
    channels = x.shape[-1]
    return channels if channels % LANES else None


def update_statistics(running_mean: Array, running_var: Array, mean: Array, var: Array, momentum: float) -> None:
    """Move the running statistics towards those of a batch, all ``(C,)``; see ``ops/running_statistics.py``."""
    kind = running_mean.dtype.type
    norm_sums.update_statistics(running_mean, running_var, mean, var, kind(momentum))


def norm_forward(
    x: Array, gamma: Array, beta: Array, mean: Array | None, var: Array | None, *, eps: float, pool: Pool
) -> tuple[Array, Array, Array, Norm]:
    """Batch norm, max-pool: ``x (N, H, W, C)`` → ``y (N, OH, OW, C)``, and the statistics used."""
    x = contiguous(x)
    source = Source(x.shape, x.__getitem__, x.__getitem__)
    return normalise(source, gamma, beta, mean, var, eps, pool)


def grad_gamma_beta(norm: Norm, gamma: Array, grad_y: Array) -> tuple[Array, Array]:
    """``grad_y (N, OH, OW, C)`` → ``grad_gamma``, ``grad_beta``, both ``(C,)``."""
    C, parts = len(gamma), image_parts(norm.source.shape)
    gamma_parts, beta_parts = empty((len(parts), C), np.float64), empty((len(parts), C), np.float64)
    grad_gamma, grad_beta = empty((C,)), empty((C,))

    def work(part: int) -> None:
        some, sums = slice(*parts[part]), (gamma_parts[part], beta_parts[part])
        rows = norm.y[some].reshape(-1, C), grad_y[some].reshape(-1, C)
        arrays = rows, norm.source.again(some), grad_y[some], norm.winner[some], gamma, norm.beta
        norm_sums.grad_gamma_beta(*arrays, norm.mean, norm.inverse_std, norm.window, *sums)

    in_parallel(work, len(parts))
    merged = gamma_parts, beta_parts, gamma, norm.beta, norm.rest, norm.inverse_std, grad_gamma, grad_beta
    norm_sums.merge_sums(*merged)
    return grad_gamma, grad_beta


def needed_sums(norm: Norm, gamma: Array, grad_y: Array, need_grad_gamma: bool) -> tuple[Array, Array]:
    """``grad_gamma`` and ``grad_beta``, both ``(C,)``; zeros if neither the caller nor ``grad_x`` needs them."""
    needed = need_grad_gamma or norm.batch
    return (
        grad_gamma_beta(norm, gamma, grad_y)
        if needed
        else (np.zeros(gamma.shape, np.float32), np.zeros(gamma.shape, np.float32))
    )


def norm_backward(saved: Norm, gamma: Array, grad_y: Array, *, need_grad_x: bool, need_grad_gamma: bool) -> Gradients:
    """``grad_y (N, OH, OW, C)`` → ``grad_x (N, H, W, C)`` or None, ``grad_gamma``, ``grad_beta``."""
    norm, grad_y = saved, contiguous(grad_y)
    sums = needed_sums(norm, gamma, grad_y, need_grad_gamma)
    if not need_grad_x:
        return None, *sums
    factors, grad_x = norm.factors(*sums), empty(norm.source.shape)
    parts = image_parts(grad_x.shape)

    def work(part: int) -> None:
        some = slice(*parts[part])
        norm_grad_x(norm, grad_y, factors, some, False, grad_x[some])

    in_parallel(work, len(parts))
    return grad_x, *sums


def norm_grad_x(norm: Norm, grad_y: Array, factors: tuple[Array, ...], some: slice, relu: bool, out: Array) -> None:
    """Write the gradient of some images of the source to ``out``; if ``relu``, of the input of the ReLU before it."""
    x, grad, winner = norm.source.again(some), grad_y[some], norm.winner[some]
    if norm.window[0] != norm.window[1]:
        batch_norm.grad_x_of_any_windows(x, grad, winner, norm.mean, factors, norm.window, relu, out)
        return
    arrays, sizes = (flat(x), flat(grad), flat(winner)), sizes_for(x.shape, grad.shape, norm.window)
    batch_norm.grad_x(*arrays, norm.mean, factors, sizes, norm.window, relu, count_of(x), flat(out))
