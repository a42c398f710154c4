"""Several processes that train one network together: each is a *rank*, with a part of every batch.

Almost all of a network happens to one image at a time, and need not know. Four things look at the whole batch:

    the loss        a mean over all images: a rank's part of it weighs as much as it has images (``Share.weight``)
    the gradient    a sum over all images, hence over the ranks (``distributed/gradients.py``)
    batch norm      mean and variance of all images (``whole_moments``), and two sums on the way back (``whole_sums``)
    dropout         an image's mask depends on its place in the whole batch (``Share.rows``)

All they need of the world is ``Communicator.all_reduce``. How it is done is not known here: see ``distributed/``.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np

from tinycnn.errors import SettingError, TinyCNNError

Array = Any  # numpy.ndarray or cupy.ndarray
T = TypeVar("T")


class Communicator(ABC):
    """What binds ``size`` processes together, seen from number ``rank``; all of them make the same calls in order."""

    rank: int
    size: int

    @abstractmethod
    def all_reduce(self, numbers: Array) -> None:
        """Put the sum over all ranks into the contiguous array ``numbers``: the same bits on each of them."""

    def all_gather(self, numbers: Array) -> Array:
        """The arrays of all ranks, ``(…)`` each → ``(size, …)``: a sum in which everybody else adds zero."""
        rows = np.zeros_like(numbers, shape=(self.size, *numbers.shape))
        rows[self.rank] = numbers
        self.all_reduce(rows)
        return rows

    def broadcast(self, content: bytes, sender: int = 0) -> bytes:
        """What rank ``sender`` gave, on all ranks."""
        length = self.all_gather(np.array(len(content)))[sender]
        text = np.zeros(length, np.uint8)
        if self.rank == sender:
            text[...] = np.frombuffer(content, np.uint8)
        self.all_reduce(text)
        return text.tobytes()

    def leave(self, code: int, error: str = "") -> int:
        """The last words of this process, and its exit code: that of all ranks, as soon as one of them has failed."""
        raise NotImplementedError

    @property
    def launcher(self) -> list[str]:
        """What stands before a command line that starts so many ranks."""
        return []


class Alone(Communicator):
    """One process by itself: every sum over the ranks is there already."""

    rank, size = 0, 1

    def all_reduce(self, numbers: Array) -> None:
        """Nothing to do."""

    def leave(self, code: int, error: str = "") -> int:
        if error:
            print(error, file=sys.stderr, flush=True)
        return code


class Share:
    """What this rank has of a batch of ``whole`` images: those in ``rows``, as many as the others have, or one less."""

    def __init__(self, ranks: Communicator, whole: int) -> None:
        self.ranks, self.whole = ranks, whole
        self.rows = part_of(whole, ranks)

    @property
    def weight(self) -> float | None:
        """What the mean over this part weighs in the mean over the batch; None where it is the same."""
        return None if self.ranks.size == 1 else (self.rows.stop - self.rows.start) / self.whole


_communicator: ContextVar[Communicator] = ContextVar("communicator", default=Alone())  # noqa: B039  (it has no state)
_share: ContextVar[Share | None] = ContextVar("share", default=None)


def get_communicator() -> Communicator:
    """What binds this process to others: ``Alone`` unless ``use_communicator`` said otherwise."""
    return _communicator.get()


class use_communicator:  # in lower case, as use_backend
    """Belong to the ranks of ``communicator``: at once when called, until the block ends when used with ``with``."""

    def __init__(self, communicator: Communicator) -> None:
        self.communicator, self.token = communicator, _communicator.set(communicator)

    def __enter__(self) -> Communicator:
        return self.communicator

    def __exit__(self, *error: object) -> None:
        _communicator.reset(self.token)


@contextmanager
def shared_batch(count: int) -> Iterator[Share]:
    """Inside, what is computed is this rank's part of a batch of ``count`` images, with all that belongs to a batch."""
    share = Share(get_communicator(), count)
    token = _share.set(share if share.ranks.size > 1 else None)
    try:
        yield share
    finally:
        _share.reset(token)


def current_share() -> Share | None:
    """The part of a batch that is being computed; None where it is no part, but the batch."""
    return _share.get()


def part_of(count: int, ranks: Communicator) -> slice:
    """Which of ``count`` things in a row are this rank's: consecutive ones, perhaps none."""
    return slice(count * ranks.rank // ranks.size, count * (ranks.rank + 1) // ranks.size)


# ------------------------------------------------------------------------------------------------ sums over the batch


def merged_moments(counts: Array, means: Array, squares: Array) -> tuple[Array, Array]:
    """How many values each part has ``(parts,)``, their means and summed squared distances from these ``(parts, C)``
    → mean and biased variance of all, ``(C,)`` both, float64.

    As in Chan, Golub, LeVeque, 1979: distances are taken from a mean, so nothing cancels in float32.
    """
    total = counts.sum().clip(1)  # on a GPU, `max` would wait for it
    weights = (counts / total)[:, None]
    mean = (weights * means).sum(axis=0)
    return mean, squares.sum(axis=0, dtype=np.float64) / total + (weights * (means - mean) ** 2).sum(axis=0)


def whole_moments(images: int, values: int, mean: Array, var: Array) -> tuple[int, Array, Array]:
    """How many images this rank has, how many values each has in a channel, their mean and variance ``(C,)``
    → how many values all have, the mean and variance of all.
    """
    share = _share.get()
    if share is None:
        return images * values, mean, var
    own = np.zeros_like(mean, shape=(3, len(mean)), dtype=np.float64)
    own[0], own[1], own[2] = images * values, mean, images * values * var
    rows = share.ranks.all_gather(own)  # (ranks, 3, C)
    return share.whole * values, *merged_moments(rows[:, 0, 0], rows[:, 1], rows[:, 2])


def whole_sums(*sums: Array) -> tuple[Array, ...]:
    """Sums over this rank's part of the batch, arrays of one shape → the sums over the batch."""
    share = _share.get()
    if share is None:
        return sums
    together = np.stack(sums)
    share.ranks.all_reduce(together)
    return tuple(together)


# ------------------------------------------------------------------------------------------- what one rank does, wants


class Wish:
    """Calling it tells whether any rank wishes to ``stop()``, as all know since the sums of the last step."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self.ask, self.agreed = stop, 0.0

    def __call__(self) -> bool:
        return bool(self.agreed)


def by_first(work: Callable[[], T]) -> T | None:
    """Rank 0 does ``work()``, and the others wait: its answer there, None elsewhere. If it fails, all fail."""
    ranks = get_communicator()
    if ranks.size == 1:
        return work()
    answer, failure = None, None
    if ranks.rank == 0:
        try:
            answer = work()
        except (TinyCNNError, OSError) as error:
            failure = error
    told = ranks.broadcast(b"" if failure is None else str(failure).encode() or b"rank 0 failed")
    if told:
        raise failure or SettingError(told.decode())
    return answer


def first_then_others(work: Callable[[], T]) -> T:
    """``work()`` on all ranks, rank 0 before the others: what it downloads or compiles, they find in the cache."""
    answer = by_first(work)
    return work() if get_communicator().rank else answer  # type: ignore[return-value]
