"""Fused kernels of the GPU backend: convolution, ReLU and max-pool in one launch.

This file computes shapes and grids; ``cuda/conv2d.cu`` and ``cuda/conv2d_backward.cu`` hold the mathematics.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from tinycnn.backends.array_types import Array, Pair, Pool
from tinycnn.backends.base import Backend, window_grid
from tinycnn.backends.cupy.launch import BYTE, WINDOWS, Launcher, blocks_for, divisor, windows_of
from tinycnn.backends.cupy.tiles import ROWS, multiply, ranges_for, tiles_for
from tinycnn.backends.fused_kernels import Gradients

CONV = np.dtype([("win", WINDOWS), ("pool", WINDOWS), ("divisors", "u4", (6, 3)), ("F", "i4"), ("places", "i4")])
CONV_BACKWARD = np.dtype([("win", WINDOWS), ("pool", WINDOWS), ("divisors", "u4", (11, 3)), ("F", "i4")])


@functools.lru_cache(maxsize=256)
def conv_of(
    x_shape: tuple[int, ...], weight_shape: tuple[int, ...], stride: Pair, padding: Pair, pool: Pool
) -> np.ndarray:
    """``struct Conv`` of ``cuda/conv2d.cu``."""
    KH, KW, C, F = weight_shape
    win = windows_of(x_shape, (KH, KW), stride, padding)
    OH, OW = window_grid(x_shape, (KH, KW), stride, padding)
    pooled = windows_of((0, OH, OW, F), *pool, (0, 0))
    pool_OH, pool_OW = window_grid((0, OH, OW, F), *pool, (0, 0))
    places = math.prod(pool[0])
    divisors = [divisor(d) for d in (C, KW, pool_OW, pool_OH, places, pool[0][1])]
    return np.array([(win[0], pooled[0], divisors, F, places)], CONV)


@functools.lru_cache(maxsize=256)
def conv_backward_of(
    x_shape: tuple[int, ...], weight_shape: tuple[int, ...], stride: Pair, padding: Pair, pool: Pool
) -> np.ndarray:
    """``struct ConvBackward`` of ``cuda/conv2d_backward.cu``."""
    KH, KW, C, F = weight_shape
    win = windows_of(x_shape, (KH, KW), stride, padding)
    OH, OW = window_grid(x_shape, (KH, KW), stride, padding)
    pooled = windows_of((0, OH, OW, F), *pool, (0, 0))
    divisors = [divisor(d) for d in (C, KW, F, *x_shape[2:0:-1], OW, OH, *stride, *pool[1])]
    return np.array([(win[0], pooled[0], divisors, F)], CONV_BACKWARD)


class Conv(NamedTuple):
    """What backward needs of a convolution block."""

    x: Array
    weight: Array
    stride: Pair
    padding: Pair
    relu: bool
    pool: Pool
    y: Array
    winner: Array | None  # None without a pool


class PooledApart(NamedTuple):
    """What backward needs when the pool's windows are too large for a tile and have a kernel of their own."""

    conv: Conv
    winner: Array
    window: tuple[Pair, Pair, Pair]


