"""Pooling: each window of an image is reduced to one value per channel."""

import numpy as np

from tinycnn import ops
from tinycnn.backends.base import Pair, window_grid
from tinycnn.layers.base import Layer, Shape, register_layer
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
    """The mean of each window: ``(H, W, C)`` → ``(OH, OW, C)``. See ``ops/avg_pool2d.py``; arguments as MaxPool2d."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.avg_pool2d(x, kernel_size=self.kernel_size, stride=self.stride, padding=self.padding)
