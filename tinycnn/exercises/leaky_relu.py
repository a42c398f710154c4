"""The leaky rectified linear unit: y = x where x > 0, slope·x elsewhere; and the check of its gradient.

Its slope is 1 to the right of 0 and ``slope`` to the left, so ``grad_x = grad_y`` or ``slope · grad_y``. Source: Maas,
Hannun, Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.
"""

import numpy as np

from tinycnn.backends.base import Array
from tinycnn.gradcheck import gradcheck
from tinycnn.tensor import Function, Tensor


class LeakyReLUFunction(Function):
    """Keeps the factor, 1 or ``slope``, of each element."""

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def forward(self, x: Array) -> Array:
        self.factor = self.backend.xp.where(x > 0, 1, self.slope).astype(x.dtype)
        return x * self.factor

    def backward(self, grad_y: Array) -> Array:
        return grad_y * self.factor


def leaky_relu(x: Tensor, *, slope: float = 0.1) -> Tensor:
    """``x`` where it is positive, else ``slope * x``; any shape → the same shape."""
    return LeakyReLUFunction(slope)(x)


def gradient_is_right() -> bool:
    """Whether the gradient of ``leaky_relu`` agrees with finite differences."""
    x = Tensor(np.random.default_rng(0).normal(size=(3, 4)), requires_grad=True)
    return bool(gradcheck(lambda x: leaky_relu(x), x, raise_exception=False))
