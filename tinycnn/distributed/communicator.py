"""Several processes that train one network together: each is a *rank* and computes a shard of every batch.

Almost every operation works on one image at a time and does not depend on the ranks. Four things need the whole batch:

    the loss        a mean over all images: a rank's part is weighted by its number of images (``Shard.weight``)
    the gradient    a sum over all images, hence over the ranks (``all_reduce_gradients`` in ``tinycnn/train/step.py``)
    batch norm      the mean and variance of all images (``global_moments``), two sums in backward (``global_sums``)
    dropout         an image's mask depends on its position in the whole batch (``Shard.rows``)

All of them need one primitive: ``Communicator.all_reduce``. ``mpi.py`` and ``nccl.py`` implement it.
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
    """Connects ``size`` processes, seen from rank ``rank``. All ranks make the same calls in the same order.

    ``local_rank`` numbers the ranks of one machine, and ``cores`` is the number of cores that this rank may use. Both
    are None if the process has the machine to itself.
    """

    rank: int
    size: int
    local_rank: int | None = None
    cores: int | None = None

    @abstractmethod
    def all_reduce(self, numbers: Array) -> None:
        """Replace the contiguous array ``numbers`` by its sum over all ranks: bit-identical on all of them."""

    def all_gather(self, numbers: Array) -> Array:
        """The arrays of all ranks, ``(…)`` each → ``(size, …)``: a sum to which every rank adds zeros elsewhere."""
        rows = np.zeros_like(numbers, shape=(self.size, *numbers.shape))  # (size, …)
        rows[self.rank] = numbers
        self.all_reduce(rows)
        return rows

    def broadcast(self, content: bytes, sender: int = 0) -> bytes:
        """The ``content`` of rank ``sender``, on all ranks."""
        length = self.all_gather(np.array(len(content)))[sender]
        text = np.zeros(length, np.uint8)
        if self.rank == sender:
            text[...] = np.frombuffer(content, np.uint8)
        self.all_reduce(text)
        return text.tobytes()

    def finish(self, code: int, error: str = "") -> int:
        """End together with the other ranks: print ``error``, and return the highest exit code of all ranks."""
        raise NotImplementedError

    @property
    def launcher(self) -> list[str]:
        """The command prefix that starts ``size`` ranks."""
        return []


class SingleProcess(Communicator):
    """One process: every sum over the ranks is complete already."""

    rank, size = 0, 1

    def all_reduce(self, numbers: Array) -> None:
        """Does nothing."""

    def finish(self, code: int, error: str = "") -> int:
        if error:
            print(error, file=sys.stderr, flush=True)
        return code


_communicator: ContextVar[Communicator] = ContextVar("communicator", default=SingleProcess())  # noqa: B039  (stateless)


def get_communicator() -> Communicator:
    """The communicator of this process: a ``SingleProcess`` unless ``use_communicator`` has set another."""
    return _communicator.get()


class use_communicator:  # in lower case, like use_backend
    """Use ``communicator``: from the call on, or until the block ends when used with ``with``."""

    def __init__(self, communicator: Communicator) -> None:
        self.communicator, self.token = communicator, _communicator.set(communicator)

    def __enter__(self) -> Communicator:
        return self.communicator

    def __exit__(self, *error: object) -> None:
        _communicator.reset(self.token)


# ------------------------------------------------------------------------------------------ a rank's share of a machine

_joined: Communicator | None = None
_callbacks: list[Callable[[Communicator], None]] = []


def join(communicator: Communicator) -> None:
    """Make this process a rank of ``communicator`` permanently, and call the callbacks of ``when_joined``."""
    global _joined
    use_communicator(communicator)
    _joined = communicator
    for callback in _callbacks:
        callback(communicator)


def when_joined(callback: Callable[[Communicator], None]) -> None:
    """Call ``callback(communicator)`` when this process becomes a rank; at once if it already is one.

    Backends take their share of the machine here: ``communicator.cores`` and ``communicator.local_rank``.
    """
    _callbacks.append(callback)
    if _joined is not None:
        callback(_joined)


# ------------------------------------------------------------------------------------------------- agreement, and order


def on_rank_0(work: Callable[[], T]) -> T | None:
    """Call ``work()`` on rank 0 while the others wait; returns its result there, None elsewhere.

    If it raises TinyCNNError or OSError on rank 0, every rank raises.
    """
    ranks = get_communicator()
    if ranks.size == 1:
        return work()
    result, failure = None, None
    if ranks.rank == 0:
        try:
            result = work()
        except (TinyCNNError, OSError) as error:
            failure = error
    message = ranks.broadcast(b"" if failure is None else str(failure).encode() or b"rank 0 failed")
    if message:
        raise failure or SettingError(message.decode())
    return result


def any_rank(wanted: bool) -> bool:
    """Whether any rank calls this with True; all ranks call it, and get the same result."""
    votes = np.array([float(wanted)])
    get_communicator().all_reduce(votes)
    return bool(votes[0])


def rank_0_first(work: Callable[[], T]) -> T:
    """Call ``work()`` on all ranks, on rank 0 first: the others find its downloads and kernels in the cache."""
    result = on_rank_0(work)
    return work() if get_communicator().rank else result  # type: ignore[return-value]
