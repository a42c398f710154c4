"""The scale of the pixels that a network takes: bytes as they are, or fractions between 0 and 1."""

from tinycnn.layers.rescaling import Rescaling
from tinycnn.layers.sequential import Sequential


def pixel_scale(model: Sequential) -> float:
    """What a byte pixel is multiplied by before it enters ``model``: 1 when the network rescales itself, else 1/255."""
    return 1.0 if isinstance(next(iter(model.layers.values())), Rescaling) else 1 / 255
