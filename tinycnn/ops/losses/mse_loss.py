"""The mean squared error, for outputs that are numbers.

    loss = 1/M Σ (x - t)²          over the M numbers of x (outputs) and t (targets)

For one number, ``d (x - t)² / dx = 2 (x - t)``, and ``-2 (x - t)`` for t, if it requires a gradient. The pull towards
the target is proportional to the error, so outliers pull hardest, and the best constant prediction is the mean of the
targets.
"""

from typing import Any

from tinycnn.backends.base import Array
from tinycnn.ops.inputs import tensors
from tinycnn.ops.losses.labels import checked_targets
from tinycnn.ops.losses.mean import mean_loss
from tinycnn.other_names.arguments import named_arguments
from tinycnn.tensor import Function, Tensor


class SquaredErrorFunction(Function):
    def forward(self, x: Array, t: Array) -> Array:
        self.error = x - t
        return self.error * self.error

    def backward(self, grad_y: Array) -> tuple[Array, Array]:
        grad_x = 2 * grad_y * self.error
        return grad_x, -grad_x


@named_arguments
def mse_loss(outputs: Tensor, targets: Any, *, weights: Any = None) -> Tensor:
    """Mean squared error of ``outputs (N, ...)`` from ``targets`` of the same shape → a scalar.

    ``weights (N,)``: the factor of each example. Raises ShapeError when the shapes differ, DataError for targets that
    are not numbers.
    """
    (x,) = tensors(outputs)
    return mean_loss("mse_loss", SquaredErrorFunction()(x, checked_targets("mse_loss", x, targets)), weights)
