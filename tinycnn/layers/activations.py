"""Activations: element-wise or row-wise functions without parameters."""

from tinycnn import ops
from tinycnn.layers.base import Layer, register_layer
from tinycnn.tensor import Tensor


@register_layer
class ReLU(Layer):
    """``max(x, 0)``, any shape → the same shape. See ``ops/relu.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.relu(x)


@register_layer
class Softmax(Layer):
    """Probabilities over the last axis: ``(..., K)`` → ``(..., K)``. See ``ops/softmax.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.softmax(x)


@register_layer
class LogSoftmax(Layer):
    """Logarithms of probabilities over the last axis: ``(..., K)`` → ``(..., K)``. See ``ops/softmax.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.log_softmax(x)
