"""How good are the answers of a classifier? Counts and ratios from labels and scores, on the host, in NumPy.

    confusion[i, j]   how many images of class i the network took for class j
    precision of k    confusion[k, k] / column k: of the images called k, how many are k
    recall of k       confusion[k, k] / row k:    of the images that are k, how many were called k
    F1 of k           2 · precision · recall / (precision + recall), their harmonic mean

Where there is nothing to divide by (a class that never occurs, or is never answered) the ratio is 0.
"""

from dataclasses import dataclass

import numpy as np

from tinycnn.errors import ShapeError
from tinycnn.ops.softmax import log_softmax_rows


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Per class: precision, recall, f1 as fractions ``(K,)``, and ``support``, how many images it has ``(K,)``."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Scores ``(M, K)`` → probabilities ``(M, K)`` in float64: the softmax of each row."""
    return np.exp(log_softmax_rows(np, logits.astype(np.float64)))


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """True ``labels (M,)`` and ``predicted (M,)``, 0 to K-1 → counts ``(K, K)`` int64: rows true, columns predicted.

    Raises ShapeError when there is not one prediction per label, or a number is no class.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.shape != predicted.shape or labels.ndim != 1:
        raise ShapeError(f"confusion_matrix: labels {labels.shape} and predicted {predicted.shape}, expected both (M,)")
    if labels.size and not (min(labels.min(), predicted.min()) >= 0 and max(labels.max(), predicted.max()) < classes):
        raise ShapeError(f"confusion_matrix: labels and predictions must be whole numbers 0 to {classes - 1}")
    places = labels.astype(np.int64) * classes + predicted  # (M,)
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)  # (K, K)


def class_scores(confusion: np.ndarray) -> ClassScores:
    """Precision, recall, F1 and support of every class ``(K,)``, from the counts ``(K, K)`` of ``confusion_matrix``."""
    correct = np.diag(confusion)  # (K,)
    support, answered = confusion.sum(axis=1), confusion.sum(axis=0)  # (K,), (K,)
    precision, recall = _ratio(correct, answered), _ratio(correct, support)
    return ClassScores(precision, recall, _ratio(2 * correct, support + answered), support)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole != 0)  # (K,)


def mistakes(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """The numbers of the images answered wrongly, most confident mistake first: ``(M,), (M, K)`` → ``(mistakes,)``.

    Confidence is the probability of the answer given; equally confident mistakes stay in the order of the images.
    """
    wrong = np.flatnonzero(probs.argmax(axis=1) != labels)
    return wrong[np.argsort(-probs[wrong].max(axis=1, initial=0), kind="stable")]
