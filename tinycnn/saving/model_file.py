"""Model files: architecture and weights in one safetensors file, without pickle and without code.

The weights are ordinary safetensors entries that every tool can read. The architecture is one sorted JSON text under
the metadata key ``tinycnn``; it includes the class names. The same model always gives the same bytes.

A model file holds what predictions need. The step counters of dropout affect only further training, so they are stored
in checkpoints instead; in a loaded model they start at 0.

Files are untrusted input. At most ``MAX_FILE`` bytes are read, each layer is looked up in a closed list, and the
network is built around the arrays of the file. Each layer computes the shapes of its arrays from its settings, and a
file whose arrays have other shapes is refused before any memory is allocated.
"""

import difflib
import json
import logging
import os
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError, SettingError, printable, shortened
from tinycnn.files import write_atomically
from tinycnn.layers import Layer, Sequential
from tinycnn.saving import endings
from tinycnn.saving.endings import check_path
from tinycnn.saving.safetensors_file import (
    DAMAGED,
    MAX_FILE,
    MAX_HEADER,
    arrays_of,
    check_readable,
    read_arrays,
    strict_json,
)

LOGGER = logging.getLogger("tinycnn.saving")
FORMAT_VERSION = 1  # incremented when an older tinycnn would misread a file, not when it would only ignore a new key
NESTED = "Sequential"  # the ``kind`` of a network that is a layer of another


NAMED = "name it model.safetensors"
OTHER_FORMATS = {
    **dict.fromkeys((".h5", ".hdf5", ".keras"), f"{NAMED}, or see tinycnn.convert.to_keras_weights(model)"),
    ".onnx": "use tinycnn.export_onnx(model, path)",
    **dict.fromkeys((".pt", ".pth", ".bin"), f"{NAMED}, or see tinycnn.convert.to_torch_state_dict(model)"),
}


class UnknownLayerError(FileFormatError):
    """A model file with a layer that is not registered in this program."""


