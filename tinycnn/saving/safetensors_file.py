"""Safetensors files read with bounds: the reader of model files and of checkpoints.

Nothing that a file declares is believed before it has been compared with the size of the file: at most ``MAX_FILE``
bytes are read, and a header of at most ``MAX_HEADER`` is parsed.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError

CHECKPOINT = "tinycnn_checkpoint"  # the metadata key of a checkpoint, which is no model file
MAX_HEADER = 1 << 20  # bytes of names and architecture, which bounds layers and nesting too; the largest of ours: 3,000
MAX_FILE = 1 << 31  # bytes: 700 times the largest of ours
LENGTH_BYTES = 8  # a safetensors file begins with the length of its header
DAMAGED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


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
            size, declared = os.fstat(file.fileno()).st_size, header_length(file.read(LENGTH_BYTES))
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


def header_length(content: bytes) -> int:
    """The length in bytes that a safetensors file declares for its header."""
    return int.from_bytes(content[:LENGTH_BYTES], "little")


def _text_under(key: str, content: bytes, source: str) -> str:
    header = content[LENGTH_BYTES : LENGTH_BYTES + header_length(content)]
    try:
        metadata = dict(strict_json(header).get("__metadata__", {}))
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


def strict_json(text: str | bytes) -> Any:
    """Parsed JSON; ValueError if a key appears twice (which of the two counts differs from parser to parser)."""
    return json.loads(text, object_pairs_hook=_without_duplicates)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name appears twice")
    return dict(pairs)
