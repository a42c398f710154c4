"""Rescaling of inputs, so that a network can take raw pixels."""

from tinycnn.errors import in_range
from tinycnn.layers.base import Layer, register_layer
from tinycnn.tensor import Tensor


@register_layer
class Rescaling(Layer):
    """``x * scale + offset``, any shape → the same shape; lets a network take raw pixels, 0 to 255.

    Raises SettingError for numbers that are not finite.
    """

    def __init__(self, scale: float, offset: float = 0.0) -> None:
        super().__init__()
        self.scale, self.offset = in_range("Rescaling: scale", scale), in_range("Rescaling: offset", offset)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.offset if self.offset else x * self.scale
