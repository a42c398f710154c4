"""The pictures of a folder on which a trained network is measured, with the numbers of its classes.

The folder is one that `load_pictures` reads, or one of new pictures: with only ``test`` in it, or without some of the
classes. Folders and classes belong together by their names.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from tinycnn.data.bounded_read import naming
from tinycnn.data.new_picture import TakesPictures
from tinycnn.data.notices import dark_notice
from tinycnn.data.picture_folder import (
    TEST_FRACTION,
    Classes,
    classes_in,
    cut,
    left_out_notice,
    named,
    read_files,
    visible,
)
from tinycnn.data.pixel_range import parse_range
from tinycnn.data.split_folders import named_parts
from tinycnn.data.stored import Images
from tinycnn.errors import DataError, SettingError, checked_bool, printable, shortened


@dataclass(frozen=True, eq=False)
class Measured:
    """Images ``(M, H, W, C)`` and labels ``(M,)``, ``which`` they are in words, and a notice, if there is one."""

    images: Images
    labels: np.ndarray
    which: str
    notice: str | None = None


class Classifies(TakesPictures, Protocol):
    """A network that chooses between classes of pictures."""

    @property
    def class_names(self) -> tuple[str, ...]: ...


def load_pictures_for(
    folder: str | os.PathLike[str], model: Classifies, *, all_pictures: bool = False, pixels: str | None = None
) -> Measured:
    """The pictures in ``folder`` for ``model.evaluate``: ``images (M, H, W, C)`` uint8 and ``labels (M,)`` int64.

    They are prepared as by `load_pictures`, in the size and the channels of the network, and labelled with its classes,
    which are found by the names of the folders; a class may be missing. They are the pictures that training holds out:
    those in ``test``, or in ``val``, or every fifth of each class. ``all_pictures``: all of them, as for a folder of
    new pictures. ``which`` states in words which they are; a ``notice`` must be shown to the user. ``pixels``: see
    `read_picture`. Raises DataError for classes that the network does not have, and for pictures that cannot be read,
    and SettingError for a network that does not take square pictures.
    """
    if not isinstance(folder, str | os.PathLike):
        raise SettingError(f"`folder` is {shortened(folder)}: expected the path of a folder of pictures")
    if not hasattr(model, "input_shape"):
        hint = "; load it with tinycnn.load" if isinstance(model, str | os.PathLike) else ""
        raise SettingError(f"`model` is {shortened(model)}: expected a network{hint}")
    H, W, C = model.input_shape if len(model.input_shape) == 3 else (0, 0, 0)
    if H != W or C not in (1, 3):
        raise SettingError(f"the model takes inputs {model.input_shape}, expected square pictures, (H, H, 1 or 3)")
    checked_bool("all_pictures", all_pictures)
    found = measured_pictures(
        folder, model.class_names, image_size=H, colour=C == 3, pixels=pixels, all_pictures=all_pictures
    )
    if model.pictures != "drawing":
        return found
    words = "NOTICE: the pictures are scaled as they are; `tinycnn predict` cuts out the digit in each"
    return replace(found, notice="\n".join(filter(None, (found.notice, words))))


def measured_pictures(
    folder: str | os.PathLike[str],
    class_names: Sequence[str],
    *,
    image_size: int,
    colour: bool,
    pixels: str | None = None,
    all_pictures: bool = False,
) -> Measured:
    """The pictures in ``folder`` for a network with the classes ``class_names``, prepared as by `load_pictures`.

    If the folder is divided, these are the pictures in ``test``, or in ``val``; otherwise those that `load_pictures`
    holds out, every fifth of each class. ``all_pictures``: all of them, in every part. Raises DataError for classes
    that the network does not have, and for pictures that cannot be read.
    """
    parse_range(pixels)
    root = Path(os.path.expanduser(folder))
    left_out: list[Path] = []
    with naming(root):
        if not root.is_dir():
            raise DataError("there is no such folder.")
        classes, which = _chosen(root, all_pictures, left_out)
        numbers = _numbers(list(classes), class_names)
        labelled = sorted((path, numbers[name]) for name, paths in classes.items() for path in paths)
        if not labelled:
            raise DataError("there is no picture in the folders of the classes.")
        images, _ = read_files([path for path, _ in labelled], root, image_size, colour, pixels, cached=False)
    labels = np.array([number for _, number in labelled])
    missing = [name for k, name in enumerate(class_names) if k not in labels]
    notices = [left_out_notice(left_out), _missing_notice(missing), None if pixels else dark_notice(images, "pictures")]
    return Measured(images, labels, which, "\n".join(filter(None, notices)) or None)


def _chosen(root: Path, all_pictures: bool, left_out: list[Path]) -> tuple[Classes, str]:
    """The pictures of each class that are measured, and which they are; other files are appended to ``left_out``."""
    name = printable(root.resolve().name)
    parts = [part for part in named_parts(root) if part is not None]
    _, test, validation = named_parts(root)
    measured = parts if all_pictures else [part for part in (test, validation) if part][:1]
    if not measured:
        classes = classes_in(root, left_out, complete=False)
        if all_pictures:
            return classes, f"all {_count(classes):,} {name} pictures"
        chosen = _every_fifth(classes)
        return chosen, (
            f"{_count(chosen):,} of the {_count(classes):,} {name} pictures, every fifth of each class, which training "
            "holds out; `all_pictures=True` measures all"
        )
    left_out += [path for path in visible(root) if path not in parts]
    classes = {}
    for part in measured:
        with naming(part.name):
            for kind, paths in classes_in(part, left_out, complete=False).items():
                classes.setdefault(kind, []).extend(paths)
    return classes, f"all {_count(classes):,} {name} pictures in {' and '.join(part.name for part in measured)}"


def _count(classes: Classes) -> int:
    return sum(map(len, classes.values()))


def _every_fifth(classes: Classes) -> Classes:
    """The pictures of each class that `load_pictures` holds out; a single one of a class, too."""
    several = {name: paths for name, paths in classes.items() if len(paths) > 1}
    return classes | cut(several, TEST_FRACTION, seed=0)[1]


def _numbers(found: Sequence[str], class_names: Sequence[str]) -> dict[str, int]:
    """The number of the class that each folder holds; raises DataError for folders of no class of the network.

    Numbers instead of names, as the classes of arrays have them, agree with any names, if they are as many.
    """
    numbers = {name: k for k, name in enumerate(class_names)}
    unknown = [name for name in found if name not in numbers]
    if not unknown:
        return numbers
    if len(found) == len(class_names) and (_are_numbers(found) or _are_numbers(class_names)):
        ordered = sorted(found, key=int) if _are_numbers(found) else sorted(found)
        return {name: k for k, name in enumerate(ordered)}
    theirs, ours = (named(shortened(name, 40) for name in names) for names in (unknown, class_names))
    raise DataError(
        f"the network has no class {theirs}; its classes are {ours}. Rename these folders, or take them out of it."
    )


def _are_numbers(names: Iterable[str]) -> bool:
    return all(name.isdecimal() for name in names)


def _missing_notice(missing: Sequence[str]) -> str | None:
    """A notice about classes of the network without a picture."""
    if not missing:
        return None
    kinds = "class" if len(missing) == 1 else "classes"
    return f"NOTICE: no picture of the {kinds} {named(shortened(name, 40) for name in missing)}"
