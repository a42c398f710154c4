"""Reading untrusted files: the sizes in a header are compared with the size of the file before they are used.

A file of 200 bytes can declare an array of 4 TiB, and a compressed file can unpack to a thousand times its size.
Every reader here therefore checks the declared size first, and then reads exactly that many bytes plus one.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from typing import Protocol

import numpy as np

from tinycnn.errors import DataError, SettingError, printable, shortened

MAX_BYTES = 2**31  # 2 GiB: 45 times the size of MNIST, and within the memory of a small machine
MAX_DEFLATE_RATIO = 1032  # deflate cannot pack more than 1,032 bytes into one
CHUNK = 1 << 20

READ_ERRORS = (EOFError, ValueError, RuntimeError, MemoryError, struct.error, zlib.error, zipfile.BadZipFile)


class Readable(Protocol):
    """A file, a gzip file or a member of a zip file."""

    def read(self, size: int, /) -> bytes: ...


@contextmanager
def naming(path: str | PathLike[str]) -> Iterator[None]:
    """Turn any error while reading ``path`` into a DataError that names the file."""
    name = printable(fspath(path))
    try:
        yield
    except SettingError:
        raise
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{name}: there is no such file.") from None
    except OSError as error:
        if error.strerror:  # from the system, which can read no copy either; the others are from gzip and zipfile
            raise DataError(f"{name}: cannot be read ({error.strerror}).") from None
        raise DataError(f"{name}: cannot be read ({shortened(error)}). Replace it with a fresh copy.") from error
    except READ_ERRORS as error:
        raise DataError(f"{name}: cannot be read ({shortened(error)}). Replace it with a fresh copy.") from error


def check_declared(declared: int, available: int, ratio: int = 1) -> None:
    """Raise DataError for a declared size above 2 GiB, or above what ``available`` bytes in the file can hold."""
    if declared > MAX_BYTES:
        raise DataError(f"its header declares {declared:,} bytes; tinycnn reads at most {MAX_BYTES:,} per array.")
    if declared > available * ratio:
        raise DataError(
            f"its header declares {declared:,} bytes, but the {available:,} bytes in the file cannot hold that many: "
            "it is truncated or damaged. Replace it with a fresh copy."
        )


def read_exactly(stream: Readable, n_bytes: int) -> np.ndarray:
    """Read the rest of ``stream`` -> (n_bytes,) uint8; DataError unless it has exactly ``n_bytes``."""
    data = np.empty(n_bytes, np.uint8)
    filled = 0
    while filled < n_bytes:
        piece = stream.read(min(CHUNK, n_bytes - filled))
        if not piece:
            raise DataError(f"it ends after {filled:,} of {n_bytes:,} bytes: truncated. Replace it with a fresh copy.")
        data[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)
    if stream.read(1):  # this read also makes gzip and zip compare their checksums
        raise DataError(f"it holds more than the {n_bytes:,} bytes its header declares. Replace it with a fresh copy.")
    return data
