"""The head of a classifier: its last Dense layer, which is replaced so that the network can recognise other classes."""

import numpy as np

from tinycnn.errors import SettingError
from tinycnn.layers.base import Layer, Shape
from tinycnn.layers.dense import Dense
from tinycnn.layers.interface.by_name import LayersByName


def last_layer(layers: LayersByName) -> Layer:
    """The last layer; where that is a network, the last one in it."""
    layer = layers[-1]
    inner = getattr(layer, "layers", None)
    return last_layer(inner) if isinstance(inner, LayersByName) else layer


def head_name(layers: dict[str, Layer]) -> str:
    """The name of the last layer with parameters; raises SettingError unless it is a Dense layer."""
    last = next((name for name, layer in reversed(layers.items()) if layer.parameters()), "none")
    if not isinstance(layers.get(last), Dense):
        raise SettingError(f"the last layer with parameters is {last}, expected a Dense layer (the head)")
    return last


def replace_head(
    layers: dict[str, Layer], classes: int, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype
) -> Shape:
    """Replace the head with a new Dense layer of ``classes`` outputs; returns the new output shape.

    All other layers keep their parameters. Layers without parameters, also those inside other layers, are rebuilt, so
    dropout draws new masks. Raises SettingError when there is no head, or ``classes`` is not a positive integer.
    """
    name = head_name(layers)
    layers |= {name: type(layers[name])(**layers[name].settings() | {"units": classes})}
    shape = input_shape
    for layer in layers.values():
        if layer.parameters():
            for _, inner in layer.all_layers():
                if not inner.sublayers() and not inner.parameters():
                    inner.build(inner.input_shape, rng, dtype)
        else:
            layer.input_shape, layer.output_shape = shape, layer.build(shape, rng, dtype)
        shape = layer.output_shape
    return shape
