"""A folder that holds a published data set: its archive, or four IDX files under any of their usual names, or an .npz.

There are three results. The folder holds no file of the data set, or files of the other one: `NotHere`, and the search
continues elsewhere. A file is damaged: DataError. Otherwise: a `Dataset` whose ``source`` states what was verified.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from tinycnn.data.arrays import check_labels
from tinycnn.data.bounded_read import naming
from tinycnn.data.cifar import find_batches, find_pickled, read_batches
from tinycnn.data.dataset import Dataset
from tinycnn.data.idx import read_idx
from tinycnn.data.npz import read_npz, to_dataset
from tinycnn.data.sources import SOURCES, BatchSource, recognise
from tinycnn.errors import DataError, printable, shortened

TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}  # a folder in its ``root`` ...
TORCHVISION_RAW = "raw"  # ... and the folder of the files in that one


class NotHere(DataError):
    """The folder does not hold the requested data set."""


def read_folder(name: str, folder: Path) -> Dataset:
    """Read "mnist", "fashion_mnist" or "cifar10" from ``folder``, its sub-folder of that name or torchvision's.

    Raises NotHere if the folder does not hold the data set, DataError if it is damaged or cannot be read.
    """
    _check_is_folder(folder)
    source = SOURCES[name]
    if isinstance(source, BatchSource):
        return _read_batch_folder(name, source, folder)
    for place in (folder / name, *_torchvision_places(name, folder), folder, folder / TORCHVISION_RAW):
        paths = _find_idx_files(name, place)
        if paths:
            return _read_idx_set(name, place, paths)
        if os.path.isfile(place / f"{name}.npz"):
            return _read_npz_set(name, place / f"{name}.npz")
    stems = ", ".join(file.stem for file in source.files)
    raise NotHere(f"{printable(str(folder))} holds neither {name}.npz nor any of {stems} (.gz or unpacked).")


def _read_batch_folder(name: str, source: BatchSource, folder: Path) -> Dataset:
    for place in (folder / name, folder):
        found = find_batches(source, place)
        if found is not None:
            return read_batches(name, source, found)
    pickled = find_pickled(folder, folder / name)
    if pickled is not None:
        raise NotHere(
            f"{printable(str(pickled))} is the Python version of {source.title}. It is pickled, and unpickling can run "
            f"foreign code, so tinycnn does not read it. Get the binary version, {source.files[0].name}, or convert "
            "this one to .npz yourself, as the page on data sets shows."
        )
    raise NotHere(f"{printable(str(folder))} holds neither {source.files[0].name} nor the folder {source.folder}.")


def _torchvision_places(name: str, folder: Path) -> list[Path]:
    """The folder that torchvision uses for the data set in its ``root``."""
    return [folder / TORCHVISION[name] / TORCHVISION_RAW] if name in TORCHVISION else []


def _check_is_folder(folder: Path) -> None:
    """Raise NotHere if there is no such folder, DataError if its files cannot be accessed."""
    shown = printable(str(folder))
    try:
        with os.scandir(folder) as entries:
            next(entries, None)
        os.stat(os.path.join(folder, os.curdir))  # fails in a folder that can be listed but not searched
    except FileNotFoundError:
        raise NotHere(f"{shown} does not exist.") from None
    except NotADirectoryError:
        raise NotHere(f"{shown} is not a folder.") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = error.strerror if isinstance(error, OSError) else shortened(error)
        raise DataError(f"{shown} cannot be read ({reason}).") from None


def _variants(stem: str) -> list[str]:
    """The usual names of a file: compressed or not, with a hyphen or a dot before "idx".

    Some programs unpack it into a folder of the same name.
    """
    dotted = stem.replace("-idx", ".idx")
    names = [f"{stem}.gz", stem, f"{dotted}.gz", dotted]
    return [*names, *(f"{outer}/{inner}" for outer in names for inner in names)]


def _find_idx_files(name: str, folder: Path) -> dict[str, Path]:
    """The paths of the four files by stem, or {} if all are missing; DataError if only some are missing."""
    found = {}
    for file in SOURCES[name].files:
        candidates = (folder / variant for variant in _variants(file.stem))
        path = next((candidate for candidate in candidates if os.path.isfile(candidate)), None)
        if path is not None:
            found[file.stem] = path
    missing = [file.stem for file in SOURCES[name].files if file.stem not in found]
    if found and missing:
        raise DataError(
            f"{printable(str(folder))} is incomplete: {', '.join(missing)} (.gz or unpacked) is missing. Add it."
        )
    return found


def _read_idx_set(name: str, folder: Path, paths: dict[str, Path]) -> Dataset:
    arrays = {file.stem: read_idx(paths[file.stem], file.rank) for file in SOURCES[name].files}
    is_published = _check_content(name, arrays, paths)
    _check_pairs(name, arrays, paths)
    with naming(folder):
        x_train, y_train, x_test, y_test = arrays.values()  # the order of Source.files
        source = _describe(folder, name, is_published)
        known = SOURCES[name]
        return Dataset(name, x_train, y_train, x_test, y_test, known.class_names, source, pictures=known.pictures)


def _check_pairs(name: str, arrays: dict[str, np.ndarray], paths: dict[str, Path]) -> None:
    """Checked before the Dataset is created, because errors can name the files here."""
    stems = [file.stem for file in SOURCES[name].files]
    for images, labels in (stems[:2], stems[2:]):
        with naming(paths[labels]):
            check_labels(arrays[labels], len(SOURCES[name].class_names))
        if len(arrays[images]) != len(arrays[labels]):
            named = [printable(str(paths[stem])) for stem in (images, labels)]
            raise DataError(
                f"{named[0]} holds {len(arrays[images]):,} images, but {named[1]} {len(arrays[labels]):,} "
                "labels. They do not belong together: replace both."
            )


def _check_content(name: str, arrays: dict[str, np.ndarray], paths: dict[str, Path]) -> bool:
    """True if all four are the published files; raises for files of the other data set, and for swapped ones."""
    known = {stem: recognise(array, paths[stem]) for stem, array in arrays.items()}
    for stem, found in known.items():
        if found is not None:
            _check_is(name, stem, found, paths[stem])
    return None not in known.values()


def _check_is(name: str, stem: str, found: tuple[str, str], path: Path) -> None:
    found_name, found_stem = found
    shown = printable(str(path))
    if found_name != name:
        raise NotHere(
            f"{shown} belongs to {SOURCES[found_name].title}, not to {SOURCES[name].title} (the file names are the "
            f"same, the content differs). Load `dataset={found_name}`, or use another folder."
        )
    if found_stem != stem:
        raise DataError(f"{shown} has the content of {found_stem}: the files are swapped. Rename them.")


def _describe(place: Path, name: str, is_published: bool) -> str:
    if is_published:
        return f"{place} (verified: the published {SOURCES[name].title} files)"
    if all(file.content_sha256 for file in SOURCES[name].files):
        return f"{place} (not the published files: content differs)"
    return f"{place} (not verified: not the published .gz files)"


def _read_npz_set(name: str, path: Path) -> Dataset:
    """Keras' file holds the published arrays in another format; the hashes of their content identify them."""
    arrays = read_npz(path)
    dataset = to_dataset(arrays, path)
    by_stem = dict(zip((file.stem for file in SOURCES[name].files), arrays.values(), strict=True))
    is_bytes = all(array.dtype == np.uint8 for array in by_stem.values())
    is_published = is_bytes and _check_content(name, by_stem, dict.fromkeys(by_stem, path))
    with naming(path):
        return replace(
            dataset,
            name=name,
            class_names=SOURCES[name].class_names,
            source=_describe(path, name, is_published),
            pictures=SOURCES[name].pictures,
        )
