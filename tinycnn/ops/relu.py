"""The rectified linear unit, applied to each element: y = max(x, 0).

Its slope is 1 where ``x > 0`` and 0 where ``x < 0``. At ``x = 0`` any slope in [0, 1] is a valid subgradient; tinycnn
uses 0, as other libraries do. So ``grad_x = grad_y`` where the output is positive, and 0 elsewhere. NaN inputs give NaN
outputs.
"""

from tinycnn.backends.base import Array
from tinycnn.tensor import Function, Tensor


class ReLUFunction(Function):
    def forward(self, x: Array) -> Array:
        self.y = self.backend.xp.maximum(x, 0)
        return self.y

    def backward(self, grad_y: Array) -> Array:
        return grad_y * (self.y > 0)


def relu(x: Tensor) -> Tensor:
    """``max(x, 0)`` of each element, any shape → the same shape."""
    return ReLUFunction()(x)
