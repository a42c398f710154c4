"""Quality of a classifier: counts and ratios from labels and scores, on the host, in NumPy.

    confusion[i, j]   the number of images of class i that were predicted as class j
    precision of k    confusion[k, k] / sum of column k: the share of images predicted as k that are k
    recall of k       confusion[k, k] / sum of row k:    the share of images of class k that were predicted as k
    F1 of k           2 · precision · recall / (precision + recall), their harmonic mean

A ratio whose denominator is 0 (a class that never occurs or is never predicted) is 0.
"""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinycnn.errors import DtypeError, ShapeError, shortened, whole_number
from tinycnn.ops.softmax import log_softmax_rows
from tinycnn.other_names.arguments import named_arguments
from tinycnn.other_names.modules import missing_name, public_names

MAX_CLASSES = 10_000  # of a confusion matrix, which then takes 800 MB


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Per class: precision, recall and f1 as fractions ``(K,)``, and ``support``, its number of images ``(K,)``."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


def percent(fraction: float) -> str:
    """``98.76 %``: a fraction as text, in the form of every line, table and page."""
    return f"{100 * fraction:.2f} %"


def probability_percent(p: float) -> str:
    """``98.8 %``: a probability as text. Softmax returns neither 0 nor 1, so these are ``<0.1 %`` and ``>99.9 %``."""
    text = f"{100 * p:.1f}"
    return {"0.0": "<0.1 %", "100.0": ">99.9 %"}.get(text, f"{text} %")


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Scores ``(M, K)`` → probabilities ``(M, K)`` in float64: the softmax of each row."""
    return np.exp(log_softmax_rows(np, _numbers("probabilities", "logits", logits, axes=2).astype(np.float64)))


@named_arguments
def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """True ``labels (M,)`` and ``predicted (M,)``, 0 to K-1 → counts ``(K, K)`` int64: rows true, columns predicted.

    Raises ShapeError unless there is one prediction per label and every number is a class.
    """
    labels = _numbers("confusion_matrix", "labels", labels, axes=1)
    predicted = _numbers("confusion_matrix", "predicted", predicted, axes=1)
    classes = whole_number("classes", classes, at_least=1)
    if labels.shape != predicted.shape or labels.ndim != 1:
        raise ShapeError(f"confusion_matrix: labels {labels.shape} and predicted {predicted.shape}, expected both (M,)")
    if classes > MAX_CLASSES:
        raise ShapeError(f"confusion_matrix: {classes} classes, expected at most {MAX_CLASSES:,}")
    if labels.size and not (min(labels.min(), predicted.min()) >= 0 and max(labels.max(), predicted.max()) < classes):
        raise ShapeError(f"confusion_matrix: labels and predictions must be whole numbers 0 to {classes - 1}")
    cells = labels.astype(np.int64) * classes + predicted  # (M,)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)  # (K, K)


def class_scores(confusion: np.ndarray) -> ClassScores:
    """Precision, recall, F1 and support of every class ``(K,)``, from the counts ``(K, K)`` of ``confusion_matrix``."""
    confusion = _numbers("class_scores", "confusion", confusion, axes=2)
    if confusion.shape[0] != confusion.shape[1]:
        raise ShapeError(f"class_scores: `confusion` has shape {confusion.shape}, expected (K, K)")
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
    labels, probs = _numbers("mistakes", "labels", labels, axes=1), _numbers("mistakes", "probs", probs, axes=2)
    if len(labels) != len(probs) or not probs.shape[1]:
        raise ShapeError(f"mistakes: labels {labels.shape} and probs {probs.shape}, expected (M,) and (M, K)")
    wrong = np.flatnonzero(probs.argmax(axis=1) != labels)
    return wrong[np.argsort(-probs[wrong].max(axis=1, initial=0), kind="stable")]


def _numbers(function: str, name: str, value: Any, *, axes: int) -> np.ndarray:
    """``value`` as an array of real numbers; raises DtypeError or ShapeError, naming the argument."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise ShapeError(f"{function}: `{name}` has rows of unequal lengths") from None
    if array.dtype.kind not in "biuf":
        raise DtypeError(f"{function}: `{name}` is {shortened(value)}, expected an array of numbers")
    if array.ndim != axes:
        raise ShapeError(f"{function}: `{name}` has shape {array.shape}, expected {axes} axes")
    return array


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing_name(__name__, name, public_names(sys.modules[__name__]))
