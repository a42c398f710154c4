"""A folder of your own pictures as a data set: ``FOLDER/CLASS/PICTURE``, of any size and in any common format.

If FOLDER contains ``train`` and ``test`` (or ``val``), these contain the classes; otherwise every fifth picture of each
class is a test image. The names of the files determine the choice. When pictures are added later, hardly any other
picture changes sides, so a network is not tested on pictures that it was trained on.
"""

import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np

from tinycnn.data.bounded_read import MAX_BYTES, naming
from tinycnn.data.dataset import Dataset
from tinycnn.data.picture import SUFFIXES, grey, is_picture, read_picture
from tinycnn.data.picture_cache import new_content, picture_cache
from tinycnn.data.pixel_range import parse_range
from tinycnn.data.progress_bar import progress_bar
from tinycnn.data.split_folders import TEST, TRAIN, VALIDATION, SplitFolders, split_folders
from tinycnn.errors import DataError, SettingError, in_words, printable, shortened

IMAGE_SIZE = 32  # pixels a side
TEST_FRACTION = 0.2
COLOUR = 10  # of 255: a pixel whose red, green and blue differ by more has a colour
MAX_LETTERS = 100  # of a class name
MAX_NAMED = 5  # files in a message
MAX_BROKEN = 100  # pictures that cannot be read: each has to be replaced or removed, so all are named
MANY = 1000  # pictures take a while to decode: progress is reported, and the pixels are kept for the next run
BLOCK = 1024  # pictures converted at a time

Classes = dict[str, list[Path]]  # the pictures of each class


def load_pictures(
    folder: str | os.PathLike[str],
    *,
    image_size: int = IMAGE_SIZE,
    colour: bool | None = None,
    test_fraction: float | None = None,
    seed: int = 0,
    pixels: str | None = None,
) -> Dataset:
    """Read ``folder/class/picture``, or ``folder/train/class/picture`` and ``folder/test/class/picture`` → Dataset.

    Pictures are cropped to the square in their middle and scaled to ``image_size`` pixels. ``colour``: three channels
    (True) or one (False); None: three if any picture is coloured. ``pixels``: see `read_picture`. Instead of
    ``test``, the folder may be ``val``. Without it, a ``test_fraction`` of each class (0.2), chosen by ``seed`` and the
    names of the files, is for testing. Raises DataError for fewer than two classes, for a class with too few pictures
    and for unreadable pictures, SettingError for numbers out of range, and for a fraction where there is such a folder.
    """
    _check_numbers(image_size, test_fraction)
    parse_range(pixels)
    root = Path(os.path.expanduser(folder))
    with naming(root):
        found = _find(root, test_fraction, seed)
        (train, y_train), (test, y_test) = (mixed(part, seed) for part in (found.train, found.test))
        images, cache = read_files([*train, *test], root, image_size, colour, pixels)
        return Dataset(
            name=root.resolve().name or "pictures",
            x_train=images[: len(train)],
            y_train=y_train,
            x_test=images[len(train) :],
            y_test=y_test,
            class_names=tuple(ordered(found.train)),
            source=f"{root} ({looks(images)}; {found.split}{cache.origin})",
            notice="\n".join(filter(None, (found.notice, left_out_notice(found.left_out), cache.notice))) or None,
            pictures="whole",
        )


def _check_numbers(image_size: int, test_fraction: float | None) -> None:
    if not isinstance(image_size, Integral) or isinstance(image_size, bool) or not 1 <= image_size <= 1024:
        hint = ", one number: pictures become squares" if isinstance(image_size, tuple | list) else ""
        raise SettingError(f"`image_size={shortened(image_size)}`: expected 1 to 1024 pixels{hint}")
    if test_fraction is not None and not 0 < test_fraction < 1:
        raise SettingError(f"`test_fraction={test_fraction}`: expected above 0 and below 1, for instance 0.2")


# ------------------------------------------------------------------------------------------------------- which pictures


@dataclass(frozen=True)
class Found:
    """The pictures for training and for testing, a description of the split, and files that belong to no class."""

    train: Classes
    test: Classes
    split: str
    left_out: list[Path]
    notice: str | None = None


def _find(root: Path, test_fraction: float | None, seed: int) -> Found:
    if not root.is_dir():
        raise DataError("there is no such folder.")
    split = split_folders(root)
    if split is None:
        return _find_whole(root, TEST_FRACTION if test_fraction is None else test_fraction, seed)
    if test_fraction is not None:
        raise SettingError(
            f"`test_fraction={test_fraction}` has no effect on {root}: the pictures in {split.test.name} are held out; "
            "leave it out"
        )
    return _find_split(root, split)


