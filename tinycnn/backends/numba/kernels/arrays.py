"""Arrays as the kernels need them: aligned to a cache line, contiguous, of the right type."""

import math
from typing import Any

import numpy as np

from tinycnn.backends.array_types import Array
from tinycnn.backends.recording import of_thread

CACHE_LINE = 64


def empty(shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """An uninitialised array; while a step is recorded, one in the memory of the recording."""
    recorder = of_thread.recorder
    return np.empty(shape, dtype) if recorder is None else recorder.empty(shape, dtype)


def aligned_empty(shape: tuple[int, ...], dtype: type = np.float32) -> Array:
    """An uninitialised array that starts on a cache line: a 16-lane load across two lines takes twice as long."""
    if of_thread.recorder is not None:
        return of_thread.recorder.empty(shape, dtype)
    return aligned_bytes(math.prod(shape) * np.dtype(dtype).itemsize).view(dtype).reshape(shape)


def aligned_bytes(size: int) -> np.ndarray:
    """``(size,)`` uninitialised bytes that start on a cache line."""
    memory = np.empty(size + CACHE_LINE, np.uint8)
    skip = -memory.__array_interface__["data"][0] % CACHE_LINE
    return memory[skip : skip + size]


def contiguous(array: Array) -> Array:
    """The array itself if it is C-contiguous, else a copy."""
    return array if array.flags.c_contiguous else array.copy()


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
