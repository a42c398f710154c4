"""The logistic function of each element: y = 1 / (1 + e⁻ˣ), between 0 and 1.

``e⁻ˣ`` overflows for very negative ``x``, and ``1 / (1 + e⁻ˣ)`` is then 0 where the true value, eˣ, is still a number.
With ``t = e^{-|x|}``, which is at most 1, the same function is

    y = 1 / (1 + t)   where x ≥ 0          y = t / (1 + t) = eˣ / (1 + t)   where x < 0

or ``e^{min(x, 0)} / (1 + t)`` on both sides. No exponential overflows, and small values keep all their digits. The
derivative is ``y (1 - y)``, so ``grad_x = grad_y y (1 - y)``. Where y is near 1, ``1 - y`` has lost its digits; the
same product as ``t / (1 + t)²`` has not. The function has no kink. NaN inputs give NaN outputs.
"""

from typing import Any

from tinycnn.backends.base import Array
from tinycnn.tensor import Function, Tensor


def sigmoid_and_slope(xp: Any, x: Array) -> tuple[Array, Array]:
    """``y = 1 / (1 + e⁻ˣ)`` and ``dy/dx``, both of the shape of ``x``, without overflow."""
    t = xp.exp(-xp.abs(x))
    share = 1 / (1 + t)
    return xp.exp(xp.minimum(x, 0)) * share, t * share * share


class SigmoidFunction(Function):
    def forward(self, x: Array) -> Array:
        y, self.slope = sigmoid_and_slope(self.backend.xp, x)
        return y

    def backward(self, grad_y: Array) -> Array:
        return grad_y * self.slope


def sigmoid(x: Tensor) -> Tensor:
    """``1 / (1 + e⁻ˣ)`` of each element, any shape → the same shape."""
    return SigmoidFunction()(x)
