"""Softmax and its logarithm: scores (logits) → probabilities, which are positive and sum to 1 in each row.

    p_i = e^{x_i} / Σ_j e^{x_j}            log p_i = x_i - log Σ_j e^{x_j}

The second follows from the first: the logarithm of a quotient is a difference, and log e^{x_i} = x_i. Subtracting the
largest score of a row from all its scores changes neither result, and bounds every exponential by e⁰ = 1.

The derivative of the logarithm is simpler, so take it first. Let s = Σ_j e^{x_j}. Of this sum only one term depends on
``x_j``, so ds/dx_j = e^{x_j}, and with d log s/ds = 1/s the chain rule gives

    d log s/dx_j = 1/s · e^{x_j} = p_j

With δ_ij = 1 for i = j and 0 otherwise (dx_i/dx_j), and p_i = e^{log p_i}, whose derivative is p_i itself,

    dlog p_i/dx_j = δ_ij - p_j
    dp_i/dx_j     = p_i (δ_ij - p_j)

Increasing ``x_j`` increases ``p_j`` and decreases all other probabilities, because they share the sum. ``x_j`` acts on
every output i, so its gradient is a sum over them; δ_ij leaves one term of it:

    grad_x_j = Σ_i grad_logp_i (δ_ij - p_j)  = grad_logp_j - p_j Σ_i grad_logp_i
    grad_x_j = Σ_i grad_p_i p_i (δ_ij - p_j) = p_j (grad_p_j - Σ_i grad_p_i p_i)
"""

from typing import Any

from tinycnn.backends.base import Array
from tinycnn.errors import ShapeError
from tinycnn.ops.inputs import tensors
from tinycnn.tensor import Function, Tensor


def log_softmax_rows(xp: Any, x: Array) -> Array:
    """``x (..., K)`` → ``log p (..., K)``, without overflow."""
    x = x - x.max(axis=-1, keepdims=True)
    return x - xp.log(xp.exp(x).sum(axis=-1, keepdims=True))


class SoftmaxFunction(Function):
    def forward(self, x: Array) -> Array:
        self.p = self.backend.xp.exp(log_softmax_rows(self.backend.xp, x))
        return self.p

    def backward(self, grad_p: Array) -> Array:
        return self.p * (grad_p - self.backend.sum(grad_p * self.p, axis=-1, keepdims=True))


class LogSoftmaxFunction(Function):
    def forward(self, x: Array) -> Array:
        self.log_p = log_softmax_rows(self.backend.xp, x)
        return self.log_p

    def backward(self, grad_log_p: Array) -> Array:
        return grad_log_p - self.backend.xp.exp(self.log_p) * self.backend.sum(grad_log_p, axis=-1, keepdims=True)


def softmax(x: Tensor) -> Tensor:
    """Probabilities over the last axis, ``(..., K)`` → ``(..., K)``; raises ShapeError if K is 0 or x is a scalar."""
    return SoftmaxFunction()(_with_classes("softmax", x))


def log_softmax(x: Tensor) -> Tensor:
    """Logarithms of the probabilities, ``(..., K)`` → ``(..., K)``; raises ShapeError as ``softmax`` does."""
    return LogSoftmaxFunction()(_with_classes("log_softmax", x))


def _with_classes(op: str, x: Tensor) -> Tensor:
    """``x`` as a tensor; raises ShapeError unless it has a last axis with at least one class."""
    (x,) = tensors(x)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ShapeError(f"{op}: x has shape {x.shape}, expected (..., K) with at least one class in the last axis")
    return x
