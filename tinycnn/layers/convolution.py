"""The convolution layer."""

import numpy as np

from tinycnn import initializers, ops
from tinycnn.backends.base import Pair, window_grid
from tinycnn.layers.base import Layer, Shape, checked_bool, checked_positive_int, register_layer
from tinycnn.ops.windows import as_pair, check_window
from tinycnn.tensor import Tensor


@register_layer
class Conv2d(Layer):
    """Convolve the image with learned filters: ``(H, W, C)`` → ``(OH, OW, filters)``. See ``ops/conv2d.py``.

    Raises SettingError for settings out of range, ShapeError when the window does not fit into the image.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Pair = 3,
        *,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        bias: bool = True,
        initializer: str = "he_normal",
    ) -> None:
        super().__init__()
        self.filters = checked_positive_int("Conv2d", "filters", filters)
        self.kernel_size = as_pair(kernel_size, "kernel_size", minimum=1)
        self.stride = as_pair(stride, "stride", minimum=1)
        self.padding = as_pair(padding, "padding", minimum=0)
        self.bias, self.initializer = checked_bool("Conv2d", "bias", bias), initializer
        self._initialize = initializers.get(initializer)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        check_window("Conv2d", (1, *input_shape), self.kernel_size, self.stride, self.padding)
        weight_shape = (*self.kernel_size, input_shape[2], self.filters)  # (KH, KW, C, F)
        self._add_parameter("weight", weight_shape, self._initialize, rng, dtype)
        if self.bias:
            self._add_parameter("bias", (self.filters,), initializers.zeros, rng, dtype)
        return (*window_grid((1, *input_shape), self.kernel_size, self.stride, self.padding), self.filters)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.parameters_by_name["weight"], self.parameters_by_name.get("bias")
        return ops.conv2d(x, weight, bias, stride=self.stride, padding=self.padding)
