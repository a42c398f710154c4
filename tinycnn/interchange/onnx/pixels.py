"""The range of pixels that a network takes, inferred from its first constants: 0 to 1, or 0 to 255.

An ONNX file does not record the range, but the preprocessing inside a network shows it: a network that subtracts 127.5,
or multiplies by 1/255, was trained on bytes, and one that subtracts 0.5 on fractions. Without such preprocessing,
fractions are assumed, because most networks are trained on them.
"""

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.layers import BatchNorm, Dropout, Flatten, Layer, Normalization, Rescaling, Sequential
from tinycnn.layers.metadata import BYTES, FRACTIONS

SMALL_FACTOR = 255**-0.5  # the geometric mean of 1/255 and 1
LARGE_SPREAD = 2.0  # fractions have a standard deviation of at most 0.5; that of a new batch norm is 1


def likely_pixels(model: Sequential) -> tuple[str, str]:
    """The range of pixels that ``model`` seems to take, and the reason for a message."""
    first = first_layer(model)
    if isinstance(first, Rescaling):
        return by_rescaling(first.scale, first.offset)
    if isinstance(first, Normalization):
        return by_numbers(np.max(first.mean), np.max(first.std), "the network normalises them with")
    if isinstance(first, BatchNorm):
        return by_statistics(first)
    return FRACTIONS, "nothing in the network suggests bytes"


def first_layer(model: Sequential) -> Layer | None:
    """The first layer that computes with the pixels; None if there is none."""
    for layer in model.layers.values():
        inner = first_layer(layer) if isinstance(layer, Sequential) else layer
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
