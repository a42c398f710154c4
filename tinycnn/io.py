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
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError, SettingError
from tinycnn.files import write_atomically
from tinycnn.layers import Layer, Sequential

FORMAT_VERSION = 1  # rises when an older tinycnn would read a file wrongly, not when it would miss a name
CHECKPOINT = "tinycnn_checkpoint"  # the metadata key of a checkpoint, which is no model file
NESTED = "Sequential"  # the kind of a network that is a layer of another
MAX_HEADER = 1 << 20  # bytes of names and architecture, which bounds layers and nesting too; the largest of ours: 3,000
MAX_FILE = 1 << 31  # bytes: 700 times the largest of ours
LENGTH_BYTES = 8  # a safetensors file begins with the length of its header
DAMAGED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


def save(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Write ``model`` to ``path`` (``.safetensors``), atomically.

    Raises OSError when the place cannot be written, SettingError for a network that ``load`` would refuse.
    """
    from safetensors.numpy import save as to_bytes

    # safetensors writes the bytes as they lie in memory, so anything not C-contiguous would be silently scrambled.
    arrays = {name: np.ascontiguousarray(array) for name, array in model.state_dict().items()}
    content = to_bytes(arrays, metadata={"tinycnn": json.dumps(architecture(model), sort_keys=True)})
    if len(content) > MAX_FILE or _header_length(content) > MAX_HEADER:
        raise SettingError(
            f"save: {len(content):,} bytes, {_header_length(content):,} of them names and settings; a model file has "
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


def read_arrays(path: str | os.PathLike[str], key: str, most: int | None = None) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of a safetensors file by name, and the text under the metadata ``key`` that all of ours have.

    Raises FileFormatError, having read at most ``most`` bytes (``MAX_FILE``, if None).
    """
    source, content = str(path), _read(path, MAX_FILE if most is None else most)
    return _arrays(content, source), _text_under(key, content, source)


def _read(path: str | os.PathLike[str], most: int) -> bytes:
    """The whole file, once its size and the declared length of its header are known to be reasonable."""
    if os.path.isdir(path):
        raise FileFormatError(f"{path}: is a folder; give the file in it: {Path(path) / 'model.safetensors'}")
    if not os.path.isfile(path):  # or a pipe that would wait for ever
        raise FileFormatError(f"{path}: no such file")
    try:
        with open(path, "rb") as file:
            size, declared = os.fstat(file.fileno()).st_size, _header_length(file.read(LENGTH_BYTES))
            if declared > max(MAX_HEADER, size):
                raise FileFormatError(
                    f"{path}: not a tinycnn model file (not a readable safetensors file at all): its first "
                    f"{LENGTH_BYTES} bytes are not the length of a header; give a model.safetensors that training wrote"
                )
            if size > most or declared > min(MAX_HEADER, size):
                raise FileFormatError(
                    f"{path}: not a readable safetensors file: it has {size:,} bytes and declares a header of "
                    f"{declared:,} (at most {most:,} and {MAX_HEADER:,}); it may be damaged, save it again"
                )
            file.seek(0)
            return file.read(size)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error}") from None


def _header_length(content: bytes) -> int:
    return int.from_bytes(content[:LENGTH_BYTES], "little")


def _text_under(key: str, content: bytes, source: str) -> str:
    header = content[LENGTH_BYTES : LENGTH_BYTES + _header_length(content)]
    try:
        metadata = dict(_strict_json(header).get("__metadata__", {}))
        text = metadata.get(key)
    except DAMAGED as error:
        raise _unreadable(source, error) from None
    if not isinstance(text, str):
        if CHECKPOINT in metadata:
            raise FileFormatError(f"{source}: a checkpoint, to resume a run from; give a model.safetensors")
        raise FileFormatError(f"{source}: a safetensors file, but not one of tinycnn (no {key!r} in it)")
    return text


def _arrays(content: bytes, source: str) -> dict[str, np.ndarray]:
    """The weights by name; safetensors makes sure that all they declare lies in ``content``."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        return from_bytes(content)
    except (SafetensorError, *DAMAGED) as error:
        raise _unreadable(source, error) from None


def _unreadable(source: str, error: Exception) -> FileFormatError:
    return FileFormatError(
        f"{source}: not a readable safetensors file ({shortened(error)}); it may be damaged, save it again"
    )


def shortened(value: object) -> str:
    """A value or error from a file in at most a line: a hostile file could make it a million characters long."""
    text = str(value) if isinstance(value, Exception) else repr(value)
    return text if len(text) <= 200 else f"{text[:200]} …"


def _strict_json(text: str | bytes) -> Any:
    """Parsed JSON; ValueError if a key appears twice (which of the two counts differs from parser to parser)."""
    return json.loads(text, object_pairs_hook=_without_duplicates)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name appears twice")
    return dict(pairs)


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
        description = _strict_json(text)
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
