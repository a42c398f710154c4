"""Standardisation: shift and scale each group of numbers to mean 0 and variance 1. Layer and group norm begin with it.

With the mean and variance of the ``M`` numbers of a group,

    mean = Σ x / M          var = Σ (x - mean)² / M          x̂ = (x - mean) / √(var + eps)

each ``x`` affects all x̂ of its group: directly, through the mean and through the variance, as in batch norm
(``ops/batch_norm.py`` derives the three contributions). With ``s = 1/√(var + eps)`` their sum is

    grad_x = s · (grad_x̂ - Σ grad_x̂ / M - x̂ · Σ grad_x̂ x̂ / M)

that is, grad_x̂ without its mean and without its component along x̂: the result does not change when the whole group is
shifted or scaled.
"""

from tinycnn.backends.base import Array
from tinycnn.tensor import Function


class StandardizeFunction(Function):
    """``axes``: those of one group."""

    def __init__(self, axes: tuple[int, ...], eps: float) -> None:
        self.axes, self.eps = axes, eps

    def forward(self, x: Array) -> Array:
        centred = x - self.mean(x)
        self.inverse_std = 1 / self.backend.xp.sqrt(self.mean(centred**2) + self.eps)
        self.x_hat = centred * self.inverse_std
        return self.x_hat

    def backward(self, grad_x_hat: Array) -> Array:
        along = self.mean(grad_x_hat * self.x_hat)
        return self.inverse_std * (grad_x_hat - self.mean(grad_x_hat) - self.x_hat * along)

    def mean(self, x: Array) -> Array:
        return self.backend.mean(x, axis=self.axes, keepdims=True)
