"""Ranks connected by MPI, through mpi4py.

This module computes the sum over the ranks itself instead of calling MPI's all-reduce, to fix the order of the
additions. The numbers are cut into as many pieces as there are ranks. Every rank sends piece ``r`` to rank ``r``, which
adds what it received in the order of the ranks and sends the sum to all ranks. As in a ring all-reduce, each rank sends
``2 (size-1)/size`` of its numbers. The order of the additions depends on ``size`` alone, not on the MPI library, the
network or the timing, so the results of a run are bit-identical every time.

This module also has its own way of waiting. MPI waits busily: with more ranks than cores, ranks that wait would take
the cores from ranks that work. The loop below polls, yields the core, and later sleeps between two polls; it also has a
timeout. A large message goes over a network in pieces and only advances during a poll. A sleep is therefore a
thousandth of the time waited so far.
"""

import os
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn.distributed.communicator import Array, Communicator
from tinycnn.errors import RankLostError

TIMEOUT_S = 600.0  # wait for other ranks before RankLostError
FINISH_TIMEOUT_S = 5.0  # how long a failed rank waits before it aborts the others
YIELD_S = 2e-4  # wait with yields only, before sleeping between two polls
SLEEP, MIN_SLEEP_S, MAX_SLEEP_S = 1e-3, 5e-6, 2e-3  # a sleep as a fraction of the time waited so far, and its bounds


class MpiCommunicator(Communicator):
    """The processes that ``mpiexec`` started. ``comm`` is an mpi4py communicator for the exclusive use of this object.

    Arrays on a GPU are summed by NCCL (``nccl.py``). ``all_reduce`` raises RankLostError if other ranks have not
    arrived after ``timeout_s`` seconds.
    """

    def __init__(self, comm: Any, *, timeout_s: float = TIMEOUT_S) -> None:
        self.comm, self.finish_comm = comm, comm.Dup()
        self.rank, self.size, self.timeout_s = comm.Get_rank(), comm.Get_size(), timeout_s
        self.gpus: Communicator | None = None

    def all_reduce(self, numbers: Array) -> None:
        if not isinstance(numbers, np.ndarray):
            self._between_gpus().all_reduce(numbers)
            return
        flat = numbers.reshape(-1)
        if not flat.size:
            return
        pieces = np.zeros((self.size, -(-flat.size // self.size)), flat.dtype)  # (size, n), padded with zeros
        pieces.reshape(-1)[: flat.size] = flat
        mine = np.empty_like(pieces)  # (size, n): this rank's piece of the numbers of each rank
        self._wait(self.comm.Ialltoall(pieces, mine))
        total = mine[0]  # (n,)
        for theirs in mine[1:]:
            total += theirs
        self._wait(self.comm.Iallgather(total, pieces))
        flat[...] = pieces.reshape(-1)[: flat.size]

    def _wait(self, request: Any, timeout_s: float | None = None) -> None:
        """Poll at growing intervals until ``request`` is done; raises RankLostError after ``timeout_s``."""
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        began = time.monotonic()
        while not request.Test():
            waited = time.monotonic() - began
            if waited > timeout_s:
                raise RankLostError(
                    f"rank {self.rank} of {self.size} has waited {timeout_s:g} s for the others: one of them hangs or "
                    "cannot be reached. Saved checkpoints are intact; continue the run with `resume=True`"
                )
            if waited < YIELD_S:
                os.sched_yield()
            else:
                time.sleep(min(max(SLEEP * waited, MIN_SLEEP_S), MAX_SLEEP_S))

    def _between_gpus(self) -> Communicator:
        if self.gpus is None:
            from tinycnn.distributed.nccl import NcclCommunicator

            self.gpus = NcclCommunicator(self)
        return self.gpus

    def finish(self, code: int, error: str = "") -> int:
        """End together: wait for all ranks, print the error of the first rank that failed, return the highest code.

        A rank with an ``error`` waits ``FINISH_TIMEOUT_S`` and then aborts the others. A rank that was stopped, with a
        ``code`` but no ``error``, waits for the full timeout: rank 0 may be writing the checkpoint. The communicator
        cannot be used afterwards.
        """
        own, codes = np.array([code, bool(error)]), np.zeros((self.size, 2), np.int64)
        request = self.finish_comm.Iallgather(own, codes)
        try:
            self._wait(request, FINISH_TIMEOUT_S if error else self.timeout_s)
        except RankLostError as lost:
            self.abort(code or 2, error or f"error: {lost}")
        failed = np.flatnonzero(codes[:, 1])
        if len(failed) and failed[0] == self.rank:
            print(error, file=sys.__stderr__, flush=True)
        return int(codes[:, 0].max())

    def abort(self, code: int, error: str) -> None:
        """Abort all ranks immediately."""
        print(f"{error} (on rank {self.rank} of {self.size}; all end)", file=sys.__stderr__, flush=True)
        self.comm.Abort(code)

    def abort_on_uncaught_exceptions(self) -> None:
        """From now on, an uncaught exception ends all ranks, which would otherwise wait for this one."""

        def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
            self.abort(1, "".join(traceback.format_exception(kind, error, trace)).rstrip())

        sys.excepthook = hook

    @property
    def launcher(self) -> list[str]:
        return [mpiexec(), "-n", str(self.size)]


def own_mpiexec() -> Path:
    """The path where an MPI package from PyPI installs its mpiexec."""
    return Path(sys.prefix) / "bin" / "mpiexec"


def mpiexec() -> str:
    """The mpiexec to use in a command line: with its folder if PATH leads to a different one or none."""
    own = own_mpiexec()
    return str(own) if own.exists() and shutil.which("mpiexec") != str(own) else "mpiexec"
