"""The mean absolute error, for outputs that are numbers.

    loss = 1/M Σ |x - t|           over the M numbers of x (outputs) and t (targets)

For one number, ``d |x - t| / dx = sign(x - t)``: 1 above the target, -1 below it. At the target any slope in [-1, 1] is
a subgradient; tinycnn uses 0, as PyTorch does. Every error pulls equally hard, so outliers matter less than in
``mse_loss``, and the best constant prediction is the median of the targets.
"""

from typing import Any

from tinycnn.backends.base import Array
from tinycnn.ops.inputs import tensors
from tinycnn.ops.losses.labels import checked_targets
from tinycnn.ops.losses.mean import mean_loss
from tinycnn.other_names.arguments import named_arguments
from tinycnn.tensor import Function, Tensor


class AbsoluteErrorFunction(Function):
    def forward(self, x: Array, t: Array) -> Array:
        self.error = x - t
        return self.backend.xp.abs(self.error)

    def backward(self, grad_y: Array) -> tuple[Array, Array]:
        grad_x = grad_y * self.backend.xp.sign(self.error)
        return grad_x, -grad_x


@named_arguments
def l1_loss(outputs: Tensor, targets: Any, *, weights: Any = None) -> Tensor:
    """Mean absolute error of ``outputs (N, ...)`` from ``targets`` of the same shape → a scalar.

    ``weights (N,)``: the factor of each example. Raises ShapeError when the shapes differ, DataError for targets that
    are not numbers.
    """
    (x,) = tensors(outputs)
    return mean_loss("l1_loss", AbsoluteErrorFunction()(x, checked_targets("l1_loss", x, targets)), weights)
