"""Elementwise functions of NumPy in a recorded step: their C loops become calls of its table.

The loops are those that NumPy itself runs, so the bits are the same. They are found in the ufunc object, whose layout
is part of NumPy's C interface (``numpy/ufuncobject.h``); what is found there is compared with what Python says.
"""

import ctypes
import math
from typing import Any

import numpy as np

from tinycnn.backends.numba.kernels import loops
from tinycnn.backends.numba.recorded_array import NotRecordedError, RecordedArray, plain
from tinycnn.backends.numba.stand_ins import address_of
from tinycnn.backends.threads import MEMORY_ACCESS, in_parallel, pieces

HEAD = object.__basicsize__


class UfuncLayout(ctypes.Structure):
    """``PyUFuncObject`` behind the head that every Python object has."""

    _fields_ = (
        ("nin", ctypes.c_int),
        ("nout", ctypes.c_int),
        ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("ntypes", ctypes.c_int),
        ("reserved", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("types", ctypes.POINTER(ctypes.c_char)),
    )


def loop_of(ufunc: np.ufunc, kinds: tuple[np.dtype, ...]) -> tuple[int, int] | None:
    """The address of the loop for these types of operands and result, and of its data; None if there is none."""
    layout = UfuncLayout.from_address(id(ufunc) + HEAD)
    found = layout.nin, layout.nout, layout.nargs, layout.ntypes
    if found != (ufunc.nin, ufunc.nout, ufunc.nargs, ufunc.ntypes) or layout.name != ufunc.__name__.encode():
        return None
    wanted = bytes(kind.num for kind in kinds)
    for i in range(layout.ntypes):
        if layout.types[i * layout.nargs : (i + 1) * layout.nargs] == wanted:
            return layout.functions[i] or 0, (layout.data[i] or 0) if layout.data else 0
    return None


def record_elementwise(recorder: Any, ufunc: np.ufunc, inputs: tuple[Any, ...], out: Any) -> RecordedArray:
    """Record ``ufunc(*inputs, out=out)``; raises NotRecordedError where NumPy has no such loop."""
    if ufunc.nout != 1:
        raise NotRecordedError(ufunc.__name__)
    scalars = [type(x) if type(x) in (bool, int, float) else np.asarray(x).dtype for x in inputs]
    kinds = ufunc.resolve_dtypes((*scalars, None if out is None else out.dtype))
    loop = loop_of(ufunc, kinds)
    if loop is None:
        raise NotRecordedError(ufunc.__name__)
    operands = [operand(recorder, x, kind) for x, kind in zip(inputs, kinds, strict=False)]
    shape = np.broadcast_shapes(*(x.shape for x in operands))
    result = recorder.empty(shape, kinds[-1]) if out is None else out
    if result.shape != shape or result.dtype != kinds[-1]:
        raise NotRecordedError(ufunc.__name__)
    arrays = [*operands, result]
    addresses = np.array([address_of(recorder.real(array)) for array in arrays])
    sizes, steps = joined_axes(shape, [strides_in(array, shape) for array in arrays])
    parts = pieces(int(sizes[0]), MEMORY_ACCESS * len(arrays) * math.prod(sizes[1:]))

    def work(part: int) -> None:
        settings = *loop, addresses, sizes, steps, *parts[part]
        recorder.call(loops.elementwise, settings, name=ufunc.__name__, arrays=arrays)

    if result.size:
        in_parallel(work, len(parts))
    return result


def operand(recorder: Any, x: Any, kind: np.dtype) -> Any:
    """An operand as an array of this type."""
    if not isinstance(x, np.ndarray):
        return np.asarray(x, kind)
    return x if x.dtype == kind else record_cast(recorder, x, kind)


def record_cast(recorder: Any, x: np.ndarray, kind: np.dtype) -> RecordedArray:
    """Record a contiguous copy of ``x`` in this type."""
    copied = recorder.empty(x.shape, x.dtype if not x.flags.c_contiguous else kind)
    if not x.flags.c_contiguous:
        record_copy(recorder, x, copied)
        return copied if copied.dtype == kind else record_cast(recorder, copied, kind)
    loops.cast(x.reshape(-1), copied.reshape(-1))
    return copied


def record_copy(recorder: Any, source: Any, target: np.ndarray) -> None:
    """Record ``target[...] = source``, which is broadcast; both may have any strides."""
    source = operand(recorder, source, target.dtype)
    if np.may_share_memory(plain(recorder.real(source)), plain(recorder.real(target))):
        same = (address_of(source), source.shape, source.strides) == (address_of(target), target.shape, target.strides)
        if same:
            return  # as in `x[1:] += y`, which assigns the view that it has changed
        source = record_cast(recorder, source.reshape(source.shape), source.dtype)  # NumPy copies what overlaps
    spread = np.broadcast_to(plain(source), target.shape)
    source = view_with_owner(spread, source) if isinstance(source, RecordedArray) else spread
    if target.dtype.kind == "b":
        record_elementwise(recorder, np.logical_or, (source, source), target)
    else:
        record_elementwise(recorder, np.positive, (source,), target)


def view_with_owner(view: np.ndarray, array: RecordedArray) -> RecordedArray:
    """A view of ``array`` that NumPy made of its memory, as an array of the recording."""
    recorded = view.view(RecordedArray)
    recorded.owner = array if array.owner is None else array.owner
    return recorded


def strides_in(array: np.ndarray, shape: tuple[int, ...]) -> list[int]:
    """The strides of an array that is broadcast to ``shape``."""
    missing = len(shape) - array.ndim
    strides = [0 if size == 1 else step for size, step in zip(array.shape, array.strides, strict=True)]
    return [0] * missing + strides


def joined_axes(shape: tuple[int, ...], strides: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Sizes ``(axes,)`` and steps ``(axes, arrays)``; axes that all arrays store one after the other are one axis."""
    sizes, steps = [1], [[0] * len(strides)]
    for size, *here in zip(shape, *strides, strict=True):
        if size == 1:
            continue
        if sizes[-1] == 1 or all(outer == inner * size for outer, inner in zip(steps[-1], here, strict=True)):
            sizes[-1], steps[-1] = sizes[-1] * size, here
        else:
            sizes.append(size)
            steps.append(here)
    return np.array(sizes, np.int64), np.array(steps, np.int64)
