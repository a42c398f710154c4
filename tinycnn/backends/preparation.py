"""What a backend does once: it compiles a kernel or loads it from the disk, and records a step.

A clock measures it, so that the speed of training can be stated without it. Where a kernel is compiled because it is
not on the disk, which takes up to a minute for all kernels of a network, a program can announce that.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

COMPILING = "compiling the kernels of this network that are not on the disk yet: this can take a minute"


class _OfThread(threading.local):
    """Other threads may prepare while this one computes, and only its own preparation keeps it waiting."""

    depth, since, total = 0, 0.0, 0.0  # blocks in progress; when the outer one began; seconds of those that are done


_thread = _OfThread()
_announce: list[Callable[[str], None]] = []


@contextmanager
def preparing() -> Iterator[None]:
    """The block is preparation; a block inside another one counts once."""
    if not _thread.depth:
        _thread.since = time.perf_counter()
    _thread.depth += 1
    try:
        yield
    finally:
        _thread.depth -= 1
        if not _thread.depth:
            _thread.total += time.perf_counter() - _thread.since


def working_time() -> float:
    """A clock of this thread in seconds, which stands still while it prepares something."""
    return (_thread.since if _thread.depth else time.perf_counter()) - _thread.total


@contextmanager
def announcing(announce: Callable[[str], None]) -> Iterator[None]:
    """In the block, call ``announce`` with a sentence before the first kernel is compiled."""
    _announce.append(announce)
    try:
        yield
    finally:
        if announce in _announce:
            _announce.remove(announce)


def before_compiling() -> None:
    """Called by a backend before it compiles a kernel."""
    while _announce:
        _announce.pop()(COMPILING)
