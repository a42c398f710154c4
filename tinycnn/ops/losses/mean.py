"""The mean of the losses of a batch, in which each example may have a weight."""

from typing import Any

from tinycnn.ops.losses.labels import checked_weights
from tinycnn.tensor import Tensor


def mean_loss(op: str, losses: Tensor, weights: Any = None) -> Tensor:
    """``1/M Σ weight · loss`` over the M numbers of ``losses (N, ...)`` → ``()``; ``weights (N,)``, 1 by default."""
    weights = checked_weights(op, "weights", weights, losses.shape[:1], losses.dtype)
    if weights is not None:
        losses = losses * Tensor(weights.reshape(-1, *[1] * (losses.ndim - 1)))  # (N, ...)
    return losses.mean()
