"""The reference backend: every kernel in a few lines of NumPy.

The kernels loop over the few positions of a window and handle all images, pixels and channels of a position at once,
so Python runs KH*KW steps where a naive loop would run millions.
"""

import math
from collections.abc import Iterator

import numpy as np

from tinycnn.backends.base import Backend, Pair, window_grid
from tinycnn.backends.host_memory import free_host_memory, keep_freed_memory
from tinycnn.backends.numpy_warp import gather_warped
from tinycnn.backends.philox import keep_threshold, random_bits
from tinycnn.backends.threads import limit_blas

ROW = 256  # floats; NumPy adds rows of a few floats up to ten times slower


def window_positions(kernel_size: Pair, stride: Pair, grid: Pair) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """For each position ``(kh, kw)``: its number, and the slices of a padded image that all windows read there."""
    (KH, KW), (SH, SW), (OH, OW) = kernel_size, stride, grid
    for kh in range(KH):
        for kw in range(KW):
            rows = slice(kh, kh + SH * OH, SH)
            columns = slice(kw, kw + SW * OW, SW)
            yield kh * KW + kw, (slice(None), rows, columns)


def padded(x: np.ndarray, padding: Pair, value: float = 0.0) -> np.ndarray:
    """``x (N, H, W, C)`` → ``(N, H + 2*PH, W + 2*PW, C)``, ``value`` around the edge; ``x`` itself without padding."""
    (N, H, W, C), (PH, PW) = x.shape, padding
    if PH == PW == 0:
        return x
    framed = np.full((N, H + 2 * PH, W + 2 * PW, C), value, x.dtype)
    framed[:, PH : PH + H, PW : PW + W] = x
    return framed  # np.pad gives the same; it takes 50 µs more, as long as a small convolution


