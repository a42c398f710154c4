"""Python threads for kernels that release the GIL: the work is cut into parts, and whoever is free takes the next one.

How many parts there are depends on the work alone, never on the number of threads, and each part writes memory of its
own. So the result has the same bits on one core and on sixty-four. No OpenMP and no TBB are involved, hence nothing
that breaks after a fork or when two threads compute at once.

The workers are ours and not a ``ThreadPoolExecutor``'s for one reason: a kernel may take 50 µs, and waking a thread
that sleeps takes as long. A worker that has just been busy therefore looks out for the next job for 0.3 ms before it
sleeps.
"""

import contextvars
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from tinycnn.errors import SettingError

Work = Callable[[int], object]

_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
MOST = max(4 * _cores, 16)  # threads: enough to try out any number that makes sense
_asked = os.environ.get("OMP_NUM_THREADS", "")  # how joblib and others tell a worker its share of the machine
_threads = min(int(_asked), _cores) if _asked.isdecimal() and int(_asked) else _cores
_blas_limit: Any = None
_blas_share: int | None = None  # threads for BLAS where processes share the machine
NAP_S = 1e-4  # between looks, when another thread takes long
WORTH_HANDING_OUT = 4e6  # operations: about 40 µs, beside which the 20 µs that handing over takes are not small
MEMORY = 16  # operations take as long as reading or writing one float


class _Job:
    """``work(part)`` for every part, by whoever calls ``take_parts``; ``done[0]`` counts those that are finished.

    Each thread has a share of its own, and takes what is left of the others' when it has finished that. So the same
    thread tends to work on the same images and weights all the time, and finds them in its own cache.
    """

    def __init__(self, work: Work, parts: int, threads: int) -> None:
        self.work, self.parts = work, parts
        self.shares = [iter(range(*share)) for share in ranges(parts, threads)]  # next() of these is atomic
        self.done = np.zeros(1, np.int64)
        self.error: BaseException | None = None
        self.context = contextvars.copy_context()  # np.errstate of the caller holds for all who work

    def take_parts(self, thread: int) -> int:
        """Work until no part is left; answers how many were done here, which is still to be added to ``done``."""
        first, count = thread % len(self.shares), 0
        for part in itertools.chain(*self.shares[first:], *self.shares[:first]):
            try:
                self.work(part)
            except BaseException as error:
                self.error = error  # the caller of in_parallel raises it
            count += 1
        return count


class _Workers:
    """Daemon threads that share one queue of jobs; ``news[0]`` changes with every job, for those who watch it."""

    def __init__(self, count: int) -> None:
        from tinycnn.backends.numba.kernels import spin

        self.spin, self.count = spin, count
        self.jobs, self.news = queue.SimpleQueue[_Job | None](), np.zeros(1, np.int64)
        for number in range(1, count + 1):  # 0 is the thread that brings the job
            threading.Thread(target=self._serve, args=[number], name=f"tinycnn-{number}", daemon=True).start()

    def _serve(self, number: int) -> None:
        done, count = np.zeros(1, np.int64), 0
        while (job := self._next_job(done, count)) is not None:
            done, count = job.done, job.context.copy().run(job.take_parts, number)
            del job  # or its arrays would live until the next one comes

    def _next_job(self, done: np.ndarray, count: int) -> _Job | None:
        """Report what was done; look out for the next job a while before going to sleep."""
        while True:
            seen = int(self.news[0])  # read before the queue: whatever is put later changes it
            awake = self.spin.report_and_wait(done, count, self.news, seen + self.jobs.empty())
            count = 0
            try:
                return self.jobs.get(block=not awake)
            except queue.Empty:
                pass  # another worker was quicker

    def run(self, job: _Job, helpers: int) -> None:
        for _ in range(helpers):
            self.jobs.put(job)
        self.news[0] += 1
        by_others = job.parts - job.take_parts(0)
        while by_others and not self.spin.wait_until(job.done, by_others):
            time.sleep(NAP_S)

    def stop(self) -> None:
        for _ in range(self.count):
            self.jobs.put(None)


_workers: _Workers | None = None
_starting = threading.Lock()


def get_threads() -> int:
    """How many threads kernels use: all cores this process may run on, unless ``set_threads`` said otherwise."""
    return _threads


def set_threads(count: int) -> None:
    """Use ``count`` threads from now on; results do not depend on it. Raises SettingError below 1, above ``MOST``."""
    global _threads, _workers
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise SettingError(f"threads={count}: expected a whole number above 0")
    if count > MOST:
        raise SettingError(f"threads={count}: expected at most {MOST}, for {_cores} cores")
    with _starting:
        if _workers is not None:
            _workers.stop()
        _workers, _threads = None, count


def share_machine(cores: int) -> None:
    """Use ``cores`` cores, at least one, from the next ``Backend.activate`` on: other processes use the rest."""
    global _blas_share
    _blas_share = max(cores, 1)
    set_threads(_blas_share)


def _forget_workers() -> None:
    """In a forked child the threads do not exist: it starts its own when it needs them."""
    global _workers, _starting
    _workers, _starting = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_workers)


def _get_workers() -> _Workers:
    global _workers
    with _starting:
        if _workers is None:
            _workers = _Workers(_threads - 1)
        return _workers


def in_parallel(work: Work, parts: int) -> None:
    """Call ``work(part)`` once for every part in ``range(parts)``; the calling thread takes its share."""
    helpers = min(_threads, parts) - 1
    if helpers <= 0:
        for part in range(parts):
            work(part)
        return
    job = _Job(work, parts, helpers + 1)
    _get_workers().run(job, helpers)
    if job.error is not None:
        raise job.error


def pieces(count: int, work_per_item: float, most: int = 32) -> list[tuple[int, int]]:
    """Cut ``count`` items into ranges worth handing out: the work alone decides how many, so results do not depend on
    the number of threads.

    ``work_per_item`` is in floating point operations; ``MEMORY`` of them for a float that is read or written. The
    number is a power of two, so that 2, 4 or 8 threads get equal shares. More than four have to be larger ones: few
    machines gain from them, and all pay for them.
    """
    worth = count * work_per_item / WORTH_HANDING_OUT
    wanted = min(count, most, max(worth / 4, min(worth, 4)))
    return ranges(count, 1 << max(int(wanted).bit_length() - 1, 0))


def limit_blas(threads: int | None) -> None:
    """Let BLAS libraries use that many threads of their own; None gives back what they started with.

    Where other processes share the machine, that is too many: None then means this one's share.
    """
    global _blas_limit
    if _blas_limit is not None:
        _blas_limit.restore_original_limits()
    threads = _blas_share if threads is None else threads
    _blas_limit = None if threads is None else ThreadpoolController().limit(limits=threads, user_api="blas")


def ranges(count: int, parts: int) -> list[tuple[int, int]]:
    """``range(count)`` cut into ``parts`` consecutive ``(start, stop)``, as equal as possible."""
    return [(count * part // parts, count * (part + 1) // parts) for part in range(parts)]
