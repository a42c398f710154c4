"""The same numbers at other places in memory: the layouts in which an array may reach an operation or a kernel."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from tinycnn.backends.base import Array, Backend


def contiguous(x: np.ndarray, order: Literal["C", "F"] = "C") -> np.ndarray:
    """A copy in C or Fortran order; unlike ``np.ascontiguousarray``, this keeps the shape ``()`` of one number."""
    return np.array(x, order=order)


def fortran(x: np.ndarray) -> np.ndarray:
    """Stored column by column."""
    return contiguous(x, "F")


def strided(x: np.ndarray) -> np.ndarray:
    """Every second element along each axis of an array twice as wide."""
    wide = np.ones([2 * size for size in x.shape], x.dtype)
    every_second = wide[_all_axes(slice(0, None, 2), x.ndim)]
    every_second[...] = x
    return every_second


def backwards(x: np.ndarray) -> np.ndarray:
    """Stored from the last element to the first: all strides are negative."""
    flip = _all_axes(slice(None, None, -1), x.ndim)
    return contiguous(x[flip])[flip]


def _all_axes(part: slice, ndim: int) -> tuple[Any, ...]:
    """An index that takes ``part`` of every axis; with the ellipsis, the element of shape ``()`` stays an array."""
    return (*[part] * ndim, ...)


def channels_first(x: np.ndarray) -> np.ndarray:
    """The last axis varies slowest in memory."""
    if x.ndim < 2:
        return x
    return contiguous(np.moveaxis(x, -1, 0)).transpose(*range(1, x.ndim), 0)


def broadcast(x: np.ndarray) -> np.ndarray:
    """The first row in place of all rows, stored once (other numbers than ``x``)."""
    return np.broadcast_to(x[:1], x.shape) if x.ndim else x


def read_only(x: np.ndarray) -> np.ndarray:
    """A copy that cannot be written to."""
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C": contiguous,
    "Fortran": fortran,
    "strided": strided,
    "reversed": backwards,
    "channels first": channels_first,
    "broadcast": broadcast,
    "read-only": read_only,
}


def as_it_is(backend: Backend, x: np.ndarray) -> Array:
    """What ``backend.asarray`` makes of ``x``."""
    return backend.asarray(x)


def transposed_view(backend: Backend, x: np.ndarray) -> Array:
    """A view that is made on the backend: ``asarray`` may copy, so a layout of the host may not reach a kernel."""
    return backend.asarray(np.ascontiguousarray(x.T)).T


def sliced_view(backend: Backend, x: np.ndarray) -> Array:
    """Every second element of an array twice as long, sliced on the backend."""
    return backend.asarray(np.repeat(x, 2, axis=0))[::2]


Place = Callable[[Backend, np.ndarray], Array]
VIEWS: dict[str, Place] = {"transposed view": transposed_view, "sliced view": sliced_view}
