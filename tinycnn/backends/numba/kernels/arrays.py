"""Arrays as the kernels need them: aligned to a cache line, contiguous, of the right type."""

import math

import numpy as np

from tinycnn.backends.array_types import Array

CACHE_LINE = 64


def aligned_empty(shape: tuple[int, ...], dtype: type = np.float32) -> Array:
    """An uninitialised array that starts on a cache line: a 16-lane load across two lines takes twice as long."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    skip = -memory.__array_interface__["data"][0] % CACHE_LINE
    return memory[skip : skip + size].view(dtype).reshape(shape)


def aligned_zeros(shape: tuple[int, ...]) -> Array:
    """A float32 array of zeros that starts on a cache line."""
    array = aligned_empty(shape)
    array[...] = 0
    return array


def flat(array: Array) -> Array:
    """The array in one dimension, without a copy.

    Raises TypeError unless it is float32 or uint8, and ValueError unless it is C-contiguous.
    """
    if array.dtype != np.float32 and array.dtype != np.uint8:
        raise TypeError(f"conv block: got an array of {array.dtype}; expected float32 (winners: uint8)")
    if not array.flags.c_contiguous:
        raise ValueError(
            f"conv block: got an array of shape {array.shape} with strides {array.strides}; expected C-contiguous: use "
            "np.ascontiguousarray"
        )
    return array.reshape(-1)
