"""The numbers that a network takes for black and white, 0 and 255 or 0 and 1, and how images become them.

Integers are bytes, whatever their type: they are multiplied by 1/255 for a network that takes 0 to 1. Floats are in the
range that ``model.pixels`` states, and are not scaled.
"""

from typing import Any

import numpy as np

from tinycnn.errors import DataError
from tinycnn.layers.metadata import BYTES, SCALES
from tinycnn.layers.sequential import Sequential

MOST_STANDARDISED = 50  # pixels with a mean of 0 and a deviation of 1 stay far below this number


def pixel_scale(model: Sequential, dtype: Any = np.uint8) -> float:
    """The factor applied to pixels of ``dtype`` before ``model``: 1/255 for integers; 1 for ``0..255`` and floats."""
    return 1.0 if np.dtype(dtype).kind == "f" else SCALES[model.pixels]


def check_pixels(images: np.ndarray, model: Sequential) -> None:
    """Raise DataError for images that ``pixel_scale`` would not bring into the range ``model.pixels``.

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
    if model.pixels == BYTES:
        return
    if kind == "b":
        raise DataError("images are truth values: convert them with images.astype(numpy.float32).")
    if kind in "iu" and not 0 <= low <= high <= 255:
        raise DataError(f"{found}: expected bytes, 0 to 255, or floats from 0 to 1.")
    if kind == "f" and low >= 0 and 1 < high <= 255 and (high > MOST_STANDARDISED or (images == np.rint(images)).all()):
        raise DataError(
            f"{found}, but the network takes pixels 0..1: divide them by 255, pass uint8, or set model.pixels = "
            "'0..255' before training."
        )
