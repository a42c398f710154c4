"""The batches of an epoch: which images each step uses, in what order, and how they are augmented.

Images in memory are copied to the backend once, and a batch is a list of their indices. `StoredImages` are copied to
the backend one part at a time, and a batch is a list of indices into that part. While the network trains on one part, a
thread reads the next.
"""

import os
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.data.augment import AlternatingFlip, Augmentation, Fade, reflects
from tinycnn.data.stored import Images, StoredImages
from tinycnn.errors import DataError, SettingError, shortened
from tinycnn.layers import Sequential
from tinycnn.layers.interface.inputs import check_pixels
from tinycnn.train.objective import CLASSIFICATION, Objective
from tinycnn.train.shape_hints import shape_message
from tinycnn.train.step import Batch

T = TypeVar("T")
Selection = tuple[Array, Array, Array]  # images (M, H, W, C), their labels (M,), which of them are in the batch (N,)


@dataclass(frozen=True)
class Sampler:
    """Chooses the images of every step and their augmentation.

    Both depend only on ``seed`` and the epoch number (augmentation also on the step number), not on the backend or on
    earlier draws. All backends therefore train on the same batches, and a run can be resumed at any step.
    """

    batch_size: int
    seed: int = 0
    augment: Augmentation | None = None
    fade: Fade | None = None  # None: full strength throughout

    def order(self, images: Array, epoch: int) -> np.ndarray:
        """The indices of all ``images (M, …)`` in the order of ``epoch`` → ``(M,)`` on the host."""
        rng = np.random.default_rng([self.seed, epoch])
        if isinstance(images, StoredImages):
            return images.order(rng, self.batch_size)
        return rng.permutation(len(images))

    @property
    def by_number(self) -> bool:
        """Whether the augmentation of an image depends on its number, as that of `AlternatingFlip`."""
        return isinstance(self.augment, AlternatingFlip)

    @property
    def reflect(self) -> bool:
        """Whether the augmentation reflects an image at its edges."""
        return self.augment is not None and reflects(self.augment)

    def maps(self, count: int, epoch: int, step: int, chosen: Array | None = None) -> np.ndarray | None:
        """The augmentation maps of ``count`` images in step ``step`` of the run → ``(count, 2, T)`` on the host.

        ``chosen (count,)``: their numbers, which matter only if ``by_number``.
        """
        if self.augment is None:
            return None
        strength, rng = self.fade.strength(step) if self.fade else 1.0, np.random.default_rng([self.seed, epoch, step])
        if isinstance(self.augment, AlternatingFlip) and chosen is not None:
            return self.augment.maps_in_epoch(get_backend().to_host(chosen), epoch, rng, strength)
        return self.augment.maps(count, rng, strength)

    def batch(self, images: Array, labels: Array, chosen: Array, epoch: int, step: int) -> Batch:
        """The images ``chosen (N,)`` with their labels, augmented for step ``step`` of the run."""
        return Batch(images, chosen, labels[chosen], self.maps(len(chosen), epoch, step, chosen), self.reflect)


def check_images(images: Images, model: Sequential) -> None:
    """Raise DataError or SettingError unless ``model`` is a network that takes these images."""
    if not isinstance(model, Sequential):
        raise SettingError(f"`model` is {shortened(model)}: expected a network, such as Sequential(...)")
    if not isinstance(images, np.ndarray | StoredImages):
        is_file = isinstance(images, str | os.PathLike)
        hint = " For a picture file, pass tinycnn.data.load_picture(path, model)." if is_file else ""
        hint = " Pass numpy.stack(images)." if isinstance(images, list | tuple) else hint
        raise DataError(f"images are a {type(images).__name__}: expected a NumPy array.{hint}")
    if isinstance(images, np.ma.MaskedArray):
        raise DataError("images are a masked array, and a network takes no mask: pass images.filled(0).")
    if not (images.ndim and len(images)):
        raise DataError("no images: expected at least one.")
    if images.dtype.kind not in "biuf":
        raise DataError(f"images are {images.dtype}: expected numbers.")
    if images.shape[1:] != model.input_shape:
        raise DataError(shape_message(images.shape, model.input_shape))
    if isinstance(images, np.ndarray):
        check_pixels(images, model.pixels)


