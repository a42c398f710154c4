"""The loss of a classifier: the mean cross-entropy over the batch, in nats.

    loss = -1/N Σ_n Σ_k  target[n, k] · log p[n, k],      p = softmax(logits),      target = one-hot row of the label

With ``d log p_i / dx_j = δ_ij - p_j`` (see ``softmax.py``) and targets that sum to 1 in each row, the gradient for one
image is

    d loss / dx_j = -Σ_i target_i (δ_ij - p_j) = -target_j + p_j Σ_i target_i = p_j - target_j

and, with the factor 1/N of the mean,

    grad_logits = (p - target) / N

This is the difference between predicted and true probabilities, divided by N. ``nll_loss`` is the same loss for a
network that ends in ``log_softmax``. Its gradient is ``-target / N`` even where the rows of ``target`` do not sum to 1,
as those with ``class_weights`` or ``weights`` (``losses/labels.py``).
"""

from typing import Any

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array, Backend
from tinycnn.errors import in_range
from tinycnn.ops.fused import FusedSoftmaxCrossEntropyFunction
from tinycnn.ops.inputs import tensors
from tinycnn.ops.losses.labels import as_targets, checked_labels, checked_weights, smoothed, weighted
from tinycnn.ops.softmax import log_softmax, log_softmax_rows
from tinycnn.other_names.arguments import named_arguments
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


@named_arguments
def softmax_cross_entropy(
    logits: Tensor, labels: Any, class_weights: Any = None, label_smoothing: float = 0.0, *, weights: Any = None
) -> Tensor:
    """Mean cross-entropy in nats: ``logits (N, K)``, ``labels (N,)`` integers or ``(N, K)`` one-hot → a scalar.

    A row of ``labels (N, K)`` may be any probability distribution. ``label_smoothing``: the fraction of each label that
    is spread over all classes. ``class_weights (K,)``: the loss is a weighted mean, and the class of an image gives its
    weight. ``weights (N,)``: the loss of each image is multiplied by its own. Raises ShapeError when the shapes are
    incompatible, DataError when a label is out of range or a row does not sum to 1; the values of labels on a GPU are
    not checked.
    """
    op = "softmax_cross_entropy"
    (logits,) = tensors(logits)
    labels = checked_labels(op, logits, labels)
    rows = smoothed(labels, logits.shape[1], in_range("label_smoothing", label_smoothing, at_least=0, below=1))
    if class_weights is not None or weights is not None:
        by_class = checked_weights(op, "class_weights", class_weights, logits.shape[1:], logits.dtype)
        by_image = checked_weights(op, "weights", weights, logits.shape[:1], logits.dtype)
        rows = weighted(as_targets(get_backend(), rows, logits.data), labels, by_class, by_image)
        return NLLLossFunction(rows)(log_softmax(logits))
    if get_backend().fused.softmax_cross_entropy:
        return FusedSoftmaxCrossEntropyFunction(rows)(logits)
    return SoftmaxCrossEntropyFunction(rows)(logits)


@named_arguments
def nll_loss(log_probs: Tensor, labels: Any) -> Tensor:
    """Mean negative log-likelihood of ``log_probs (N, K)``, with labels and errors as in ``softmax_cross_entropy``."""
    (log_probs,) = tensors(log_probs)
    return NLLLossFunction(checked_labels("nll_loss", log_probs, labels))(log_probs)
