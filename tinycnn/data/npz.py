"""Data sets in one NumPy ``.npz`` file with the arrays x_train, y_train, x_test and y_test (the layout of Keras).

An .npz file is a zip of .npy files. ``np.load`` allocates whatever a .npy header declares, so each header is compared
with its zip entry first; pickled objects are never unpacked.
"""

import math
import zipfile
from os import PathLike
from pathlib import Path
from typing import IO

import numpy as np

from tinycnn.data.bounded import MAX_DEFLATE_RATIO, check_declared, naming, read_exactly
from tinycnn.data.convert import as_labels, as_uint8, grey_scale
from tinycnn.data.dataset import Dataset
from tinycnn.errors import DataError

KEYS = ("x_train", "y_train", "x_test", "y_test")
HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def load_npz(path: str | PathLike[str]) -> Dataset:
    """Read a data set from an .npz file -> Dataset named after the file; DataError says what is wrong with it."""
    path = Path(path).expanduser()
    return to_dataset(read_npz(path), path)


def read_npz(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Read the four arrays of an .npz file as they are stored -> {key: array}; DataError if one is missing or bad."""
    with naming(path):
        if not Path(path).is_file():
            raise DataError("there is no such file.")
        with zipfile.ZipFile(path) as archive:
            return {key: _read_member(archive, key) for key in KEYS}


def to_dataset(arrays: dict[str, np.ndarray], path: Path) -> Dataset:
    """The four arrays as they were stored in ``path`` -> Dataset; DataError unless they convert without loss."""
    with naming(path):
        scale = grey_scale([arrays["x_train"], arrays["x_test"]])
        y_train, y_test, num_classes = _as_label_pair(arrays["y_train"], arrays["y_test"])
        return Dataset(
            name=path.stem,
            x_train=_as_images(arrays["x_train"], "x_train", scale),
            y_train=y_train,
            x_test=_as_images(arrays["x_test"], "x_test", scale),
            y_test=y_test,
            class_names=tuple(str(k) for k in range(num_classes)),
            source=str(path),
        )


def _read_member(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    entry = _find_entry(archive, key)
    with naming(key), archive.open(entry) as stream:
        return read_npy(stream, entry.file_size, entry.compress_size)


def read_npy(stream: IO[bytes], size: int, packed: int) -> np.ndarray:
    """The array in a .npy file of ``size`` bytes that takes ``packed`` bytes on the disk; DataError if damaged."""
    shape, fortran_order, dtype = read_npy_header(stream)
    n_bytes, room = _check_layout(shape, dtype), size - stream.tell()
    if n_bytes != room:
        raise DataError(f"its header declares {n_bytes:,} bytes, the file has room for {room:,}: damaged.")
    check_declared(n_bytes, packed, MAX_DEFLATE_RATIO)
    flat = read_exactly(stream, n_bytes).view(dtype)
    return flat.reshape(shape, order="F" if fortran_order else "C")


def _find_entry(archive: zipfile.ZipFile, key: str) -> zipfile.ZipInfo:
    if f"{key}.npy" not in archive.namelist():
        found = ", ".join(sorted(name.removesuffix(".npy") for name in archive.namelist())[:8]) or "nothing"
        raise DataError(f"the array {key} is missing: it holds {found}; expected {', '.join(KEYS)}.")
    entry = archive.getinfo(f"{key}.npy")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{key} is compressed in a way NumPy never writes. Save it again with np.savez_compressed.")
    archive_size = archive.fp.seek(0, 2) if archive.fp else 0
    if entry.compress_size > archive_size:
        raise DataError(f"{key}: its zip entry declares {entry.compress_size:,} bytes, the file has {archive_size:,}.")
    return entry


def read_npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """The shape of the array in a .npy file, whether it is in Fortran order, and its type."""
    try:
        return HEADER_READERS[np.lib.format.read_magic(stream)](stream)
    except Exception as error:  # NumPy parses the header as Python source: hostile bytes can raise nearly anything
        raise DataError(f"it is not a .npy array ({type(error).__name__}: {error}).") from error


def _check_layout(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """The declared size in bytes, multiplied as Python ints because NumPy's would wrap around."""
    if dtype.kind not in "iuf":
        raise DataError(f"it holds values of type {dtype}; expected numbers. Pickled objects are never loaded.")
    if not shape or min(shape) < 1:
        raise DataError(f"its shape is {shape}; expected at least one element along each axis.")
    return math.prod(shape) * dtype.itemsize


def _as_label_pair(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    y_train, n_train = as_labels(train, "y_train")
    y_test, n_test = as_labels(test, "y_test")
    if train.ndim == test.ndim == 2 and n_train != n_test and min(train.shape[1], test.shape[1]) > 1:
        raise DataError(f"y_train is one-hot with {n_train} classes, y_test with {n_test}; expected the same.")
    return y_train, y_test, max(n_train, n_test)


def _as_images(array: np.ndarray, name: str, scale: int) -> np.ndarray:
    if array.ndim not in (3, 4):
        raise DataError(f"{name} has the shape {array.shape}; expected (N, H, W) or (N, H, W, C). Reshape it.")
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] > 4:
        raise DataError(f"{name} has the shape {array.shape}, which looks like (N, C, H, W); store (N, H, W, C).")
    return as_uint8(array, name, scale)
