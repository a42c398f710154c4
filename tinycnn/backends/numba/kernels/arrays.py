"""Arrays as the kernels want them: starting on a cache line, contiguous, of the right type."""

import math

import numpy as np

Array = np.ndarray
CACHE_LINE = 64


def aligned_empty(shape: tuple[int, ...], dtype: type = np.float32) -> Array:
    """An array that starts on a cache line: a 16-lane load that crosses from one to the next costs twice as much."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    skip = -memory.__array_interface__["data"][0] % CACHE_LINE
    return memory[skip : skip + size].view(dtype).reshape(shape)


def aligned_zeros(shape: tuple[int, ...]) -> Array:
    """The same, filled with zeros."""
    array = aligned_empty(shape)
    array[...] = 0
    return array


def flat(array: Array) -> Array:
    """The array in one dimension, without a copy; the kernels know only float32 and, for winners, bytes."""
    if array.dtype != np.float32 and array.dtype != np.uint8:
        raise TypeError(f"conv block: an array of {array.dtype} came; expected float32 (winners: uint8)")
    if not array.flags.c_contiguous:
        came = f"shape {array.shape} with strides {array.strides}"
        raise ValueError(
            f"conv block: an array of {came} came; expected C-contiguous, as np.ascontiguousarray makes it"
        )
    return array.reshape(-1)
