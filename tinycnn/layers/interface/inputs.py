"""What a network is given, as its input: arrays as ``predict`` takes them, and tensors as they are.

Integers are bytes, whatever their type: they are multiplied by 1/255 for a network that takes 0 to 1. Floats are in the
range that ``model.pixels`` states, and are not scaled.
"""

import logging
import weakref
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.errors import DataError
from tinycnn.layers.interface.likely_pixels import note_pixels
from tinycnn.layers.metadata import BYTES, FRACTIONS, scale_of_bytes
from tinycnn.tensor import Tensor

LOGGER = logging.getLogger("tinycnn.layers")
MOST_STANDARDISED = 50  # pixels with a mean of 0 and a deviation of 1 stay far below this number
_noted: weakref.WeakSet[Any] = weakref.WeakSet()  # networks whose tensors were noted


def as_input(model: Any, x: Any) -> Tensor:
    """The input of a network ``(N, *input_shape)``; DataError for an array that ``model.predict`` would refuse."""
    if isinstance(x, Tensor):
        _note_bytes(model, x)
        return x
    given, values = Tensor(x), _on_host(x)
    if values is None:
        values = given.data
    shape = vars(model).get("input_shape")  # a part that is not built has none
    if isinstance(values, np.ndarray) and values.shape[1:] == shape:
        check_pixels(values, model.pixels)
        note_pixels(model, values)
    are_bytes = values.dtype.kind in "iu"
    if not are_bytes and given.dtype == model.dtype:
        return given
    return Tensor(given.data.astype(model.dtype) * (scale_of_bytes(model.pixels) if are_bytes else 1.0))


def _on_host(x: Any) -> np.ndarray | None:
    """An array of NumPy or of another library with its own dtype; None for lists and for arrays that stay on a GPU."""
    if isinstance(x, np.ndarray):
        return x
    if hasattr(x, "__array__") and not get_backend().owns(x):
        try:
            return np.asarray(x)
        except (TypeError, ValueError, RuntimeError):  # a tensor of PyTorch that needs a gradient, or is on a GPU
            return None
    return None


def check_pixels(images: np.ndarray, pixels: str) -> None:
    """Raise DataError for images that are not brought into the range ``pixels`` of a network.

    These are NaN and infinity, integers that are no bytes, truth values, and floats that are bytes in all but their
    type. Other floats are taken as they are, because they may have been standardised.
    """
    if images.dtype == np.uint8 or not images.size:
        return
    low, high, kind = images.min(), images.max(), images.dtype.kind
    found = f"images are {images.dtype}, from {low:.6g} to {high:.6g}"
    if kind == "f" and not (np.isfinite(low) and np.isfinite(high)):
        wrong = np.flatnonzero(~np.isfinite(images).reshape(len(images), -1).all(axis=1))
        where = f"{len(wrong):,} of {len(images):,} images contain NaN or infinity, first in images[{wrong[0]}]"
        raise DataError(f"{where}: repair them, or leave them out.")
    if pixels == BYTES:
        return
    if kind == "b":
        raise DataError("images are truth values: convert them with images.astype(numpy.float32).")
    if kind in "iu" and not 0 <= low <= high <= 255:
        raise DataError(f"{found}: expected bytes, 0 to 255, or floats from 0 to 1.")
    if kind == "f" and pixels == FRACTIONS and _are_like_bytes(images):
        raise DataError(
            f"{found}, but the network takes pixels 0..1: divide them by 255, pass uint8, or set model.pixels = "
            "'0..255' before training."
        )


def _are_like_bytes(images: np.ndarray) -> bool:
    """Whether floats have the range of bytes, and numbers that are too large, or too round, for standardised ones."""
    low, high = images.min(), images.max()
    return bool(low >= 0 and 1 < high <= 255 and (high > MOST_STANDARDISED or (images == np.rint(images)).all()))


def _note_bytes(model: Any, x: Tensor) -> None:
    """Log a sentence, once for a network, about a tensor of bytes for a network that takes 0 to 1.

    The first image, which is read in microseconds, excludes most others. Tensors on a GPU are not read.
    """
    images = x._array
    if x.creator is not None or type(images) is not np.ndarray or model in _noted or model.is_part:
        return
    if images.shape[1:] != model.input_shape or not len(images):
        return
    first = images[0]
    if first.min() < 0 or first.max() <= 1 or model.pixels != FRACTIONS or not _are_like_bytes(images):
        return
    _noted.add(model)
    LOGGER.warning(
        "note: a tensor with numbers up to %g was given to a network that takes pixels 0..1, and a tensor is taken as "
        "it is: divide it by 255, or pass the array of bytes itself, which the network divides",
        images.max(),
    )
