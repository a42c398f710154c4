"""Padding: constants around a tensor; ``pads[i] = (before, after)`` elements along axis i.

The padding does not depend on ``x``, so ``grad_x`` is the part of ``grad_y`` inside of it.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from tinycnn.backends.base import Array
from tinycnn.errors import SettingError, ShapeError, in_range, shortened
from tinycnn.ops.inputs import tensors
from tinycnn.ops.windows.padding import MOST_PIXELS
from tinycnn.tensor import Function, Tensor

Widths = tuple[tuple[int, int], ...]


class PadFunction(Function):
    def __init__(self, pads: Widths, value: float) -> None:
        self.pads, self.value = pads, value

    def forward(self, x: Array) -> Array:
        sizes = [before + size + after for size, (before, after) in zip(x.shape, self.pads, strict=True)]
        self.inside = tuple(slice(before, before + size) for size, (before, _) in zip(x.shape, self.pads, strict=True))
        y = self.backend.xp.full(tuple(sizes), self.value, x.dtype)
        y[self.inside] = x
        return y

    def backward(self, grad_y: Array) -> Array:
        return grad_y[self.inside]


def pad(x: Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """Put ``value`` around ``x``; ``pads`` has a pair ``(before, after)`` for every axis, as in ``numpy.pad``.

    Raises ShapeError unless there is one pair for each axis, SettingError for negative numbers.
    """
    (x,) = tensors(x)
    checked = _checked_pads(pads)
    if len(checked) != x.ndim:
        raise ShapeError(f"pad: {len(checked)} pairs for an array of shape {x.shape}, expected one pair for each axis")
    return PadFunction(checked, in_range("pad: value", value))(x)


def _checked_pads(pads: Any) -> Widths:
    """``pads`` as pairs of ints; raises SettingError unless they are non-negative."""
    pairs: list[Any] = list(pads) if isinstance(pads, list | tuple) else [None]
    for pair in pairs:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(map(_is_size, pair))):
            raise SettingError(
                f"pad: `pads` is {shortened(pads)}, expected a pair of non-negative integers for each axis, as in "
                "((0, 0), (1, 1))"
            )
    return tuple((int(before), int(after)) for before, after in pairs)


def _is_size(number: Any) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool) and 0 <= int(number) <= MOST_PIXELS
