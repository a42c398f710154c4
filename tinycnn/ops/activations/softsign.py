"""Softsign of each element: y = x / (1 + |x|), between -1 and 1.

With ``s = 1 + |x|``, ``dy/dx = (s - x sign(x)) / s² = 1 / s²``, so ``grad_x = grad_y / s²``. It approaches its limits
more slowly than tanh. The function has no kink. NaN and infinite inputs give NaN outputs, as in other libraries.
Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
"""

from tinycnn.backends.base import Array
from tinycnn.tensor import Function, Tensor


class SoftsignFunction(Function):
    def forward(self, x: Array) -> Array:
        self.s = 1 + self.backend.xp.abs(x)
        return x / self.s

    def backward(self, grad_y: Array) -> Array:
        return grad_y / (self.s * self.s)


def softsign(x: Tensor) -> Tensor:
    """``x / (1 + |x|)`` of each element, any shape → the same shape."""
    return SoftsignFunction()(x)
