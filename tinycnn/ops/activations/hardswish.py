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
        self.inner = xp.minimum(xp.maximum(x, -3), 3)  # the parabola is exact at its ends, and overflows far outside
        return xp.where(x >= 3, x, self.inner * (self.inner + 3) / 6)

    def backward(self, grad_y: Array) -> Array:
        xp = self.backend.xp
        slope = xp.where(self.x <= -3, 0, (2 * self.inner + 3) / 6)
        return grad_y * xp.where(self.x >= 3, 1, slope)


def hardswish(x: Tensor) -> Tensor:
    """``x · min(max(x + 3, 0), 6) / 6`` of each element, any shape → the same shape."""
    return HardSwishFunction()(x)
