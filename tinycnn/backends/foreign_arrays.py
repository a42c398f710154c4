"""How other libraries can use a tensor, and which objects can become one.

NumPy functions and comparisons receive the plain values. The engine does not record them. The
implicit conversion of a tensor that needs a gradient raises an error, because its history would be silently lost.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array, Backend
from tinycnn.backends.dlpack import DLPackExport, array_from_dlpack
from tinycnn.backends.foreign_names import ForeignNames, recorded_instead
from tinycnn.errors import AutogradError, DtypeError, ShapeError, TinyCNNError

FLOATS = np.dtype(np.float32), np.dtype(np.float64)
WITHOUT_RETURN = "got NoneType: a function without `return` returns None"
STRANGE = np.matrix, np.ma.MaskedArray  # NumPy arrays whose arithmetic differs


class ArrayProtocols(DLPackExport, ForeignNames):
    """The special methods of a tensor that are not differentiable operations. Comparisons return boolean arrays."""

    __slots__ = ()
    _array: Array
    __hash__ = object.__hash__  # by identity: tensors are keys of dictionaries

    def numpy(self) -> np.ndarray:
        """The values as an array on the host; blocks until a GPU has computed them."""
        return get_backend().to_host(self.data)

    def item(self) -> float:
        """The value of a tensor of size 1 as a Python number; raises ShapeError for another size."""
        if self._array.size != 1:
            raise ShapeError(
                f"item() takes a tensor of size 1, this one has shape {self._array.shape}: reduce it, as in .sum()"
            )
        return float(get_backend().to_host(self._array).item())

    __float__ = item

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        """Whether the only element is not 0; raises ShapeError for several elements."""
        if self._array.size != 1:
            raise ShapeError(
                f"bool(): a tensor of shape {self._array.shape} is neither true nor false: compare it, then use .any() "
                "or .all()"
            )
        return bool(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The values for NumPy; raises AutogradError, as PyTorch does, for a tensor that needs a gradient."""
        if self.requires_grad:
            raise AutogradError(
                "a tensor that needs a gradient is not converted to a NumPy array implicitly, because NumPy's results "
                "are not recorded: use tensor.numpy() or tensor.detach(), or compute it under no_grad()"
            )
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        """NumPy's functions, as in ``np.argmax(tensor)``: computed from the plain values."""
        words = recorded_instead(type(self), function.__name__) if self.requires_grad else ""
        if words:
            raise AutogradError(
                f"np.{function.__name__} of a tensor that needs a gradient would not be recorded: use {words}, or "
                f"np.{function.__name__}(x.numpy()), without a gradient"
            )
        return function(*_plain(args), **_plain(kwargs))

    def __len__(self) -> int:
        if not self._array.shape:
            raise ShapeError("len(): a tensor of shape () has no axis")
        return len(self._array)

    def __iter__(self) -> Iterator[Any]:
        """The tensors ``self[0]``, ``self[1]``, …"""
        return (self[i] for i in range(len(self)))  # type: ignore[index]

    def __contains__(self, value: Any) -> bool:
        return bool(np.any(self == value))

    def __eq__(self, other: Any) -> Any:
        return self._compared(np.equal, other)

    def __ne__(self, other: Any) -> Any:
        return self._compared(np.not_equal, other)

    def __lt__(self, other: Any) -> Any:
        return self._compared(np.less, other)

    def __le__(self, other: Any) -> Any:
        return self._compared(np.less_equal, other)

    def __gt__(self, other: Any) -> Any:
        return self._compared(np.greater, other)

    def __ge__(self, other: Any) -> Any:
        return self._compared(np.greater_equal, other)

    def _compared(self, comparison: np.ufunc, other: Any) -> Any:
        """The comparison element by element, on the host; NotImplemented for a value that is not numeric."""
        to_host = get_backend().to_host
        if isinstance(other, ArrayProtocols):
            other = to_host(other._array)
        elif not isinstance(other, int | float | np.generic | np.ndarray | list | tuple):
            if not get_backend().owns(other):
                return NotImplemented
            other = to_host(other)
        elif isinstance(other, list | tuple):
            other = _from_python(other)
        try:
            return comparison(to_host(self._array), other)
        except TypeError:  # for example text
            return NotImplemented
        except ValueError:
            shapes = f"shapes {self._array.shape} and {np.shape(other)}"
            raise ShapeError(f"{shapes} cannot be compared: they do not broadcast together") from None


