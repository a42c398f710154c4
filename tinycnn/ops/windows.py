"""Validation of the window arguments shared by convolution and pooling."""

from numbers import Integral

from tinycnn.backends.base import Pair, window_grid
from tinycnn.errors import SettingError, ShapeError

MOST_PIXELS = 1 << 20  # of a window, stride or padding: NumPy's own errors begin far above


def as_pair(value: int | Pair, name: str, *, minimum: int) -> Pair:
    """An integer (for both axes) or a pair ``(height, width)`` → a pair; raises SettingError out of range."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(isinstance(v, Integral) and not isinstance(v, bool) and v >= minimum for v in pair):
        raise SettingError(f"{name}={value!r}: expected an integer, at least {minimum}, or a pair (height, width)")
    if max(pair) > MOST_PIXELS:
        raise SettingError(f"{name}={value!r}: expected at most {MOST_PIXELS:,} pixels")
    return int(pair[0]), int(pair[1])  # NumPy's integers, too


def check_window(op: str, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair) -> None:
    """Raise ShapeError unless ``x_shape`` is ``(N, H, W, C)`` and has room for at least one whole window."""
    if len(x_shape) != 4:
        raise ShapeError(f"{op}: x has shape {x_shape}, expected (N, H, W, C): images, height, width, channels")
    if min(window_grid(x_shape, kernel_size, stride, padding)) < 1:
        KH, KW = kernel_size
        H, W = (size + 2 * pad for size, pad in zip(x_shape[1:3], padding, strict=True))
        raise ShapeError(
            f"{op}: the {KH}x{KW} window does not fit into the {H}x{W} image (padding included); "
            "use a smaller `kernel_size`, more `padding`, or larger images (height and width come first, channels last)"
        )


def pool_window(
    op: str, kernel_size: int | Pair, stride: int | Pair | None, padding: int | Pair
) -> tuple[Pair, Pair, Pair]:
    """Kernel size, stride (``kernel_size`` if None) and padding of a pooling operation, as pairs.

    Raises SettingError for values out of range, and if a window could lie entirely in the padding.
    """
    kernel_size = as_pair(kernel_size, "kernel_size", minimum=1)
    stride = kernel_size if stride is None else as_pair(stride, "stride", minimum=1)
    padding = as_pair(padding, "padding", minimum=0)
    if any(2 * pad > size for size, pad in zip(kernel_size, padding, strict=True)):
        raise SettingError(
            f"{op}: padding {padding} is more than half of kernel_size {kernel_size}; use a smaller `padding`"
        )
    return kernel_size, stride, padding
