"""The dense (fully connected) layer."""

import numpy as np

from tinycnn import initializers, ops
from tinycnn.errors import ShapeError
from tinycnn.layers.base import Layer, Shape, register_layer
from tinycnn.layers.interface.settings import checked_bool, checked_positive_int
from tinycnn.tensor import Tensor


@register_layer
class Dense(Layer):
    """``units`` weighted sums of all inputs: ``(in,)`` → ``(units,)``. See ``ops/dense.py``.

    Raises SettingError for ``units`` below 1, ShapeError for images that have not been flattened.
    """

    def __init__(self, units: int, bias: bool = True, initializer: str = "he_normal") -> None:
        super().__init__()
        self.units, self.bias = checked_positive_int("Dense", "units", units), checked_bool("Dense", "bias", bias)
        self.initializer = initializer
        self._initialize = initializers.get(initializer)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        if len(input_shape) != 1:
            raise ShapeError(f"Dense({self.units}) got shape {input_shape}, expected (in,); put Flatten() before it")
        self._add_parameter("weight", (input_shape[0], self.units), self._initialize, rng, dtype)  # (in, out)
        if self.bias:
            self._add_parameter("bias", (self.units,), initializers.zeros, rng, dtype)
        return (self.units,)

    def forward(self, x: Tensor) -> Tensor:
        return ops.dense(x, self.parameters_by_name["weight"], self.parameters_by_name.get("bias"))