class ConvKernels:
    """The kernels around a convolution; ``backend`` computes max-pools whose windows are too large for a tile."""

    def __init__(self, launch: Launcher, backend: Backend) -> None:
        self.launch, self.xp, self.backend = launch, launch.cupy, backend

    def conv_forward(
        self,
        x: Array,
        weight: Array,
        bias: Array,
        *,
        stride: Pair,
        padding: Pair,
        relu: bool,
        pool: Pool | None,
        need_grad_x: bool,
    ) -> tuple[Array, Conv | PooledApart]:
        """``x (N, H, W, C)`` → convolve, ReLU if asked, max-pool by ``pool (window, stride)`` → ``(N, OH, OW, F)``."""
        if pool and math.prod(pool[0]) > ROWS:
            y, conv = self.conv_block(x, weight, bias, stride, padding, relu, None)
            pooled, winner = self.backend.max_pool2d(y, *pool, (0, 0))
            return pooled, PooledApart(conv, winner, (*pool, (0, 0)))
        return self.conv_block(x, weight, bias, stride, padding, relu, pool)

    def conv_block(
        self, x: Array, weight: Array, bias: Array, stride: Pair, padding: Pair, relu: bool, pool: Pool | None
    ) -> tuple[Array, Conv]:
        """As ``conv_forward``, all in one launch: a tile must hold at least one whole pool window."""
        x, weight, bias = (self.launch.contiguous(array) for array in (x, weight, bias))
        window = pool or ((1, 1), (1, 1))
        description = conv_of(x.shape, weight.shape, stride, padding, window)
        places, F = math.prod(window[0]), weight.shape[3]
        OH, OW = window_grid((0, *window_grid(x.shape, weight.shape[:2], stride, padding), F), *window, (0, 0))
        y = self.xp.empty((len(x), OH, OW, F), x.dtype)
        winner = self.xp.empty(y.shape, BYTE) if pool else None
        grid = tiles_for(len(x) * OH * OW, F, ROWS // places)
        arguments = x, weight, bias, y, winner, int(relu), description, len(x)
        multiply(self.launch, "conv2d.cu", "conv2d", F, x.dtype, grid, *arguments)
        return y, Conv(x, weight, stride, padding, relu, window, y, winner)

    def conv_backward(
        self, saved: Conv | PooledApart, grad_y: Array, *, need_grad_x: bool, need_grad_weight: bool
    ) -> Gradients:
        """``grad_y (N, OH, OW, F)`` → the gradients of ``x``, ``weight`` and ``bias``; None for what is not needed."""
        if isinstance(saved, PooledApart):
            grad_y = self.backend.max_pool2d_backward(grad_y, saved.winner, saved.conv.y.shape, *saved.window)
            saved = saved.conv
        grad_y = self.launch.contiguous(grad_y)
        window, stride = saved.pool
        if not need_grad_x and need_grad_weight and window == stride:
            return None, *self.conv_grad_weight(saved, grad_y, pooled=True)
        through = not saved.relu and saved.winner is None  # all that arrives
        grad = grad_y if through else self.unpooled(saved, grad_y)
        return self.conv_gradients(saved, grad, need_grad_x, need_grad_weight)

    def unpooled(self, conv: Conv, grad_y: Array) -> Array:
        """The gradient of the convolution's own output, ``(N, OH, OW, F)``, before ReLU and pool."""
        grid = window_grid(conv.x.shape, conv.weight.shape[:2], conv.stride, conv.padding)
        grad = self.xp.empty((len(grad_y), *grid, grad_y.shape[3]), grad_y.dtype)
        windows = windows_of(grad.shape, *conv.pool, (0, 0))
        self.launch.elementwise("conv2d_backward.cu", "unpool_relu", grad, grad_y, conv.y, conv.winner, grad, windows)
        return grad

    def conv_gradients(self, conv: Conv, grad: Array, need_grad_x: bool, need_grad_weight: bool) -> Gradients:
        """``grad (N, OH, OW, F)`` of the convolution's own output → as ``conv_backward``."""
        return (
            self.conv_grad_x(conv, grad) if need_grad_x else None,
            *(self.conv_grad_weight(conv, grad, pooled=False) if need_grad_weight else (None, None)),
        )

    def conv_grad_x(self, conv: Conv, grad: Array) -> Array:
        description = conv_backward_of(conv.x.shape, conv.weight.shape, conv.stride, conv.padding, conv.pool)
        grad_x, C = self.xp.empty(conv.x.shape, grad.dtype), conv.x.shape[3]
        grid = tiles_for(math.prod(conv.x.shape[:3]), C)
        arguments = grad, conv.weight, grad_x, description, len(grad_x)
        multiply(self.launch, "conv2d_backward.cu", "conv2d_grad_x", C, grad.dtype, grid, *arguments)
        return grad_x

    def conv_grad_weight(self, conv: Conv, grad: Array, *, pooled: bool) -> tuple[Array, Array]:
        """From ``grad`` of the convolution's own output, or, ``pooled``, of what ReLU and pool made of it."""
        description = conv_backward_of(conv.x.shape, conv.weight.shape, conv.stride, conv.padding, conv.pool)
        winner = conv.winner if pooled else None
        mask = conv.y if pooled and conv.relu and winner is None else None
        F, rows = (
            grad.shape[3],
            math.prod(conv.weight.shape[:3]) + 1,
        )  # the last one, the bias, has its own blocks
        grid = window_grid(conv.x.shape, conv.weight.shape[:2], conv.stride, conv.padding)
        count, tiles = len(grad) * math.prod(grid), tiles_for(rows - 1, F)
        ranges, size = ranges_for(count, math.prod(tiles))
        parts = self.xp.empty((ranges, rows, F), grad.dtype)
        arguments = conv.x, grad, mask, winner, parts, description, size, count
        blocks = tiles[0] + 1, tiles[1], ranges
        multiply(self.launch, "conv2d_backward.cu", "conv2d_grad_weight", F, grad.dtype, blocks, *arguments)
        grad_weight, grad_bias = self.xp.empty(conv.weight.shape, grad.dtype), self.xp.empty(F, grad.dtype)
        sums = parts, grad_weight, grad_bias
        sizes = ranges, grad_weight.size, rows * F
        self.launch("conv2d_backward.cu", "sum_parts", grad.dtype, blocks_for(rows * F), *sums, *sizes)
        return grad_weight, grad_bias
