"""The hyperbolic tangent of each element: y = (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ), between -1 and 1.

Its derivative is ``1 - y²``, so ``grad_x = grad_y (1 - y²)``: the output alone determines it. The function has no kink.
For large ``|x|``, ``y`` is exactly ±1 and the gradient exactly 0. NaN inputs give NaN outputs.
"""

from tinycnn.backends.base import Array
from tinycnn.tensor import Function, Tensor


class TanhFunction(Function):
    def forward(self, x: Array) -> Array:
        self.y = self.backend.xp.tanh(x)
        return self.y

    def backward(self, grad_y: Array) -> Array:
        return grad_y * (1 - self.y * self.y)


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent of each element, any shape → the same shape."""
    return TanhFunction()(x)
