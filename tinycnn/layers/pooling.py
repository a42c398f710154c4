"""Pooling: each window of an image, or the whole image, is reduced to one value per channel."""

from typing import Any

import numpy as np

from tinycnn import ops
from tinycnn.backends.base import Pair
from tinycnn.errors import ShapeError
from tinycnn.layers.base import Layer, Shape, register_layer
from tinycnn.layers.interface.settings import checked_bool
from tinycnn.ops.windows.checks import check_window, grid_of, pool_window
from tinycnn.ops.windows.padding import Padding, Pads
from tinycnn.tensor import Tensor


class _Pool2d(Layer):
    """The windows of a pooling layer: ``(H, W, C)`` → ``(OH, OW, C)``; ``stride`` defaults to ``kernel_size``."""

    pads: Pads  # the padding in pixels, known after ``build``; with ``ceil_mode``, also what it adds

    def __init__(
        self,
        kernel_size: int | Pair = 2,
        stride: int | Pair | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        kind = type(self).__name__
        self.kernel_size, self.stride, self.padding = pool_window(kind, kernel_size, stride, padding)
        self.ceil_mode = checked_bool(kind, "ceil_mode", ceil_mode)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        window = self.kernel_size, self.stride
        self.pads = check_window(type(self).__name__, (1, *input_shape), *window, self.padding, self.ceil_mode)
        return (*grid_of((1, *input_shape), *window, self.pads), input_shape[2])


@register_layer
class MaxPool2d(_Pool2d):
    """The maximum of each window: ``(H, W, C)`` → ``(OH, OW, C)``. See ``ops/max_pool2d.py``.

    ``stride`` defaults to ``kernel_size``; ``padding`` as in Conv2d. ``ceil_mode``: the last window may hang over the
    edge of the image, as in PyTorch. Raises SettingError and ShapeError as Conv2d does.
    """

    def forward(self, x: Tensor) -> Tensor:
        window: dict[str, Any] = {"kernel_size": self.kernel_size, "stride": self.stride, "padding": self.padding}
        return ops.max_pool2d(x, **window, ceil_mode=self.ceil_mode)


@register_layer
class AvgPool2d(_Pool2d):
    """The mean of each window: ``(H, W, C)`` → ``(OH, OW, C)``. See ``ops/avg_pool2d.py``; arguments as MaxPool2d.

    ``count_include_pad``: whether the zeros of the padding belong to the mean, as in PyTorch. They never do for
    ``padding="same"``, as in Keras.
    """

    def __init__(
        self,
        kernel_size: int | Pair = 2,
        stride: int | Pair | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = checked_bool("AvgPool2d", "count_include_pad", count_include_pad)

    @property
    def counts_padding(self) -> bool:
        """Whether the padding belongs to the mean."""
        return self.count_include_pad and self.padding != "same"

    def forward(self, x: Tensor) -> Tensor:
        window: dict[str, Any] = {"kernel_size": self.kernel_size, "stride": self.stride, "padding": self.padding}
        return ops.avg_pool2d(x, **window, ceil_mode=self.ceil_mode, count_include_pad=self.count_include_pad)


class _GlobalPool2d(Layer):
    """One value per channel: ``(H, W, C)`` → ``(C,)``, or ``(1, 1, C)`` with ``keepdims``."""

    def __init__(self, keepdims: bool = False) -> None:
        super().__init__()
        self.keepdims = checked_bool(type(self).__name__, "keepdims", keepdims)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        if len(input_shape) != 3:
            raise ShapeError(f"{type(self).__name__}: x has shape {('N', *input_shape)}, expected (N, H, W, C)")
        return (1, 1, input_shape[2]) if self.keepdims else input_shape[2:]


@register_layer
class GlobalAvgPool2d(_GlobalPool2d):
    """The mean of all pixels of a channel: ``(H, W, C)`` → ``(C,)``, or ``(1, 1, C)`` with ``keepdims``."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(axis=(1, 2), keepdims=self.keepdims) / (x.shape[1] * x.shape[2])  # (N, C) or (N, 1, 1, C)


@register_layer
class GlobalMaxPool2d(_GlobalPool2d):
    """The maximum of all pixels of a channel: ``(H, W, C)`` → ``(C,)``, or ``(1, 1, C)`` with ``keepdims``."""

    def forward(self, x: Tensor) -> Tensor:
        _, H, W, _ = x.shape
        y = ops.max_pool2d(x, kernel_size=(H, W))  # (N, 1, 1, C)
        return y if self.keepdims else y.reshape(y.shape[0], y.shape[3])  # (N, 1, 1, C) or (N, C)
