"""The head of a classifier: its last Dense layer, which a network for other classes replaces."""

from collections.abc import Mapping

import numpy as np

from tinycnn.errors import SettingError
from tinycnn.layers.base import Layer, Shape
from tinycnn.layers.dense import Dense


def head_name(layers: Mapping[str, Layer]) -> str:
    """The name of the last layer with parameters; raises SettingError unless it is a Dense layer."""
    last = next((name for name in reversed(list(layers)) if layers[name].parameters()), "nothing")
    if not isinstance(layers.get(last), Dense):
        raise SettingError(f"a head is a Dense layer, but the last layer with parameters of this network is {last}")
    return last


def replace_head(
    layers: dict[str, Layer], classes: int, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype
) -> Shape:
    """Put a fresh Dense layer with ``classes`` outputs in the place of the head; returns the new output shape.

    Layers with parameters keep them; the others are built again, so dropout draws new masks. Raises SettingError when
    there is no head, or ``classes`` is not a whole number above 0.
    """
    name = head_name(layers)
    layers[name] = type(layers[name])(**layers[name].settings() | {"units": classes})
    shape = input_shape
    for layer in layers.values():
        shape = layer.output_shape if layer.parameters() else layer.build(shape, rng, dtype)
        layer.output_shape = shape
    return shape
