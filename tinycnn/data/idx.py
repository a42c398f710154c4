"""IDX, the file format of MNIST: two zero bytes, a dtype code, the rank, the dimensions, then the values.

    00 00 08 03 | 0000EA60 0000001C 0000001C | 47,040,000 pixels        (60,000 images of 28x28)

The first bytes show whether a file is compressed (gzip: 1F 8B), because browsers unpack files without renaming them.
Format: Yann LeCun, Corinna Cortes, "The MNIST database of handwritten digits".
"""

import gzip
import math
import os
from io import BufferedReader
from os import PathLike

import numpy as np

from tinycnn.data.bounded_read import MAX_DEFLATE_RATIO, Readable, check_declared, naming, read_exactly
from tinycnn.errors import DataError
from tinycnn.files import open_regular, write_atomically

UBYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"
CONTENTS = {1: "labels", 3: "images"}


def read_idx(path: str | PathLike[str], expected_rank: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes, raw or gzip -> uint8 array of rank ``expected_rank``; else DataError."""
    with naming(path), open_regular(path) as file:
        packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        file.seek(0)
        with _unpacked(file, packed) as stream:
            shape = _read_header(stream, expected_rank)
            size = os.fstat(file.fileno()).st_size
            check_declared(math.prod(shape), size, MAX_DEFLATE_RATIO if packed else 1)
            return read_exactly(stream, math.prod(shape)).reshape(shape)  # (N,) or (N, H, W)


def write_idx(path: str | PathLike[str], array: np.ndarray) -> None:
    """Write a uint8 array as an IDX file, atomically; compressed with gzip if the name ends in .gz."""
    array = np.asarray(array)
    if array.dtype != np.uint8 or not 1 <= array.ndim <= 255:
        raise DataError(f"write_idx: got {array.dtype} of shape {array.shape}; pass a uint8 array of rank 1 or more.")
    content = idx_header(array.shape) + array.tobytes()
    packed = os.fspath(path).endswith(".gz")
    write_atomically(path, gzip.compress(content, mtime=0) if packed else content)  # mtime=0: reproducible bytes


def idx_header(shape: tuple[int, ...]) -> bytes:
    """The header of an IDX file with an array of this shape."""
    if max(shape) >= 2**32:
        raise DataError(f"IDX stores each dimension in 32 bits; {shape} does not fit.")
    return bytes([0, 0, UBYTE, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)


def _unpacked(file: BufferedReader, packed: bool) -> gzip.GzipFile | BufferedReader:
    return gzip.open(file, "rb") if packed else file


def _read_header(stream: Readable, expected_rank: int) -> tuple[int, ...]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(f"it is not an IDX file: it begins with {magic!r} instead of two zero bytes.")
    dtype, rank = magic[2], magic[3]
    if dtype != UBYTE:
        raise DataError(f"its values have the type code 0x{dtype:02x}; expected unsigned bytes (0x{UBYTE:02x}).")
    if rank != expected_rank:
        raise DataError(
            f"it holds {_contents(rank)}; expected {_contents(expected_rank)}. Are image and label files swapped?"
        )
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise DataError("it ends inside its header: truncated. Replace it with a fresh copy.")
    shape = tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, 4 * rank, 4))
    if 0 in shape:
        raise DataError(f"its header declares the shape {shape}, which holds nothing.")
    return shape


def _contents(rank: int) -> str:
    return f"an array of rank {rank}" + (f" ({CONTENTS[rank]})" if rank in CONTENTS else "")
