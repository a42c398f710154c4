"""Quality of a classifier: counts and ratios from labels and scores, on the host, in NumPy.

    confusion[i, j]   the number of images of class i that were predicted as class j
    precision of k    confusion[k, k] / sum of column k: the share of images predicted as k that are k
    recall of k       confusion[k, k] / sum of row k:    the share of images of class k that were predicted as k
    F1 of k           2 · precision · recall / (precision + recall), their harmonic mean

A ratio whose denominator is 0 (a class that never occurs or is never predicted) is 0.
"""

from dataclasses import dataclass

import numpy as np

from tinycnn.errors import ShapeError
from tinycnn.ops.softmax import log_softmax_rows


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Per class: precision, recall and f1 as fractions ``(K,)``, and ``support``, its number of images ``(K,)``."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Scores ``(M, K)`` → probabilities ``(M, K)`` in float64: the softmax of each row."""
    return np.exp(log_softmax_rows(np, logits.astype(np.float64)))


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """True ``labels (M,)`` and ``predicted (M,)``, 0 to K-1 → counts ``(K, K)`` int64: rows true, columns predicted.

    Raises ShapeError unless there is one prediction per label and every number is a class.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.shape != predicted.shape or labels.ndim != 1:
        raise ShapeError(f"confusion_matrix: labels {labels.shape} and predicted {predicted.shape}, expected both (M,)")
    if labels.size and not (min(labels.min(), predicted.min()) >= 0 and max(labels.max(), predicted.max()) < classes):
        raise ShapeError(f"confusion_matrix: labels and predictions must be whole numbers 0 to {classes - 1}")
    cells = labels.astype(np.int64) * classes + predicted  # (M,)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)  # (K, K)


def class_scores(confusion: np.ndarray) -> ClassScores:
    """Precision, recall, F1 and support of every class ``(K,)``, from the counts ``(K, K)`` of ``confusion_matrix``."""
    correct = np.diag(confusion)  # (K,)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)  # (K,), (K,)
    precision, recall = _ratio(correct, predicted), _ratio(correct, support)
    return ClassScores(precision, recall, _ratio(2 * correct, support + predicted), support)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole != 0)  # (K,)


def mistakes(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Indices of the misclassified images, most confident mistake first: ``(M,), (M, K)`` → ``(mistakes,)``.

    Confidence is the probability of the predicted class; equally confident mistakes keep the order of the images.
    """
    wrong = np.flatnonzero(probs.argmax(axis=1) != labels)
    return wrong[np.argsort(-probs[wrong].max(axis=1, initial=0), kind="stable")]
