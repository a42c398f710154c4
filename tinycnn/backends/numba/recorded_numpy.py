"""Functions of NumPy that only create, view or copy arrays, in a recorded step.

NumPy would create an ordinary array, and what is assigned to it would be missing in the recording, as in
``y = np.zeros(shape); y[1:] = x``. While a step is recorded, ``backend.xp`` therefore is ``RECORDED_NUMPY``. Its arrays
lie in the memory of the recording, and their numbers are written there in every replay.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from tinycnn.backends.numba.numpy_loops import view_with_owner
from tinycnn.backends.numba.recorded_array import NotRecordedError, RecordedArray, plain
from tinycnn.backends.recording import of_thread


def filled(shape: Any, value: Any, dtype: Any) -> Any:
    """An array full of ``value``."""
    sizes = tuple(shape) if isinstance(shape, Sequence) else (int(shape),)
    y = of_thread.recorder.empty(sizes, np.dtype(dtype))  # type: ignore[union-attr]
    y[...] = value
    return y


def full(shape: Any, value: Any, dtype: Any = None) -> Any:
    """As ``np.full``."""
    return filled(shape, value, np.asarray(value).dtype if dtype is None else dtype)


def zeros(shape: Any, dtype: Any = float) -> Any:
    """As ``np.zeros``."""
    return filled(shape, 0, dtype)


def ones(shape: Any, dtype: Any = float) -> Any:
    """As ``np.ones``."""
    return filled(shape, 1, dtype)


def empty(shape: Any, dtype: Any = float) -> Any:
    """As ``np.empty``; the numbers of an array that is not filled would be those of another step."""
    return filled(shape, 0, dtype)


def ascontiguousarray(x: Any) -> Any:
    """As ``np.ascontiguousarray``."""
    return x.copy() if isinstance(x, RecordedArray) and not x.flags.c_contiguous else x


def concatenate(arrays: Sequence[Any], axis: int = 0) -> Any:
    """As ``np.concatenate``, for arrays of one type."""
    kinds = {x.dtype for x in arrays}
    if len(kinds) > 1:
        raise NotRecordedError("concatenate")
    shape, axis = list(arrays[0].shape), axis % arrays[0].ndim
    shape[axis] = sum(x.shape[axis] for x in arrays)
    y, start = of_thread.recorder.empty(tuple(shape), kinds.pop()), 0  # type: ignore[union-attr]
    for x in arrays:
        y[(slice(None),) * axis + (slice(start, start + x.shape[axis]),)] = x
        start += x.shape[axis]
    return y


def stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    """As ``np.stack``."""
    return concatenate([view(np.expand_dims)(x, axis) for x in arrays], axis)


def repeat(x: Any, count: int, axis: int) -> Any:
    """As ``np.repeat``, with the same count for all elements."""
    if not isinstance(count, int):
        raise NotRecordedError("repeat")
    axis %= x.ndim
    shape = (*x.shape[: axis + 1], count, *x.shape[axis + 1 :])
    spread = view(np.broadcast_to)(view(np.expand_dims)(x, axis + 1), shape)
    return spread.copy().reshape(*x.shape[:axis], x.shape[axis] * count, *x.shape[axis + 1 :])


def view(function: Any) -> Callable[..., Any]:
    """A function of NumPy that returns a view of its first argument."""

    def of_recorded(x: Any, *settings: Any, **more: Any) -> Any:
        seen = function(plain(x), *settings, **more)
        return view_with_owner(seen, x) if isinstance(x, RecordedArray) else seen

    return of_recorded


CREATING = {"full": full, "zeros": zeros, "ones": ones, "empty": empty, "ascontiguousarray": ascontiguousarray}
COPYING = {np.concatenate: concatenate, np.stack: stack, np.repeat: repeat}
VIEWING = (np.broadcast_to, np.expand_dims, np.moveaxis, np.swapaxes, np.transpose)
FUNCTIONS: dict[Any, Callable[..., Any]] = COPYING | {function: view(function) for function in VIEWING}


class RecordedNumpy(ModuleType):
    """NumPy, except for the functions that create arrays."""

    def __getattr__(self, name: str) -> Any:
        return CREATING.get(name) or getattr(np, name)


RECORDED_NUMPY = RecordedNumpy("recorded_numpy")


def record_function(function: Any, arguments: Any, settings: Any) -> Any:
    """Record a function of NumPy that was called with an array of the step; raises NotRecordedError for others."""
    if function not in FUNCTIONS:
        raise NotRecordedError(function.__name__)
    try:
        return FUNCTIONS[function](*arguments, **settings)
    except TypeError as error:  # an argument of NumPy's function that ours does not have
        raise NotRecordedError(function.__name__) from error
