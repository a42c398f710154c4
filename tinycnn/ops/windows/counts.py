"""Means of windows that leave out some or all of the padding."""

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array, Pair
from tinycnn.ops.windows.padding import Pads
from tinycnn.tensor import Tensor


def without_padding(
    y: Tensor, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, pads: Pads, included: Pads
) -> Tensor:
    """The means ``y (N, OH, OW, C)`` of whole windows → those of the image and of the padding that is ``included``.

    ``pads``: the zeros around the images of ``x_shape``. They add nothing to the sum of a window, so only the divisor
    changes: from ``KH*KW`` to the number of pixels that are included.
    """
    sides = zip(x_shape[1:3], kernel_size, stride, pads, included, strict=True)
    down, across = (_included_pixels(*side) for side in sides)
    KH, KW = kernel_size
    return y * Tensor((KH * KW / (down[:, None, None] * across[:, None])).astype(y.dtype))  # (N, OH, OW, C)


def _included_pixels(size: int, kernel: int, stride: int, pads: Pair, included: Pair) -> Array:
    """Along an axis of ``size`` pixels: how many pixels of each window lie in the image or in included padding."""
    xp = get_backend().xp
    windows = (size + sum(pads) - kernel) // stride + 1
    start = xp.arange(windows) * stride - pads[0]
    return xp.minimum(start + kernel, size + included[1]) - xp.maximum(start, -included[0])
