"""Activations with an operation in ``ops/activations/``."""

from tinycnn import ops
from tinycnn.errors import in_range
from tinycnn.layers.base import Layer, register_layer
from tinycnn.tensor import Tensor


@register_layer
class Tanh(Layer):
    """The hyperbolic tangent, any shape → the same shape. See ``ops/activations/tanh.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.tanh(x)


@register_layer
class Sigmoid(Layer):
    """``1 / (1 + e⁻ˣ)``, any shape → the same shape. See ``ops/activations/sigmoid.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.sigmoid(x)


@register_layer
class LeakyReLU(Layer):
    """``x`` where ``x > 0``, ``slope·x`` elsewhere, any shape → the same shape. See ``ops/activations/leaky_relu.py``.

    Raises SettingError for a slope that is not a finite number.
    """

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = in_range("LeakyReLU: slope", slope)

    def forward(self, x: Tensor) -> Tensor:
        return ops.leaky_relu(x, self.slope)
