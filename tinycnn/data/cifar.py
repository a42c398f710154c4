"""CIFAR-10 in its published format: a .tar.gz with six files of records, or the unpacked folder.

    3,073 bytes a record: the label | 32x32 red | 32x32 green | 32x32 blue

The archive is read as a stream and never unpacked to the disk, so file names in it are harmless. Only expected files
are read, each only if it has the exact size, and the stream is limited to the size that these files can have.
Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

import gzip
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tinycnn.data.arrays import check_labels
from tinycnn.data.bounded_read import CHUNK, Readable, naming, read_exactly
from tinycnn.data.dataset import Dataset
from tinycnn.data.sources import BatchSource, file_sha256
from tinycnn.errors import DataError, printable, shortened
from tinycnn.files import open_regular

MAX_OTHER_BYTES = 1 << 20  # besides the batches: headers, a text, a web page
MAX_MEMBERS = 100
PICKLED_BATCH = "data_batch_1"  # the binary version has the suffix .bin
PICKLED_PLACES = ("batches-py", "batches-py-target/cifar-10-batches-py", "python.tar.gz", "batches-py.tar.gz")
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)

Part = dict[str, np.ndarray]  # records (n, 1 + C*H*W) of each batch, by name


def find_batches(source: BatchSource, folder: Path) -> Path | None:
    """The archive in ``folder``, otherwise the unpacked folder, otherwise None."""
    archive = folder / source.files[0].name
    if os.path.isfile(archive):
        return archive
    places = (folder / source.folder, folder)
    return next((place for place in places if os.path.isfile(place / source.test[0])), None)


def find_pickled(*folders: Path) -> Path | None:
    """The Python version in one of ``folders``, as torchvision and Keras leave it behind, otherwise None."""
    names = [f"cifar-10-{place}" for place in PICKLED_PLACES]
    places = [*(folder / name for folder in folders for name in names), *folders]
    return next((place for place in places if os.path.isfile(place / PICKLED_BATCH) or os.path.isfile(place)), None)


def read_batches(name: str, source: BatchSource, place: Path) -> Dataset:
    """The archive or unpacked folder from ``find_batches`` → Dataset; raises DataError if it is damaged."""
    with naming(place):
        parts = _read_archive(source, place) if place.is_file() else _read_unpacked(source, place)
        x_train, y_train = _joined(source, parts, source.train)
        x_test, y_test = _joined(source, parts, source.test)
        origin = f"{place} ({_verification(source, place)})"
        return Dataset(name, x_train, y_train, x_test, y_test, source.class_names, origin, pictures=source.pictures)


def _verification(source: BatchSource, place: Path) -> str:
    if place.is_dir():
        return f"not verified: not the published {source.files[0].name}"
    if file_sha256(place) == source.files[0].gz_sha256:
        return f"verified: the published {source.title} archive"
    return "not the published archive: content differs"


def _read_unpacked(source: BatchSource, folder: Path) -> Part:
    parts = {}
    for name in (*source.train, *source.test):
        with naming(name):
            if not os.path.isfile(folder / name):
                raise DataError(f"it is missing in {printable(str(folder))}. Unpack the archive again.")
            with open_regular(folder / name) as stream:
                parts[name] = _read_batch(source, stream, os.fstat(stream.fileno()).st_size)
    return parts


def _read_archive(source: BatchSource, path: Path) -> Part:
    parts: Part = {}
    with _damage_as_data_error(), open_regular(path) as packed, gzip.open(packed, "rb") as unpacked:
        stream = Bounded(
            unpacked, source.records * source.record_bytes * len(source.train + source.test) + MAX_OTHER_BYTES
        )
        with tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK) as archive:  # type: ignore[call-overload]
            for count, member in enumerate(archive):
                if count == MAX_MEMBERS:
                    raise DataError(f"it holds more than {MAX_MEMBERS} files: not the published archive.")
                name = _expected(source, member.name)
                if name is not None:
                    with naming(name):
                        parts[name] = _read_member(source, archive, member, already=name in parts)
        while stream.read(CHUNK):  # to the end, where gzip compares its checksum
            continue
    missing = [name for name in (*source.train, *source.test) if name not in parts]
    if missing:
        raise DataError(f"{', '.join(missing)} missing in it. Replace it with a fresh copy.")
    return parts


@contextmanager
def _damage_as_data_error() -> Iterator[None]:
    """Malicious headers make tarfile raise almost any exception."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"it is damaged, or not a .tar.gz archive ({shortened(error)}). Replace it with a fresh copy."
        ) from error


def _expected(source: BatchSource, path: str) -> str | None:
    """The name of the batch with exactly this path, or None: the archive also holds a text and a web page."""
    folder, _, name = path.removeprefix("./").rpartition("/")
    return name if folder == source.folder and name in (*source.train, *source.test) else None


def _read_member(source: BatchSource, archive: tarfile.TarFile, member: tarfile.TarInfo, already: bool) -> np.ndarray:
    if already:
        raise DataError("it appears twice.")
    if member.type not in PLAIN or member.issparse():
        raise DataError("it is a link or another special file; expected an ordinary one.")
    stream = archive.extractfile(member)
    assert stream is not None  # only for folders
    return _read_batch(source, stream, member.size)


def _read_batch(source: BatchSource, stream: Readable, size: int) -> np.ndarray:
    n_bytes = source.records * source.record_bytes
    if size != n_bytes:
        raise DataError(
            f"it has {size:,} bytes; expected {n_bytes:,}: {source.records:,} images of {source.record_bytes:,}."
        )
    return read_exactly(stream, n_bytes).reshape(source.records, source.record_bytes)


def _joined(source: BatchSource, parts: Part, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The records of all batches in order → images (N, H, W, C) and labels (N,)."""
    H, W, C = source.shape
    images = np.empty((len(names), source.records, H, W, C), np.uint8)
    labels = np.empty((len(names), source.records), np.int64)
    for i, name in enumerate(names):
        with naming(name):
            labels[i] = check_labels(parts[name][:, 0], len(source.class_names))
        images[i] = parts[name][:, 1:].reshape(-1, C, H, W).transpose(0, 2, 3, 1)  # (records, H, W, C)
    return images.reshape(-1, H, W, C), labels.reshape(-1)


class Bounded:
    """A stream that raises DataError after ``limit`` bytes."""

    def __init__(self, stream: Readable, limit: int) -> None:
        self.stream, self.limit, self.rest = stream, limit, limit

    def read(self, size: int) -> bytes:
        """Up to ``size`` more bytes; DataError beyond the limit."""
        piece = self.stream.read(min(size, self.rest + 1))
        self.rest -= len(piece)
        if self.rest < 0:
            raise DataError(f"it unpacks to more than {self.limit:,} bytes: not the published archive.")
        return piece
