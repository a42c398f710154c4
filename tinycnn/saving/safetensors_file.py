"""Bounded reading of safetensors files, used for model files and checkpoints.

Every declared size is compared with the size of the file before it is used. At most ``MAX_FILE`` bytes are read, and
only a header of at most ``MAX_HEADER`` bytes is parsed.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError, SettingError, printable, shortened
from tinycnn.files import open_regular
from tinycnn.saving.foreign_files import SAFETENSORS, described

CHECKPOINT = "tinycnn_checkpoint"  # the metadata key that marks a checkpoint
MAX_HEADER = 1 << 20  # bytes of names and architecture; also bounds layers and nesting; our networks need up to 3,000
MAX_FILE = 1 << 31  # bytes: 700 times our largest model file
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}
LENGTH_BYTES = 8  # a safetensors file begins with the length of its header
DAMAGED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


class CannotReadError(FileFormatError):
    """A file that may be intact but cannot be read now: no permission, a disk error, too little memory."""


def read_arrays(path: str | os.PathLike[str], key: str, most: int | None = None) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of a safetensors file by name, and the text under its metadata ``key``.

    Raises FileFormatError for a damaged file, one without ``key``, or one above ``most`` bytes (None: ``MAX_FILE``);
    CannotReadError where nothing is known about the content.
    """
    source = printable(os.fspath(path))
    with _enough_memory(source):
        return arrays_of(_read(path, MAX_FILE if most is None else most), key, source)


def arrays_of(content: bytes, key: str, source: str) -> tuple[dict[str, np.ndarray], str]:
    """``read_arrays`` for the content of a file; errors name ``source``."""
    return _arrays(content, source), _text_under(key, content, source)


def arrays_in(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file of any program, by name, bfloat16 as float32; errors as of ``read_arrays``."""
    from safetensors import SafetensorError, deserialize

    source = printable(os.fspath(path))
    with _enough_memory(source):
        content = _read(path, MAX_FILE)
        try:
            if "BF16" not in (kinds := {one["dtype"] for _, one in deserialize(content)}):
                return _arrays(content, source)
            if kinds - DTYPES.keys():
                raise FileFormatError(
                    f"{source}: has arrays of {', '.join(sorted(kinds))}: expected {', '.join(DTYPES)}"
                )
            return {name: _array(one) for name, one in deserialize(content)}
        except (SafetensorError, *DAMAGED) as error:
            raise error if isinstance(error, FileFormatError) else _unreadable(source, error) from None


def _array(stored: dict[str, Any]) -> np.ndarray:
    """An array of a file; NumPy has no bfloat16, whose bits are the upper half of a float32."""
    array = np.frombuffer(stored["data"], DTYPES[stored["dtype"]])
    if stored["dtype"] == "BF16":
        array = (array.astype("<u4") << 16).view("<f4")
    return array.reshape(stored["shape"])


@contextmanager
def _enough_memory(source: str) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise CannotReadError(f"{source}: cannot be read: there is too little memory for it") from None


def _read(path: str | os.PathLike[str], most: int) -> bytes:
    """The content of the file, read after its size and the declared length of its header have been checked."""
    name = printable(os.fspath(path))
    if not name:
        raise FileFormatError("expected the name of a file, got an empty string")
    try:
        with open_regular(path) as file:
            size, first = os.fstat(file.fileno()).st_size, file.read(LENGTH_BYTES)
            declared = header_length(first)
            if declared > max(MAX_HEADER, size):
                if foreign := described(os.fspath(path), first):
                    raise FileFormatError(f"{name}: {foreign}")
                raise FileFormatError(
                    f"{name}: not a tinycnn model file (not a readable safetensors file): its first "
                    f"{LENGTH_BYTES} bytes are not the length of a header; give a model.safetensors that training wrote"
                )
            if size > most or declared > min(MAX_HEADER, size):
                raise FileFormatError(
                    f"{name}: not a readable safetensors file: it has {size:,} bytes and declares a header of "
                    f"{declared:,} (at most {most:,} and {MAX_HEADER:,}); it may be damaged, save it again"
                )
            file.seek(0)
            return file.read(size)
    except IsADirectoryError:
        inside = printable(os.fspath(Path(path) / "model.safetensors"))
        raise FileFormatError(f"{name}: is a folder; give the file in it: {inside}") from None
    except (FileNotFoundError, NotADirectoryError):
        raise FileFormatError(f"{name}: no such file") from None
    except OSError as error:
        raise CannotReadError(f"{name}: cannot be read: {error.strerror or error}") from None


def header_length(content: bytes) -> int:
    """The length in bytes that a safetensors file declares for its header."""
    return int.from_bytes(content[:LENGTH_BYTES], "little")


def check_readable(content: bytes, most: int, what: str) -> None:
    """Raise SettingError when ``read_arrays`` would refuse ``content``, called ``what``, for its size."""
    if len(content) > most or header_length(content) > MAX_HEADER:
        raise SettingError(
            f"{what} would have {len(content):,} bytes, {header_length(content):,} of them names and settings; "
            f"the limits are {most:,} and {MAX_HEADER:,}: use fewer or smaller layers, or shorter class names"
        )


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
        raise FileFormatError(f"{source}: not written by tinycnn, but {SAFETENSORS}")
    return text


def _arrays(content: bytes, source: str) -> dict[str, np.ndarray]:
    """The arrays by name; safetensors checks that each lies within ``content``."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        return from_bytes(content)
    except MemoryError:  # says nothing about the file
        raise
    except (SafetensorError, *DAMAGED) as error:
        raise _unreadable(source, error) from None


def _unreadable(source: str, error: Exception) -> FileFormatError:
    return FileFormatError(
        f"{source}: not a readable safetensors file ({shortened(error)}); it may be damaged, save it again"
    )


def strict_json(text: str | bytes) -> Any:
    """Parse JSON; raises ValueError for a duplicate key, since parsers differ in which of the two they keep."""
    return json.loads(text, object_pairs_hook=_without_duplicates)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name appears twice")
    return dict(pairs)
