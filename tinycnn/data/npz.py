"""Data sets in one NumPy ``.npz`` file with the arrays x_train, y_train, x_test and y_test (the layout of Keras).

An .npz file is a zip archive of .npy files; ``npy.py`` reads each of them.
"""

import os
import zipfile
from os import PathLike
from pathlib import Path

import numpy as np

from tinycnn.data.arrays import as_labels
from tinycnn.data.bounded_read import naming
from tinycnn.data.dataset import Dataset
from tinycnn.data.npy import read_npy
from tinycnn.data.pixel_range import BYTES, Choice, PixelRange, as_bytes, choose_range
from tinycnn.errors import DataError, shortened
from tinycnn.files import open_regular

KEYS = ("x_train", "y_train", "x_test", "y_test")


def load_npz(path: str | PathLike[str], pixels: PixelRange | None = None) -> Dataset:
    """Read a data set from an .npz file -> Dataset named after the file; DataError if it is missing or damaged.

    ``pixels`` is the range of its images (None: inferred from their values).
    """
    path = Path(os.path.expanduser(path))
    return to_dataset(read_npz(path), path, pixels)


def read_npz(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Read the four arrays of an .npz file unchanged -> {key: array}; DataError if one is missing or damaged."""
    with naming(path), open_regular(path) as file, zipfile.ZipFile(file) as archive:
        return {key: _read_member(archive, key) for key in KEYS}


def to_dataset(arrays: dict[str, np.ndarray], path: Path, pixels: PixelRange | None = None) -> Dataset:
    """The four arrays from ``path`` -> Dataset; DataError unless they convert without loss, or ``pixels`` is given."""
    with naming(path):
        images = {key: _checked_shape(arrays[key], key) for key in ("x_train", "x_test")}
        choice = choose_range(images, pixels)
        y_train, y_test, num_classes = _as_label_pair(arrays["y_train"], arrays["y_test"])
        return Dataset(
            name=path.stem,
            x_train=as_bytes(images["x_train"], "x_train", choice),
            y_train=y_train,
            x_test=as_bytes(images["x_test"], "x_test", choice),
            y_test=y_test,
            class_names=tuple(str(k) for k in range(num_classes)),
            source=f"{path}{_meaning(choice)}",
            notice=choice.notice,
        )


def _meaning(choice: Choice) -> str:
    """The range of the numbers and the reason for it, as text; empty for ordinary bytes."""
    return "" if choice.range == BYTES and choice.exact else f" (pixels {choice.range}: {choice.why})"


def _read_member(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    entry = _find_entry(archive, key)
    with naming(key), archive.open(entry) as stream:
        return read_npy(stream, entry.file_size, entry.compress_size)


def _find_entry(archive: zipfile.ZipFile, key: str) -> zipfile.ZipInfo:
    if f"{key}.npy" not in archive.namelist():
        names = sorted(name.removesuffix(".npy") for name in archive.namelist())[:8]
        found = ", ".join(shortened(name, 60) for name in names) or "nothing"
        raise DataError(f"the array {key} is missing: it holds {found}; expected {', '.join(KEYS)}.")
    entry = archive.getinfo(f"{key}.npy")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{key} is compressed in a way NumPy never writes. Save it again with np.savez_compressed.")
    archive_size = archive.fp.seek(0, 2) if archive.fp else 0
    if entry.compress_size > archive_size:
        raise DataError(f"{key}: its zip entry declares {entry.compress_size:,} bytes, the file has {archive_size:,}.")
    return entry


def _as_label_pair(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    y_train, n_train = as_labels(train, "y_train")
    y_test, n_test = as_labels(test, "y_test")
    if train.ndim == test.ndim == 2 and n_train != n_test and min(train.shape[1], test.shape[1]) > 1:
        raise DataError(f"y_train is one-hot with {n_train} classes, y_test with {n_test}; expected the same.")
    return y_train, y_test, max(n_train, n_test)


def _checked_shape(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim not in (3, 4):
        raise DataError(f"{name} has the shape {array.shape}; expected (N, H, W) or (N, H, W, C). Reshape it.")
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] > 4:
        raise DataError(f"{name} has the shape {array.shape}, which looks like (N, C, H, W); store (N, H, W, C).")
    return array
