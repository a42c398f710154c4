"""The absolute value of each element: y = |x|.

Its slope is 1 where ``x > 0`` and -1 where ``x < 0``. At ``x = 0`` any number in [-1, 1] is a valid subgradient;
tinycnn uses 0, as other libraries do. NaN inputs give NaN outputs.
"""

from tinycnn.backends.base import Array
from tinycnn.tensor import Function, Tensor


class AbsFunction(Function):
    def forward(self, x: Array) -> Array:
        self.x = x
        return self.backend.xp.abs(x)

    def backward(self, grad_y: Array) -> Array:
        return grad_y * self.backend.xp.sign(self.x)


def abs(x: Tensor) -> Tensor:
    """``|x|`` of each element, any shape → the same shape."""
    return AbsFunction()(x)
