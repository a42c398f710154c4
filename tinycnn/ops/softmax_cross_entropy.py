"""The loss of a classifier: the mean cross-entropy over the batch, in nats.

    loss = -1/N Σ_n Σ_k  target[n, k] · log p[n, k],      p = softmax(logits),      target = one-hot row of the label

With ``d log p_i / dx_j = δ_ij - p_j`` (see ``softmax.py``) and targets that sum to 1 in each row, the gradient for one
image is

    d loss / dx_j = -Σ_i target_i (δ_ij - p_j) = -target_j + p_j Σ_i target_i = p_j - target_j

and, with the factor 1/N of the mean,

    grad_logits = (p - target) / N

This is the difference between predicted and true probabilities, divided by N. ``nll_loss`` is the same loss for a
network that ends in ``log_softmax``; its gradient is ``-target / N``.
"""

from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array, Backend
from tinycnn.errors import DataError, ShapeError
from tinycnn.ops.fused import FusedSoftmaxCrossEntropyFunction
from tinycnn.ops.inputs import tensors
from tinycnn.ops.softmax import log_softmax_rows
from tinycnn.tensor import Function, Tensor


class SoftmaxCrossEntropyFunction(Function):
    def __init__(self, labels: Array) -> None:
        self.labels = labels

    def forward(self, logits: Array) -> Array:
        self.log_p = log_softmax_rows(self.backend.xp, logits)  # (N, K)
        self.target = as_targets(self.backend, self.labels, logits)  # (N, K)
        return mean_cross_entropy(self.backend, self.log_p, self.target)  # ()

    def backward(self, grad_loss: Array) -> Array:
        p = self.backend.xp.exp(self.log_p)
        return (p - self.target) * (grad_loss / len(p))  # (N, K)


class NLLLossFunction(Function):
    def __init__(self, labels: Array) -> None:
        self.labels = labels

    def forward(self, log_p: Array) -> Array:
        self.target = as_targets(self.backend, self.labels, log_p)  # (N, K)
        return mean_cross_entropy(self.backend, log_p, self.target)  # ()

    def backward(self, grad_loss: Array) -> Array:
        return -self.target * (grad_loss / len(self.target))  # (N, K)


def mean_cross_entropy(backend: Backend, log_p: Array, target: Array) -> Array:
    """``-mean_n Σ_k target · log_p``, ``(N, K)`` → ``()``; ``log_p`` may be ``-inf`` where ``target`` is 0."""
    return -backend.sum(target * backend.xp.where(target != 0, log_p, 0)) / len(log_p)


def as_targets(backend: Backend, labels: Array, logits: Array) -> Array:
    """Integer labels ``(N,)`` or probabilities ``(N, K)`` → target rows ``(N, K)`` in the dtype of ``logits``."""
    labels = backend.asarray(labels)
    if labels.ndim == 1:
        labels = labels[:, None] == backend.xp.arange(logits.shape[1])  # (N, K)
    return labels.astype(logits.dtype)


def softmax_cross_entropy(logits: Tensor, labels: Any) -> Tensor:
    """Mean cross-entropy in nats: ``logits (N, K)``, ``labels (N,)`` integers or ``(N, K)`` one-hot → a scalar.

    A row of ``labels (N, K)`` may be any probability distribution (label smoothing). Raises ShapeError when the shapes
    are incompatible, DataError when a label is out of range or a row does not sum to 1; the values of labels on a GPU
    are not checked.
    """
    (logits,) = tensors(logits)
    labels = checked_labels("softmax_cross_entropy", logits, labels)
    if get_backend().fused.softmax_cross_entropy:
        return FusedSoftmaxCrossEntropyFunction(labels)(logits)
    return SoftmaxCrossEntropyFunction(labels)(logits)


def nll_loss(log_probs: Tensor, labels: Any) -> Tensor:
    """Mean negative log-likelihood of ``log_probs (N, K)``, with labels and errors as in ``softmax_cross_entropy``."""
    (log_probs,) = tensors(log_probs)
    return NLLLossFunction(checked_labels("nll_loss", log_probs, labels))(log_probs)


def checked_labels(op: str, scores: Tensor, labels: Any) -> Array:
    """``labels`` as an array; raises ShapeError or DataError unless they match ``scores (N, K)``."""
    labels = labels.data if isinstance(labels, Tensor) else labels
    try:
        labels = labels if hasattr(labels, "shape") else np.asarray(labels)
    except ValueError:
        raise DataError(f"{op}: labels are rows of different lengths, expected (N,) or (N, K)") from None
    if scores.ndim != 2 or 0 in scores.shape or labels.shape not in (scores.shape[:1], scores.shape):
        raise ShapeError(
            f"{op}: scores have shape {scores.shape} and labels {labels.shape}, expected scores (N, K) with "
            "N and K >= 1 and labels (N,) or one-hot (N, K)"
        )
    if isinstance(labels, np.ndarray):
        _check_label_values(op, labels, scores.shape[1])
    return labels


def _check_label_values(op: str, labels: np.ndarray, K: int) -> None:
    if labels.ndim == 2:
        if not (np.all(labels >= 0) and np.allclose(labels.sum(axis=1), 1, atol=1e-4)):
            raise DataError(f"{op}: every row of labels must hold probabilities that sum to 1, such as a one-hot row")
    elif labels.dtype.kind not in "iu":
        raise DataError(f"{op}: labels are {labels.dtype}, expected integers from 0 to {K - 1}")
    elif labels.min() < 0 or labels.max() >= K:
        raise DataError(f"{op}: labels range from {labels.min()} to {labels.max()}, expected 0 to {K - 1}")
