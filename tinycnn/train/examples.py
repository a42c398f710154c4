"""Images and labels as people have them, as the arrays that training takes.

Tensors of other libraries become NumPy arrays through ``__array__``, without importing these libraries. One-hot labels
become class indices where the loss takes classes; rows of probabilities stay rows.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinycnn.data.arrays import as_labels, one_hot
from tinycnn.data.split import split_validation
from tinycnn.data.stored import Images, StoredImages
from tinycnn.errors import DataError, SettingError, shortened
from tinycnn.layers import Sequential
from tinycnn.train.batches import check_examples
from tinycnn.train.class_labels import REGRESSION, are_probabilities
from tinycnn.train.identity import Examples
from tinycnn.train.objective import CLASSES, NUMBERS, SEVERAL, Objective

IN_BATCHES = "it has single images: pass DataLoader(dataset, batch_size=32)"
FOR_SEVERAL = 'For several labels per image, pass `loss="binary_cross_entropy_with_logits"`.'


def as_examples(images: Any, labels: Any, purpose: Objective) -> Examples:
    """Arrays ``(M, H, W, C)`` and ``(M,)``, or the labels that the loss takes; DataError where they cannot be made."""
    images, labels = as_array("images", images), as_array("labels", labels, or_list=True)
    takes_classes = purpose.labels == CLASSES and isinstance(labels, np.ndarray)
    return images, as_classes(labels) if takes_classes else labels


def as_classes(labels: np.ndarray) -> np.ndarray:
    """Class numbers ``(M,)`` for one-hot rows ``(M, K)``, a column ``(M, 1)`` and truth values; others unchanged.

    Raises DataError for rows that are neither one-hot nor probabilities.
    """
    if labels.ndim != 2 and labels.dtype != bool:
        return labels
    if labels.dtype.kind == "f" and labels.shape[1:] == (1,):
        return labels[:, 0]  # (M,), which `check_classes` refuses
    try:
        return as_labels(labels, "labels")[0]  # (M,)
    except DataError as error:
        if are_probabilities(labels):
            return labels  # (M, K)
        of_zeros_and_ones = ((labels == 0) | (labels == 1)).all()
        sums, numbers = ("", "") if of_zeros_and_ones else (" Probabilities sum to 1 in each row.", f" {REGRESSION}")
        raise DataError(f"{error}{sums} {FOR_SEVERAL}{numbers}") from None


def as_array(name: str, given: Any, *, or_list: bool = False) -> Any:
    """An array for a tensor of another library, and also for a list with ``or_list``; everything else unchanged."""
    is_tensor = hasattr(given, "__array__") and not isinstance(given, np.ndarray | StoredImages)
    if not (is_tensor or (or_list and isinstance(given, list | tuple))):
        return given
    try:
        array = np.asarray(given)
        return array if array.ndim else given
    except (TypeError, ValueError, RuntimeError) as error:  # such as a tensor on a GPU, or rows of unequal lengths
        raise DataError(f"{name} are a {type(given).__name__} that is no array: {shortened(error)}") from None


def checked_examples(images: Any, labels: Any, model: Sequential, purpose: Objective) -> Examples:
    """``as_examples``, images as bytes or in the dtype of the network; labels ``(M,)`` of one output as ``(M, 1)``.

    Raises DataError for what the network or the loss does not take.
    """
    given = as_array("labels", labels, or_list=True)
    images, labels = as_examples(images, given, purpose)
    if purpose.labels in (SEVERAL, NUMBERS) and model.output_shape == (1,) and np.ndim(labels) == 1:
        labels = np.asarray(labels)[:, None]  # (M, 1)
    check_examples(images, labels, model, purpose)
    if purpose.labels == CLASSES and given.ndim == 2 and given.shape[1] > 1 and given.shape[1:] != model.output_shape:
        outputs = ", ".join(map(str, ("M", *model.output_shape)))
        raise DataError(
            f"labels are one-hot rows {given.shape}, but the network returns ({outputs}): end it with "
            f"Dense({given.shape[1]}), or pass class numbers (M,)."
        )
    if not isinstance(images, StoredImages) and images.dtype not in (np.uint8, model.dtype):
        are_bytes = images.dtype.kind in "iu" and 0 <= images.min() <= images.max() <= 255
        images = images.astype(np.uint8 if are_bytes else model.dtype)
    return images, labels


def as_validation(given: Any, model: Sequential, purpose: Objective) -> Examples | None:
    """``(images, labels)``, or an iterable of such batches, which is read once; None where there are no images."""
    if given is None:
        return None
    with naming("validation"):
        return _as_validation(given, model, purpose)


def _as_validation(given: Any, model: Sequential, purpose: Objective) -> Examples | None:
    are_batches = (
        isinstance(given, list | tuple) and bool(given) and all(isinstance(one, list | tuple) for one in given)
    )
    if isinstance(given, tuple | list) and not are_batches and len(given) == 2 and hasattr(given[0], "__len__"):
        return checked_examples(given[0], given[1], model, purpose) if len(given[0]) else None
    is_none = isinstance(given, tuple | list | str | dict) or hasattr(given, "__array__")
    if not are_batches and (is_none or not isinstance(given, Iterable)):
        size = f" of {len(given)}" if isinstance(given, tuple | list) else str(getattr(given, "shape", ""))
        kind = f"{type(given).__name__}{size}" if size else shortened(given, 60)
        hint = f"; {IN_BATCHES}" if is_dataset(given) else ""
        raise SettingError(
            f"`validation` is {kind}: expected a pair (images, labels), an iterable of batches, or None{hint}"
        )
    return collected(given, model, purpose)


def is_dataset(given: Any) -> bool:
    """Whether this has elements by number, as a Dataset of PyTorch has, and is no array, list or iterable."""
    if hasattr(given, "__array__") or isinstance(given, Iterable | StoredImages | type):
        return False
    return hasattr(given, "__getitem__") and hasattr(given, "__len__")


@contextmanager
def naming(argument: str) -> Iterator[None]:
    """DataErrors inside the block begin with the name of the argument."""
    try:
        yield
    except DataError as error:
        raise DataError(f"`{argument}`: {error}") from None


def collected(batches: Iterable[Any], model: Sequential, purpose: Objective) -> Examples | None:
    """The batches of an iterable as one; None if it has none."""
    parts = [checked_examples(*pair(batch, model), model, purpose) for batch in batches]
    if not parts:
        return None
    labels = [own for _, own in parts]
    labels = as_rows(labels) if purpose.labels == CLASSES else labels
    return np.concatenate([np.asarray(part) for part, _ in parts]), np.concatenate(labels)


def as_rows(parts: list[np.ndarray]) -> list[np.ndarray]:
    """Labels of several batches ``(N,)``, all as rows ``(N, K)`` if some of them are."""
    rows = next((part for part in parts if part.ndim == 2), None)
    return parts if rows is None else [one_hot(one, rows.shape[1]) if one.ndim == 1 else one for one in parts]


def pair(batch: Any, model: Sequential) -> tuple[Any, Any]:
    """A batch as ``(images, labels)``; raises DataError for anything else, such as one image with its label."""
    if not (isinstance(batch, tuple | list) and len(batch) == 2):
        size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
        hint = " For two arrays, call fit(images, labels)." if hasattr(batch, "__array__") else ""
        raise DataError(f"a batch is a {type(batch).__name__}{size}: expected a pair (images, labels).{hint}")
    if getattr(batch[0], "shape", None) == model.input_shape:
        raise DataError(
            "each element is one image and its label, where batches are expected: pass two arrays, as in "
            "images, labels = map(numpy.stack, zip(*pairs)). A DataLoader makes batches if it is given a batch_size."
        )
    return batch[0], batch[1]


def held_out(images: Images, count: int, fraction: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The indices of the images that remain for training and of those for validation, as ``split_validation``."""
    if not isinstance(fraction, float | int) or isinstance(fraction, bool):
        raise SettingError(f"`validation_split` is {shortened(fraction)}: expected a fraction, at least 0 and below 1")
    numbers = np.arange(count)
    training, _, validation, _ = (np.asarray(part) for part in split_validation(numbers, numbers, fraction, seed=seed))
    if isinstance(images, StoredImages):  # adjacent images are read together
        training, validation = np.sort(training), np.sort(validation)
    return training, validation
