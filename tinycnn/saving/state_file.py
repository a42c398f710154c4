"""The state of a run as one safetensors file: a nest of dictionaries and lists that holds numbers, texts and arrays.

Each array becomes an ordinary entry, named by its path in the nest; the nest around them is one JSON text, in the entry
``nest``. The entry ``sha256`` covers both, so that a damaged file is noticed: safetensors checks lengths, not content.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tinycnn.data.stored import Images, StoredImages
from tinycnn.errors import FileFormatError
from tinycnn.saving.safetensors_file import CHECKPOINT, DAMAGED, read_arrays

FORMAT_VERSION = "1"
MAX_STATE_FILE = 1 << 33  # bytes: four times a model file, for an optimizer that keeps two slots of every weight
ARRAY = "array of the file"  # {ARRAY: name} stands for an array in the JSON text


def read_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What ``Checkpoints.write`` put into ``path``; raises FileFormatError unless every bit is as it was."""
    arrays, version = read_arrays(path, CHECKPOINT, MAX_STATE_FILE)
    if version != FORMAT_VERSION:
        raise FileFormatError(f"{path}: a checkpoint of another tinycnn (format {version[:40]!r})")
    if not np.array_equal(arrays.pop("sha256", np.empty(0)), _digest(arrays)):
        raise FileFormatError(f"{path}: damaged (its content does not have the SHA-256 it was written with)")
    try:
        return _nest(arrays)
    except DAMAGED as error:
        raise FileFormatError(f"{path}: not a checkpoint of a run ({str(error)[:200]})") from None


def _nest(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The nest that ``to_bytes`` was given, from the entries it made of it."""
    nest: dict[str, Any] = _unpacked(json.loads(arrays.pop("nest").tobytes()), arrays)
    return nest


def of_bytes(content: bytes) -> dict[str, Any]:
    """The state that ``to_bytes`` was given, by somebody to be trusted."""
    from safetensors.numpy import load

    return _nest(load(content))


def to_bytes(state: dict[str, Any]) -> bytes:
    """``state`` as the content of a checkpoint."""
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(_packed(state, "", arrays), sort_keys=True)
    arrays["nest"] = np.frombuffer(text.encode(), np.uint8)
    return save(arrays | {"sha256": _digest(arrays)}, metadata={CHECKPOINT: FORMAT_VERSION})


def _packed(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """``value`` with a note in the place of every array; the arrays go to ``arrays``, contiguous, by name."""
    match value:
        case np.ndarray():
            arrays[name] = np.asarray(value, order="C")
            return {ARRAY: name}
        case dict():
            return {key: _packed(item, f"{name}/{key}", arrays) for key, item in value.items()}
        case list():
            return [_packed(item, f"{name}/{i}", arrays) for i, item in enumerate(value)]
    return value


def _unpacked(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    match value:
        case dict() if value.keys() == {ARRAY}:
            return arrays[value[ARRAY]]
        case dict():
            return {key: _unpacked(item, arrays) for key, item in value.items()}
        case list():
            return [_unpacked(item, arrays) for item in value]
    return value


def _digest(arrays: Mapping[str, Images]) -> np.ndarray:
    """SHA-256 of every array with its name, dtype and shape: ``(32,)`` uint8."""
    sha256 = hashlib.sha256()
    for name in sorted(arrays):
        sha256.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        for piece in _pieces(arrays[name]):
            sha256.update(piece.tobytes())
    return np.frombuffer(sha256.digest(), np.uint8)


def _pieces(array: Images) -> Iterable[np.ndarray]:
    """The content of an array in pieces that fit into memory: one, where it is in memory."""
    return array.pieces() if isinstance(array, StoredImages) else [array]


def arrays_in(value: Any) -> Iterator[np.ndarray]:
    """Every array somewhere in a nest of dictionaries and lists."""
    arrays: dict[str, np.ndarray] = {}
    _packed(value, "", arrays)
    yield from arrays.values()


def fingerprint(*arrays: Images) -> str:
    """16 hexadecimal digits that tell data sets apart: the beginning of a SHA-256 of dtypes, shapes and content."""
    return _digest({str(i): array for i, array in enumerate(arrays)}).tobytes().hex()[:16]
