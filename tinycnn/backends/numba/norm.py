"""Batch normalisation and the max-pool after it. Each pass reads its images in parts that stay in the cache."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinycnn.backends.array_types import Array, Pool
from tinycnn.backends.base import window_grid
from tinycnn.backends.fused_kernels import Gradients
from tinycnn.backends.numba.kernels import batch_norm
from tinycnn.backends.threads import MEMORY_ACCESS, in_parallel, pieces
from tinycnn.distributed import sharding

SAFE_GAMMA = 0.1  # if gamma exceeds it, and this share of beta, x̂ = (y - beta) / gamma loses at most about one digit


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
    beta: Array
    y: Array
    winner: Array
    window: Pool
    batch: int  # number of values that the mean was taken over; 0 if mean and variance were given

    def factors(self, gamma: Array, grad_gamma: Array, grad_beta: Array) -> tuple[Array, Array, Array]:
        """``slope, offset, stretch`` of ``batch_norm.grad_x``, each ``(C,)``; fixed statistics make the last two 0.

        Formulas: ``ops/batch_norm.py``.
        """
        slope = gamma * self.inverse_std
        if not self.batch:
            return slope, np.zeros_like(slope), np.zeros_like(slope)
        grad_gamma, grad_beta = sharding.global_sums(grad_gamma, grad_beta)
        M = np.float32(self.batch)
        stretch = slope * self.inverse_std * grad_gamma / M
        return slope, slope * grad_beta / M - stretch * self.rest, stretch


def inverse(var: Array, eps: float) -> Array:
    """One over the standard deviation."""
    return 1 / np.sqrt(var + np.float32(eps))


def image_parts(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Ranges of the images of a batch ``(N, H, W, C)``, so small that a part stays in the cache between two reads."""
    N, H, W, C = shape
    return pieces(N, 16 * MEMORY_ACCESS * H * W * C)


def batch_moments(source: Source) -> tuple[int, Array, Array]:
    """The number of values per channel in the batch of all ranks, and their mean and variance, ``(C,)`` float64."""
    N, H, W, C = source.shape
    parts = image_parts(source.shape)
    means, squares = np.empty((2, len(parts), C), np.float64)

    def measure(part: int) -> None:
        x = source.first(slice(*parts[part]))
        batch_norm.channel_moments(x.reshape(-1, C), means[part], squares[part])

    in_parallel(measure, len(parts))
    counts = np.array([stop - start for start, stop in parts], np.float64) * H * W
    return sharding.global_moments(N, H * W, *sharding.merge_moments(counts, means, squares))


def normalise(
    source: Source, gamma: Array, beta: Array, mean: Array | None, var: Array | None, eps: float, pool: Pool
) -> tuple[Array, Array, Array, Norm]:
    """Normalise, scale, shift, max-pool: a source ``(N, H, W, C)`` → ``y (N, OH, OW, C)``, and the statistics used.

    Where ``mean`` or ``var`` is None, the statistics of the batch are computed.
    """
    visit, batch, rest = source.first, 0, np.zeros_like(beta)
    if mean is None or var is None:
        batch, exact_mean, exact_var = batch_moments(source)
        mean, var = exact_mean.astype(np.float32), exact_var.astype(np.float32)
        visit, rest = source.again, (exact_mean - mean).astype(np.float32)
    inverse_std = inverse(var, eps)
    slope = gamma * inverse_std
    factors = mean, slope, beta - rest * slope  # y = (x - mean - rest) · slope + beta
    N, _, _, C = source.shape
    y = np.empty((N, *window_grid(source.shape, *pool, (0, 0)), C), np.float32)
    winner, parts = np.empty(y.shape, np.uint8), image_parts(source.shape)

    def work(part: int) -> None:
        some = slice(*parts[part])
        batch_norm.normalise_pool(visit(some), *factors, pool, y[some], winner[some])

    in_parallel(work, len(parts))
    return y, mean, var, Norm(source, mean, rest, inverse_std, beta, y, winner, pool, batch)


