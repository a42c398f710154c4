"""The state of a run as one safetensors file: nested dictionaries and lists of numbers, texts and arrays.

Each array becomes an ordinary entry, named by its path in the nested state. The structure around the arrays is one JSON
text in the entry ``nest``. The entry ``sha256`` covers both, because safetensors checks lengths but not content.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tinycnn.data.stored import Images, StoredImages
from tinycnn.errors import FileFormatError, printable, shortened
from tinycnn.saving.safetensors_file import CHECKPOINT, DAMAGED, CannotReadError, read_arrays

FORMAT_VERSION = "1"
MAX_STATE_FILE = 1 << 33  # bytes: four model files, for the weights, two slots of an optimizer and the best network
ARRAY = "array of the file"  # {ARRAY: name} represents an array in the JSON text


class OtherVersionError(FileFormatError):
    """A checkpoint in the format of another version of tinycnn."""


def read_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The state that ``Checkpoints.write`` wrote to ``path``; raises FileFormatError when any bit has changed.

    Raises CannotReadError and OtherVersionError for a file that may be intact.
    """
    arrays, version = read_arrays(path, CHECKPOINT, MAX_STATE_FILE)
    source = printable(os.fspath(path))
    if version != FORMAT_VERSION:
        raise OtherVersionError(f"{source}: a checkpoint of another tinycnn version (format {shortened(version, 40)})")
    try:
        if not np.array_equal(arrays.pop("sha256", np.empty(0)), _digest(arrays)):
            raise FileFormatError(f"{source}: damaged (its content does not match its SHA-256)")
        return _decode(arrays)
    except FileFormatError:
        raise
    except MemoryError:
        raise CannotReadError(f"{source}: cannot be read: there is too little memory for it") from None
    except DAMAGED as error:
        raise FileFormatError(f"{source}: not a checkpoint of a run ({shortened(error)})") from None


def _decode(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The nested state, from the entries of its file."""
    state: dict[str, Any] = _with_arrays(json.loads(arrays.pop("nest").tobytes()), arrays)
    return state


def of_bytes(content: bytes) -> dict[str, Any]:
    """The state from the result of ``to_bytes``; does not check ``content``, which must come from this run."""
    from safetensors.numpy import load

    return _decode(load(content))


def to_bytes(state: dict[str, Any]) -> bytes:
    """``state`` as the content of a checkpoint file."""
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(_without_arrays(state, "", arrays), sort_keys=True)
    arrays["nest"] = np.frombuffer(text.encode(), np.uint8)
    return save(arrays | {"sha256": _digest(arrays)}, metadata={CHECKPOINT: FORMAT_VERSION})


def _without_arrays(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """``value`` with every array replaced by its name; the arrays are added to ``arrays``, C-contiguous."""
    match value:
        case np.ndarray():
            arrays[name] = np.asarray(value, order="C")
            return {ARRAY: name}
        case dict():
            return {key: _without_arrays(item, f"{name}/{key}", arrays) for key, item in value.items()}
        case list():
            return [_without_arrays(item, f"{name}/{i}", arrays) for i, item in enumerate(value)]
    return value


def _with_arrays(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """``value`` with every name replaced by its array: the inverse of ``_without_arrays``."""
    match value:
        case dict() if value.keys() == {ARRAY}:
            return arrays[value[ARRAY]]
        case dict():
            return {key: _with_arrays(item, arrays) for key, item in value.items()}
        case list():
            return [_with_arrays(item, arrays) for item in value]
    return value


def _digest(arrays: Mapping[str, Images]) -> np.ndarray:
    """SHA-256 of every array with its name, dtype and shape: ``(32,)`` uint8."""
    sha256 = hashlib.sha256()
    for name in sorted(arrays):
        sha256.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        for piece in _pieces(arrays[name]):
            sha256.update(piece.tobytes())
    return np.frombuffer(sha256.digest(), np.uint8)  # (32,)


def _pieces(array: Images) -> Iterable[np.ndarray]:
    """The content of an array in pieces that fit into memory; an array in memory is one piece."""
    return array.pieces() if isinstance(array, StoredImages) else [array]


def arrays_in(value: Any) -> Iterator[np.ndarray]:
    """Every array in nested dictionaries and lists."""
    arrays: dict[str, np.ndarray] = {}
    _without_arrays(value, "", arrays)
    yield from arrays.values()


def fingerprint(*arrays: Images) -> str:
    """16 hexadecimal digits that identify a data set: the start of a SHA-256 of dtypes, shapes and content."""
    return _digest({str(i): array for i, array in enumerate(arrays)}).tobytes().hex()[:16]
