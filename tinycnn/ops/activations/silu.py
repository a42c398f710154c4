"""SiLU, also called swish, of each element: y = x / (1 + e⁻ˣ) = x σ(x), with the logistic function σ.

It is a gate (``gate.py``) whose tail is ``s = σ(-a)``, with the derivative ``ds/da = -s (1 - s)``. Sources: Elfwing,
Uchibe, Doya, "Sigmoid-weighted linear units", 2017; Ramachandran, Zoph, Le, "Searching for activation functions",
2017.
"""

from tinycnn.backends.base import Array
from tinycnn.ops.activations.gate import _GateFunction
from tinycnn.ops.activations.sigmoid import sigmoid_and_slope
from tinycnn.tensor import Tensor


class SiLUFunction(_GateFunction):
    largest = 1000.0

    def tail(self, a: Array) -> tuple[Array, Array]:
        s, slope = sigmoid_and_slope(self.backend.xp, -a)
        return s, a * slope


def silu(x: Tensor) -> Tensor:
    """``x / (1 + e⁻ˣ)`` of each element, any shape → the same shape."""
    return SiLUFunction()(x)