def check_examples(images: Images, labels: np.ndarray, model: Sequential, purpose: Objective = CLASSIFICATION) -> None:
    """Raise DataError unless ``model`` can learn from these images and labels."""
    check_images(images, model)
    if not isinstance(labels, np.ndarray):
        if labels is None:
            raise DataError("there are no labels: pass one per image, as the second argument.")
        raise DataError(f"labels are a {type(labels).__name__}: expected a NumPy array.")
    if isinstance(labels, np.ma.MaskedArray):
        raise DataError("labels are a masked array: leave out the images without a label, and pass labels.data.")
    if len(images) != len(labels):
        raise DataError(f"{len(images):,} images and {len(labels):,} labels: expected one label per image.")
    purpose.check_labels(labels, model)


def normalised_weights(name: str, weights: Any, images: Images) -> np.ndarray | None:
    """``weights (M,)`` with a mean of 1; None if all are equal. Raises SettingError unless they are at least 0."""
    if weights is None:
        return None
    if isinstance(images, StoredImages):
        raise SettingError(f"`{name}` weights images in memory: load them with a larger `memory`")
    given = weights
    try:
        weights = np.asarray(given)
        if weights.dtype.kind not in "biuf":
            raise TypeError
    except (TypeError, ValueError):
        raise SettingError(f"`{name}` is {shortened(given)}: expected numbers ({len(images)},)") from None
    if weights.shape != (len(images),):
        raise SettingError(f"`{name}` has shape {weights.shape}: expected one number for each of {len(images)} images")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise SettingError(f"`{name}`: expected finite numbers of at least 0, and one above 0")
    weights = weights.astype(np.float64)
    weights = weights / weights.max()  # so that their sum is finite
    return None if (weights == weights[0]).all() else weights / weights.mean()


def to_backend(images: Images, labels: np.ndarray) -> tuple[Array, Array]:
    """Copy images and labels to the backend for the whole run; images on disk and their labels are not copied."""
    if isinstance(images, StoredImages):
        return images, labels
    images = np.ascontiguousarray(images)  # others cannot be recorded, and every batch would copy all of them
    return get_backend().asarray(images), get_backend().asarray(labels)


def shuffle_settings(images: Images) -> dict[str, str]:
    """The settings that, together with the seed, determine the order of the images in an epoch."""
    return {"memory for images": f"{images.memory / 2**20} MiB"} if isinstance(images, StoredImages) else {}


def batches(
    images: Array, labels: Array, order: np.ndarray, size: int, done: int = 0
) -> Generator[Selection, None, None]:
    """The images of each step of an epoch in ``order (M,)``, beginning after the first ``done`` steps."""
    for images_on_backend, labels_on_backend, chosen in _parts(images, labels, order, size, done * size):
        for start in range(0, len(chosen), size):
            yield images_on_backend, labels_on_backend, chosen[start : start + size]


def _parts(images: Array, labels: Array, order: np.ndarray, size: int, seen: int) -> Iterator[Selection]:
    """The rest of an epoch, after ``seen`` images, in parts that fit into memory: a single part if in memory."""
    backend = get_backend()
    if not isinstance(images, StoredImages):
        yield images, labels, backend.asarray(order[seen:])
        return
    for part, indices, chosen in prefetch(images.parts(order, size, seen)):
        yield backend.asarray(part), backend.asarray(labels[indices]), backend.asarray(chosen)


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """The same items, each produced on a thread while the previous one is used; an error is raised at its item."""
    with ThreadPoolExecutor(1, thread_name_prefix="tinycnn-ahead") as thread:  # exit waits for the thread
        next_item = thread.submit(next, items, None)
        while (item := next_item.result()) is not None:
            next_item = thread.submit(next, items, None)
            yield item
