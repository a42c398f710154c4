"""The scale of the pixels that a network takes: bytes from 0 to 255, or fractions from 0 to 1."""

from tinycnn.layers.rescaling import Rescaling
from tinycnn.layers.sequential import Sequential


def pixel_scale(model: Sequential) -> float:
    """The factor of byte pixels before they enter ``model``: 1 where it begins with a Rescaling layer, else 1/255."""
    return 1.0 if isinstance(next(iter(model.layers.values())), Rescaling) else 1 / 255
