"""The part of a batch that this rank computes, and the sums over the whole batch that need all ranks.

Most of a network works on one image at a time and needs nothing from here. Batch norm needs the mean and variance of
the whole batch (``whole_moments``) and two sums in its backward pass (``whole_sums``), dropout the position of an image
in the whole batch (``Share.rows``), and the loss the fraction of the batch that this rank has (``Share.weight``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from tinycnn.distributed.communicator import Array, Communicator, get_communicator


class Share:
    """What this rank has of a batch of ``whole`` images: those in ``rows``, as many as the others have, or one less."""

    def __init__(self, ranks: Communicator, whole: int) -> None:
        self.ranks, self.whole = ranks, whole
        self.rows = part_of(whole, ranks)

    @property
    def weight(self) -> float | None:
        """What the mean over this part weighs in the mean over the batch; None where it is the same."""
        return None if self.ranks.size == 1 else (self.rows.stop - self.rows.start) / self.whole


_share: ContextVar[Share | None] = ContextVar("share", default=None)


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