class NumpyBackend(Backend):
    """Runs everywhere NumPy runs; matrix products use NumPy's own threaded BLAS."""

    name = "numpy"
    xp = np

    def __init__(self) -> None:
        keep_freed_memory()

    def activate(self) -> None:
        limit_blas(None)

    def free_memory(self) -> int | None:
        return free_host_memory()

    def owns(self, array: object) -> bool:
        return isinstance(array, np.ndarray)

    def asarray(self, array: np.ndarray) -> np.ndarray:
        return np.asarray(array)

    def to_host(self, array: np.ndarray) -> np.ndarray:
        return array

    def float64_sum(self, x: np.ndarray, axis: int | tuple[int, ...] | None, keepdims: bool) -> np.ndarray:
        """As in the contract; over leading axes, several pixels are added side by side, in long rows."""
        axes = axis if isinstance(axis, tuple) else (axis,)
        leading = axes == tuple(range(len(axes))) and len(axes) < x.ndim
        if not (leading and x.size and x.flags.c_contiguous) or keepdims:
            return super().float64_sum(x, axis, keepdims)
        kept = x.shape[len(axes) :]
        pixels = x.reshape(-1, math.prod(kept))  # (M, C)
        side = max(1, ROW // pixels.shape[1])
        rest = len(pixels) % side
        rows = pixels[rest:].reshape(-1, side * pixels.shape[1]).sum(axis=0, dtype=np.float64)  # (side*C,)
        total = pixels[:rest].sum(axis=0, dtype=np.float64) + rows.reshape(side, -1).sum(axis=0)  # (C,)
        return total.reshape(kept)

    def im2col(self, x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair) -> np.ndarray:
        N, _, _, C = x.shape
        KH, KW = kernel_size
        OH, OW = window_grid(x.shape, kernel_size, stride, padding)
        x = padded(x, padding)  # (N, H + 2*PH, W + 2*PW, C)
        cols = np.empty((N, OH, OW, KH * KW, C), dtype=x.dtype)
        for position, window in window_positions(kernel_size, stride, (OH, OW)):
            cols[:, :, :, position] = x[window]
        return cols.reshape(N * OH * OW, KH * KW * C)  # (N*OH*OW, KH*KW*C)

    def col2im(
        self, cols: np.ndarray, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair
    ) -> np.ndarray:
        N, H, W, C = x_shape
        (KH, KW), (PH, PW) = kernel_size, padding
        OH, OW = window_grid(x_shape, kernel_size, stride, padding)
        cols = cols.reshape(N, OH, OW, KH * KW, C)  # (N, OH, OW, KH*KW, C)
        x = np.zeros((N, H + 2 * PH, W + 2 * PW, C), dtype=cols.dtype)
        for position, window in window_positions(kernel_size, stride, (OH, OW)):
            x[window] += cols[:, :, :, position]
        return np.ascontiguousarray(x[:, PH : PH + H, PW : PW + W])  # (N, H, W, C)

    def max_pool2d(
        self, x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair
    ) -> tuple[np.ndarray, np.ndarray]:
        grid = window_grid(x.shape, kernel_size, stride, padding)
        windows = list(window_positions(kernel_size, stride, grid))
        inside = padded(np.ones((1, *x.shape[1:3], 1), dtype=bool), padding, value=False)  # (1, H + 2*PH, W + 2*PW, 1)
        x = padded(x, padding, value=-np.inf)  # (N, H + 2*PH, W + 2*PW, C)
        y = np.full((len(x), *grid, x.shape[3]), -np.inf, dtype=x.dtype)  # (N, OH, OW, C)
        winner = np.empty(y.shape, dtype=np.min_scalar_type(len(windows) - 1))  # (N, OH, OW, C)
        # Until a pixel wins, the winner is the first one that is no padding; the argmax of booleans is the first True.
        winner[...] = np.stack([inside[window] for _, window in windows]).argmax(axis=0)
        for position, window in windows:
            pixels = x[window]  # (N, OH, OW, C), the pixel of every window at this position
            # Larger than all before it, or NaN: comparisons with NaN are False. After a NaN, y == y is False.
            wins = ~(pixels <= y) & (y == y)  # (N, OH, OW, C)
            # winner[wins] = position. Positions grow, so a maximum gives the same, in a third of the time.
            np.maximum(winner, wins * winner.dtype.type(position), out=winner)
            np.maximum(y, pixels, out=y)  # NaN wins over every number
        return y, winner

    def max_pool2d_backward(
        self,
        grad_y: np.ndarray,
        winner: np.ndarray,
        x_shape: tuple[int, ...],
        kernel_size: Pair,
        stride: Pair,
        padding: Pair,
    ) -> np.ndarray:
        N, H, W, C = x_shape
        PH, PW = padding
        grid = window_grid(x_shape, kernel_size, stride, padding)
        grad_x = np.zeros((N, H + 2 * PH, W + 2 * PW, C), dtype=grad_y.dtype)
        for position, window in window_positions(kernel_size, stride, grid):
            grad_x[window] += grad_y * (winner == position)
        return np.ascontiguousarray(grad_x[:, PH : PH + H, PW : PW + W])  # (N, H, W, C)

    def gather_images(self, images: np.ndarray, indices: np.ndarray, scale: float, dtype: np.dtype) -> np.ndarray:
        x = images[indices].astype(dtype, order="C")  # (N, H, W, C)
        x *= scale
        return x

    def gather_warped(
        self,
        images: np.ndarray,
        indices: np.ndarray,
        maps: np.ndarray,
        scale: float,
        dtype: np.dtype,
        reflect: bool = False,
    ) -> np.ndarray:
        return gather_warped(images, indices, maps, scale, dtype, reflect)

    def dropout_mask(self, shape: tuple[int, ...], p: float, dtype: np.dtype, key: Pair) -> np.ndarray:
        seed, step = key
        kept = random_bits(int(np.prod(shape)), seed, step) >= keep_threshold(p)
        return (kept / (1 - p)).astype(dtype).reshape(shape)
