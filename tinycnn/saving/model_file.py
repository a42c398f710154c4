"""Model files: architecture and weights in one safetensors file, without pickle and without code.

The weights are ordinary safetensors entries that every tool can read. The architecture is one sorted-JSON text under
the metadata key ``tinycnn``, with the names of the classes. The same model always gives the same bytes.

It holds what predictions need. How many masks dropout has drawn decides only the next training step, so it is in
checkpoints and not here: a model that is loaded begins to count anew.

A file may come from a stranger, so nothing in it is believed: at most ``MAX_FILE`` bytes are read, each layer is looked
up in a closed list, and the network is built around the arrays of the file. A layer states the shape that its settings
ask for, and where the file holds another one, that is an error before any memory is taken.
"""

import json
import os
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError, SettingError
from tinycnn.files import write_atomically
from tinycnn.layers import Layer, Sequential
from tinycnn.saving.safetensors_file import (
    DAMAGED,
    MAX_FILE,
    MAX_HEADER,
    header_length,
    read_arrays,
    shortened,
    strict_json,
)

FORMAT_VERSION = 1  # rises when an older tinycnn would read a file wrongly, not when it would miss a name
NESTED = "Sequential"  # the kind of a network that is a layer of another


def save(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Write ``model`` to ``path`` (``.safetensors``), atomically.

    Raises OSError when the place cannot be written, SettingError for a network that ``load`` would refuse.
    """
    from safetensors.numpy import save as to_bytes

    # safetensors writes the bytes as they lie in memory, so anything not C-contiguous would be silently scrambled.
    arrays = {name: np.ascontiguousarray(array) for name, array in model.state_dict().items()}
    content = to_bytes(arrays, metadata={"tinycnn": json.dumps(architecture(model), sort_keys=True)})
    if len(content) > MAX_FILE or header_length(content) > MAX_HEADER:
        raise SettingError(
            f"save: {len(content):,} bytes, {header_length(content):,} of them names and settings; a model file has "
            f"at most {MAX_FILE:,} and {MAX_HEADER:,}: use fewer or smaller layers"
        )
    write_atomically(path, content)


def load(path: str | os.PathLike[str]) -> Sequential:
    """The model that ``save`` wrote to ``path``, in evaluation mode.

    Raises FileFormatError, saying what is wrong, for a file that is damaged, foreign, or from a newer tinycnn.
    """
    arrays, text = read_arrays(path, "tinycnn")
    return build(text, str(path), arrays).eval()


def check_size(model: Sequential) -> None:
    """Raise SettingError for a network that is too large to be saved, better before it is trained than after."""
    size = sum(
        array.nbytes for array in [*(p.data for p in model.parameters()), *(b for _, b in model.named_buffers())]
    )
    if size > MAX_FILE - MAX_HEADER:
        raise SettingError(f"the network has {size:,} bytes; a model file has at most {MAX_FILE:,}: use smaller layers")


def architecture(model: Sequential) -> dict[str, Any]:
    """The description of ``model`` from which ``build`` makes it again, without its weights."""
    return {"format": FORMAT_VERSION, **_described(model), **model.meaning()}


def _described(network: Sequential) -> dict[str, Any]:
    layers = [_entry(layer) for layer in network.layers.values()]
    return {"input_shape": network.input_shape, "dtype": network.dtype.name, "layers": layers}


def _entry(layer: Layer) -> dict[str, Any]:
    """What the file says of a layer; raises SettingError for one that ``load`` would not know."""
    kind = type(layer).__name__
    if type(layer) is Sequential:
        return {"kind": NESTED, **_described(layer)}
    if kind not in Layer.registry:
        advice = "put @tinycnn.layers.register_layer above its class"
        raise SettingError(f"save: {kind} is not on the list that load knows; {advice}")
    return {"kind": kind, "settings": layer.settings()}


def build(text: str, source: str, arrays: dict[str, np.ndarray]) -> Sequential:
    """The network that the architecture ``text`` describes, with ``arrays`` as its parameters and buffers.

    Raises FileFormatError naming ``source``.
    """
    try:
        description = strict_json(text)
        _check_version(description["format"], source)
        model = _make_network(description, source, arrays)
        give_meaning(model, description)
        return model
    except FileFormatError:
        raise
    except DAMAGED as error:
        raise FileFormatError(f"{source}: the network in it is damaged: {shortened(error)}") from None


def give_meaning(model: Sequential, description: dict[str, Any]) -> None:
    """What ``Sequential.meaning`` told; a file may come without it. ValueError for what no network means."""
    if "class_names" in description:
        if not isinstance(description["class_names"], list):
            raise ValueError(f"class_names {shortened(description['class_names'])}, expected a list")
        model.class_names = description["class_names"]
    if "pictures" in description:
        model.pictures = description["pictures"]


def _check_version(version: Any, source: str) -> None:
    if type(version) is not int or version < 1:
        raise ValueError(f"format {shortened(version)}, expected a whole number above 0")
    if version > FORMAT_VERSION:
        raise FileFormatError(f"{source}: written by a newer tinycnn (format {shortened(version)}); update tinycnn")


def _make_network(description: dict[str, Any], source: str, arrays: dict[str, np.ndarray]) -> Sequential:
    """A network around its arrays; one inside it is made around those whose names begin with its own."""
    layers: list[Layer] = []
    nested = 0
    for entry in description["layers"]:
        if entry["kind"] == NESTED:
            nested += 1
            layers.append(_make_network(entry, source, _take_below(f"{NESTED.lower()}_{nested}.", arrays)))
        else:
            layers.append(_make_layer(entry, source))
    if description["dtype"] not in ("float32", "float64"):
        raise ValueError(f"dtype {shortened(description['dtype'])}, expected float32 or float64")
    return Sequential(*layers, input_shape=tuple(description["input_shape"]), dtype=description["dtype"], state=arrays)


def _take_below(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with ``prefix``, removed from ``arrays``, by the rest of their names."""
    return {name.removeprefix(prefix): arrays.pop(name) for name in list(arrays) if name.startswith(prefix)}


def _make_layer(entry: dict[str, Any], source: str) -> Layer:
    if entry["kind"] not in Layer.registry:
        known = ", ".join(Layer.registry)
        raise FileFormatError(f"{source}: unknown layer {shortened(entry['kind'])}; this tinycnn knows {known}")
    settings = {name: tuple(v) if isinstance(v, list) else v for name, v in entry["settings"].items()}
    return Layer.registry[entry["kind"]](**settings)


def load_finite(path: str | os.PathLike[str]) -> Sequential:
    """``tinycnn.load`` for a network that is to compute; FileFormatError when a weight is NaN or infinite."""
    model = load(path)
    check_finite(model, path)
    return model


def check_finite(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Raise FileFormatError when a weight of the network from the file ``path`` is NaN or infinite."""
    arrays = model.state_dict().items()
    wrong = next((name for name, array in arrays if not np.isfinite(array).all()), None)
    if wrong:
        raise FileFormatError(f"{path}: {wrong} is not finite (NaN or infinite): its training went wrong; train again")
