"""A folder of ``.npy`` files as a data set: the arrays of an unpacked ``.npz`` file, whose images stay on disk.

    x_train.npy, y_train.npy, x_test.npy, y_test.npy

Images may be divided over several files, each with a file of labels: ``x_train_a.npy`` and ``y_train_a.npy`` etc.
"""

import os
from pathlib import Path

import numpy as np

from tinycnn.data.dataset import Dataset
from tinycnn.data.stored import MEMORY_LIMIT, StoredImages, load_stored
from tinycnn.errors import DataError, printable

PARTS = ("train", "test")


def holds_arrays(folder: str | os.PathLike[str]) -> bool:
    """Whether ``folder`` contains images in ``.npy`` files."""
    return any(_files(Path(os.path.expanduser(folder)), part) for part in PARTS)


def load_arrays(folder: str | os.PathLike[str], *, memory: int = MEMORY_LIMIT) -> Dataset:
    """The ``.npy`` files in ``folder`` → Dataset of images on disk; training holds ``memory`` bytes of them.

    Raises DataError for files that are missing, damaged or inconsistent.
    """
    root = Path(os.path.expanduser(folder))
    (x_train, y_train), (x_test, y_test) = (_load(root, part, memory) for part in PARTS)
    return Dataset(
        name=root.resolve().name or "arrays",
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        class_names=tuple(str(k) for k in range(1 + max(y_train.max(), y_test.max()))),
        source=f"{root} ({x_train.nbytes / 1e6:,.0f} MB, of which {memory / 2**20:,.0f} MiB are held in memory)",
    )


def _load(root: Path, part: str, memory: int) -> tuple[StoredImages, np.ndarray]:
    """The images and the labels ``(N,)`` of a part."""
    paths = _files(root, part)
    if not paths:
        raise DataError(f"{printable(str(root))}: x_{part}.npy is missing.")
    labels = [load_stored(path, path.with_name("y" + path.name[1:]))[1] for path in paths]
    return StoredImages(*paths, memory=memory), np.concatenate(labels)


def _files(root: Path, part: str) -> list[Path]:
    """The files with the images of a part."""
    return [*root.glob(f"x_{part}.npy"), *sorted(root.glob(f"x_{part}_*.npy"))]
