"""The leaky rectified linear unit of each element: y = max(x, 0) + slope·min(x, 0).

Its slope is 1 to the right of 0 and ``slope`` to the left, so ``grad_x = grad_y`` or ``slope · grad_y``. At ``x = 0``
any number between them is a valid subgradient; tinycnn uses ``slope``, as other libraries do. NaN inputs give NaN
outputs. Source: Maas, Hannun, Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.
"""

from tinycnn.backends.base import Array
from tinycnn.errors import in_range
from tinycnn.tensor import Function, Tensor


class LeakyReLUFunction(Function):
    def __init__(self, slope: float) -> None:
        self.slope = slope

    def forward(self, x: Array) -> Array:
        self.x = x
        return self.backend.xp.maximum(x, 0) + self.slope * self.backend.xp.minimum(x, 0)

    def backward(self, grad_y: Array) -> Array:
        return grad_y * (self.x > 0) + self.slope * (grad_y * (self.x <= 0))


def leaky_relu(x: Tensor, slope: float = 0.01) -> Tensor:
    """``x`` where ``x > 0``, ``slope·x`` elsewhere, any shape → the same shape.

    Raises SettingError for a slope that is not a finite number.
    """
    return LeakyReLUFunction(in_range("leaky_relu: slope", slope))(x)
