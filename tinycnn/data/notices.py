"""Notices about properties of a data set that are easily missed: classes without images, images that are almost black.

None of these is an error, because each can be intended.
"""

from dataclasses import replace

import numpy as np

from tinycnn.data.arrays import class_counts
from tinycnn.data.dataset import Dataset
from tinycnn.data.stored import Images
from tinycnn.errors import shortened

MAX_NAMED = 5  # classes in a notice
DARK = 128  # of 255: the brightest pixel of almost every data set is far above it


def with_notices(dataset: Dataset, *, limit: int | None, pixels_given: bool) -> Dataset:
    """The first ``limit`` training images of ``dataset`` (None: all), with a notice for each unusual property."""
    counts = class_counts(dataset.y_train, dataset.num_classes)
    found = [dataset.notice, _missing(dataset, counts), None if pixels_given else dark_notice(dataset.x_train)]
    if limit is not None and limit < len(dataset.y_train):
        dataset = replace(dataset, x_train=dataset.x_train[:limit], y_train=dataset.y_train[:limit])
        found.append(_lost(dataset, counts))
    return replace(dataset, notice="\n".join(filter(None, found)) or None)


def _missing(dataset: Dataset, counts: np.ndarray) -> str | None:
    """A notice about classes without a training image; the labels of a file often start at 1."""
    missing = np.flatnonzero(counts == 0)
    if not missing.size:
        return None
    tested = int(np.isin(dataset.y_test, missing).sum())
    hint = ""
    if missing.tolist() == [0] and not tested:
        hint = " If its labels start at 1, subtract 1 from all of them."
    elif tested:
        hint = f" {tested:,} of the {len(dataset.y_test):,} test images are of such a class, which cannot be learned."
    return f"NOTICE: no training image of {_named(dataset, missing)}.{hint}"


def _lost(dataset: Dataset, counts: np.ndarray) -> str | None:
    """A notice if the first images of a set have fewer classes than all of them."""
    lost = np.flatnonzero((counts > 0) & (class_counts(dataset.y_train, dataset.num_classes) == 0))
    if not lost.size:
        return None
    count = len(dataset.y_train)
    first, show = ("training image", "shows") if count == 1 else (f"{count:,} training images", "hold")
    return (
        f"NOTICE: the first {first} (`limit`) {show} none of {_named(dataset, lost)}. Use more, or shuffle the images "
        "in the file: it may be sorted by class."
    )


def _named(dataset: Dataset, classes: np.ndarray) -> str:
    """``the class '0'``, or ``2 of the 10 classes ('0', '1')``."""
    names = ", ".join(shortened(dataset.class_names[k], 40) for k in classes[:MAX_NAMED])
    if len(classes) == 1:
        return f"the class {names}"
    more = f" and {len(classes) - MAX_NAMED:,} more" if len(classes) > MAX_NAMED else ""
    return f"{len(classes):,} of the {dataset.num_classes:,} classes ({names}{more})"


def dark_notice(images: Images, which: str = "training images") -> str | None:
    """A notice if no image is bright: its white may be another number than 255. ``which``: what the images are."""
    brightest = int(images.max()) if isinstance(images, np.ndarray) else DARK
    if brightest >= DARK:
        return None
    if not brightest:
        return f"NOTICE: all {which} are black."
    return (
        f"NOTICE: the brightest pixel of all {which} is {brightest} of 255. If white is another number in the "
        f'files, pass it: `pixels="0..{brightest}"` or, for pictures of 12 bits, `pixels="0..4095"`.'
    )
