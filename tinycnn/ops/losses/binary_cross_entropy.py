"""The cross-entropy of yes-or-no labels, of which an image may have several: each output x has its own probability

    p = σ(x) = 1 / (1 + e⁻ˣ)

that its label is 1. For a target t in [0, 1] and a weight c of the label 1 (``pos_weight``; 1 by default),

    loss = -(c t · log p + (1 - t) · log(1 - p)) = c t · softplus(-x) + (1 - t) · softplus(x)

because ``-log σ(x) = log(1 + e⁻ˣ) = softplus(-x)`` and ``1 - σ(x) = σ(-x)``. Literally, ``e¹⁰⁰⁰`` overflows; in

    softplus(x) = max(x, 0) + log(1 + e^-|x|)

the exponent is never positive. The derivative of softplus is σ, so

    d loss / dx = -c t · σ(-x) + (1 - t) · σ(x) = (c t + 1 - t) · p - c t

which is ``p - t`` for c = 1: the difference between predicted and true probability, as for softmax. The loss of a batch
is the mean over all its labels.
"""

from typing import Any

from tinycnn.backends.base import Array
from tinycnn.ops.inputs import tensors
from tinycnn.ops.losses.labels import checked_targets, checked_weights
from tinycnn.ops.losses.mean import mean_loss
from tinycnn.other_names.arguments import named_arguments
from tinycnn.tensor import Function, Tensor


class BinaryCrossEntropyFunction(Function):
    def __init__(self, targets: Array, pos_weight: Array | float) -> None:
        self.t, self.c = targets, pos_weight  # (N, K), (K,) or 1

    def forward(self, x: Array) -> Array:
        xp = self.backend.xp
        e = xp.exp(-xp.abs(x))  # at most 1
        self.p = xp.where(x >= 0, 1, e) / (1 + e)  # σ(x)
        log = xp.log1p(e)
        return self.c * self.t * (xp.maximum(-x, 0) + log) + (1 - self.t) * (xp.maximum(x, 0) + log)

    def backward(self, grad_y: Array) -> Array:
        ct = self.c * self.t
        return grad_y * ((ct + 1 - self.t) * self.p - ct)


@named_arguments
def binary_cross_entropy_with_logits(
    logits: Tensor, targets: Any, pos_weight: Any = None, *, weights: Any = None
) -> Tensor:
    """Mean cross-entropy in nats of ``logits (N, K)`` for ``targets (N, K)`` in [0, 1], of which several may be 1.

    ``pos_weight (K,)``: the weight of the label 1 of each output, such as the number of zeros for each one.
    ``weights (N,)``: the factor of each example. Raises ShapeError when the shapes do not match, DataError for targets
    outside [0, 1]; the values of targets on a GPU are not checked.
    """
    op = "binary_cross_entropy_with_logits"
    (x,) = tensors(logits)
    t = checked_targets(op, x, targets, fractions=True)
    c = checked_weights(op, "pos_weight", pos_weight, x.shape[1:], x.dtype)
    return mean_loss(op, BinaryCrossEntropyFunction(t.data, 1 if c is None else c)(x), weights)
