"""The batches of an epoch: of images in the memory of the backend, or of images on the disk, read ahead.

Images in memory are brought to the backend once, and a batch is a list of their numbers. Of `StoredImages` one part
after the other is brought there, and a batch is a list of numbers in that part. While the network trains on one part, a
thread reads the next.
"""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.data.stored import Images, StoredImages
from tinycnn.errors import DataError

T = TypeVar("T")
Batch = tuple[Array, Array, Array]  # images (n, H, W, C), their labels (n,), the numbers of those in the batch (N,)


def check_examples(images: Images, labels: np.ndarray, scale: float) -> None:
    """Raise DataError unless these can be learned from, by a network that multiplies what images hold by ``scale``."""
    if len(images) != len(labels):
        raise DataError(f"{len(images):,} images and {len(labels):,} labels: expected one label per image.")
    if not len(images):
        raise DataError("no images: expected at least one.")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"labels are {labels.dtype} {labels.shape}: expected whole numbers (M,), no one-hot rows.")
    if images.dtype != np.uint8 and scale != 1:
        raise DataError(
            f"images are {images.dtype}, and would be divided by 255 as bytes are: give uint8, or a network that "
            "begins with Rescaling."
        )


def bring(images: Images, labels: np.ndarray) -> tuple[Array, Array]:
    """Images and labels to where they stay for the whole run: to the backend, unless the images are on the disk."""
    if isinstance(images, StoredImages):
        return images, labels
    return get_backend().asarray(images), get_backend().asarray(labels)


def mixing(images: Images) -> dict[str, str]:
    """The settings that decide, with the seed, the order of the images in an epoch."""
    return {"memory for images": f"{images.memory / 2**20} MiB"} if isinstance(images, StoredImages) else {}


def epoch_order(images: Array, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """The numbers of all ``images`` in the order of an epoch, on the host ``(M,)``."""
    if isinstance(images, StoredImages):
        return images.order(rng, batch_size)
    return rng.permutation(len(images))


def batches(images: Array, labels: Array, order: np.ndarray, size: int, done: int = 0) -> Generator[Batch, None, None]:
    """Of every step of an epoch that goes through ``order (M,)``, when ``done`` steps are done: what to train on."""
    for images_here, labels_here, chosen in _parts(images, labels, order, size, done * size):
        for start in range(0, len(chosen), size):
            yield images_here, labels_here, chosen[start : start + size]


def _parts(images: Array, labels: Array, order: np.ndarray, size: int, seen: int) -> Iterator[Batch]:
    """What is left of an epoch in as few parts as there have to be: one, of images in memory."""
    backend = get_backend()
    if not isinstance(images, StoredImages):
        yield images, labels, backend.asarray(order[seen:])
        return
    for part, numbers, chosen in one_ahead(images.parts(order, size, seen)):
        yield backend.asarray(part), backend.asarray(labels[numbers]), backend.asarray(chosen)


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made on a thread while the one before it is used; errors come when it is the item's turn."""
    with ThreadPoolExecutor(1, thread_name_prefix="tinycnn-ahead") as thread:  # leaving waits for the thread to end
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item
