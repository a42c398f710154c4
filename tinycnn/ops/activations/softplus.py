"""Softplus of each element: y = log(1 + eˣ), a ReLU without its kink.

``eˣ`` overflows for large ``x``, where the true value is nearly ``x``. The same function is

    y = max(x, 0) + log(1 + t)     with   t = e^{-|x|},   which is at most 1

and ``log1p`` keeps the digits of a small ``t``. The derivative is the logistic function, ``dy/dx = 1 / (1 + e⁻ˣ)``, so
``grad_x = grad_y / (1 + e⁻ˣ)``. The function has no kink. NaN inputs give NaN outputs. Source: Dugas et al.,
"Incorporating second-order functional knowledge for better option pricing", 2001.
"""

from tinycnn.backends.base import Array
from tinycnn.ops.activations.sigmoid import sigmoid_and_slope
from tinycnn.tensor import Function, Tensor


class SoftplusFunction(Function):
    def forward(self, x: Array) -> Array:
        xp = self.backend.xp
        self.slope, _ = sigmoid_and_slope(xp, x)
        return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))

    def backward(self, grad_y: Array) -> Array:
        return grad_y * self.slope


def softplus(x: Tensor) -> Tensor:
    """``log(1 + eˣ)`` of each element, any shape → the same shape."""
    return SoftplusFunction()(x)