def _find_whole(root: Path, test_fraction: float, seed: int) -> Found:
    left_out: list[Path] = []
    train, test = cut(classes_in(root, left_out), test_fraction, seed)
    return Found(train, test, f"{100 * test_fraction:g} % of each class for testing, chosen by their names", left_out)


def _find_split(root: Path, split: SplitFolders) -> Found:
    left_out = [path for path in visible(root) if path not in (split.train, split.test, split.unused)]
    train, test = (_named_classes(part, left_out) for part in (split.train, split.test))
    parts = f"{split.train.name} and {split.test.name}"
    if train.keys() != test.keys():
        different = ", ".join(sorted(train.keys() ^ test.keys())[:MAX_NAMED])
        raise DataError(f"{parts} must hold folders of the same names; only one of them has: {different}.")
    return Found(train, test, f"{parts} as they are", left_out, split.notice)


def _named_classes(part: Path, left_out: list[Path]) -> Classes:
    with naming(part.name):
        return classes_in(part, left_out)


def classes_in(folder: Path, left_out: list[Path], *, complete: bool = True) -> Classes:
    """The pictures of each class in ``folder``; other files are appended to ``left_out``.

    Unless ``complete``, one class is enough, and a class may have no picture.
    """
    classes: Classes = {}
    for path in visible(folder):
        if not path.is_dir():
            left_out.append(path)
        else:
            pictures = _pictures_in(path, left_out)
            if complete and not pictures:
                suffixes = ", ".join(sorted(SUFFIXES))
                raise DataError(f"{path.name} holds no picture ({suffixes}); add some, or remove it.")
            classes.setdefault(_class_name(path), []).extend(pictures)
    if len(classes) < (2 if complete else 1):
        found = f"only one, {next(iter(classes))}" if classes else "none"
        own = 0 if classes else sum(path.parent == folder and is_picture(path) for path in left_out)
        wanted = f"expected {'at least two folders' if complete else 'folders'} of pictures, one for each class"
        raise DataError(f"{wanted}; found {found}.{_about_pictures_outside(own, folder)}")
    return classes


def _about_pictures_outside(count: int, folder: Path) -> str:
    """What to do with ``count`` pictures that are in ``folder`` itself; "" if there are none."""
    if not count:
        return ""
    is_part = folder.name.lower() in (*TRAIN, *TEST, *VALIDATION)
    above = "" if is_part else f", or give the folder above, {folder.absolute().parent.name}"
    held = "a picture itself: put it" if count == 1 else f"{count} pictures itself: put them"
    return f" It holds {held} into such folders{above}."


def _composed(name: str) -> str:
    """``name`` in Unicode's composed form, which most systems use; macOS decomposes accented letters."""
    return unicodedata.normalize("NFC", name)


def _class_name(folder: Path) -> str:
    name = _composed(folder.name)
    if not name.isprintable() or len(name) > MAX_LETTERS:
        raise DataError(f"{folder.name!r:.120} cannot be the name of a class: too long, or not printable. Rename it.")
    return name


def _pictures_in(folder: Path, left_out: list[Path]) -> list[Path]:
    pictures: list[Path] = []
    for path in visible(folder):
        if path.is_dir():
            raise DataError(
                f"{folder.name}/{printable(path.name)} is a folder within a class; move its pictures to {folder.name}. "
                "(Folders of training and test pictures, each with its classes, are called train and test, or val.)"
            )
        (pictures if is_picture(path) else left_out).append(path)
    return pictures


