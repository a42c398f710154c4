"""Arrays in NumPy's ``.npy`` files.

``np.load`` allocates the size that a header declares; here it is first compared with the size of the file. Pickled
objects are never unpacked.
"""

import math
from typing import IO

import numpy as np

from tinycnn.data.bounded_read import MAX_DEFLATE_RATIO, check_declared, read_exactly
from tinycnn.errors import NUMBER_THEM, DataError, shortened

HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(stream: IO[bytes], size: int, packed: int) -> np.ndarray:
    """The array in a .npy file of ``size`` bytes, ``packed`` bytes when compressed; DataError if it is damaged."""
    shape, fortran_order, dtype = read_npy_header(stream)
    n_bytes, room = _check_layout(shape, dtype), size - stream.tell()
    if n_bytes != room:
        raise DataError(f"its header declares {n_bytes:,} bytes, the file has room for {room:,}: damaged.")
    check_declared(n_bytes, packed, MAX_DEFLATE_RATIO)
    flat = read_exactly(stream, n_bytes)
    flat = flat != 0 if dtype.kind == "b" else flat.view(dtype)  # other bytes than 0 and 1 would not be truth values
    return flat.reshape(shape, order="F" if fortran_order else "C")


def read_npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """The shape of the array in a .npy file, whether it is in Fortran order, and its dtype."""
    try:
        return HEADER_READERS[np.lib.format.read_magic(stream)](stream)
    except Exception as error:  # NumPy parses the header as Python source: malicious bytes can raise almost any error
        raise DataError("it is not a .npy array, or it is damaged. Write it again with numpy.save.") from error


def _check_layout(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """The declared size in bytes, computed with Python's integers because NumPy's overflow."""
    if dtype.kind in "SU":
        raise DataError(f"it holds text; expected numbers. {NUMBER_THEM}")
    if dtype.kind not in "biuf":
        hint = " Pickled objects are never loaded." if dtype.hasobject else ""
        raise DataError(f"it holds values of type {shortened(dtype, 60)}; expected numbers.{hint}")
    if not shape or min(shape) < 1:
        raise DataError(f"its shape is {shape}; expected at least one element along each axis.")
    return math.prod(shape) * dtype.itemsize
