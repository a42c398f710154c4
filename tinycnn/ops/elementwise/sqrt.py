"""The square root of each element: y = √x, so dy/dx = 1/(2√x) = 1/(2y).

The slope is infinite at 0; add a small number before the root where this can happen. Negative and NaN inputs give NaN.
"""

from tinycnn.backends.base import Array
from tinycnn.tensor import Function, Tensor


class SqrtFunction(Function):
    def forward(self, x: Array) -> Array:
        self.y = self.backend.xp.sqrt(x)
        return self.y

    def backward(self, grad_y: Array) -> Array:
        return grad_y / (2 * self.y)


def sqrt(x: Tensor) -> Tensor:
    """``√x`` of each element, any shape → the same shape."""
    return SqrtFunction()(x)