def _plain(value: Any) -> Any:
    """``value`` with an array in place of every tensor, inside lists, tuples and dictionaries too."""
    if isinstance(value, ArrayProtocols):
        return value.__array__()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value


def as_float_array(array: Any, dtype: np.dtype = FLOATS[0]) -> Array:
    """An array of any library, a number or nested lists → an array of the active backend, float32 or float64.

    Floating arrays keep their dtype; integers, lists and Python numbers become ``dtype``. Raises DtypeError for another
    dtype and for values that are not numbers, ShapeError for lists of unequal lengths.
    """
    backend = get_backend()
    if type(array) is not np.ndarray and (isinstance(array, STRANGE) or not backend.owns(array)):
        array = _as_plain_array(backend, array, dtype)
    if array.dtype.kind in "iub":
        array = array.astype(dtype)
    if array.dtype not in FLOATS:
        raise DtypeError(f"tinycnn computes with float32 and float64, got {array.dtype}: convert it with .astype first")
    return array if backend.owns(array) else backend.asarray(array)


def in_place_of(name: str, old: Array, new: Any) -> Array:
    """``new``, an array of any library, as it takes the place of ``old``: in its dtype, and writeable.

    Raises ShapeError for another shape, naming what is assigned, and DtypeError as `as_float_array` does.
    """
    array = as_float_array(new, old.dtype)
    if array.shape != old.shape:
        given = getattr(new, "shape", type(new).__name__)
        raise ShapeError(f"{name} = {given}: expected an array of shape {old.shape}, as before; nothing is broadcast")
    array = array.astype(old.dtype, copy=False)
    return array if getattr(array.flags, "writeable", True) else array.copy()


def _as_plain_array(backend: Backend, array: Any, dtype: np.dtype) -> Array:
    """Anything but an array of the backend → a plain NumPy array or an array of the backend."""
    if isinstance(array, ArrayProtocols):
        return array.data
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise DtypeError("a masked array has elements without a value: fill them first, as in array.filled(0)")
    if isinstance(array, np.ndarray | np.generic):
        return np.asarray(array)
    if hasattr(array, "toarray") and hasattr(array, "nnz"):
        raise DtypeError(f"{type(array).__name__} is a sparse matrix: pass a dense array, as in matrix.toarray()")
    if hasattr(array, "__dlpack__"):
        return array_from_dlpack(backend, array)
    if hasattr(array, "__array__"):  # such as a table of pandas
        return _from_python(array)
    values = _from_python(array)
    return values.astype(dtype) if values.dtype.kind == "f" else values  # a Python float states no precision


def _from_python(values: Any) -> np.ndarray:
    """``np.asarray(values)``; its errors become ShapeError or DtypeError."""
    try:
        array = np.asarray(values)
    except TinyCNNError:
        raise
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:  # each library raises its own
        if "inhomogeneous" in str(error):
            raise ShapeError("lists of unequal lengths do not form an array: expected rows of equal length") from None
        raise DtypeError(f"{type(values).__name__} cannot be converted to an array of numbers: {error}") from None
    if values is None:
        raise DtypeError(f"tinycnn computes with float32 and float64, {WITHOUT_RETURN}")
    if array.dtype.kind == "O":
        raise DtypeError(
            f"tinycnn computes with float32 and float64, got {type(values).__name__} with elements that are not "
            "numbers: expected an array, a number or nested lists of numbers"
        )
    return array
