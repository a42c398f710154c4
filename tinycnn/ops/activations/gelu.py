"""The Gaussian error linear unit of each element: y = x Φ(x), with the normal distribution function Φ.

    Φ(x) = 1/√(2π) ∫_{-∞}^x e^{-t²/2} dt = (1 + erf(x/√2)) / 2             φ(x) = dΦ/dx = e^{-x²/2} / √(2π)

It is a gate (``gate.py``) whose tail is ``s = Φ(-a)``, with the derivative ``ds/da = -φ(a)``; ``normal.py`` computes
both.

The approximation of the same paper, which BERT and GPT-2 use, has the tail ``s = σ(-2u)`` with the logistic function σ
and ``u = √(2/π) (a + 0.044715 a³)``, because ``(1 + tanh u)/2 = σ(2u)``. Its derivative is ``ds/da = -2 du/da s (1 -
s)``. It differs from GELU by at most 0.0005. Source: Hendrycks, Gimpel, "Gaussian error linear units", 2016.
"""

import math

from tinycnn.backends.base import Array
from tinycnn.errors import checked_bool
from tinycnn.ops.activations.gate import _GateFunction
from tinycnn.ops.activations.normal import density_and_tail
from tinycnn.ops.activations.sigmoid import sigmoid_and_slope
from tinycnn.tensor import Tensor

TWICE_SCALE, CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715


class GELUFunction(_GateFunction):
    largest = 40.0

    def tail(self, a: Array) -> tuple[Array, Array]:
        density, s = density_and_tail(self.backend.xp, a)
        return s, a * density


class TanhGELUFunction(_GateFunction):
    largest = 40.0

    def tail(self, a: Array) -> tuple[Array, Array]:
        square = a * a
        s, slope = sigmoid_and_slope(self.backend.xp, -TWICE_SCALE * a * (1 + CUBIC * square))
        return s, a * slope * (TWICE_SCALE * (1 + 3 * CUBIC * square))


def gelu(x: Tensor, approximate: bool = False) -> Tensor:
    """``x Φ(x)`` of each element, any shape → the same shape; ``approximate``: with tanh instead of erf.

    Raises SettingError unless ``approximate`` is True or False.
    """
    return TanhGELUFunction()(x) if checked_bool("gelu: approximate", approximate) else GELUFunction()(x)
