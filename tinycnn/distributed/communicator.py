"""Several processes that train one network together: each is a *rank*, with a part of every batch.

Almost all of a network happens to one image at a time, and need not know. Four things look at the whole batch:

    the loss        a mean over all images: a rank's part of it weighs as much as it has images (``Shard.weight``)
    the gradient    a sum over all images, hence over the ranks (``distributed/gradients.py``)
    batch norm      mean and variance of all images (``global_moments``), and two sums on the way back (``global_sums``)
    dropout         an image's mask depends on its place in the whole batch (``Shard.rows``)

All they need of the world is ``Communicator.all_reduce``. How it is done is not known here: see ``distributed/``.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
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

    def finish(self, code: int, error: str = "") -> int:
        """The last words of this process, and its exit code: that of all ranks, as soon as one of them has failed."""
        raise NotImplementedError

    @property
    def launcher(self) -> list[str]:
        """What stands before a command line that starts so many ranks."""
        return []


class SingleProcess(Communicator):
    """One process by itself: every sum over the ranks is there already."""

    rank, size = 0, 1

    def all_reduce(self, numbers: Array) -> None:
        """Nothing to do."""

    def finish(self, code: int, error: str = "") -> int:
        if error:
            print(error, file=sys.stderr, flush=True)
        return code


_communicator: ContextVar[Communicator] = ContextVar("communicator", default=SingleProcess())  # noqa: B039  (it has no state)


def get_communicator() -> Communicator:
    """What binds this process to others: ``SingleProcess`` unless ``use_communicator`` said otherwise."""
    return _communicator.get()


class use_communicator:  # in lower case, as use_backend
    """Belong to the ranks of ``communicator``: at once when called, until the block ends when used with ``with``."""

    def __init__(self, communicator: Communicator) -> None:
        self.communicator, self.token = communicator, _communicator.set(communicator)

    def __enter__(self) -> Communicator:
        return self.communicator

    def __exit__(self, *error: object) -> None:
        _communicator.reset(self.token)


# ------------------------------------------------------------------------------------------------ sums over the batch


# ------------------------------------------------------------------------------------------- what one rank does, wants


class Wish:
    """Calling it tells whether any rank wishes to ``stop()``, as all know since the sums of the last step."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self.ask, self.agreed = stop, 0.0

    def __call__(self) -> bool:
        return bool(self.agreed)


def on_rank_0(work: Callable[[], T]) -> T | None:
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


def rank_0_first(work: Callable[[], T]) -> T:
    """``work()`` on all ranks, rank 0 before the others: what it downloads or compiles, they find in the cache."""
    answer = on_rank_0(work)
    return work() if get_communicator().rank else answer  # type: ignore[return-value]
