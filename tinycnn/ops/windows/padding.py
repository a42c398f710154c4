"""The padding of a window, as it is given, and as numbers for one image size.

``padding`` is an integer, a pair ``(PH, PW)``, a pair of pairs ``((top, bottom), (left, right))``, ``"same"`` or
``"valid"``, which is 0. Two settings depend on the size of the image, and become numbers here:

* ``"same"``, as in Keras and as SAME_UPPER in ONNX: ``OH = ceil(H / SH)``. What is missing to that many windows is
  added, half of it at each side, and the larger half at the bottom and right.
* ``ceil_mode``, as in PyTorch: the windows that hang over the bottom or right edge count too, unless they start beyond
  the image. So it is padding at the bottom and right that only completes the last window.
"""

from numbers import Integral
from typing import Literal

from tinycnn.backends.base import Pair
from tinycnn.errors import SettingError, shortened

MOST_PIXELS = 1 << 20  # of a window, stride or padding: NumPy's own errors begin far above
Pads = tuple[Pair, Pair]  # (top, bottom), (left, right)
Padding = int | Pair | Pads | Literal["same", "valid"]  # as it is given
CheckedPadding = Pair | Pads | Literal["same"]  # as layers keep it; Pads only where opposite sides differ
NO_PADS: Pads = ((0, 0), (0, 0))


def checked_padding(padding: Padding) -> CheckedPadding:
    """``padding`` in its shortest form; raises SettingError for anything but the five forms above."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise SettingError(f"`padding={shortened(padding)}`: expected 'same', 'valid' or numbers of pixels")
        return "same" if padding == "same" else (0, 0)
    pair = tuple(padding) if isinstance(padding, tuple | list) else (padding, padding)
    sides = [tuple(side) if isinstance(side, tuple | list) else (side, side) for side in pair]
    pixels = [number for side in sides for number in side]
    if [len(side) for side in sides] != [2, 2] or not all(_is_size(number) for number in pixels):
        raise SettingError(
            f"`padding={shortened(padding)}`: expected an integer, at least 0, a pair (height, width), "
            "((top, bottom), (left, right)), 'same' or 'valid'"
        )
    if max(pixels) > MOST_PIXELS:
        raise SettingError(f"`padding={shortened(padding)}`: expected at most {MOST_PIXELS:,} pixels")
    (top, bottom), (left, right) = ((int(first), int(last)) for first, last in sides)
    return (top, left) if (top, left) == (bottom, right) else ((top, bottom), (left, right))


def _is_size(number: object) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool) and int(number) >= 0


def as_pads(padding: Pair | Pads) -> Pads:
    """``(PH, PW)`` as ``((PH, PH), (PW, PW))``; what already has this form is returned."""
    down, across = (side if isinstance(side, tuple) else (side, side) for side in padding)
    return down, across


def pads_for(
    padding: CheckedPadding, x_shape: tuple[int, ...], extent: Pair, stride: Pair, ceil_mode: bool = False
) -> Pads:
    """``padding`` in pixels, ``((top, bottom), (left, right))``, for images of ``x_shape (N, H, W, C)``.

    ``extent``: the pixels that a window spans down and across.
    """
    sizes = tuple(zip(x_shape[1:3], extent, stride, strict=True))
    if padding == "same":
        down, across = (_same(*size) for size in sizes)
        return down, across
    pads = as_pads(padding)
    if ceil_mode:
        down, across = (_up_to_the_last_window(*size, *side) for size, side in zip(sizes, pads, strict=True))
        return down, across
    return pads


def _same(size: int, extent: int, stride: int) -> Pair:
    """What is added before and after an axis of ``size`` pixels, so that ``ceil(size / stride)`` windows fit."""
    missing = max(0, (-(-size // stride) - 1) * stride + extent - size)
    return missing // 2, missing - missing // 2


def _up_to_the_last_window(size: int, extent: int, stride: int, before: int, after: int) -> Pair:
    """``before`` and ``after``, which also completes the last window that starts in front of pixel ``size``."""
    last = -(-(size + before + after - extent) // stride) * stride  # where it starts, counted from the first window
    last -= stride if last >= size + before else 0
    return before, max(after, last + extent - size - before)
