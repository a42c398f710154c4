"""Hard swish of each element: y = x · min(max(x + 3, 0), 6) / 6, a SiLU without an exponential.

    x ≤ -3:  y = 0             -3 < x < 3:  y = x (x + 3) / 6             x ≥ 3:  y = x

The slopes are 0, ``(2x + 3) / 6`` and 1. At the kinks, -3 and 3, tinycnn uses the slopes 0 and 1, those of the straight
lines. NaN inputs give NaN outputs. Source: Howard et al., "Searching for MobileNetV3", 2019.
"""

from tinycnn.backends.base import Array
from tinycnn.tensor import Function, Tensor


class HardSwishFunction(Function):
    def forward(self, x: Array) -> Array:
        xp = self.backend.xp
        self.x = x
        gate = xp.minimum(xp.maximum(x + 3, 0), 6) / 6
        return xp.maximum(x, -3) * gate  # the maximum keeps minus infinity from 0

    def backward(self, grad_y: Array) -> Array:
        inside = self.backend.xp.minimum(self.backend.xp.maximum(self.x, -3), 3)
        return grad_y * ((self.x >= 3) + (abs(self.x) < 3) * ((2 * inside + 3) / 6))


def hardswish(x: Tensor) -> Tensor:
    """``x · min(max(x + 3, 0), 6) / 6`` of each element, any shape → the same shape."""
    return HardSwishFunction()(x)
