"""Sums of values by place: the gradient of an indexing in which an element was chosen several times."""

from typing import Any

import numpy as np

from tinycnn.backends.array_types import Array


def sums_by_place(xp: Any, values: Array, places: Array, size: int) -> Array:
    """``sums[p] = Σ values[k]`` over all k with ``places[k] = p``: ``(K,), (K,)`` → ``(size,)``.

    Added in float64 and pairwise, and rounded once. The values are sorted by place; then neighbours of one place are
    added, and those that remain again, until each place has one. So all backends, and all runs, give the same bits,
    which an addition in parallel would not.
    """
    order = xp.argsort(places, kind="stable")
    places, sums = places[order], values[order].astype(np.float64)
    while True:
        same = places[1:] == places[:-1]  # as its predecessor
        if not same.any():
            break
        first = xp.concatenate([xp.ones(1, bool), ~same])
        starts = xp.nonzero(first)[0]  # of each place
        number = xp.arange(len(places)) - starts[xp.cumsum(first) - 1]  # of the value within its place: 0, 1, …
        takes = number % 2 == 0  # each of these takes its successor, if that has the same place
        with_next = takes[:-1] & same
        sums[:-1] += xp.where(with_next, sums[1:], 0)
        places, sums = places[takes], sums[takes]
    result = xp.zeros(size, values.dtype)
    result[places] = sums
    return result