def save(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Write ``model`` to ``path`` (``.safetensors``), atomically.

    Raises OSError when ``path`` cannot be written, SettingError for a network that ``load`` would refuse, and for a
    path with the ending of another format.
    """
    if not isinstance(model, Sequential):
        raise SettingError(f"save: `model` is {shortened(model)}: expected a network, such as Sequential(...)")
    check_ending(path)
    write_atomically(path, to_bytes(model))
    if name := first_not_finite(model):
        LOGGER.warning("note: %s, which was saved, has NaN or infinity in it: commands will refuse the file", name)


def check_ending(path: Any) -> None:
    """Raise SettingError for what is no path, and for a path with the ending of another format."""
    check_path(path)
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending in OTHER_FORMATS:
        instead = OTHER_FORMATS[ending]
        raise SettingError(f"`path` is {shortened(path)}: save writes safetensors files; {instead}")
    endings.check_ending(path, endings.SAFETENSORS)


def to_bytes(model: Sequential) -> bytes:
    """The content of the file that ``save`` writes; raises SettingError for a network that ``load`` would refuse."""
    from safetensors.numpy import save as as_safetensors

    # safetensors writes the bytes in memory order, so an array that is not C-contiguous would be silently scrambled.
    arrays = {name: np.ascontiguousarray(array) for name, array in model.state_dict().items()}
    content = as_safetensors(arrays, metadata={"tinycnn": json.dumps(architecture(model), sort_keys=True)})
    check_readable(content, MAX_FILE, "save: the file")
    return content


def of_bytes(content: bytes, source: str) -> Sequential:
    """``load`` for the content of a file; errors name ``source``."""
    arrays, text = arrays_of(content, "tinycnn", source)
    return build(text, source, arrays).eval()


def load(path: str | os.PathLike[str]) -> Sequential:
    """Load the model that ``save`` wrote to ``path``, in evaluation mode.

    Raises FileFormatError with the reason for a file that is damaged, foreign, or from a newer tinycnn.
    """
    check_path(path)
    arrays, text = read_arrays(path, "tinycnn")
    return build(text, printable(os.fspath(path)), arrays).eval()


def check_size(model: Sequential) -> None:
    """Raise SettingError for a network that ``save`` would refuse: too many bytes, or too many or too long names.

    Called before training, not after it.
    """
    check_bytes(
        sum(array.nbytes for array in [*(p.data for p in model.parameters()), *(b for _, b in model.named_buffers())])
    )
    to_bytes(model)


def check_bytes(size: int) -> None:
    """Raise SettingError when a network of ``size`` bytes is too large to be saved."""
    if size > MAX_FILE - MAX_HEADER:
        raise SettingError(
            f"the network has {size:,} bytes; the limit of a model file is {MAX_FILE:,}: use smaller layers"
        )


def architecture(model: Sequential) -> dict[str, Any]:
    """The description of ``model``, without its weights, from which ``build`` constructs it."""
    return {"format": FORMAT_VERSION, **_describe_network(model), **model.metadata()}


def _describe_network(network: Sequential) -> dict[str, Any]:
    return {"input_shape": network.input_shape, "dtype": network.dtype.name, "layers": _describe_layers(network)}


def _describe_layers(network: Sequential) -> list[dict[str, Any]]:
    return [_describe_layer(layer) for layer in network.layers.values()]


def _describe_layer(layer: Layer) -> dict[str, Any]:
    """Kind and settings of a layer; raises SettingError for an unregistered class, which ``load`` could not build."""
    kind = type(layer).__name__
    if type(layer) is Sequential:
        return {"kind": NESTED, **({"layers": _describe_layers(layer)} if layer.is_part else _describe_network(layer))}
    if kind not in Layer.registry:
        advice = "put @tinycnn.layers.register_layer above its class"
        raise SettingError(f"save: {kind} is not a registered layer, so load could not build it; {advice}")
    return {"kind": kind, "settings": {name: _describe_setting(value) for name, value in layer.settings().items()}}


def _describe_setting(value: Any) -> Any:
    """A setting as JSON: a layer, or a tuple of layers, becomes its description."""
    match value:
        case Sequential() if type(value) is Sequential:
            return {"kind": NESTED, "layers": _describe_layers(value)}  # built by the layer that it is a setting of
        case Layer():
            return _describe_layer(value)
        case tuple() | list():
            return [_describe_setting(one) for one in value]
    return value


def build(text: str, source: str, arrays: dict[str, np.ndarray]) -> Sequential:
    """The network that the architecture ``text`` describes, with ``arrays`` as its parameters and buffers.

    Raises FileFormatError, which names ``source``.
    """
    try:
        description = strict_json(text)
        _check_version(description["format"], source)
        model = _make_network(description, source, arrays)
        set_metadata(model, description)
        return model
    except FileFormatError:
        raise
    except DAMAGED as error:
        raise FileFormatError(f"{source}: the network in it is damaged: {shortened(error)}") from None


def set_metadata(model: Sequential, description: dict[str, Any]) -> None:
    """Set the metadata of ``model`` that ``description`` has; invalid values raise an error."""
    if "class_names" in description:
        if not isinstance(description["class_names"], list):
            raise ValueError(f"class_names {shortened(description['class_names'])}, expected a list")
        model.class_names = description["class_names"]
    if "outputs" in description:
        model.outputs = description["outputs"]
    if "pictures" in description:
        model.pictures = description["pictures"]
    if "pixels" in description:
        model.pixels = description["pixels"]


def _check_version(version: Any, source: str) -> None:
    if type(version) is not int or version < 1:
        raise ValueError(f"format {shortened(version)}, expected a positive integer")
    if version > FORMAT_VERSION:
        raise FileFormatError(f"{source}: written by a newer tinycnn (format {shortened(version)}); update tinycnn")


def _make_network(description: dict[str, Any], source: str, arrays: dict[str, np.ndarray]) -> Sequential:
    """A network around its arrays; a nested network takes the arrays whose names start with its own name."""
    layers: list[Layer] = []
    nested = 0
    for entry in description["layers"]:
        nested += entry["kind"] == NESTED
        if entry["kind"] == NESTED and "input_shape" in entry:
            layers.append(_make_network(entry, source, _take_below(f"{NESTED.lower()}_{nested}.", arrays)))
        else:
            layers.append(_make_layer(entry, source))
    if description["dtype"] not in ("float32", "float64"):
        raise ValueError(f"dtype {shortened(description['dtype'])}, expected float32 or float64")
    return Sequential(*layers, input_shape=tuple(description["input_shape"]), dtype=description["dtype"], state=arrays)


def _take_below(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Remove the arrays whose names start with ``prefix`` from ``arrays``, and return them without the prefix."""
    return {name.removeprefix(prefix): arrays.pop(name) for name in list(arrays) if name.startswith(prefix)}


def _make_layer(entry: dict[str, Any], source: str) -> Layer:
    if entry["kind"] == NESTED:
        return Sequential(*(_make_layer(inner, source) for inner in entry["layers"]))
    if entry["kind"] not in Layer.registry:
        similar = " or ".join(difflib.get_close_matches(str(entry["kind"])[:40], Layer.registry))
        unknown = f"unknown layer {shortened(entry['kind'])}" + (f" (similar: {similar})" if similar else "")
        raise UnknownLayerError(
            f"{source}: {unknown}; if it is a layer of your own, import the module that defines it, with "
            "@tinycnn.layers.register_layer above the class, before the file is loaded"
        )
    settings = {name: _make_setting(value, source) for name, value in entry["settings"].items()}
    return Layer.registry[entry["kind"]].from_settings(settings)


def _make_setting(value: Any, source: str) -> Any:
    """A setting from JSON: a description of a layer becomes a layer, a list a tuple."""
    if isinstance(value, dict) and "kind" in value:
        return _make_layer(value, source)
    return tuple(_make_setting(one, source) for one in value) if isinstance(value, list) else value


def load_finite(path: str | os.PathLike[str]) -> Sequential:
    """``load`` for a network that will be evaluated; also raises FileFormatError when a weight is NaN or infinite."""
    model = load(path)
    check_finite(model, path)
    return model


def first_not_finite(model: Sequential) -> str | None:
    """The name of the first array of ``model`` with NaN or infinity in it; None if there is none."""
    arrays = model.state_dict().items()
    return next((name for name, array in arrays if not np.isfinite(array).all()), None)


def check_finite(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Raise FileFormatError when a weight of ``model``, which was loaded from ``path``, is NaN or infinite."""
    if wrong := first_not_finite(model):
        name = printable(os.fspath(path))
        raise FileFormatError(f"{name}: {wrong} is not finite (NaN or infinite): its training went wrong; train again")
