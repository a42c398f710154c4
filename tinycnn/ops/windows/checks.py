"""Validation of the window arguments shared by convolution and pooling."""

from numbers import Integral

from tinycnn.backends.base import Pair, window_grid
from tinycnn.errors import SettingError, ShapeError, shortened
from tinycnn.ops.windows.padding import (
    MOST_PIXELS,
    NO_PADS,
    CheckedPadding,
    Padding,
    Pads,
    as_pads,
    checked_padding,
    pads_for,
)


def as_pair(value: int | Pair, name: str, *, minimum: int) -> Pair:
    """An integer (for both axes) or a pair ``(height, width)`` → a pair; raises SettingError out of range."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(isinstance(v, Integral) and not isinstance(v, bool) and v >= minimum for v in pair):
        raise SettingError(f"`{name}={value!r}`: expected an integer, at least {minimum}, or a pair (height, width)")
    if max(pair) > MOST_PIXELS:
        raise SettingError(f"`{name}={value!r}`: expected at most {MOST_PIXELS:,} pixels")
    return int(pair[0]), int(pair[1])  # NumPy's integers, too


def window_extent(kernel_size: tuple[int, ...], dilation: Pair) -> Pair:
    """The pixels that a window spans down and across, whose pixels are ``dilation`` apart."""
    (KH, KW), (DH, DW) = kernel_size, dilation
    return (KH - 1) * DH + 1, (KW - 1) * DW + 1


def grid_of(x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, pads: Pads) -> Pair:
    """``(OH, OW)`` as ``window_grid``, for padding that differs between opposite sides."""
    (_, H, W, C), ((top, bottom), (left, right)) = x_shape, pads
    return window_grid((0, top + H + bottom, left + W + right, C), kernel_size, stride, (0, 0))


def check_window(
    op: str, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: CheckedPadding, ceil_mode: bool = False
) -> Pads:
    """The padding in pixels, ``((top, bottom), (left, right))``, for images of ``x_shape``.

    Raises ShapeError unless ``x_shape`` is ``(N, H, W, C)`` and has room for at least one whole window.
    """
    if len(x_shape) != 4:
        raise ShapeError(f"{op}: x has shape {x_shape}, expected (N, H, W, C): images, height, width, channels")
    pads = pads_for(padding, x_shape, kernel_size, stride, ceil_mode)
    if min(grid_of(x_shape, kernel_size, stride, pads)) < 1:
        KH, KW = kernel_size
        H, W = (size + sum(sides) for size, sides in zip(x_shape[1:3], pads, strict=True))
        raise ShapeError(
            f"{op}: the {KH}x{KW} window does not fit into the {H}x{W} image (padding included); "
            "use a smaller `kernel_size`, more `padding`, or larger images (height and width come first, channels last)"
        )
    return pads


def pool_window(
    op: str, kernel_size: int | Pair, stride: int | Pair | None, padding: Padding
) -> tuple[Pair, Pair, CheckedPadding]:
    """Kernel size, stride (``kernel_size`` if None) and padding of a pooling operation, as pairs.

    Raises SettingError for values out of range, and if a window could lie entirely in the padding.
    """
    kernel_size = as_pair(kernel_size, "kernel_size", minimum=1)
    stride = kernel_size if stride is None else as_pair(stride, "stride", minimum=1)
    checked = checked_padding(padding)
    pads = NO_PADS if checked == "same" else as_pads(checked)
    if any(2 * max(pad) > size for size, pad in zip(kernel_size, pads, strict=True)):
        raise SettingError(
            f"{op}: `padding={shortened(checked)}` is more than half of `kernel_size={kernel_size}`; "
            "use a smaller `padding`"
        )
    return kernel_size, stride, checked
