"""The same numbers in other places of memory: what an array may look like when it reaches an op or a kernel."""

import numpy as np


def contiguous(x: np.ndarray, order: str = "C") -> np.ndarray:
    """Unlike ``np.ascontiguousarray``, this leaves a single number without axes."""
    return np.array(x, order=order)


def fortran(x: np.ndarray) -> np.ndarray:
    return contiguous(x, "F")


def strided(x: np.ndarray) -> np.ndarray:
    """Every second element along each axis of an array twice as wide."""
    wide = np.ones([2 * size for size in x.shape], x.dtype)
    every_second = wide[(*(slice(0, None, 2),) * x.ndim, ...)]
    every_second[...] = x
    return every_second


def backwards(x: np.ndarray) -> np.ndarray:
    """Stored from the last element to the first: all strides are negative."""
    flip = (*(slice(None, None, -1),) * x.ndim, ...)
    return np.array(x[flip], order="C")[flip]


def channels_first(x: np.ndarray) -> np.ndarray:
    if x.ndim < 2:
        return x
    return contiguous(np.moveaxis(x, -1, 0)).transpose(*range(1, x.ndim), 0)


def broadcast(x: np.ndarray) -> np.ndarray:
    """The first row for all: many elements in one place of memory (other numbers than ``x``)."""
    return np.broadcast_to(x[:1], x.shape) if x.ndim else x


def read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "C": contiguous,
    "Fortran": fortran,
    "strided": strided,
    "reversed": backwards,
    "channels first": channels_first,
    "broadcast": broadcast,
    "read-only": read_only,
}
