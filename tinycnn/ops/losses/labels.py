"""The labels of a classifier's loss: their checks, and their target rows, plain, smoothed or weighted.

A target row has one number per class. It sums to 1: a one-hot row, or any other probability distribution. Label
smoothing ``s`` moves a part of it to all classes, so that a network is not asked to be certain:

    q[n, k] = (1 - s) · target[n, k] + s / K

Class weights ``w`` multiply the columns, and the loss is divided by the weight of all labels, so that an image of a
class with weight 2 counts as two images:

    loss = -Σ_n Σ_k w[k] · q[n, k] · log p[n, k] / W,      W = Σ_n w[label of n],  or N for labels that are rows

Sources: Szegedy et al., "Rethinking the Inception architecture", 2016 (smoothing); PyTorch, cross_entropy (weights).
"""

from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array, Backend
from tinycnn.backends.recording import of_thread
from tinycnn.errors import DataError, SettingError, ShapeError, shortened
from tinycnn.ops.losses.probabilities import note_probabilities
from tinycnn.tensor import Tensor


def as_targets(backend: Backend, labels: Array, logits: Array) -> Array:
    """Integer labels ``(N,)`` or rows ``(N, K)`` → target rows ``(N, K)`` in the dtype of ``logits``."""
    labels = backend.asarray(labels)
    if labels.ndim == 1:
        labels = labels[:, None] == backend.xp.arange(logits.shape[1])  # (N, K)
    return labels.astype(logits.dtype)


def smoothed(labels: Array, classes: int, smoothing: float) -> Array:
    """Labels ``(N,)`` or rows ``(N, K)`` → smoothed rows ``(N, K)``; without ``smoothing``, the labels themselves."""
    if not smoothing:
        return labels
    rows = get_backend().asarray(labels)
    if rows.ndim == 1:
        rows = rows[:, None] == get_backend().xp.arange(classes)  # (N, K)
    return rows * (1 - smoothing) + smoothing / classes


def weighted(rows: Array, labels: Array, class_weights: Array | None, weights: Array | None) -> Array:
    """Target ``rows (N, K)`` times the weights of their class and image, so that their mean over N is the loss above.

    ``class_weights (K,)``, ``weights (N,)``; ``labels``: those that the rows were made from. → ``(N, K)``, whose rows
    need not sum to 1
    """
    backend = get_backend()
    if class_weights is not None:
        total = len(rows) * 1.0
        if labels.ndim == 1:
            total = backend.sum(as_targets(backend, labels, rows) * class_weights)  # ()
            total = backend.xp.where(total > 0, total, 1)  # a batch without weight has a loss of 0
        rows = rows * class_weights * (len(rows) / total)  # (N, K)
    return rows if weights is None else rows * weights[:, None]  # (N, K)


def checked_weights(op: str, name: str, weights: Any, shape: tuple[int, ...], dtype: np.dtype) -> Array | None:
    """``weights`` as an array of ``shape`` on the backend; raises ShapeError or SettingError for others."""
    if weights is None:
        return None
    weights = weights.data if isinstance(weights, Tensor) else weights
    if isinstance(weights, dict):
        weights = listed(op, name, weights, shape)
    if not hasattr(weights, "shape"):
        try:
            weights = np.asarray(weights)
        except ValueError:
            raise SettingError(f"{op}: `{name}` is {shortened(weights)}: expected numbers {shape}") from None
    if isinstance(weights, np.ndarray) and not (
        weights.dtype.kind in "biuf" and np.isfinite(weights).all() and (weights >= 0).all()
    ):
        raise SettingError(f"{op}: `{name}` is {shortened(weights)}: expected finite numbers of at least 0")
    if weights.shape != shape:
        raise ShapeError(f"{op}: `{name}` has shape {weights.shape}, expected {shape}")
    return get_backend().asarray(weights).astype(dtype)


