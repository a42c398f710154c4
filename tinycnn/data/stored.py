"""`StoredImages`: images that stay on disk, and that replace an array of images.

They are stored in ``.npy`` files, which are read and not memory-mapped. A training run then uses exactly the memory
that is requested here, and a file that is truncated meanwhile raises an error instead of killing the process.

Reading images in random order would read a disk one image at a time. The order of an epoch is therefore shuffled in two
steps: blocks of adjacent images are put in random order, then the images within as many blocks as fit into memory are
shuffled. Each image occurs once, the disk reads long ranges, and a set that fits into memory is shuffled completely.
"""

import copy
import math
import os
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn.data.arrays import as_labels
from tinycnn.data.bounded_read import naming
from tinycnn.data.npy import read_npy, read_npy_header
from tinycnn.errors import DataError, SettingError, printable
from tinycnn.files import open_regular

MEMORY_LIMIT = 256 << 20  # bytes that training from disk holds: one half is used while the other half is read
BLOCK = 1 << 20  # bytes per read: a hard disk reads them in about the time of one seek


@dataclass(frozen=True)
class Run:
    """``count`` consecutive images in a file, the first of them ``offset`` bytes from its start."""

    path: Path
    offset: int
    count: int


class StoredImages:
    """uint8 images ``(N, H, W, C)`` in ``.npy`` files, of which training holds at most ``memory`` bytes at a time.

    Has the ``shape``, ``dtype`` and ``len`` of an array. A single index reads that image; a slice or an array of
    indices selects images that stay on disk, and ``np.asarray`` reads them. Raises DataError for files that are
    missing, damaged, not uint8 images, or of different shapes.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, *paths: str | os.PathLike[str], memory: int = MEMORY_LIMIT) -> None:
        found = [_open(Path(os.path.expanduser(path))) for path in paths]
        if not found:
            raise SettingError("no file with images: expected at least one.")
        if memory < 1:
            raise SettingError(f"`memory`: got {memory} bytes; expected at least 1. Two batches are always held.")
        (first, shape), *others = found
        for run, other in others:
            if other != shape:
                named = [printable(str(path)) for path in (run.path, first.path)]
                raise DataError(f"{named[0]}: images of shape {other}; expected {shape}, as in {named[1]}.")
        self.runs, self.memory = [run for run, _ in found], memory
        self.starts = np.cumsum([0, *(run.count for run in self.runs)])  # index of the first image of each run; N
        self.places = np.arange(self.starts[-1])  # (N,): the index of each image among those in all files
        self.image_shape = shape

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        return len(self), *self.image_shape

    def __len__(self) -> int:
        return len(self.places)

    @property
    def image_bytes(self) -> int:
        """The size of one image."""
        return math.prod(self.image_shape)

    @property
    def nbytes(self) -> int:
        """The size of all images in bytes."""
        return len(self) * self.image_bytes

    def __getitem__(self, chosen: Any) -> Any:
        part, places = copy.copy(self), self.places[chosen]
        part.places = np.atleast_1d(places)  # (n,)
        return part if places.ndim else np.asarray(part)[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("images on disk become an array only by being read: expected copy=None or True")
        images = np.empty(self.shape, np.uint8)
        self.read(np.arange(len(self)), images)
        return images if dtype is None else images.astype(dtype)

    def blocks(self, rng: np.random.Generator) -> np.ndarray:
        """All indices ``(N,)``, in blocks of adjacent images in random order."""
        starts = range(0, len(self), max(1, BLOCK // self.image_bytes))
        pieces = [np.arange(first, stop) for first, stop in pairwise([*starts, len(self)])]
        return np.concatenate([pieces[i] for i in rng.permutation(len(pieces))])

    def window(self, batch_size: int) -> int:
        """The number of images that are held in memory and shuffled together: a multiple of the batch size."""
        return max(1, self.memory // 2 // self.image_bytes // batch_size) * batch_size

    def order(self, rng: np.random.Generator, batch_size: int) -> np.ndarray:
        """All indices ``(N,)`` in the random order of an epoch."""
        numbers, window = self.blocks(rng), self.window(batch_size)
        for start in range(0, len(numbers), window):
            rng.shuffle(numbers[start : start + window])
        return numbers

    def parts(
        self, order: np.ndarray, batch_size: int, done: int = 0
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The images in any ``order (N,)``, in parts of whole batches, starting after the first ``done`` images.

        A part consists of images ``(n, H, W, C)``, their indices ``(n,)``, and the order in which to use them ``(n,)``.
        The part after the next reuses its memory: while one part is used, at most one other may be read.
        """
        window, start, buffers = self.window(batch_size), done, list[np.ndarray]()
        while start < len(order):
            stop = min((start // window + 1) * window, len(order))
            if len(buffers) < 2:
                buffers.append(np.empty((min(window, len(order)), *self.shape[1:]), np.uint8))
            else:
                buffers.reverse()
            images = buffers[-1][: stop - start]
            numbers = np.sort(order[start:stop])  # from the start of each file to its end
            self.read(numbers, images)
            yield images, numbers, np.searchsorted(numbers, order[start:stop])
            start = stop

    def read(self, numbers: np.ndarray, images: np.ndarray) -> None:
        """Read the images with these indices ``numbers (N,)`` into ``images (N, H, W, C)``, adjacent ones together."""
        done = 0
        for run, first, count in self._ranges(self.places[numbers]):
            offset = self.runs[run].offset + first * self.image_bytes
            _read_into(self.runs[run].path, offset, images[done : done + count])
            done += count

    def pieces(self) -> Iterator[np.ndarray]:
        """All images in order, in arrays ``(n, H, W, C)`` of about ``BLOCK`` bytes."""
        size = max(1, BLOCK // self.image_bytes)
        for start in range(0, len(self), size):
            yield np.asarray(self[start : start + size])

    def _ranges(self, places: np.ndarray) -> Iterator[tuple[int, int, int]]:
        """``places`` as ranges of adjacent images: the index of the run, the first image in it, their number."""
        ends = np.flatnonzero(np.diff(places) != 1) + 1
        for first, stop in pairwise([0, *ends, len(places)]) if len(places) else ():
            yield from self._within_runs(int(places[first]), int(places[stop - 1]) + 1)

    def _within_runs(self, first: int, stop: int) -> Iterator[tuple[int, int, int]]:
        while first < stop:
            run = bisect_right(self.starts, first) - 1
            end = min(stop, int(self.starts[run + 1]))
            yield run, first - int(self.starts[run]), end - first
            first = end


Images = np.ndarray | StoredImages


def load_stored(
    images: str | os.PathLike[str], labels: str | os.PathLike[str], *, memory: int = MEMORY_LIMIT
) -> tuple[StoredImages, np.ndarray]:
    """Two .npy files -> images ``(N, H, W, C)`` that stay on disk, labels ``(N,)`` int64; otherwise DataError."""
    stored, classes = StoredImages(images, memory=memory), _read_labels(Path(os.path.expanduser(labels)))
    if len(stored) != len(classes):
        raise DataError(
            f"{printable(os.fspath(images))} holds {len(stored):,} images, {printable(os.fspath(labels))} "
            f"{len(classes):,} labels; expected one label per image."
        )
    return stored, classes


def _read_labels(path: Path) -> np.ndarray:
    with naming(path), open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        return as_labels(read_npy(file, size, size), "labels")[0]


def _open(path: Path) -> tuple[Run, tuple[int, ...]]:
    """All images of a file, and the shape (H, W, C) of one; the length of the file must match its header."""
    with naming(path), open_regular(path) as file:
        shape, fortran_order, dtype = read_npy_header(file)
        if dtype != np.uint8 or len(shape) not in (3, 4) or fortran_order or 0 in shape:
            order = " in Fortran order" if fortran_order else ""
            raise DataError(f"{dtype} of shape {shape}{order}; expected uint8 (N, H, W) or (N, H, W, C) in C order.")
        offset, size = file.tell(), os.fstat(file.fileno()).st_size
        expected = offset + math.prod(shape)
        if size != expected:
            raise DataError(f"it has {size:,} bytes, its header declares {expected:,}: damaged. Write it again.")
        return Run(path, offset, shape[0]), (*shape[1:], 1)[:3]


def _read_into(path: Path, offset: int, images: np.ndarray) -> None:
    left = images.reshape(-1).data  # a view: images are contiguous
    with naming(path), open_regular(path) as file:
        file.seek(offset)
        while left:
            count = file.readinto(left)
            if not count:
                raise DataError(f"it ends {len(left):,} bytes too early: it was truncated while it was in use.")
            left = left[count:]
