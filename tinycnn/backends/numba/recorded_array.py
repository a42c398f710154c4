"""Arrays in a recording: kernels take their addresses, and so do the elementwise functions of NumPy.

While a step is recorded nothing is computed, so the values of its arrays are meaningless. Views, such as slices and
reshapes, are allowed, and elementwise functions and copies are recorded (``numpy_loops.py``). So are the functions of
NumPy in ``recorded_numpy.py``, which only make views and copies. Every other NumPy operation would be missing in the
recording. It raises `NotRecordedError`.

This holds for the thread that records. In other threads, which may use the same network meanwhile, these are ordinary
arrays.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinycnn.backends.recording import of_thread
from tinycnn.errors import BackendError


class NotRecordedError(BackendError):
    """NumPy was to compute with an array of a recording."""


class RecordedArray(np.ndarray):
    """An array whose memory is part of a recording."""

    owner: "RecordedArray | None" = None  # the array that this one is a view of
    pooled = False  # whether the memory belongs to the recording, see memory.py

    def __array_finalize__(self, source: Any) -> None:
        if isinstance(source, RecordedArray):
            self.owner = source if source.owner is None else source.owner

    @property
    def base(self) -> "RecordedArray | None":
        """The array that owns the memory, as NumPy has it; None for an array that is not a view."""
        return self.owner

    def __repr__(self) -> str:
        return f"RecordedArray(shape={self.shape}, dtype={self.dtype})"

    __str__ = __repr__

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        """Record an elementwise function."""
        recorder = of_thread.recorder
        if recorder is None:
            settings = {name: plain(value) for name, value in settings.items()}
            return getattr(ufunc, method)(*plain(inputs), **settings)
        (out,) = settings.pop("out", (None,))
        if ufunc is np.matmul and method == "__call__" and out is None and not settings:
            return recorder.matmul(*inputs)
        plain_call = method == "__call__" and not settings and ufunc.signature is None
        if not plain_call or not isinstance(out, RecordedArray | None):
            raise NotRecordedError(f"{ufunc.__name__}.{method}".removesuffix(".__call__"))
        return recorder.elementwise(ufunc, inputs, out)

    def __array_function__(self, function: Any, kinds: Any, arguments: Any, settings: Any) -> Any:
        if of_thread.recorder is None:
            return super().__array_function__(function, kinds, arguments, settings)
        return of_thread.recorder.function(function, arguments, settings)

    def __getitem__(self, key: Any) -> Any:
        return self._view_of(super().__getitem__(key), "indexing") if of_thread.recorder else plain(self)[key]

    def reshape(self, *shape: Any, **settings: Any) -> Any:
        """A view in another shape; a copy, made by a kernel, where NumPy copies, too."""
        if of_thread.recorder is None:
            return plain(self).reshape(*shape, **settings)
        result = super().reshape(*shape, **settings)
        if settings or self._shares_memory(result):
            return self._view_of(result, "reshape")
        return self.copy().reshape(*shape)

    def astype(self, dtype: Any, *settings: Any, copy: bool = True, **more: Any) -> Any:  # type: ignore[override]
        """The array itself if it has that type already, else a copy, made by a kernel."""
        if of_thread.recorder is None:
            return plain(self).astype(dtype, *settings, copy=copy, **more)
        if np.dtype(dtype) == self.dtype:
            return self.copy() if copy else self
        return of_thread.recorder.cast(self, np.dtype(dtype))

    def copy(self, order: Any = "C") -> Any:
        """A copy, made by a kernel."""
        recorder = of_thread.recorder
        return plain(self).copy(order) if recorder is None else recorder.cast(self, self.dtype)

    def _view_of(self, result: Any, what: str) -> "RecordedArray":
        """``result`` if it is a view; raises NotRecordedError for a copy and for a number."""
        if not isinstance(result, RecordedArray) or not self._shares_memory(result):
            raise NotRecordedError(what)
        return result

    def _shares_memory(self, result: np.ndarray) -> bool:
        """Whether ``result``, made from this array, is a view."""
        return not result.size or np.may_share_memory(plain(result), plain(self))

    def __setitem__(self, key: Any, value: Any) -> None:
        """Copy ``value`` to a part of the array, by a kernel."""
        if of_thread.recorder is None:
            plain(self)[key] = plain(value)
            return
        of_thread.recorder.assign(self._view_of(super().__getitem__(key), "assignment"), value)


def refused(name: str) -> Callable[..., Any]:
    """The method ``name``, which a recording would miss."""

    def method(self: RecordedArray, *arguments: Any, **settings: Any) -> Any:
        if of_thread.recorder is None:
            return getattr(plain(self), name)(*arguments, **settings)
        raise NotRecordedError(name.strip("_"))

    return method


READ_OR_WRITE = """
__bool__ __complex__ __contains__ __copy__ __deepcopy__ __float__ __index__ __int__ __reduce__ __reduce_ex__
argmax argmin argpartition argsort byteswap choose compress cumprod cumsum diagonal dot dump fill flatten item nonzero
partition put ravel repeat resize round searchsorted setfield sort take tobytes tofile tolist trace
"""
for _name in READ_OR_WRITE.split():
    setattr(RecordedArray, _name, refused(_name))


def plain(value: Any) -> Any:
    """The same memory as an ordinary array; also inside tuples."""
    if isinstance(value, RecordedArray):
        return value.view(np.ndarray)
    return tuple(map(plain, value)) if isinstance(value, tuple) else value
