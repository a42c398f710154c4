"""Gates: y = x G(x), where G rises from 0 to 1 and is symmetric, G(-x) = 1 - G(x). SiLU and GELU are gates.

With ``a = |x|`` and the tail ``s = G(-a)``, which goes to 0 for large ``a``,

    x ≥ 0:  y = x (1 - s) = x - a s             x < 0:  y = -a s             so   y = max(x, 0) - a s

and no product of an infinity and 0 remains if ``a`` is cut where ``s`` is 0 in every precision. With ``d = -a ds/da``,
which is positive, the product rule gives

    x ≥ 0:  dy/dx = 1 - s - a ds/da = 1 - (s - d)             x < 0:  dy/dx = s + a ds/da = s - d

So ``y`` goes to ``x`` on the right and to 0 on the left, and the gradient to ``grad_y`` and 0, also at infinity. Gates
have no kink. NaN inputs give NaN outputs.
"""

from tinycnn.backends.base import Array
from tinycnn.tensor import Function


class _GateFunction(Function):
    """A gate; a subclass defines ``tail``."""

    largest: float  # where the tail is 0 in float64

    def tail(self, a: Array) -> tuple[Array, Array]:
        """``s = G(-a)`` and ``d = -a ds/da``, for ``a ≥ 0``."""
        raise NotImplementedError

    def forward(self, x: Array) -> Array:
        xp = self.backend.xp
        a = xp.minimum(xp.abs(x), self.largest)
        s, d = self.tail(a)
        left = s - d
        self.slope = (x < 0) * left + (x >= 0) * (1 - left)
        return xp.maximum(x, 0) - a * s

    def backward(self, grad_y: Array) -> Array:
        return grad_y * self.slope
