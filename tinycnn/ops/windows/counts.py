"""Means that leave out some of the padding: how many pixels of each window count."""

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array, Pair
from tinycnn.ops.windows.padding import Pads
from tinycnn.tensor import Tensor


def mean_of_counted(
    y: Tensor, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, pads: Pads, counted: Pads
) -> Tensor:
    """The means ``y (N, OH, OW, C)`` of windows of zero-padded images, divided by fewer pixels than ``KH*KW``.

    ``pads``: the zeros around the images of ``x_shape``; ``counted``: how many of them belong to the mean.
    """
    sides = zip(x_shape[1:3], kernel_size, stride, pads, counted, strict=True)
    down, across = (_counted_pixels(*side) for side in sides)
    KH, KW = kernel_size
    return y * Tensor((KH * KW / (down[:, None, None] * across[:, None])).astype(y.dtype))  # (N, OH, OW, C)


def _counted_pixels(size: int, kernel: int, stride: int, pads: Pair, counted: Pair) -> Array:
    """Along an axis of ``size`` pixels: how many pixels of each window lie in the image or the counted padding."""
    xp = get_backend().xp
    windows = (size + sum(pads) - kernel) // stride + 1
    start = xp.arange(windows) * stride - pads[0]
    return xp.minimum(start + kernel, size + counted[1]) - xp.maximum(start, -counted[0])
