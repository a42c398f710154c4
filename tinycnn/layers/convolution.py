"""The convolution layer."""

from typing import Any

import numpy as np

from tinycnn import initializers, ops
from tinycnn.backends.base import Pair
from tinycnn.errors import SettingError
from tinycnn.layers.base import Layer, Shape, register_layer
from tinycnn.layers.interface.settings import checked_bool, checked_positive_int
from tinycnn.ops.convolutions.checks import check_groups
from tinycnn.ops.windows.checks import as_pair, check_window, grid_of, window_extent
from tinycnn.ops.windows.padding import Padding, Pads, checked_padding
from tinycnn.tensor import Tensor


@register_layer
class Conv2d(Layer):
    """Convolve the image with learned filters: ``(H, W, C)`` → ``(OH, OW, filters)``. See ``ops/conv2d.py``.

    ``padding``: pixels at all sides, ``(PH, PW)``, ``((top, bottom), (left, right))``, ``"same"`` (as in Keras) or
    ``"valid"``. ``dilation``: the distance between the pixels that a filter sees. ``groups``: into how many parts the
    channels and the filters are divided; as many as there are channels is a depthwise convolution.
    Raises SettingError for settings out of range, ShapeError when window or groups do not fit the image.
    """

    pads: Pads  # the padding in pixels, known after ``build``

    def __init__(
        self,
        filters: int,
        kernel_size: int | Pair = 3,
        *,
        stride: int | Pair = 1,
        padding: Padding = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        initializer: str = "he_normal",
    ) -> None:
        super().__init__()
        self.filters = checked_positive_int("Conv2d", "filters", filters)
        self.kernel_size = as_pair(kernel_size, "kernel_size", minimum=1)
        self.stride = as_pair(stride, "stride", minimum=1)
        self.padding = checked_padding(padding)
        self.dilation = as_pair(dilation, "dilation", minimum=1)
        self.groups = checked_positive_int("Conv2d", "groups", groups)
        if self.filters % self.groups:
            raise SettingError(f"Conv2d: {filters} `filters` cannot be divided into {groups} equal `groups`")
        self.bias, self.initializer = checked_bool("Conv2d", "bias", bias), initializer
        self._initialize = initializers.get(initializer)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        extent = window_extent(self.kernel_size, self.dilation)
        self.pads = check_window("Conv2d", (1, *input_shape), extent, self.stride, self.padding)
        check_groups("Conv2d", self.groups, input_shape[2], self.filters)
        weight_shape = (*self.kernel_size, input_shape[2] // self.groups, self.filters)  # (KH, KW, C/groups, F)
        self._add_parameter("weight", weight_shape, self._initialize, rng, dtype)
        if self.bias:
            self._add_parameter("bias", (self.filters,), initializers.zeros, rng, dtype)
        return (*grid_of((1, *input_shape), extent, self.stride, self.pads), self.filters)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.parameters_by_name["weight"], self.parameters_by_name.get("bias")
        windows: dict[str, Any] = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return ops.conv2d(x, weight, bias, **windows, groups=self.groups)
