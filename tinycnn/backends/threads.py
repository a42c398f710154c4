"""Python threads for kernels that release the GIL: the work is cut into parts, and an idle thread takes the next one.

The number of parts depends on the work alone, never on the number of threads, and each part writes its own memory. The
result therefore has the same bits on one core and on sixty-four. Neither OpenMP nor TBB is involved, so a fork or
computations in several threads at once are safe.

The workers replace a ``ThreadPoolExecutor`` for one reason: a kernel may take 50 µs, and waking a sleeping thread takes
as long. A worker that has just finished therefore polls for the next job for 0.3 ms before it sleeps.
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

from tinycnn.backends.recording import of_thread
from tinycnn.distributed.communicator import Communicator, when_joined
from tinycnn.errors import SettingError

Work = Callable[[int], object]

_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
MAX_THREADS = max(4 * _cores, 16)
_requested = os.environ.get("OMP_NUM_THREADS", "")  # set by joblib and others to give a worker its share of the machine
_threads = min(int(_requested), _cores) if _requested.isdecimal() and int(_requested) else _cores
_blas_limit: Any = None
_blas_threads: int | None = None  # the last argument of limit_blas
_blas_share: int | None = None  # threads for BLAS where others need the cores: further ranks, requests to a server
POLL_S = 1e-4  # between two checks, when another thread takes long
WORTH_HANDING_OUT = 4e6  # operations: about 40 µs, where the 20 µs for handing over still matter
WORTH_RECORDING = 4e5  # the same in a recorded step, where it takes half a microsecond
MEMORY_ACCESS = 16  # operations that take as long as reading or writing one float


class _Job:
    """``work(part)`` for every part, done by the threads that call ``take_parts``; ``done[0]`` counts finished parts.

    Each thread has its own range of parts, and takes parts from the ranges of others after its own. The same thread
    therefore tends to work on the same images and weights, and finds them in its cache.
    """

    def __init__(self, work: Work, parts: int, threads: int) -> None:
        self.work, self.parts = work, parts
        self.shares = [iter(range(*share)) for share in ranges(parts, threads)]  # next() of these is atomic
        self.done = np.zeros(1, np.int64)
        self.error: BaseException | None = None
        self.context = contextvars.copy_context()  # np.errstate of the caller applies in all threads

    def take_parts(self, thread: int) -> int:
        """Work until no part is left; returns the number of parts done, which the caller adds to ``done``."""
        first, count = thread % len(self.shares), 0
        for part in itertools.chain(*self.shares[first:], *self.shares[:first]):
            try:
                self.work(part)
            except BaseException as error:
                self.error = error  # the caller of in_parallel raises it
            count += 1
        return count


class _Help:
    """Work for threads that have none; nobody waits for it."""

    def __init__(self, work: Work) -> None:
        self.work, self.done = work, np.zeros(1, np.int64)
        self.context = contextvars.copy_context()

    def take_parts(self, thread: int) -> int:
        self.work(thread)
        return 0


class _Workers:
    """Daemon threads that share one queue of jobs; ``news[0]`` changes with every job, for the threads that poll it."""

    def __init__(self, count: int) -> None:
        from tinycnn.backends.numba.kernels import spin

        self.spin, self.count = spin, count
        self.jobs, self.news = queue.SimpleQueue[_Job | _Help | None](), np.zeros(1, np.int64)
        for number in range(1, count + 1):  # 0 is the thread that submits the job
            threading.Thread(target=self._serve, args=[number], name=f"tinycnn-{number}", daemon=True).start()

    def _serve(self, number: int) -> None:
        done, count = np.zeros(1, np.int64), 0
        while (job := self._next_job(done, count)) is not None:
            done, count = job.done, job.context.copy().run(job.take_parts, number)
            del job  # otherwise its arrays would live until the next job arrives

    def _next_job(self, done: np.ndarray, count: int) -> _Job | _Help | None:
        """Add ``count`` to ``done``; poll for the next job for a while, then sleep until it arrives."""
        while True:
            seen = int(self.news[0])  # read before the queue, so that a job submitted later changes it
            awake = self.spin.report_and_wait(done, count, self.news, seen + self.jobs.empty())
            count = 0
            try:
                return self.jobs.get(block=not awake)
            except queue.Empty:
                pass  # another worker was faster

    def submit(self, job: "_Job | _Help", helpers: int) -> None:
        for _ in range(helpers):
            self.jobs.put(job)
        self.news[0] += 1

    def run(self, job: _Job, helpers: int) -> None:
        self.submit(job, helpers)
        by_others = job.parts - job.take_parts(0)
        while by_others and not self.spin.wait_until(job.done, by_others):
            time.sleep(POLL_S)

    def stop(self) -> None:
        for _ in range(self.count):
            self.jobs.put(None)


_workers: _Workers | None = None
_starting = threading.Lock()


def get_threads() -> int:
    """The number of threads that kernels use: all cores of this process, unless ``set_threads`` has changed it."""
    return _threads


def set_threads(count: int) -> None:
    """Use ``count`` threads; results do not depend on it. Raises SettingError outside 1 to ``MAX_THREADS``."""
    global _threads, _workers
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise SettingError(f"`threads={count}`: expected a positive integer")
    if count > MAX_THREADS:
        raise SettingError(f"`threads={count}`: expected at most {MAX_THREADS}, for {_cores} cores")
    with _starting:
        if _workers is not None:
            _workers.stop()
        _workers, _threads = None, count


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


def current_workers() -> object:
    """The threads other than the calling one, as one object: another object means that they have been replaced."""
    return _get_workers() if _threads > 1 else None


def call_workers(work: Work, count: int) -> None:
    """Let ``count`` other threads call ``work(number of the thread)`` when they have time; does not wait for them."""
    _get_workers().submit(_Help(work), count)


def in_parallel(work: Work, parts: int) -> None:
    """Call ``work(part)`` once for every part in ``range(parts)``; the calling thread does some of them."""
    if of_thread.recorder is not None:
        of_thread.recorder.in_parallel(work, parts)
        return
    helpers = min(_threads, parts) - 1
    if helpers <= 0:
        for part in range(parts):
            work(part)
        return
    job = _Job(work, parts, helpers + 1)
    _get_workers().run(job, helpers)
    if job.error is not None:
        raise job.error


def pieces(count: int, work_per_item: float, most: int = 32, *, added: bool = False) -> list[tuple[int, int]]:
    """Cut ``count`` items into ranges that are large enough to hand out. The number of ranges depends on the work
    alone, so that results do not depend on the number of threads.

    ``work_per_item`` is in floating point operations; count ``MEMORY_ACCESS`` for a float that is read or written. The
    number of ranges is a power of two, so that 2, 4 or 8 threads get equal shares. More than four ranges must be larger
    ones: few machines gain from them, and every machine pays for handing them out.

    A recorded step hands out smaller ranges, because that takes less time there. ``added``: the results of the ranges
    are added later. Their number then affects the rounding, and is the same in a recorded step.
    """
    worth = count * work_per_item / (WORTH_HANDING_OUT if added or of_thread.recorder is None else WORTH_RECORDING)
    wanted = min(count, most, max(worth / 4, min(worth, 4)))
    return ranges(count, 1 << max(int(wanted).bit_length() - 1, 0))


def limit_blas(threads: int | None) -> None:
    """Let BLAS libraries use ``threads`` threads; None restores their default, or what ``share_blas`` has set."""
    global _blas_limit, _blas_threads
    _blas_threads = threads
    if _blas_limit is not None:
        _blas_limit.restore_original_limits()
    threads = _blas_share if threads is None else threads
    _blas_limit = None if threads is None else ThreadpoolController().limit(limits=threads, user_api="blas")


def share_blas(threads: int | None) -> None:
    """Let BLAS use ``threads`` threads wherever it would otherwise use its default; None ends that."""
    global _blas_share
    _blas_share = threads
    limit_blas(_blas_threads)


def _take_share(communicator: Communicator) -> None:
    """Use the cores of this rank; the other ranks on this machine use the rest."""
    if communicator.cores is not None:
        share = min(communicator.cores, get_threads())  # OMP_NUM_THREADS may have lowered the second
        set_threads(share)
        share_blas(share)


when_joined(_take_share)


def ranges(count: int, parts: int) -> list[tuple[int, int]]:
    """``range(count)`` cut into ``parts`` consecutive ``(start, stop)``, as equal as possible."""
    return [(count * part // parts, count * (part + 1) // parts) for part in range(parts)]
