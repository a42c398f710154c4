"""`Dataset`: images and labels that are checked once, when it is created."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tinycnn.data.arrays import check_labels
from tinycnn.data.stored import Images, StoredImages
from tinycnn.errors import DataError, SettingError, printable
from tinycnn.other_names.attributes import DATASET_ATTRIBUTES, NamedAttributes


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(NamedAttributes):
    """Training and test images (N, H, W, C) uint8 with labels (N,) int64; images (N, H, W) get a channel axis.

    Images may be `StoredImages`, which stay on disk.

    ``source`` is where the data came from; a ``notice`` must be shown to the user. ``pictures`` is "whole" if an image
    shows an entire picture, "drawing" if it shows a drawing cut out of one, None if unknown. Raises DataError for
    arrays that are empty or inconsistent.
    """

    foreign_attributes: ClassVar[dict[str, str]] = DATASET_ATTRIBUTES

    name: str
    x_train: Images
    y_train: np.ndarray
    x_test: Images
    y_test: np.ndarray
    class_names: tuple[str, ...]
    source: str
    notice: str | None = None
    pictures: str | None = None

    def __post_init__(self) -> None:
        for text in ("name", "source", "notice"):  # which may contain names of files
            if getattr(self, text) is not None:
                object.__setattr__(self, text, printable(getattr(self, text), keep="\n"))
        for part in ("train", "test"):
            images = _check_images(getattr(self, f"x_{part}"), f"x_{part}")
            labels = check_labels(getattr(self, f"y_{part}"), self.num_classes, f"y_{part}")
            _check_counts(images, labels, part)
            object.__setattr__(self, f"x_{part}", images)  # how a frozen dataclass changes its fields
            object.__setattr__(self, f"y_{part}", labels)
        self._check_same_shape()

    def __repr__(self) -> str:
        train, test = f"{len(self.x_train):,} training", f"{len(self.x_test):,} test images"
        return f"<Dataset {self.name}: {train} and {test} of {self.input_shape}, {self.num_classes} classes>"

    def __iter__(self) -> Iterator[Any]:
        """Raise SettingError, for ``(x_train, y_train), (x_test, y_test) = load_data()`` and ``fit(dataset)``."""
        raise SettingError("a Dataset is neither pairs nor batches: use its x_train, y_train, x_test and y_test")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape of one image, (H, W, C)."""
        _, h, w, c = self.x_train.shape
        return h, w, c

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def _check_same_shape(self) -> None:
        train, test = self.x_train.shape[1:], self.x_test.shape[1:]
        if train != test:
            raise DataError(f"training images are {train}, test images {test}; expected the same (H, W, C) for both.")


def _check_images(images: Images, name: str) -> Images:
    if isinstance(images, StoredImages) and len(images):
        return images  # checked when their files were opened
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{name}: got {images.dtype} of shape {images.shape}; expected uint8 of shape (N, H, W) or (N, H, W, C)."
        )
    if images.size == 0:
        raise DataError(f"{name}: the shape {images.shape} holds no pixels; expected at least one image.")
    return images[..., np.newaxis] if images.ndim == 3 else images  # (N, H, W, C)


def _check_counts(images: Images, labels: np.ndarray, part: str) -> None:
    if len(images) != len(labels):
        raise DataError(
            f"x_{part} holds {len(images):,} images, y_{part} {len(labels):,} labels; expected one label per image."
        )
