"""Pooling: each window of an image is reduced to one value per channel."""

import numpy as np

from tinycnn import ops
from tinycnn.backends import get_backend
from tinycnn.backends.base import Array, Pair, window_count, window_grid
from tinycnn.layers.base import Layer, Shape, checked_bool, register_layer
from tinycnn.ops.windows import check_window, pool_window
from tinycnn.tensor import Tensor


class _Pool2d(Layer):
    """The windows of a pooling layer: ``(H, W, C)`` → ``(OH, OW, C)``; ``stride`` defaults to ``kernel_size``."""

    def __init__(self, kernel_size: int | Pair = 2, stride: int | Pair | None = None, padding: int | Pair = 0) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = pool_window(type(self).__name__, kernel_size, stride, padding)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        check_window(type(self).__name__, (1, *input_shape), self.kernel_size, self.stride, self.padding)
        return (*window_grid((1, *input_shape), self.kernel_size, self.stride, self.padding), input_shape[2])


@register_layer
class MaxPool2d(_Pool2d):
    """The maximum of each window: ``(H, W, C)`` → ``(OH, OW, C)``. See ``ops/max_pool2d.py``.

    ``stride`` defaults to ``kernel_size``. Raises SettingError and ShapeError as Conv2d does.
    """

    def forward(self, x: Tensor) -> Tensor:
        return ops.max_pool2d(x, kernel_size=self.kernel_size, stride=self.stride, padding=self.padding)


@register_layer
class AvgPool2d(_Pool2d):
    """The mean of each window: ``(H, W, C)`` → ``(OH, OW, C)``. See ``ops/avg_pool2d.py``; arguments as MaxPool2d.

    ``count_padding=False``: the mean includes only pixels of the image, as in Keras. Otherwise it includes the zeros of
    the padding, as in PyTorch.
    """

    def __init__(
        self,
        kernel_size: int | Pair = 2,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        count_padding: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.count_padding = checked_bool("AvgPool2d", "count_padding", count_padding)

    def forward(self, x: Tensor) -> Tensor:
        y = ops.avg_pool2d(x, kernel_size=self.kernel_size, stride=self.stride, padding=self.padding)
        if self.count_padding or self.padding == (0, 0):
            return y
        sides = zip(x.shape[1:3], self.kernel_size, self.stride, self.padding, strict=True)
        down, across = (pixels_in_windows(*side) for side in sides)
        KH, KW = self.kernel_size
        return y * Tensor((KH * KW / (down[:, None, None] * across[:, None])).astype(x.dtype))  # (N, OH, OW, C)


def pixels_in_windows(size: int, kernel: int, stride: int, padding: int) -> Array:
    """The number of image pixels in each window along an axis of ``size`` pixels, excluding padding."""
    xp = get_backend().xp
    start = xp.arange(window_count(size, kernel, stride, padding)) * stride - padding
    return xp.minimum(start + kernel, size) - xp.maximum(start, 0)
