"""Axes as arguments: counted from the front or the back."""

from numbers import Integral
from typing import Any

from tinycnn.errors import ShapeError, shortened


def checked_axis(op: str, axis: Any, ndim: int) -> int:
    """``axis`` counted from the front; raises ShapeError unless it is one of the ``ndim`` axes."""
    if not isinstance(axis, Integral) or isinstance(axis, bool) or not -ndim <= int(axis) < ndim:
        raise ShapeError(f"{op}: `axis={shortened(axis)}`, expected an integer from {-ndim} to {ndim - 1}")
    return int(axis) % ndim
