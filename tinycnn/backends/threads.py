"""Python threads for kernels that release the GIL: the work is cut into parts, and whoever is free takes the next one.

How many parts there are depends on the work alone, never on the number of threads, and each part writes memory of its
own. So the result has the same bits on one core and on sixty-four. No OpenMP and no TBB are involved, hence nothing that
breaks after a fork or when two threads compute at once.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from threadpoolctl import ThreadpoolController

from tinycnn.errors import SettingError

_pool: ThreadPoolExecutor | None = None
_blas_limit: Any = None
_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def get_threads() -> int:
    """How many threads kernels use: all cores this process may run on, unless ``set_threads`` said otherwise."""
    return _threads


def set_threads(count: int) -> None:
    """Use ``count`` threads from now on; results do not depend on it. Raises SettingError below 1."""
    global _threads
    if not isinstance(count, int) or count < 1:
        raise SettingError(f"threads={count}: expected a whole number above 0")
    _drop_pool()
    _threads = count


def _drop_pool() -> None:
    global _pool
    if _pool is not None:
        _pool.shutdown(wait=False)
    _pool = None


def _forget_pool() -> None:
    """In a forked child the pool's threads do not exist: it starts its own when it needs them."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _workers() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(max(_threads - 1, 1), thread_name_prefix="tinycnn")
    return _pool


def in_parallel(work: Callable[[int], object], parts: int) -> None:
    """Call ``work(part)`` once for every part in ``range(parts)``; the calling thread takes its share."""
    helpers = min(_threads, parts) - 1
    if helpers <= 0:
        for part in range(parts):
            work(part)
        return
    remaining = itertools.count()  # next() of it is atomic: no part is taken twice

    def take_parts() -> None:
        while (part := next(remaining)) < parts:
            work(part)

    futures = [_workers().submit(take_parts) for _ in range(helpers)]
    try:
        take_parts()
    finally:
        for future in futures:
            future.result()


def limit_blas(threads: int | None) -> None:
    """Let BLAS libraries use that many threads of their own; None gives back what they started with."""
    global _blas_limit
    if _blas_limit is not None:
        _blas_limit.restore_original_limits()
    _blas_limit = None if threads is None else ThreadpoolController().limit(limits=threads, user_api="blas")


def ranges(count: int, parts: int) -> list[tuple[int, int]]:
    """``range(count)`` cut into ``parts`` consecutive ``(start, stop)``, as equal as possible."""
    return [(count * part // parts, count * (part + 1) // parts) for part in range(parts)]
