"""The fast CPU backend: the contract as compiled loops, and the fused kernels that make training fast.

Arrays are NumPy arrays. Kernels (``kernels/``) are serial functions over a range of images that release the GIL, and
``threads.in_parallel`` runs them on Python threads. NumPy's own BLAS is limited to one thread, with one call per part
of the work: two thread pools on the same cores would slow each other down.
"""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from tinycnn.backends.base import Pair, warp_terms, window_grid
from tinycnn.backends.numba.dense import gram
from tinycnn.backends.numba.fused import FUSED
from tinycnn.backends.numba.kernels import plain
from tinycnn.backends.numba.kernels.arrays import contiguous, empty
from tinycnn.backends.numba.kernels.lanes import LANES
from tinycnn.backends.numba.recorded_array import RecordedArray
from tinycnn.backends.numba.recorded_numpy import RECORDED_NUMPY
from tinycnn.backends.numba.step_table import StepRecorder
from tinycnn.backends.numpy_backend import NumpyBackend
from tinycnn.backends.philox import keep_threshold
from tinycnn.backends.recording import of_thread
from tinycnn.backends.threads import in_parallel, limit_blas, pieces

PLAIN_LOOP = 64  # operations of a SIMD kernel that take as long as a plain loop takes for one float


def for_ranges(kernel: Callable[..., None], count: int, floats_per_item: int, *arguments: Any) -> None:
    """Call ``kernel(*arguments, start, stop)`` for consecutive ranges of ``count`` items, in parallel.

    ``floats_per_item`` is the number of floats that an item reads or writes.
    """
    parts = pieces(count, PLAIN_LOOP * floats_per_item)
    in_parallel(lambda part: kernel(*arguments, *parts[part]), len(parts))


def halved(x: np.ndarray, axis: int) -> np.ndarray:
    """The sum over ``axis``, of which 1 element remains: pairwise, so that the error hardly grows with the length."""
    before = (slice(None),) * axis
    while x.shape[axis] > 1:
        half, odd = divmod(x.shape[axis], 2)
        first, second = x[(*before, slice(half))], x[(*before, slice(half, 2 * half))]
        added = first + second
        if odd:
            added[(*before, slice(1))] += x[(*before, slice(2 * half, None))]
        x = added
    return x


class NumbaBackend(NumpyBackend):
    """Compiled kernels on all cores; see ``threads.set_threads``."""

    name = "numba"
    compiles = True
    fused = FUSED
    recorder = StepRecorder
    verifies_recordings = True  # NumPy could compute something unnoticed

    @property
    def xp(self) -> ModuleType:  # type: ignore[override]
        """NumPy; while this thread records a step, with arrays that belong to the recording."""
        return np if of_thread.recorder is None else RECORDED_NUMPY

    def activate(self) -> None:
        limit_blas(1 if LANES else None)  # the plain path needs BLAS to use all cores

    def asarray(self, array: np.ndarray) -> np.ndarray:
        return array if isinstance(array, RecordedArray) else np.asarray(array)

    def float64_sum(self, x: np.ndarray, axis: int | tuple[int, ...] | None, keepdims: bool) -> np.ndarray:
        """As in the contract; float32 by halves, ``x[:M/2] + x[M/2:]`` again and again, which can be recorded."""
        if x.dtype != np.float32 or not x.size:
            return super().float64_sum(x, axis, keepdims)
        axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        total, shape = contiguous(x).astype(np.float64), list(x.shape)
        for axis in {one % x.ndim for one in axes}:
            total = halved(total, axis)
            shape[axis] = 1
        if not keepdims:
            shape = [size for i, size in enumerate(x.shape) if i - x.ndim not in axes and i not in axes]
        return total.reshape(shape) + 0.0  # NumPy, too, begins with 0: a sum of negative zeros is 0

    def gram(self, x: np.ndarray) -> np.ndarray:
        """As in the contract, by the function for all products: NumPy's own for these cannot be recorded."""
        if x.dtype != np.float32:
            return super().gram(x)
        return gram(contiguous(x))

    def im2col(self, x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair) -> np.ndarray:
        N, _, _, C = x.shape
        OH, OW = window_grid(x.shape, kernel_size, stride, padding)
        cols = empty((N, OH, OW, *kernel_size, C), dtype=x.dtype)
        for_ranges(plain.im2col, N, cols[:1].size, contiguous(x), kernel_size, stride, padding, cols)
        return cols.reshape(N * OH * OW, kernel_size[0] * kernel_size[1] * C)  # (N*OH*OW, KH*KW*C)

    def col2im(
        self, cols: np.ndarray, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair
    ) -> np.ndarray:
        N, _, _, C = x_shape
        OH, OW = window_grid(x_shape, kernel_size, stride, padding)
        cols = contiguous(cols).reshape(N, OH, OW, *kernel_size, C)  # (N, OH, OW, KH, KW, C)
        x = empty(x_shape, dtype=cols.dtype)
        for_ranges(plain.col2im, N, cols[:1].size, cols, kernel_size, stride, padding, x)
        return x

    def max_pool2d(
        self, x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair
    ) -> tuple[np.ndarray, np.ndarray]:
        y_shape = (len(x), *window_grid(x.shape, kernel_size, stride, padding), x.shape[3])
        x = contiguous(x)  # a kernel is compiled for each order of the axes
        y = empty(y_shape, dtype=x.dtype)
        winner = empty(y_shape, dtype=np.min_scalar_type(math.prod(kernel_size) - 1))
        for_ranges(plain.max_pool2d, len(x), x[:1].size, x, kernel_size, stride, padding, y, winner)
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
        grad_x = empty(x_shape, dtype=grad_y.dtype)
        size, grad_y, winner = grad_x[:1].size, contiguous(grad_y), contiguous(winner)
        for_ranges(plain.max_pool2d_backward, len(grad_x), size, grad_y, winner, kernel_size, stride, padding, grad_x)
        return grad_x

    def gather_images(self, images: np.ndarray, indices: np.ndarray, scale: float, dtype: np.dtype) -> np.ndarray:
        x = empty((len(indices), *images.shape[1:]), dtype=dtype)
        pixels, rows = images.reshape(len(images), -1), x.reshape(len(x), math.prod(images.shape[1:]))
        for_ranges(plain.gather_images, len(x), x[:1].size, pixels, indices, dtype.type(scale), rows)
        return x

    def dropout_mask(self, shape: tuple[int, ...], p: float, dtype: np.dtype, key: Pair) -> np.ndarray:
        mask = empty((math.prod(shape),), dtype=dtype)
        seed, step = map(np.uint64, key)
        kept = dtype.type(1 / (1 - p))
        for_ranges(plain.dropout_mask, -(-mask.size // 4), 16, seed, step, np.uint64(keep_threshold(p)), kept, mask)
        return mask.reshape(shape)

    def gather_warped(
        self,
        images: np.ndarray,
        indices: np.ndarray,
        maps: np.ndarray,
        scale: float,
        dtype: np.dtype,
        reflect: bool = False,
    ) -> np.ndarray:
        x = empty((len(indices), *images.shape[1:]), dtype=dtype)
        maps, terms = maps.astype(dtype, copy=False), warp_terms(x.shape[1], x.shape[2], maps.shape[2]).astype(dtype)
        work = 8 * x[:1].size + 2 * terms.size
        for_ranges(plain.gather_warped, len(x), work, images, indices, maps, terms, dtype.type(scale), reflect, x)
        return x
