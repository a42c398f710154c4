"""Floats on another scale than that on which a network takes bytes, such as standardised pixels.

A network divides bytes by 255, or takes them as they are (``model.pixels``), and takes floats as they are. A network
that was trained on floats of another scale reads every byte, and every picture file, differently from them. A layer in
front that does the same to bytes prevents this.
"""

import weakref
from typing import Any

import numpy as np

from tinycnn.errors import DataError
from tinycnn.layers import Sequential
from tinycnn.layers.interface.likely_pixels import about_bytes, noted
from tinycnn.layers.metadata import BYTES, white_of

SLACK = 1e-3  # of white, beyond black and white, as rounding makes it
SAMPLE = 1000  # images whose values are compared with 256 levels
NEAR = 0.02  # of a level
reports_itself: weakref.WeakSet[Any] = weakref.WeakSet()  # networks whose caller reports this in words of its own


def extent(images: Any) -> tuple[float, float] | None:
    """The smallest and the largest of floats; None for bytes, in memory or stored."""
    is_float = isinstance(images, np.ndarray) and images.dtype.kind == "f" and images.size
    return (float(images.min()), float(images.max())) if is_float else None


def is_off(extent: tuple[float, float] | None, pixels: str) -> bool:
    """Whether floats are on another scale than bytes are as the input of a network that takes ``pixels``."""
    if extent is None:
        return False
    (low, high), white = extent, white_of(pixels)
    if pixels == BYTES and high <= 1:
        return True
    return low < -SLACK * min(white, max(high, 1.0)) or high > (1 + SLACK) * white


def other_scale(model: Sequential, images: Any) -> str:
    """A sentence if the training images are on another scale than bytes, or than the constants show; "" otherwise."""
    found = extent(images)
    if found is None:
        text = about_bytes(model)
        noted.update([model] if text else [])
        return text
    if model in reports_itself or not is_off(found, model.pixels) or model.input_shape[2:] not in ((1,), (3,)):
        return ""
    low, high = found
    start = f"the training images are floats from {low:.4g} to {high:.4g}, but bytes and picture files are taken as"
    if model.pixels == BYTES and 0 <= low <= high <= 1:
        instead = "set model.pixels = '0..1'" if about_bytes(model) else "pass bytes to fit"
        return f"{start} {model.pixels}, so they will be read differently: {instead}"
    return f"{start} {model.pixels}, so they will be read differently: {_instead(images, model.pixels)}"


def _instead(images: np.ndarray, pixels: str) -> str:
    layer = layer_for(images)
    if layer is None:
        given = "bytes" if pixels == BYTES else f"bytes or floats from 0 to {white_of(pixels):g}"
        return (
            "put Normalization(mean, std) in front, with the numbers by which they were standardised, one for each "
            f"channel, and pass {given}"
        )
    return f"put {layer} in front, and pass the bytes themselves"


def layer_for(images: np.ndarray) -> str | None:
    """The layer that makes these ``images (M, H, W, C)`` of bytes, if they have black, white, and 256 levels at most.

    The channels may differ in scale and offset.
    """
    low, high = (kind(axis=(0, 1, 2)).astype(np.float64) for kind in (images.min, images.max))  # (C,)
    if (high <= low).any():
        return None
    levels = (images[:SAMPLE] - low) / (high - low) * 255
    if np.abs(levels - np.rint(levels)).max() > NEAR:
        return None
    scale = (high - low) / 255  # (C,)
    if np.allclose(low, low[0]) and np.allclose(scale, scale[0]):
        return f"Rescaling({scale[0]:.6g}, {low[0]:.6g})"
    mean, std = (f"({', '.join(f'{value:.6g}' for value in values)})" for values in (-low / scale, 1 / scale))
    return f"Normalization({mean}, {std})"


def check_same_scale(model: Sequential, images: Any, validation: Any) -> None:
    """Raise DataError if some of the training and validation images are bytes, the others floats on another scale."""
    found = extent(images), extent(validation)
    if found.count(None) == 1 and any(is_off(one, model.pixels) for one in found):
        trained, held = (_words(one, model.pixels) for one in found)
        raise DataError(
            f"the images for training are {trained}, those for validation {held}: prepare both in the same way."
        )


def mixed_floats(model: Sequential, images: Any, validation: Any) -> str:
    """A sentence if only the pictures for training or only those for validation are floats on another scale."""
    found = extent(images), extent(validation)
    if None in found or model.input_shape[2:] not in ((1,), (3,)):
        return ""
    if is_off(found[0], model.pixels) == is_off(found[1], model.pixels):
        return ""
    trained, held = (_words(one, model.pixels) for one in found)
    return f"the images for training are {trained}, those for validation {held}: were both prepared in the same way?"


def _words(extent: tuple[float, float] | None, pixels: str) -> str:
    return f"floats from {extent[0]:.4g} to {extent[1]:.4g}" if extent else f"bytes, which are taken as {pixels}"
