"""The range of pixels that a network takes, inferred from its first constants: 0 to 1, or 0 to 255.

An ONNX file does not record the range, but the preprocessing inside a network shows it: a network that subtracts 127.5,
or multiplies by 1/255, was trained on bytes, and one that subtracts 0.5 on fractions. Without such preprocessing,
fractions are assumed, because most networks are trained on them.

`note_pixels` logs a sentence where images are given on another scale than these constants show.
"""

import logging
import weakref
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.layers.base import Layer
from tinycnn.layers.dropout import Dropout
from tinycnn.layers.further.normalization import Normalization
from tinycnn.layers.interface.by_name import LayersByName
from tinycnn.layers.metadata import BYTES, FRACTIONS
from tinycnn.layers.normalization import BatchNorm
from tinycnn.layers.rescaling import Rescaling
from tinycnn.layers.reshaping import Flatten

LOGGER = logging.getLogger("tinycnn.layers")
SMALL_FACTOR = 255**-0.5  # the geometric mean of 1/255 and 1
PICTURES = (1,), (3,)  # the channels after (H, W); other arrays may hold anything
LARGE_SPREAD = 2.0  # fractions have a standard deviation of at most 0.5; that of a new batch norm is 1
noted: weakref.WeakSet[Any] = weakref.WeakSet()  # networks about whose pixels a sentence was printed or logged


def likely_pixels(model: Any) -> tuple[str, str]:
    """The range of pixels that the network ``model`` seems to take, and the reason for a message."""
    first = first_layer(model)
    if isinstance(first, Rescaling):
        return by_rescaling(first.scale, first.offset)
    if isinstance(first, Normalization):
        return by_numbers(np.max(first.mean), np.max(first.std), "the network normalises them with")
    if isinstance(first, BatchNorm):
        return by_statistics(first)
    return FRACTIONS, "nothing in the network suggests bytes"


def first_layer(model: Any) -> Layer | None:
    """The first layer that computes with the pixels; None if there is none."""
    for layer in model.layers.values():
        inner = first_layer(layer) if isinstance(vars(layer).get("layers"), LayersByName) else layer
        if inner is not None and not isinstance(inner, Flatten | Dropout):
            return inner
    return None


def by_rescaling(scale: float, offset: float) -> tuple[str, str]:
    """The range inferred from ``x scale + offset``: by the pixel that becomes 0, or by ``scale`` if there is none."""
    zero = -offset / scale if scale else 0.0
    if zero > 0:
        return BYTES if zero > 1 else FRACTIONS, f"the network subtracts {zero:.4g} from them"
    return BYTES if abs(scale) < SMALL_FACTOR else FRACTIONS, f"the network multiplies them by {scale:.4g}"


def by_statistics(layer: BatchNorm) -> tuple[str, str]:
    """The range inferred from the mean and the standard deviation of the pixels, as recorded by a batch norm."""
    mean, variance = (float(get_backend().to_host(array).max()) for _, array in layer.named_buffers())
    return by_numbers(mean, max(variance, 0.0) ** 0.5, "its batch norm has seen")


def by_numbers(mean: float, spread: float, words: str) -> tuple[str, str]:
    """The range inferred from the largest mean and standard deviation of a channel."""
    large = mean > 1 or spread > LARGE_SPREAD
    return BYTES if large else FRACTIONS, f"{words} a mean of {mean:.4g} and a deviation of {spread:.4g}"


def note_pixels(model: Any, images: np.ndarray) -> None:
    """Log a sentence, once for a network, about ``images (M, H, W, C)`` on another scale than its constants show.

    These are bytes, if the range is not stated (``model.pixels``) and the default is another one than the constants
    show, and fractions for a network whose constants are for bytes.
    """
    if text := about_bytes(model) if images.dtype.kind in "iu" else _about_dark(model, images):
        noted.add(model)
        LOGGER.warning("note: %s", text)


def about_bytes(model: Any) -> str:
    """A sentence if ``model`` takes bytes on another scale than its constants show, and it is not stated; else ""."""
    if "pixels" in model.metadata() or model in noted or model.input_shape[2:] not in PICTURES:
        return ""
    likely, reason = likely_pixels(model)
    if likely == model.pixels:
        return ""
    taken = {FRACTIONS: "divided by 255", BYTES: "as they are, 0 to 255"}[model.pixels]
    return (
        f"bytes are taken {taken}, but {reason}: set model.pixels = {likely!r} if the network takes pixels {likely}, "
        f"or {model.pixels!r} if this is right"
    )


def _about_dark(model: Any, images: np.ndarray) -> str:
    """A sentence if ``images`` are floats from 0 to 1 for a network whose constants are for bytes; else ""."""
    if model.pixels != BYTES or images.dtype.kind != "f" or model in noted or model.input_shape[2:] not in PICTURES:
        return ""
    low, high = float(images.min()), float(images.max())
    if not 0 <= low < high <= 1 or likely_pixels(model)[0] != BYTES:
        return ""
    return (
        f"the images are floats from {low:.4g} to {high:.4g}, but the network takes pixels {BYTES}, for which they are "
        "almost black: pass the bytes themselves, or multiply them by 255"
    )
