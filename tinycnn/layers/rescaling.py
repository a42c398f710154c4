"""Rescaling of inputs, so that a network can take raw pixels."""

import math

from tinycnn.errors import SettingError
from tinycnn.layers.base import Layer, register_layer
from tinycnn.tensor import Tensor


@register_layer
class Rescaling(Layer):
    """``x * scale + offset``, any shape → the same shape; lets a network take raw pixels, 0 to 255.

    Raises SettingError for numbers that are not finite.
    """

    def __init__(self, scale: float, offset: float = 0.0) -> None:
        super().__init__()
        self.scale, self.offset = float(scale), float(offset)
        if not (math.isfinite(self.scale) and math.isfinite(self.offset)):
            raise SettingError(f"Rescaling(scale={scale}, offset={offset}): expected finite numbers")

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.offset if self.offset else x * self.scale
