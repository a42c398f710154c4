"""Batches from an iterable: a generator, a DataLoader, a tf.data.Dataset, or any other object that yields pairs."""

from collections.abc import Generator, Iterable, Iterator
from typing import Any

from tinycnn.backends import get_backend
from tinycnn.distributed.communicator import get_communicator
from tinycnn.errors import DataError, SettingError, whole_number
from tinycnn.layers import Sequential
from tinycnn.train.batches import Selection
from tinycnn.train.examples import checked_examples, pair
from tinycnn.train.identity import Examples
from tinycnn.train.objective import Objective


class BatchStream:
    """The batches ``(images (N, H, W, C), labels (N,))`` of ``source``, checked and as arrays.

    Without ``steps_per_epoch`` an epoch is one pass over ``source``. With it, an epoch is this number of steps, and the
    next epoch continues where the last one ended; a ``source`` that can be iterated over again starts anew when it
    ends. Raises SettingError for a generator without ``steps_per_epoch``, and for several ranks, which would need to
    agree on every batch; DataError for a batch that the network does not take.
    """

    def __init__(self, source: Any, steps_per_epoch: int | None, model: Sequential, purpose: Objective) -> None:
        self.source, self.model, self.purpose = source, model, purpose
        self.is_iterator = isinstance(source, Iterator)
        if steps_per_epoch is None and self.is_iterator:
            arrays = "; for two arrays, call fit(images, labels)" if isinstance(source, zip) else ""
            kind = "zip" if arrays else "generator"
            wanted = f"pass `steps_per_epoch`, the number of batches in an epoch{arrays}"
            raise SettingError(f"a {kind} has no length: {wanted}")
        given = steps_per_epoch is not None
        self.steps_per_epoch = whole_number("steps_per_epoch", steps_per_epoch, at_least=1) if given else None
        if get_communicator().size > 1:
            raise SettingError("several ranks share each batch: pass arrays or StoredImages instead of batches")
        self.running: Iterator[Any] | None = None

    @property
    def steps(self) -> int:
        """The number of steps in an epoch; 0 if it is not known."""
        try:
            return self.steps_per_epoch or len(self.source)
        except TypeError:
            return 0

    def selections(self, done: int) -> Generator[Selection, None, None]:
        """What `batches` yields for arrays: each batch on the backend, and all its indices."""
        backend = get_backend()
        for images, labels in self.epoch(done):
            yield backend.asarray(images), backend.asarray(labels), backend.xp.arange(len(images))

    def epoch(self, done: int) -> Iterator[Examples]:
        """The batches of an epoch of which ``done`` steps are done; a stream without an own length skips them."""
        if self.steps_per_epoch:
            yield from (self._checked(self._next()) for _ in range(done, self.steps_per_epoch))
            return
        count = -1
        for count, batch in enumerate(self.source):
            if count >= done:
                yield self._checked(batch)
        if count < 0:
            raise DataError("the iterable of batches is empty: expected pairs (images, labels).")

    def _next(self) -> Any:
        """The next batch; a source that ends is started again, once."""
        for _ in range(2):
            if self.running is None:
                self.running = iter(self.source)
            for batch in self.running:
                return batch
            self.running = None
            if self.is_iterator:
                break
        raise DataError("the batches ended within an epoch: pass fewer `steps_per_epoch` or fewer `epochs`.")

    def _checked(self, batch: Any) -> Examples:
        return checked_examples(*pair(batch, self.model), self.model, self.purpose)


def is_stream(images: Any, labels: Any) -> bool:
    """Whether ``fit(images, labels)`` was called with batches instead of images: an iterable, and no labels."""
    is_array = hasattr(images, "__array__") or isinstance(images, str | bytes | dict)
    return labels is None and not is_array and isinstance(images, Iterable)
