"""The reference backend: every kernel in a few lines of NumPy.

The kernels loop over the few positions of a window and handle all images, pixels and channels of a position at once,
so Python runs KH*KW steps where a naive loop would run millions.
"""

from collections.abc import Iterator

import numpy as np

from tinycnn.backends.base import Backend, Pair, warp_terms, window_grid
from tinycnn.backends.host_memory import free_host_memory, keep_freed_memory
from tinycnn.backends.philox import keep_threshold, random_bits
from tinycnn.backends.threads import limit_blas


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
    PH, PW = padding
    if PH == PW == 0:
        return x
    return np.pad(x, ((0, 0), (PH, PH), (PW, PW), (0, 0)), constant_values=value)


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
        outside = padded(np.zeros((1, *x.shape[1:3], 1), dtype=bool), padding, value=True)  # (1, H + 2*PH, W + 2*PW, 1)
        x = padded(x, padding, value=-np.inf)  # (N, H + 2*PH, W + 2*PW, C)
        windows = list(window_positions(kernel_size, stride, grid))
        y = x[windows[0][1]].copy()  # (N, OH, OW, C)
        for _, window in windows[1:]:
            np.maximum(y, x[window], out=y)  # NaN wins over every number
        winner = np.zeros(y.shape, dtype=np.min_scalar_type(len(windows) - 1))
        lost, some_nan = np.ones(y.shape, dtype=bool), bool(np.isnan(y).any())
        for _, window in windows[:-1]:
            beaten = x[window] != y
            if some_nan:
                beaten &= ~np.isnan(x[window])  # NaN is not equal to itself, but it wins
            if padding != (0, 0):
                beaten |= outside[window]  # even a pixel of minus infinity wins over padding: its gradient is not lost
            lost &= beaten  # true as long as no position up to this one was the maximum
            winner += lost  # the number of positions before the first maximum
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
        self, images: np.ndarray, indices: np.ndarray, maps: np.ndarray, scale: float, dtype: np.dtype
    ) -> np.ndarray:
        N, H, W = len(indices), *images.shape[1:3]
        centre = np.array([(H - 1) / 2, (W - 1) / 2], dtype=dtype)
        terms = warp_terms(H, W, maps.shape[2]).astype(dtype)  # (T, H, W)
        place = np.einsum("nij,jhw->inhw", maps.astype(dtype), terms) + centre[:, None, None, None]  # (2, N, H, W)
        below, right = (place - np.floor(place))[..., None]  # (N, H, W, 1) each: how far past the upper left pixel
        corner = np.floor(place).astype(np.int64)  # (2, N, H, W)
        framed = np.pad(images[indices], ((0, 0), (1, 1), (1, 1), (0, 0)))  # (N, H + 2, W + 2, C)

        def pixel(dh: int, dw: int) -> np.ndarray:
            h, w = np.clip(corner[0] + 1 + dh, 0, H + 1), np.clip(corner[1] + 1 + dw, 0, W + 1)  # the frame is zero
            return framed[np.arange(N)[:, None, None], h, w].astype(dtype)  # (N, H, W, C)

        upper = pixel(0, 0) * (1 - right) + pixel(0, 1) * right
        lower = pixel(1, 0) * (1 - right) + pixel(1, 1) * right
        return (upper * (1 - below) + lower * below) * dtype.type(scale)  # (N, H, W, C)

    def dropout_mask(self, shape: tuple[int, ...], p: float, dtype: np.dtype, key: Pair) -> np.ndarray:
        seed, step = key
        kept = random_bits(int(np.prod(shape)), seed, step) >= keep_threshold(p)
        return (kept / (1 - p)).astype(dtype).reshape(shape)
