"""Model files: architecture and weights in one safetensors file, without pickle and without code.

The weights are ordinary safetensors entries that every tool can read. The architecture is one sorted-JSON text under
the metadata key ``tinycnn``; loading looks each layer up in a closed list and checks every name, shape and dtype. The
same model always gives the same bytes.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError, SettingError, TinyCNNError
from tinycnn.layers import Layer, Sequential

FORMAT_VERSION = 1
MAX_HEADER = 1 << 20  # bytes of architecture text; the largest of ours has 3,000


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that at any moment, also after a crash, ``path`` holds the old content or the new."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Write ``model`` to ``path`` (``.safetensors``), atomically.

    Raises OSError when the place cannot be written, SettingError for a layer that ``load`` would not know.
    """
    from safetensors.numpy import save as to_bytes

    # safetensors writes the bytes as they lie in memory, so anything not C-contiguous would be silently scrambled.
    arrays = {name: np.ascontiguousarray(array) for name, array in model.state_dict().items()}
    for layer in model.layers.values():
        if type(layer).__name__ not in Layer.registry:
            kind = type(layer).__name__
            advice = "put @tinycnn.layers.register_layer above its class"
            raise SettingError(f"save: {kind} is not on the list that load knows; {advice}")
    header = json.dumps(architecture(model), sort_keys=True)
    write_atomically(path, to_bytes(arrays, metadata={"tinycnn": header}))


def load(path: str | os.PathLike[str]) -> Sequential:
    """The model that ``save`` wrote to ``path``, in evaluation mode.

    Raises FileFormatError, saying what is wrong, for a file that is damaged, foreign, or from a newer tinycnn.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = (file.metadata() or {}).get("tinycnn")
            if header is None:
                raise FileFormatError(f"{path}: a safetensors file, but not one of tinycnn (no architecture in it)")
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except FileNotFoundError:
        raise FileFormatError(f"{path}: no such file") from None
    except (SafetensorError, OSError, TypeError, KeyError, AttributeError) as error:  # the last: a dtype NumPy has not
        raise FileFormatError(
            f"{path}: not a readable safetensors file ({error}); it may be damaged, save it again"
        ) from None
    model = build(header, str(path))
    try:
        model.load_state_dict(state)
    except TinyCNNError as error:
        raise FileFormatError(f"{path}: weights and architecture do not fit: {error}") from None
    return model.eval()


def architecture(model: Sequential) -> dict[str, Any]:
    """The description of ``model`` from which ``build`` makes it again, without its weights."""
    layers = [{"kind": type(layer).__name__, "settings": layer.settings()} for layer in model.layers.values()]
    return {
        "format": FORMAT_VERSION,
        "input_shape": model.input_shape,
        "dtype": model.dtype.name,
        "layers": layers,
    }


def build(header: str, source: str) -> Sequential:
    """The network that the text ``header`` describes, with fresh weights; raises FileFormatError naming ``source``."""
    if len(header) > MAX_HEADER:
        raise FileFormatError(f"{source}: the architecture text has {len(header):,} characters, more than any of ours")
    try:
        description = json.loads(header)
        if description["format"] > FORMAT_VERSION:
            raise FileFormatError(
                f"{source}: written by a newer tinycnn (format {description['format']}); update tinycnn"
            )
        layers = [_make_layer(entry, source) for entry in description["layers"]]
        if description["dtype"] not in ("float32", "float64"):
            raise FileFormatError(f"{source}: dtype {description['dtype']!r}, expected float32 or float64")
        return Sequential(*layers, input_shape=tuple(description["input_shape"]), dtype=description["dtype"])
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError, MemoryError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{source}: the architecture in it is damaged: {error}") from None


def _make_layer(entry: dict[str, Any], source: str) -> Layer:
    if entry["kind"] not in Layer.registry:
        known = ", ".join(Layer.registry)
        raise FileFormatError(f"{source}: unknown layer {entry['kind']!r}; this tinycnn knows {known}")
    settings = {name: tuple(v) if isinstance(v, list) else v for name, v in entry["settings"].items()}
    return Layer.registry[entry["kind"]](**settings)
