"""Subsets of a data set: validation images, and selected classes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinycnn.data.dataset import Dataset
from tinycnn.data.stored import Images, StoredImages
from tinycnn.errors import DataError, SettingError


def split_validation(
    x: Images, y: np.ndarray, fraction: float, *, seed: int
) -> tuple[Images, np.ndarray, Images, np.ndarray]:
    """Shuffle by ``seed`` and split x (N, ...), y (N,) -> x_train, y_train, x_val, y_val: round(N * fraction) are last.

    At least one image remains for training. Images on disk keep their order in both parts; training shuffles them.
    SettingError unless 0 <= fraction < 1, and if a fraction above 0 selects no image; DataError unless
    len(x) == len(y) > 0.
    """
    if not 0 <= fraction < 1:
        raise SettingError(f"validation fraction: got {fraction}; expected at least 0 and below 1, for instance 0.2.")
    if len(x) != len(y) or len(x) == 0:
        raise DataError(f"split_validation: got {len(x)} images and {len(y)} labels; expected one label per image.")
    order = np.random.default_rng(seed).permutation(len(x))
    n_val = min(round(len(x) * fraction), len(x) - 1)
    if fraction and not n_val:
        raise SettingError(
            f"validation fraction: {fraction:g} of {len(x)} images sets none aside; use more, a larger fraction, or 0"
        )
    train, val = order[n_val:], order[:n_val]
    if isinstance(x, StoredImages):  # adjacent images are read together
        train.sort()
        val.sort()
    return x[train], y[train], x[val], y[val]


def only_classes(dataset: Dataset, classes: Sequence[int], *, per_class: int | None = None, seed: int = 0) -> Dataset:
    """The images of these classes, renumbered from 0 in this order, with all of their test images.

    ``per_class``: the number of training images of each class, drawn by ``seed`` (None: all). Raises SettingError for
    unknown or repeated classes, and if a class has fewer training images.
    """
    if len(set(classes)) < len(classes) or not classes or not set(classes) <= set(range(dataset.num_classes)):
        raise SettingError(f"`classes`: got {list(classes)}; expected different ones of 0 to {dataset.num_classes - 1}")
    rng = np.random.default_rng(seed)
    train = [rng.permutation(np.flatnonzero(dataset.y_train == k)) for k in classes]
    fewest = min(map(len, train))
    if per_class is not None and not 1 <= per_class <= fewest:
        raise SettingError(f"`per_class`: got {per_class}; expected 1 to {fewest}, the images of the rarest class")
    chosen = np.concatenate([found[:per_class] for found in train])
    tested = np.flatnonzero(np.isin(dataset.y_test, classes))
    numbers = np.zeros(dataset.num_classes, np.int64)
    numbers[list(classes)] = np.arange(len(classes))
    return replace(
        dataset,
        x_train=dataset.x_train[chosen],
        y_train=numbers[dataset.y_train[chosen]],
        x_test=dataset.x_test[tested],
        y_test=numbers[dataset.y_test[tested]],
        class_names=tuple(dataset.class_names[k] for k in classes),
    )
