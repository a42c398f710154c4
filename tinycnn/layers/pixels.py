"""The pixel range that a network expects: 0 to 255, or 0 to 1."""

from tinycnn.layers.rescaling import Rescaling
from tinycnn.layers.sequential import Sequential


def pixel_scale(model: Sequential) -> float:
    """The factor applied to uint8 pixels before ``model``: 1 if it starts with a Rescaling layer, else 1/255."""
    return 1.0 if isinstance(next(iter(model.layers.values())), Rescaling) else 1 / 255
