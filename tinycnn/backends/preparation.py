"""What a backend does once: it compiles a kernel or loads it from the disk, and records a step.

A clock measures it, so that the speed of training can be stated without it. Where a kernel is compiled because it is
not on the disk, which takes up to a minute for all kernels of a network, a program can announce that.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

COMPILING = "compiling the kernels of this network that are not on the disk yet: this can take a minute"


class _OfThread(threading.local):
    """Other threads may prepare while this one computes, and only its own preparation keeps it waiting."""

    depth, since, total = 0, 0.0, 0.0  # blocks in progress; when the outer one began; seconds of those that are done


_thread = _OfThread()


@dataclass(eq=False)
class _Announcement:
    """A block that announces; ``done``: a kernel was compiled in it, and this block or an inner one has said so."""

    announce: Callable[[str], None]
    done: bool = False


_blocks: list[_Announcement] = []


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
def announcing(announce: Callable[[str], None], *, unless_others: bool = False) -> Iterator[None]:
    """In the block, call ``announce`` with a sentence before the first kernel is compiled.

    Of blocks within each other, the inner one announces; with ``unless_others``, only the outermost.
    """
    if unless_others and _blocks:
        yield
        return
    block = _Announcement(announce)
    _blocks.append(block)
    try:
        yield
    finally:
        _blocks.remove(block)


def before_compiling() -> None:
    """Called by a backend before it compiles a kernel."""
    if _blocks and not any(block.done for block in _blocks):
        for block in _blocks:
            block.done = True
        _blocks[-1].announce(COMPILING)
