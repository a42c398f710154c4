"""Stored arrays → uint8 images and int64 labels. Ambiguous arrays raise an error; nothing is guessed."""

import numpy as np

from tinycnn.errors import DataError, SettingError

MAX_CLASSES = 100_000  # larger numbers are not classes but row numbers, years or hashes
BLOCK = 1024  # images converted at a time: a float copy of the whole set would need eight times its memory


def check_labels(labels: np.ndarray, num_classes: int, name: str = "labels") -> np.ndarray:
    """Labels (N,) of any integer type -> (N,) int64, each in [0, num_classes); else DataError."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{name}: got {labels.dtype} of shape {labels.shape}; expected integers of shape (N,).")
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
    """Integers (N,) or (N, 1), or one-hot rows (N, K) -> (labels (N,) int64, number of classes); else DataError."""
    if array.ndim == 2 and array.shape[1] > 1:
        return _from_one_hot(array, name), array.shape[1]
    labels = check_labels(array.reshape(-1) if array.shape[1:] == (1,) else array, MAX_CLASSES, name)  # (N,)
    return labels, int(labels.max()) + 1


def _from_one_hot(array: np.ndarray, name: str) -> np.ndarray:
    is_one = array == 1
    if not (np.all(is_one.sum(axis=1) == 1) and np.all(is_one | (array == 0))):
        raise DataError(f"{name}: rows of {array.shape[1]} that are not one-hot (one 1, else 0). Store class numbers.")
    return is_one.argmax(axis=1)  # (N,)


def as_uint8(array: np.ndarray, name: str, scale: int = 1) -> np.ndarray:
    """Images times ``scale`` -> uint8 of the same shape; DataError unless every value is a whole number in 0..255."""
    if array.dtype == np.uint8 and scale == 1:
        return np.ascontiguousarray(array)
    images = np.empty(array.shape, np.uint8)
    for start in range(0, len(array), BLOCK):
        images[start : start + BLOCK] = _block_as_uint8(array[start : start + BLOCK], name, scale)
    return images


def _block_as_uint8(block: np.ndarray, name: str, scale: int) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):  # infinities raise DataError below
        values = block.astype(np.float64) * scale
        error = np.abs(values - np.rint(values))
    # k/255 is not exact in binary: allow its rounding, which is far below half a grey level in every float type.
    tolerance = max(1e-3, 255 * float(np.finfo(block.dtype).eps)) if scale > 1 else 0.0
    if not np.all(error <= tolerance):  # False for NaN and infinity as well
        raise DataError(
            f"{name}: {block.dtype} values that are not whole grey levels (or not finite). Store uint8, 0 to 255."
        )
    if values.min() < -tolerance or values.max() > 255 + tolerance:
        raise DataError(f"{name}: grey levels {values.min():g} to {values.max():g}; expected 0 to 255. Store uint8.")
    return np.rint(values).astype(np.uint8)


def grey_scale(arrays: list[np.ndarray]) -> int:
    """255 if the images are floats in [0, 1], else 1: decided once for all arrays, so that they agree."""
    return 255 if all(a.dtype.kind == "f" and a.max() <= 1 for a in arrays) else 1
