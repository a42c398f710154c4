"""The factor to bring pixels into the range of a network, such as 0 to 1; ``interface/inputs.py`` checks it."""

from typing import Any

import numpy as np

from tinycnn.layers.metadata import scale_of_bytes
from tinycnn.layers.sequential import Sequential


def pixel_scale(model: Sequential, dtype: Any = np.uint8) -> float:
    """The factor applied to pixels of ``dtype`` before ``model``: 1 for floats; for bytes 1/255, 1 for ``0..255``."""
    return 1.0 if np.dtype(dtype).kind == "f" else scale_of_bytes(model.pixels)
