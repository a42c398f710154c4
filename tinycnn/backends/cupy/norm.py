"""Fused kernels of the GPU backend: batch normalisation with the max-pool after it and the convolution before it.

This file computes shapes and grids; ``cuda/batch_norm.cu`` holds the mathematics.
"""

import math
from typing import NamedTuple

import numpy as np

from tinycnn.backends.array_types import Array, Pair, Pool
from tinycnn.backends.base import window_grid
from tinycnn.backends.cupy.conv import Conv, ConvKernels
from tinycnn.backends.cupy.launch import BYTE, Launcher, blocks_for, windows_of
from tinycnn.backends.fused_kernels import Gradients

FILE = "batch_norm.cu"
CHANNELS = 32  # of a block, each summed by 8 threads
LEAST_PIXELS, MOST_RANGES = 64, 256
SUM = np.dtype(np.float64)  # of partial sums, for all dtypes


class Norm(NamedTuple):
    """What backward needs of a batch normalisation, and of the pool after it."""

    x: Array
    mean: Array
    var: Array
    winner: Array
    eps: float
    pool: Pool
    batch: bool  # whether mean and variance are those of x itself


def pixel_ranges(count: int) -> tuple[int, int]:
    """``(number, size)`` of the ranges of pixels that blocks sum up."""
    size = max(LEAST_PIXELS, -(-count // MOST_RANGES))
    return max(1, -(-count // size)), size


class NormKernels:
    """The kernels of batch norm; ``conv`` computes the convolution before it."""

    def __init__(self, launch: Launcher, conv: ConvKernels) -> None:
        self.launch, self.xp, self.conv = launch, launch.cupy, conv

    def norm_forward(
        self, x: Array, gamma: Array, beta: Array, mean: Array | None, var: Array | None, *, eps: float, pool: Pool
    ) -> tuple[Array, Array, Array, Norm]:
        """``x (N, H, W, C)`` → batch norm, max-pool → ``y (N, OH, OW, C)``, and the statistics used."""
        x, gamma, beta = (self.launch.contiguous(array) for array in (x, gamma, beta))
        batch = mean is None or var is None
        if mean is None or var is None:
            mean, var = self.moments(x)
        mean, var = self.launch.contiguous(mean), self.launch.contiguous(var)
        y = self.xp.empty((len(x), *window_grid(x.shape, *pool, (0, 0)), x.shape[3]), x.dtype)
        winner, windows = self.xp.empty(y.shape, BYTE), windows_of(x.shape, *pool, (0, 0))
        self.launch.elementwise(FILE, "normalise_pool", y, x, gamma, beta, mean, var, y, winner, float(eps), windows)
        return y, mean, var, Norm(x, mean, var, winner, eps, pool, batch)

    def moments(self, x: Array) -> tuple[Array, Array]:
        """``x (N, H, W, C)`` → mean and biased variance of each channel, ``(C,)`` both."""
        C, count = x.shape[3], math.prod(x.shape[:3])
        ranges, size = pixel_ranges(count)
        means, squares = (self.xp.empty((ranges, C), SUM) for _ in range(2))
        self.launch(FILE, "range_moments", x.dtype, (-(-C // CHANNELS), ranges), x, means, squares, size, count, C)
        mean, var = (self.xp.empty(C, x.dtype) for _ in range(2))
        arrays = means, squares, mean, var
        self.launch(FILE, "merge_moments", x.dtype, blocks_for(C), *arrays, ranges, size, count, C)
        return mean, var

    def norm_backward(
        self, saved: Norm, gamma: Array, grad_y: Array, *, need_grad_x: bool, need_grad_gamma: bool
    ) -> Gradients:
        """``grad_y (N, OH, OW, C)`` → ``grad_x (N, H, W, C)`` or None, ``grad_gamma``, ``grad_beta``."""
        return self.norm_gradients(
            saved, gamma, self.launch.contiguous(grad_y), need_grad_x, need_grad_gamma, relu=False
        )

    def norm_gradients(
        self, norm: Norm, gamma: Array, grad_y: Array, need_grad_x: bool, need_grad_gamma: bool, *, relu: bool
    ) -> tuple[Array | None, Array, Array]:
        """As ``norm_backward``; the gradient of what was before the ReLU that made ``x``, if ``relu``."""
        gamma = self.launch.contiguous(gamma)
        needed = need_grad_gamma or norm.batch  # grad_x takes the sums only where the statistics are the batch's
        sums = self.grad_gamma_beta(norm, grad_y) if needed else (self.xp.zeros_like(gamma), self.xp.zeros_like(gamma))
        if not need_grad_x:
            return None, *sums
        grad_x, windows = self.xp.empty(norm.x.shape, grad_y.dtype), windows_of(norm.x.shape, *norm.pool, (0, 0))
        arrays = norm.x, grad_y, norm.winner, gamma, norm.mean, norm.var, *sums, grad_x
        numbers = float(norm.eps), windows, int(norm.batch), int(relu), math.prod(norm.x.shape[:3])
        self.launch.elementwise(FILE, "norm_grad_x", grad_x, *arrays, *numbers)
        return grad_x, *sums

    def grad_gamma_beta(self, norm: Norm, grad_y: Array) -> tuple[Array, Array]:
        """``grad_y (N, OH, OW, C)`` → ``grad_gamma`` and ``grad_beta``, ``(C,)`` both."""
        C, count, dtype = grad_y.shape[3], math.prod(grad_y.shape[:3]), grad_y.dtype
        ranges, size = pixel_ranges(count)
        gammas, betas = (self.xp.empty((ranges, C), SUM) for _ in range(2))
        windows = windows_of(norm.x.shape, *norm.pool, (0, 0))
        arrays = norm.x, grad_y, norm.winner, norm.mean, norm.var, gammas, betas
        grid = -(-C // CHANNELS), ranges
        self.launch(FILE, "range_grad_gamma_beta", dtype, grid, *arrays, float(norm.eps), windows, size, count)
        grad_gamma, grad_beta = (self.xp.empty(C, dtype) for _ in range(2))
        sums = gammas, betas, grad_gamma, grad_beta
        self.launch(FILE, "merge_grad_gamma_beta", dtype, blocks_for(C), *sums, ranges, C)
        return grad_gamma, grad_beta

    def conv_norm_forward(
        self,
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
    ) -> tuple[Array, Array, Array, tuple[Conv, Norm]]:
        """Convolution, ReLU, batch norm, max-pool: ``x (N, H, W, C)`` → ``y (N, OH, OW, F)``, and the statistics."""
        z, conv = self.conv.conv_block(x, weight, bias, stride, padding, True, None)
        y, mean, var, norm = self.norm_forward(z, gamma, beta, mean, var, eps=eps, pool=pool)
        return y, mean, var, (conv, norm)

    def conv_norm_backward(
        self,
        saved: tuple[Conv, Norm],
        gamma: Array,
        grad_y: Array,
        *,
        need_grad_x: bool,
        need_grad_weight: bool,
        need_grad_gamma: bool,
    ) -> Gradients:
        """``grad_y (N, OH, OW, F)`` → the gradients of ``x, weight, bias, gamma, beta``, None where not needed."""
        (conv, norm), below = saved, need_grad_x or need_grad_weight
        grad, *sums = self.norm_gradients(
            norm, gamma, self.launch.contiguous(grad_y), below, need_grad_gamma, relu=True
        )
        if grad is None:
            return None, None, None, *sums
        return *self.conv.conv_gradients(conv, grad, need_grad_x, need_grad_weight), *sums

    def update_statistics(
        self, running_mean: Array, running_var: Array, mean: Array, var: Array, momentum: float
    ) -> None:
        """Move the running statistics, in place, towards those of a batch by the fraction ``momentum``."""
        mean, var = self.launch.contiguous(mean), self.launch.contiguous(var)
        arguments = running_mean, running_var, mean, var, float(momentum)
        self.launch.elementwise(FILE, "update_statistics", mean, *arguments)
