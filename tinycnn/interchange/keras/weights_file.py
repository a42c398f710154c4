"""The arrays of a ``.weights.h5`` file for a network with the same layers.

Such a file does not describe the network. It lists the layers of each class in their order, as ``layers/conv2d``,
``layers/conv2d_1``, …, but not the order of the classes. So the first ``Conv2d`` takes the arrays of ``conv2d``, the
second those of ``conv2d_1``, and so on for every class.
"""

import os
import re
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError, shortened
from tinycnn.interchange.keras.file import BEFORE_2_16, SavedNetwork, Tree, Variable, opened, variables_in
from tinycnn.interchange.keras.importer import config_of, entries, group_names, kind_of, name_of, snake_case
from tinycnn.interchange.planned import MAX_LAYERS
from tinycnn.layers import (
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Dense,
    GroupNorm,
    Layer,
    LayerNorm,
    Sequential,
)

CLASSES: dict[type[Layer], str] = {
    Conv2d: "conv2d",
    ConvTranspose2d: "conv2d_transpose",
    Dense: "dense",
    BatchNorm: "batch_normalization",
    LayerNorm: "layer_normalization",
    GroupNorm: "group_normalization",
}
Found = dict[str, list[list[Variable]]]  # by class, in the order of the layers


def weights_for(model: Sequential, path: str | os.PathLike[str]) -> list[np.ndarray]:
    """The arrays in the file ``path``, in the order of the layers of ``model``.

    Raises FileFormatError where the layers are not the same, and for a damaged file.
    """
    with opened(path) as saved:
        found = of_network(saved) if isinstance(saved, SavedNetwork) else of_tree(saved)
        left = {kind: iter(layers) for kind, layers in found.items()}
        arrays = []
        for name, layer in model.all_layers():
            count = len(layer.parameters_by_name) + len(layer.buffers_by_name)
            if not count:
                continue
            variables = next(left.get(class_of(layer), iter(())), None)
            if variables is None or len(variables) != count:
                arrays_of_it = f"{len(variables or ())} array" + "s" * (len(variables or ()) != 1)
                number = "no more layers" if variables is None else f"a layer with {arrays_of_it}"
                raise FileFormatError(
                    f"has {number} of the class {class_of(layer)}, for {name} ({type(layer).__name__}) with {count} "
                    "arrays; is it the same network? A .keras file contains the network, too"
                )
            arrays += [variable.read() for variable in variables]
        if rest := [kind for kind, layers in left.items() if next(layers, None) is not None]:
            raise FileFormatError(f"has arrays of {shortened(rest)} for which the network has no layer")
    return arrays


def class_of(layer: Layer) -> str:
    """The class of Keras whose arrays a layer takes."""
    if isinstance(layer, Conv2d) and layer.groups > 1 and layer.parameters_by_name["weight"].shape[2] == 1:
        return "depthwise_conv2d"
    return next((name for kind, name in CLASSES.items() if isinstance(layer, kind)), type(layer).__name__)


def of_network(saved: SavedNetwork) -> Found:
    """The arrays in a file that contains the network, too."""
    found: Found = {}
    layers = entries(config_of(saved.config))
    for entry, place in zip(layers, group_names(layers, ()), strict=True):
        if variables := saved.variables.of(place, name_of(entry)):
            found.setdefault(snake_case(kind_of(entry)), []).append(variables)
    return found


def of_tree(tree: Tree) -> Found:
    """The arrays in a ``.weights.h5`` file."""
    layers = tree.child(tree.root, "layers") or tree.child(tree.root, BEFORE_2_16)
    if layers is None or len(layers) > MAX_LAYERS:
        raise FileFormatError(
            "has no group of layers, as Keras 3 writes it; pass keras_model.get_weights() to "
            "tinycnn.load_keras_weights(model, weights)"
        )
    numbered: list[tuple[str, int, Any]] = []
    for name in layers:
        kind, _, number = name.rpartition("_")
        numbered.append((kind, int(number), name) if re.fullmatch("[0-9]{1,6}", number) and kind else (name, 0, name))
    found: Found = {}
    for kind, _, name in sorted(numbered):
        group = tree.child(layers, name)
        if tree.child(group, "layers") is not None:
            raise FileFormatError(f"{shortened(name)} is a network within the network; convert its .keras file instead")
        if variables := variables_in(tree, tree.child(group, "vars")):
            found.setdefault(kind, []).append(variables)
    return found
