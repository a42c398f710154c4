"""The transposed convolution, which enlarges images."""

from typing import ClassVar

import numpy as np

from tinycnn import initializers, ops
from tinycnn.backends.base import Pair
from tinycnn.layers.base import Layer, Shape, register_layer
from tinycnn.layers.further.shapes import image_shape
from tinycnn.layers.interface.settings import checked_bool, checked_positive_int
from tinycnn.ops.convolutions.transposed import checked_output_padding, transposed_grid, transposed_pads
from tinycnn.ops.windows.checks import as_pair
from tinycnn.ops.windows.padding import Padding, Pads, checked_padding
from tinycnn.tensor import Tensor


@register_layer
class ConvTranspose2d(Layer):
    """Paint a learned window for every pixel: ``(H, W, C)`` → ``(OH, OW, filters)``. See ``transposed.py``.

    ``OH = (H - 1)*SH + KH - 2*PH + output_padding``; ``padding="same"``, as in Keras, is ``OH = H*SH``. Raises
    SettingError for settings out of range, ShapeError where the padding leaves no pixel.
    """

    torch_arrays: ClassVar = {"weight": ("weight", (3, 2, 0, 1)), "bias": ("bias", None)}  # (C, F, KH, KW)
    pads: Pads  # the rows and columns that ``padding`` removes, and those that are added, known after ``build``
    added: Pair

    def __init__(
        self,
        filters: int,
        kernel_size: int | Pair = 3,
        *,
        stride: int | Pair = 1,
        padding: Padding = 0,
        output_padding: int | Pair = 0,
        bias: bool = True,
        initializer: str = "he_normal",
    ) -> None:
        super().__init__()
        self.filters = checked_positive_int("ConvTranspose2d", "filters", filters)
        self.kernel_size = as_pair(kernel_size, "kernel_size", minimum=1)
        self.stride = as_pair(stride, "stride", minimum=1)
        self.padding = checked_padding(padding)
        self.output_padding = checked_output_padding(output_padding, self.stride)
        self.bias, self.initializer = checked_bool("ConvTranspose2d", "bias", bias), initializer
        self._initialize = initializers.get(initializer)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        H, W, C = image_shape("ConvTranspose2d", input_shape)
        window = self.kernel_size, self.stride
        self.pads, self.added = transposed_pads(self.padding, *window, self.output_padding)
        grid = transposed_grid("ConvTranspose2d", (H, W), *window, self.pads, self.added)
        self._add_parameter("weight", (*self.kernel_size, self.filters, C), self._initialize, rng, dtype)
        if self.bias:
            self._add_parameter("bias", (self.filters,), initializers.zeros, rng, dtype)
        return *grid, self.filters

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.parameters_by_name["weight"], self.parameters_by_name.get("bias")
        return ops.conv_transpose2d(
            x, weight, bias, stride=self.stride, padding=self.padding, output_padding=self.output_padding
        )