def norm_forward(
    x: Array, gamma: Array, beta: Array, mean: Array | None, var: Array | None, *, eps: float, pool: Pool
) -> tuple[Array, Array, Array, Norm]:
    """Batch norm, max-pool: ``x (N, H, W, C)`` → ``y (N, OH, OW, C)``, and the statistics used."""
    x = np.ascontiguousarray(x)
    source = Source(x.shape, x.__getitem__, x.__getitem__)
    return normalise(source, gamma, beta, mean, var, eps, pool)


def grad_gamma_beta(norm: Norm, gamma: Array, grad_y: Array) -> tuple[Array, Array]:
    """``grad_y (N, OH, OW, C)`` → ``grad_gamma``, ``grad_beta``, both ``(C,)``.

    The winners' ``x̂`` are computed from ``y``, which takes a quarter of the memory of ``x``. Where a gamma is small, or
    small compared with its beta, rounding has lost them; then they are computed from ``x``.
    """
    C, parts = len(gamma), image_parts(norm.source.shape)
    gamma_parts, beta_parts = np.empty((2, len(parts), C), np.float64)
    from_y = bool((np.abs(gamma) > SAFE_GAMMA * np.maximum(1, np.abs(norm.beta))).all())

    def work(part: int) -> None:
        some, sums = slice(*parts[part]), (gamma_parts[part], beta_parts[part])
        if from_y:
            rows = norm.y[some].reshape(-1, C), norm.beta, grad_y[some].reshape(-1, C)
            batch_norm.grad_gamma_beta_from_y(*rows, *sums)
        else:
            arrays = norm.source.again(some), grad_y[some], norm.winner[some], norm.mean, norm.inverse_std
            batch_norm.grad_gamma_beta(*arrays, norm.window, *sums)

    in_parallel(work, len(parts))
    grad_gamma, grad_beta = gamma_parts.sum(axis=0), beta_parts.sum(axis=0)
    grad_gamma = grad_gamma / gamma if from_y else grad_gamma - norm.rest * norm.inverse_std * grad_beta
    return grad_gamma.astype(np.float32), grad_beta.astype(np.float32)


def needed_sums(norm: Norm, gamma: Array, grad_y: Array, need_grad_gamma: bool) -> tuple[Array, Array]:
    """``grad_gamma`` and ``grad_beta``, both ``(C,)``; zeros if neither the caller nor ``grad_x`` needs them."""
    needed = need_grad_gamma or norm.batch
    return grad_gamma_beta(norm, gamma, grad_y) if needed else (np.zeros_like(gamma), np.zeros_like(gamma))


def norm_backward(saved: Norm, gamma: Array, grad_y: Array, *, need_grad_x: bool, need_grad_gamma: bool) -> Gradients:
    """``grad_y (N, OH, OW, C)`` → ``grad_x (N, H, W, C)`` or None, ``grad_gamma``, ``grad_beta``."""
    norm, grad_y = saved, np.ascontiguousarray(grad_y)
    sums = needed_sums(norm, gamma, grad_y, need_grad_gamma)
    if not need_grad_x:
        return None, *sums
    factors, grad_x = norm.factors(gamma, *sums), np.empty(norm.source.shape, np.float32)
    parts = image_parts(grad_x.shape)

    def work(part: int) -> None:
        some = slice(*parts[part])
        norm_grad_x(norm, grad_y, factors, some, False, grad_x[some])

    in_parallel(work, len(parts))
    return grad_x, *sums


def norm_grad_x(norm: Norm, grad_y: Array, factors: tuple[Array, ...], some: slice, relu: bool, out: Array) -> None:
    """Write the gradient of some images of the source to ``out``; if ``relu``, of the input of the ReLU before it."""
    arrays = norm.source.again(some), grad_y[some], norm.winner[some]
    batch_norm.grad_x(*arrays, norm.mean, factors, norm.window, relu, out)
