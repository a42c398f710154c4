"""Clipping of each element: y = min(max(x, low), high). ReLU6 is ``clip(x, 0, 6)``.

The slope is 1 strictly between the limits and 0 outside. At a limit any number in [0, 1] is a valid subgradient;
tinycnn uses 0, as ReLU does at 0. NaN inputs give NaN outputs.
"""

from typing import Any

from tinycnn.backends.base import Array
from tinycnn.errors import SettingError, in_range
from tinycnn.tensor import Function, Tensor


class ClipFunction(Function):
    def __init__(self, low: float | None, high: float | None) -> None:
        self.low, self.high = low, high

    def forward(self, x: Array) -> Array:
        xp, y, self.inside = self.backend.xp, x, None
        if self.low is not None:
            y, self.inside = xp.maximum(y, self.low), x > self.low
        if self.high is not None:
            below = x < self.high
            y, self.inside = xp.minimum(y, self.high), below if self.inside is None else self.inside & below
        return y

    def backward(self, grad_y: Array) -> Array:
        return grad_y * self.inside


def clip(x: Tensor, low: float | None = None, high: float | None = None) -> Tensor:
    """``min(max(x, low), high)`` of each element, any shape → the same shape; None: no limit on this side.

    Raises SettingError for limits that are not finite numbers in increasing order, and without any.
    """
    return ClipFunction(*checked_limits("clip", low, high))(x)


def checked_limits(whose: str, low: Any, high: Any) -> tuple[float | None, float | None]:
    """Both limits as floats or None; raises SettingError unless at least one is a number, and ``low < high``."""
    low = None if low is None else in_range(f"{whose}: low", low)
    high = None if high is None else in_range(f"{whose}: high", high, above=low)
    if low is None and high is None:
        raise SettingError(f"{whose}: expected at least one of `low` and `high`")
    return low, high
