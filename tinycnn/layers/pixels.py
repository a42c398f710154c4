"""The factor that turns bytes into the pixels that a network expects: 0 to 255, or 0 to 1."""

from tinycnn.layers.metadata import BYTES, FRACTIONS
from tinycnn.layers.sequential import Sequential

SCALES = {FRACTIONS: 1 / 255, BYTES: 1.0}


def pixel_scale(model: Sequential) -> float:
    """The factor applied to uint8 pixels before ``model``: 1/255, or 1 if ``model.pixels`` is ``0..255``."""
    return SCALES[model.pixels]