def listed(op: str, name: str, weights: dict[Any, Any], shape: tuple[int, ...]) -> list[Any]:
    """The values of a dictionary from label to weight, as Keras takes, in the order of the labels 0 to K-1."""
    if len(shape) != 1 or set(weights) != set(range(shape[0])):
        raise SettingError(
            f"{op}: `{name}` is {shortened(weights)}: expected a list of {shape[0]} numbers in the order of the "
            f"classes, or a dictionary with the keys 0 to {shape[0] - 1}"
        )
    return [weights[label] for label in range(shape[0])]


def checked_labels(op: str, scores: Tensor, labels: Any) -> Array:
    """``labels`` as an array; raises ShapeError or DataError unless they match ``scores (N, K)``."""
    note_probabilities(op, scores)
    labels = labels.data if isinstance(labels, Tensor) else labels
    try:
        labels = labels if hasattr(labels, "shape") else np.asarray(labels)
    except ValueError:
        raise DataError(f"{op}: labels are rows of different lengths, expected (N,) or (N, K)") from None
    if scores.ndim != 2 or 0 in scores.shape or labels.shape not in (scores.shape[:1], scores.shape):
        swapped = labels.ndim == 2 and scores.shape == labels.shape[:1]
        classes = scores.ndim == 1 and scores.shape == labels.shape
        raise ShapeError(
            f"{op}: scores have shape {scores.shape} and labels {labels.shape}, expected scores (N, K) with "
            f"N and K >= 1 and labels (N,) or one-hot (N, K){'; is the order (scores, labels)?' * swapped}"
            f"{'; class numbers have no gradient: pass the scores, as of model.logits(images)' * classes}"
        )
    if isinstance(labels, np.ndarray) and of_thread.recorder is None:  # labels of a recorded step have no values yet
        _check_label_values(op, labels, scores.shape[1])
    return labels


def _check_label_values(op: str, labels: np.ndarray, K: int) -> None:
    if labels.ndim == 2:
        if not (np.all(labels >= 0) and np.allclose(labels.sum(axis=1), 1, atol=1e-4)):
            raise DataError(f"{op}: every row of labels must hold probabilities that sum to 1, such as a one-hot row")
    elif labels.dtype.kind not in "iu":
        raise DataError(f"{op}: labels are {labels.dtype}, expected integers from 0 to {K - 1}: labels.astype(int)")
    elif labels.min() < 0 or labels.max() >= K:
        found = f"labels range from {labels.min()} to {labels.max()}, expected 0 to {K - 1}, for scores of {K} classes"
        one = "for one score per image, call binary_cross_entropy_with_logits(scores, labels[:, None])"
        raise DataError(f"{op}: {found}: {one if K == 1 else 'number the classes from 0'}")


def checked_targets(op: str, outputs: Tensor, targets: Any, *, fractions: bool = False) -> Tensor:
    """``targets`` as a tensor with the shape and dtype of ``outputs``; raises ShapeError or DataError for others.

    Nothing is broadcast: ``(N,)`` targets for ``(N, 1)`` outputs would otherwise become ``(N, N)`` differences.
    ``fractions``: they must lie in [0, 1].
    """
    note_probabilities(op, outputs)
    array = targets.data if isinstance(targets, Tensor) else targets
    try:
        array = array if hasattr(array, "shape") else np.asarray(array)
    except ValueError:
        raise DataError(f"{op}: targets are rows of different lengths, expected {outputs.shape}") from None
    if isinstance(array, np.ndarray):
        if array.dtype.kind not in "biuf":
            raise DataError(f"{op}: targets are {array.dtype}, expected numbers")
        if fractions and array.size and not (array.min() >= 0 and array.max() <= 1):
            raise DataError(f"{op}: targets range from {array.min()} to {array.max()}, expected 0 to 1")
    if outputs.ndim == 0 or 0 in outputs.shape or array.shape != outputs.shape:
        raise ShapeError(
            f"{op}: outputs have shape {outputs.shape} and targets {array.shape}, expected the same shape, with at "
            "least one example and one number for each"
        )
    if isinstance(targets, Tensor) and targets.dtype == outputs.dtype:
        return targets  # which may require a gradient
    return Tensor(get_backend().asarray(array).astype(outputs.dtype))
