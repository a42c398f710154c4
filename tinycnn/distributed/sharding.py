"""The shard of a batch that this rank computes, and the reductions over the whole batch that need all ranks.

Most of a network works on one image at a time and uses nothing from here. Batch norm needs the mean and variance of
the whole batch (``global_moments``) and two sums in its backward pass (``global_sums``). Dropout needs the position of
an image in the whole batch (``Shard.rows``). The loss needs this rank's fraction of the batch (``Shard.weight``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from tinycnn.distributed.communicator import Array, Communicator, get_communicator


class Shard:
    """The images of a batch that this rank computes: those in ``rows``. Sizes differ by at most one between ranks."""

    def __init__(self, ranks: Communicator, batch_size: int) -> None:
        self.ranks, self.batch_size = ranks, batch_size
        self.rows = shard_of(batch_size, ranks)

    @property
    def weight(self) -> float | None:
        """The factor that turns the mean over this shard into its part of the batch mean; None with one process."""
        return None if self.ranks.size == 1 else (self.rows.stop - self.rows.start) / self.batch_size


_shard: ContextVar[Shard | None] = ContextVar("shard", default=None)


@contextmanager
def sharded_batch(batch_size: int) -> Iterator[Shard]:
    """Make computations in the block use this rank's shard of a batch of ``batch_size`` images."""
    shard = Shard(get_communicator(), batch_size)
    token = _shard.set(shard if shard.ranks.size > 1 else None)
    try:
        yield shard
    finally:
        _shard.reset(token)


def current_shard() -> Shard | None:
    """The shard that is being computed; None if this process computes the whole batch."""
    return _shard.get()


def shard_of(count: int, ranks: Communicator) -> slice:
    """The slice of ``range(count)`` that belongs to this rank; it may be empty."""
    return slice(count * ranks.rank // ranks.size, count * (ranks.rank + 1) // ranks.size)


def merge_moments(counts: Array, means: Array, squares: Array) -> tuple[Array, Array]:
    """The number of values in each part ``(parts,)``, their means and sums of squared deviations ``(parts, C)``
    → mean and biased variance of all values, ``(C,)`` both, float64.

    Source: Chan, Golub, LeVeque, 1979. Deviations are taken from a mean, so nothing cancels in float32.
    """
    total = counts.sum().clip(1)  # on a GPU, `max` would synchronise with the host
    weights = (counts / total)[:, None]  # (parts, 1)
    mean = (weights * means).sum(axis=0)  # (C,)
    return mean, squares.sum(axis=0, dtype=np.float64) / total + (weights * (means - mean) ** 2).sum(axis=0)


def global_moments(images: int, values: int, mean: Array, var: Array) -> tuple[int, Array, Array]:
    """The images of this rank, the values per image and channel, their mean and variance ``(C,)``
    → the number of values per channel in the whole batch, their mean and variance ``(C,)``.
    """
    shard = _shard.get()
    if shard is None:
        return images * values, mean, var
    own = np.zeros_like(mean, shape=(3, len(mean)), dtype=np.float64)
    own[0], own[1], own[2] = images * values, mean, images * values * var
    rows = shard.ranks.all_gather(own)  # (ranks, 3, C)
    return shard.batch_size * values, *merge_moments(rows[:, 0, 0], rows[:, 1], rows[:, 2])


def global_sums(*sums: Array) -> tuple[Array, ...]:
    """Sums over this rank's shard, arrays of one shape → the sums over the whole batch."""
    shard = _shard.get()
    if shard is None:
        return sums
    stacked = np.stack(sums)
    shard.ranks.all_reduce(stacked)
    return tuple(stacked)