def visible(folder: Path) -> list[Path]:
    """The entries of a folder by name, without hidden ones."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def ordered(names: Iterable[str]) -> list[str]:
    """Names in alphabetical order; numbers in numerical order."""
    listed = list(names)
    return sorted(listed, key=int) if all(name.isdecimal() for name in listed) else sorted(listed)


def cut(classes: Classes, test_fraction: float, seed: int) -> tuple[Classes, Classes]:
    """The pictures of each class for training and for testing; DataError for a class with only one."""
    train, test = {}, {}
    for name, pictures in classes.items():
        if len(pictures) < 2:
            raise DataError(f"the class {name} has one picture; two are needed at least, to train and to test.")
        count = min(max(1, round(len(pictures) * test_fraction)), len(pictures) - 1)
        ranked = sorted(pictures, key=_rank(seed))
        test[name], train[name] = ranked[:count], ranked[count:]
    return train, test


def mixed(classes: Classes, seed: int) -> tuple[list[Path], np.ndarray]:
    """The pictures of all classes, shuffled, and the number of the class of each ``(N,)``."""
    labels = {path: k for k, name in enumerate(ordered(classes)) for path in classes[name]}
    files = sorted(labels, key=_rank(seed))
    return files, np.array([labels[path] for path in files])


def _rank(seed: int) -> Callable[[Path], bytes]:
    """A sort key that shuffles: it depends on the names of class and file and on the seed, not on other files."""
    return lambda path: hashlib.sha256(os.fsencode(_composed(f"{seed}/{path.parent.name}/{path.name}"))).digest()


def looks(images: np.ndarray) -> str:
    """How the pictures ``(N, H, W, C)`` of a folder were read, for a message: their number, size and colour."""
    N, size, _, C = images.shape
    return f"{N:,} pictures, scaled to {size}x{size}, {'in colour' if C == 3 else 'grey'}"


def left_out_notice(left_out: Sequence[Path]) -> str | None:
    """A notice about files that are no pictures of a class; None if there are none."""
    if not left_out:
        return None
    names = named(printable(str(path)) for path in left_out)
    if len(left_out) == 1:
        return f"NOTICE: a file that is no picture of a class was left out: {names}"
    return f"NOTICE: {len(left_out):,} files that are no pictures of a class were left out: {names}"


def named(words: Iterable[str], between: str = ", ", most: int = MAX_NAMED) -> str:
    """The first words, and the number of the others."""
    listed = list(words)
    more = len(listed) - most
    return between.join([*listed[:most], *[f"and {more:,} more"] * (more > 0)])


# -------------------------------------------------------------------------------------------------------- their pixels


@dataclass
class Cached:
    """What is reported about the cache of the pixels (``picture_cache.py``)."""

    origin: str = ""
    notice: str | None = None


def read_files(
    files: Sequence[Path], root: Path, size: int, colour: bool | None, pixels: str | None, *, cached: bool = True
) -> tuple[np.ndarray, Cached]:
    """Pictures → (N, size, size, C) uint8; those of a large folder from the cache, if they are unchanged.

    Unless ``cached``, the cache is neither read nor written: it holds all pictures of a folder.
    """
    shape, report = (len(files), size, size, 3), Cached()
    if len(files) * size * size * 3 > MAX_BYTES:
        raise DataError(f"{len(files):,} pictures of {size}x{size} are more than {MAX_BYTES:,} bytes; scale to fewer.")
    content, images = new_content(shape)
    cache = picture_cache(files, root, f"{size}x{size}, pixels {pixels}") if cached and len(files) >= MANY else None
    if cache and cache.read(content):
        report.origin = f"; their pixels from the cache {cache.path}"
    else:
        _decode(files, root, images, pixels)
        if cache:
            try:
                cache.write(content)
            except OSError as error:
                report.notice = f"NOTICE: the pixels cannot be kept for the next run: {in_words(error)}"
    return (images if _in_colour(images, colour) else _as_grey(images)), report


def _decode(files: Sequence[Path], root: Path, images: np.ndarray, pixels: str | None) -> None:
    """Pictures, decoded one at a time → ``images (N, H, W, 3)``; DataError with the names of unreadable ones."""
    failures = []
    for i, path in enumerate(_with_progress(files, root)):
        try:
            images[i] = read_picture(path, images.shape[1:], pixels=pixels)
        except DataError as error:
            failures.append(str(error))
    if failures:
        count = f"{len(failures):,} of {len(files):,} pictures cannot be read; replace or remove them"
        raise DataError(f"{count}:\n  - {named(failures, chr(10) + '  - ', MAX_BROKEN)}")


def _with_progress(files: Sequence[Path], root: Path) -> Iterable[Path]:
    """The files, with a progress bar or a line if there are many."""
    if len(files) < MANY:
        return files
    announcement = f"Reading {len(files):,} pictures in {root}"
    bar = progress_bar(announcement, iterable=files, desc="reading pictures", unit="", leave=False)
    return files if bar is None else bar


def _blocks(images: np.ndarray) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, len(images), BLOCK))


def _in_colour(images: np.ndarray, colour: bool | None) -> bool:
    """``colour`` if given, otherwise whether any picture has a colour."""
    return any(np.ptp(images[b], axis=3).max() > COLOUR for b in _blocks(images)) if colour is None else colour


def _as_grey(images: np.ndarray) -> np.ndarray:
    result = np.empty((*images.shape[:3], 1), np.uint8)
    for block in _blocks(images):
        result[block] = grey(images[block])
    return result
