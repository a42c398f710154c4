"""The exponential linear unit of each element: y = x where x > 0, alpha (eˣ - 1) elsewhere.

Its slope is 1 to the right of 0 and ``alpha eˣ`` to the left, so ``grad_x = grad_y`` or ``grad_y alpha eˣ``. With
``alpha = 1`` both are 1 at ``x = 0``; otherwise every number between them is a valid subgradient there, and tinycnn
uses ``alpha``, as PyTorch does. Positive inputs are replaced by 0 in the exponential, so that it does not overflow.
Near 0, ``expm1`` keeps the digits that ``eˣ - 1`` loses. NaN inputs give NaN outputs. Source: Clevert, Unterthiner,
Hochreiter, "Fast and accurate deep network learning by exponential linear units", 2015.
"""

from tinycnn.backends.base import Array
from tinycnn.errors import in_range
from tinycnn.tensor import Function, Tensor


class ELUFunction(Function):
    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def forward(self, x: Array) -> Array:
        xp = self.backend.xp
        self.positive, below = x > 0, xp.minimum(x, 0)
        self.slope_below = self.alpha * xp.exp(below)
        return xp.maximum(x, 0) + self.alpha * xp.expm1(below)

    def backward(self, grad_y: Array) -> Array:
        return grad_y * (self.positive + ~self.positive * self.slope_below)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """``x`` where ``x > 0``, ``alpha (eˣ - 1)`` elsewhere, any shape → the same shape.

    Raises SettingError for an ``alpha`` that is not a finite number.
    """
    return ELUFunction(in_range("elu: alpha", alpha))(x)
