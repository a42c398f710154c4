"""Fused kernels of the GPU backend: convolution and dense blocks, dropout, the loss, and Adam for all parameters.

Names and arguments are those that ``ops/fused.py`` explains; the mathematics stands in the kernels' files in ``cuda/``.
Here is only the bookkeeping: shapes, grids, and into how many ranges a long sum is cut. That depends on shapes alone,
not on the GPU, so every GPU adds up in the same order.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tinycnn.backends.array_types import Array, Pair, Pool, RandomKey, StepInMemory
from tinycnn.backends.base import window_grid
from tinycnn.backends.cupy.launch import BYTE, WINDOWS, CupyKernels, Grid, blocks_for, divisor, windows_of
from tinycnn.backends.fused_kernels import Gradients
from tinycnn.backends.philox import keep_threshold

ROWS = 64  # of a tile, see cuda/tile.cuh
STEP = 16
ENOUGH_BLOCKS = 256  # about two for each multiprocessor of a large GPU
WORTH_CUTTING = 256  # below that, adding up the ranges, a kernel of its own, takes longer than it saves
LEAST_RANGE = 4 * STEP  # a shorter sum is not worth a block of its own
MOST_PARAMETERS = 32  # of one launch of Adam
CONV = np.dtype([("win", WINDOWS), ("pool", WINDOWS), ("divisors", "u4", (6, 3)), ("F", "i4"), ("places", "i4")])
CONV_BACKWARD = np.dtype([("win", WINDOWS), ("pool", WINDOWS), ("divisors", "u4", (11, 3)), ("F", "i4")])
PARAMETERS = np.dtype([(name, "u8", MOST_PARAMETERS) for name in "pgmv"] + [("ends", "i4", MOST_PARAMETERS)])


def width_for(columns: int) -> int:
    """How wide a tile to use for a matrix of so many columns."""
    return 16 if columns <= 16 else 32 if columns <= 32 else 64


def tiles_for(rows: int, columns: int, rows_of_tile: int = ROWS) -> Grid:
    """The grid of tiles that covers a matrix."""
    return max(1, -(-rows // rows_of_tile)), -(-columns // width_for(columns))


def ranges_for(length: int, blocks: int) -> tuple[int, int]:
    """``(number, size)`` of the ranges into which a sum is cut, to have enough blocks; sizes are whole steps."""
    wanted = max(1, min(ENOUGH_BLOCKS // blocks, length // LEAST_RANGE)) if length >= WORTH_CUTTING else 1
    size = max(STEP, -(-length // wanted // STEP) * STEP)
    return max(1, -(-length // size)), size


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


class ConvKernels(CupyKernels):
    """The kernels as methods, which ``CupyBackend`` lists in ``fused``."""

    def multiply(self, file: str, kernel: str, columns: int, dtype: np.dtype, grid: Grid, *arguments: object) -> None:
        """Launch a matrix product on tiles, the kernel for so many columns; on tensor cores where that is wanted."""
        name = f"{kernel}_{width_for(columns)}"
        self.launch(file, name, dtype, grid, *arguments, tf32=bool(self.tf32))

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
            pooled, winner = self.max_pool2d(y, *pool, (0, 0))
            return pooled, PooledApart(conv, winner, (*pool, (0, 0)))
        return self.conv_block(x, weight, bias, stride, padding, relu, pool)

    def conv_block(
        self, x: Array, weight: Array, bias: Array, stride: Pair, padding: Pair, relu: bool, pool: Pool | None
    ) -> tuple[Array, Conv]:
        """As ``conv_forward``, all in one launch: a tile must hold at least one whole pool window."""
        x, weight, window = self.contiguous(x), self.contiguous(weight), pool or ((1, 1), (1, 1))
        description = conv_of(x.shape, weight.shape, stride, padding, window)
        places, F = math.prod(window[0]), weight.shape[3]
        OH, OW = window_grid((0, *window_grid(x.shape, weight.shape[:2], stride, padding), F), *window, (0, 0))
        y = self.xp.empty((len(x), OH, OW, F), x.dtype)
        winner = self.xp.empty(y.shape, BYTE) if pool else None
        grid = tiles_for(len(x) * OH * OW, F, ROWS // places)
        self.multiply(
            *("conv2d.cu", "conv2d", F, x.dtype, grid),
            *(x, weight, bias, y, winner, int(relu), description, len(x)),
        )
        return y, Conv(x, weight, stride, padding, relu, window, y, winner)

    def conv_backward(
        self, saved: Conv | PooledApart, grad_y: Array, *, need_grad_x: bool, need_grad_weight: bool
    ) -> Gradients:
        """``grad_y (N, OH, OW, F)`` → the gradients of ``x``, ``weight`` and ``bias``; None for what is not needed."""
        if isinstance(saved, PooledApart):
            grad_y = self.max_pool2d_backward(grad_y, saved.winner, saved.conv.y.shape, *saved.window)
            saved = saved.conv
        grad_y = self.contiguous(grad_y)
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
        self.elementwise("conv2d_backward.cu", "unpool_relu", grad, grad_y, conv.y, conv.winner, grad, windows)
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
        self.multiply(
            *("conv2d_backward.cu", "conv2d_grad_x", C, grad.dtype, grid),
            *(grad, conv.weight, grad_x, description, len(grad_x)),
        )
        return grad_x

    def conv_grad_weight(self, conv: Conv, grad: Array, *, pooled: bool) -> tuple[Array, Array]:
        """From ``grad`` of the convolution's own output, or, ``pooled``, of what ReLU and pool made of it."""
        description = conv_backward_of(conv.x.shape, conv.weight.shape, conv.stride, conv.padding, conv.pool)
        winner = conv.winner if pooled else None
        mask = conv.y if pooled and conv.relu and winner is None else None
        F, rows = grad.shape[3], math.prod(conv.weight.shape[:3]) + 1  # the last one is the bias
        grid = window_grid(conv.x.shape, conv.weight.shape[:2], conv.stride, conv.padding)
        count, tiles = len(grad) * math.prod(grid), tiles_for(rows, F)
        ranges, size = ranges_for(count, math.prod(tiles))
        parts = self.xp.empty((ranges, rows, F), grad.dtype)
        self.multiply(
            *("conv2d_backward.cu", "conv2d_grad_weight", F, grad.dtype, (*tiles, ranges)),
            *(conv.x, grad, mask, winner, parts, description, size, count),
        )
        grad_weight, grad_bias = self.xp.empty(conv.weight.shape, grad.dtype), self.xp.empty(F, grad.dtype)
        self.launch(
            *("conv2d_backward.cu", "sum_parts", grad.dtype, blocks_for(rows * F)),
            *(parts, grad_weight, grad_bias, ranges, grad_weight.size, rows * F),
        )
        return grad_weight, grad_bias

    def dense_forward(self, x: Array, weight: Array, bias: Array, *, relu: bool) -> Array:
        """``x (N, in)`` → ``y (N, out)``, ReLU if ``relu``."""
        x, weight = self.contiguous(x), self.contiguous(weight)
        (N, inputs), units = x.shape, weight.shape[1]
        tiles = tiles_for(N, units)
        ranges, size = ranges_for(inputs, math.prod(tiles))
        y = self.xp.empty((N, units), x.dtype)
        parts = y if ranges == 1 else self.xp.empty((ranges, N, units), x.dtype)
        self.multiply(
            *("dense.cu", "dense_forward", units, x.dtype, (*tiles, ranges)),
            *(x, weight, bias, parts, int(relu), size, N, inputs, units),
        )
        if ranges > 1:
            self.elementwise("dense.cu", "dense_sum", y, parts, bias, y, int(relu), ranges, units)
        return y

    def dense_backward(
        self,
        x: Array,
        weight: Array,
        y: Array,
        grad_y: Array,
        *,
        relu: bool,
        need_grad_x: bool,
        need_grad_weight: bool,
    ) -> Gradients:
        """``grad_y (N, out)`` → ``grad_x (N, in)``, ``grad_weight (in, out)``, ``grad_bias (out,)``, or None."""
        x, weight, grad_y = self.contiguous(x), self.contiguous(weight), self.contiguous(grad_y)
        (N, inputs), units, mask = x.shape, weight.shape[1], y if relu else None
        grad_x = self.xp.empty(x.shape, x.dtype) if need_grad_x else None
        grad_weight = self.xp.empty(weight.shape, x.dtype) if need_grad_weight else None
        grad_bias = self.xp.empty(units, x.dtype) if need_grad_weight else None
        x_tiles = -(-N // ROWS) * -(-inputs // 64) if need_grad_x else 0
        weight_tiles = math.prod(tiles_for(inputs + 1, units)) if need_grad_weight else 0
        if x_tiles + weight_tiles:
            self.multiply(
                *("dense.cu", "dense_backward", units, x.dtype, (x_tiles + weight_tiles,)),
                *(x, grad_y, mask, weight, grad_x, grad_weight, grad_bias, x_tiles, N, inputs, units),
            )
        return grad_x, grad_weight, grad_bias

    def dropout(self, x: Array, p: float, key: RandomKey) -> Array:
        """``x · mask`` of any shape, for a value or its gradient; the mask of ``key`` is computed, never stored."""
        x = self.contiguous(x)
        y = self.xp.empty(x.shape, x.dtype)
        arguments = *self.mask_key(key), np.uint32(keep_threshold(p)), 1 / (1 - p)
        self.elementwise("dropout.cu", "dropout", y, x, y, *arguments)
        return y

    def mask_key(self, key: RandomKey) -> tuple[np.uint64, np.uint64, Array | None]:
        """Seed, step, and where a number is to be read that is added to it, or None."""
        seed, step = key
        if isinstance(step, StepInMemory):
            return np.uint64(seed), np.uint64(step.more), step.base.view(np.uint64)
        return np.uint64(seed), np.uint64(step), None

    def softmax_cross_entropy(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        """``logits (N, K)``, ``labels (N,)`` or ``(N, K)`` → mean loss ``()`` and its gradient ``(N, K)``."""
        logits, loss = self.contiguous(logits), self.xp.empty((), logits.dtype)
        grad, kind = self.xp.empty(logits.shape, logits.dtype), np.dtype(np.int64) if labels.ndim == 1 else logits.dtype
        labels = self.xp.ascontiguousarray(labels, kind)
        both = (labels, None) if labels.ndim == 1 else (None, labels)
        self.launch(
            *("softmax_cross_entropy.cu", "softmax_cross_entropy", logits.dtype, (1,)),
            *(logits, *both, loss, grad, *logits.shape),
        )
        return loss, grad

    def count_correct(self, logits: Array, labels: Array) -> Array:
        """``logits (N, K)``, ``labels (N,)`` → how many are largest where the label says, ``()`` int64."""
        logits, labels = self.contiguous(logits), self.xp.ascontiguousarray(labels, np.int64)
        correct = self.xp.empty((), np.int64)
        self.launch("scores.cu", "count_correct", logits.dtype, (1,), logits, labels, correct, *logits.shape)
        return correct

    def end_step(
        self,
        loss: Array,
        logits: Array,
        labels: Array,
        sums: tuple[Array, Array],
        row: Array,
        table: Array,
        here: Array,
    ) -> None:
        """Add ``loss`` of all images and correct answers to ``sums``; row number ``row + 1`` of ``table`` → ``here``.

        ``row (1,)`` int64, ``table (rows, bytes)`` and ``here (bytes,)`` of whole words; changed in place.
        """
        arguments = loss, self.contiguous(logits), labels, *sums, row, table.view(np.int64), here.view(np.int64)
        sizes = *logits.shape, len(table), here.size // 8
        self.launch("scores.cu", "end_step", loss.dtype, (1,), *arguments, *sizes)

    def adam_all(
        self,
        arrays: list[tuple[Array, Array, Array, Array]],
        rates: Sequence[Any],
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
    ) -> None:
        """One step in place for all ``(p, g, m, v)``; ``rates``: step size, scale of v, what is left of p (or not)."""
        places = [rate if self.owns(rate) else None for rate in (*rates, 1.0)[:3]]
        values = [0.0 if self.owns(rate) else float(rate) for rate in (*rates, 1.0)[:3]]
        for start in range(0, len(arrays), MOST_PARAMETERS):
            some = arrays[start : start + MOST_PARAMETERS]
            count, dtype = sum(p.size for p, *_ in some), some[0][0].dtype
            self.launch(
                *("adam.cu", "adam", dtype, blocks_for(count), addresses(some), *places, *values),
                *(float(beta1), 1 - beta1, float(beta2), 1 - beta2, eps, float(weight_decay), count),
            )


def addresses(arrays: list[tuple[Array, Array, Array, Array]]) -> np.ndarray:
    """``struct Parameters`` of ``cuda/adam.cu``: where the arrays lie, and where each parameter ends."""
    struct = np.zeros(1, PARAMETERS)
    for name, column in zip("pgmv", zip(*arrays, strict=True), strict=True):
        struct[name][0, : len(arrays)] = [array.data.ptr for array in column]
    struct["ends"][0, : len(arrays)] = np.cumsum([p.size for p, *_ in arrays])
    return struct
