"""Stored labels → int64 class numbers. Ambiguous arrays raise an error; nothing is guessed."""

import numpy as np

from tinycnn.errors import NUMBER_THEM, DataError, SettingError

MAX_CLASSES = 100_000  # larger numbers are not classes but row numbers, years or hashes


def check_labels(labels: np.ndarray, num_classes: int, name: str = "labels") -> np.ndarray:
    """Labels (N,) of any integer type -> (N,) int64, each in [0, num_classes); else DataError."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        hint = {"f": " Convert them: labels.astype(int).", "U": f" {NUMBER_THEM}"}.get(labels.dtype.kind, "")
        raise DataError(f"{name}: got {labels.dtype} of shape {labels.shape}; expected integers of shape (N,).{hint}")
    if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
        raise DataError(
            f"{name}: values from {labels.min()} to {labels.max()}; expected 0 to {num_classes - 1}. "
            "Number the classes from 0."
        )
    return labels.astype(np.int64, copy=False)


def one_hot(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Labels (N,) -> (N, num_classes) float32 with a single 1 in each row; DataError for labels outside the range."""
    labels = check_labels(labels, _check_num_classes(num_classes))
    encoded = np.zeros((len(labels), num_classes), np.float32)
    encoded[np.arange(len(labels)), labels] = 1
    return encoded


def class_counts(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Labels (N,) -> the number of labels of each class, (num_classes,) int64; DataError for labels out of range."""
    return np.bincount(check_labels(labels, _check_num_classes(num_classes)), minlength=num_classes)


def _check_num_classes(num_classes: int) -> int:
    if num_classes < 1:
        raise SettingError(f"`num_classes`: got {num_classes}; expected at least 1.")
    return num_classes


def as_labels(array: np.ndarray, name: str) -> tuple[np.ndarray, int]:
    """Integers (N,) or (N, 1), or one-hot rows (N, K) -> (labels (N,) int64, number of classes); else DataError.

    Truth values count as 0 and 1.
    """
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.ndim == 2 and array.shape[1] > 1:
        return _from_one_hot(array, name), array.shape[1]
    labels = check_labels(array.reshape(-1) if array.shape[1:] == (1,) else array, MAX_CLASSES, name)  # (N,)
    return labels, int(labels.max()) + 1


def _from_one_hot(array: np.ndarray, name: str) -> np.ndarray:
    is_one = array == 1
    if not (np.all(is_one.sum(axis=1) == 1) and np.all(is_one | (array == 0))):
        raise DataError(f"{name}: rows of {array.shape[1]} that are not one-hot (one 1, else 0). Use class numbers.")
    return is_one.argmax(axis=1)  # (N,)
