"""The dense (fully connected) layer: every output is a weighted sum of all inputs.

    y = x W + b,    y[n, j] = Σ_i x[n, i] W[i, j] + b[j]

``W[i, j]`` multiplies ``x[n, i]`` in ``y[n, j]`` for every image ``n``, ``b[j]`` is added for every image, and
``x[n, i]`` contributes to every output. Summing the gradients over all these uses gives

    grad_W = xᵀ grad_y,      grad_b = Σ_n grad_y[n],      grad_x = grad_y Wᵀ
"""

from tinycnn.backends.base import Array
from tinycnn.errors import ShapeError
from tinycnn.ops.inputs import tensors
from tinycnn.tensor import Function, Tensor


class DenseFunction(Function):
    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        self.x, self.weight = x, weight
        y = x @ weight  # (N, in) @ (in, out) → (N, out)
        if bias is not None:
            y += bias
        return y

    def backward(self, grad_y: Array) -> tuple[Array | None, ...]:
        grad_x = grad_y @ self.weight.T if self.needs_grad[0] else None  # (N, in)
        grad_weight = self.x.T @ grad_y if self.needs_grad[1] else None  # (in, out)
        if len(self.inputs) == 2:
            return grad_x, grad_weight
        return grad_x, grad_weight, self.backend.sum(grad_y, axis=0) if self.needs_grad[2] else None  # (out,)


def dense(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x (N, in)``, ``weight (in, out)``, ``bias (out,)`` → ``(N, out)``; raises ShapeError on a mismatch."""
    x, weight, *biases = tensors(x, weight) if bias is None else tensors(x, weight, bias)
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[0]:
        raise ShapeError(
            f"dense: x has shape {x.shape} and weight {weight.shape}, expected x (N, in) and weight (in, out); "
            "flatten images first"
        )
    if biases and biases[0].shape != weight.shape[1:]:
        raise ShapeError(f"dense: bias has shape {biases[0].shape}, expected {weight.shape[1:]}, one number per output")
    return DenseFunction()(x, weight, *biases)
