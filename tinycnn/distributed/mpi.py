"""Ranks bound together by MPI, through mpi4py.

The sum over the ranks is ours, not MPI's, for the sake of its order. The numbers are cut into as many pieces as there
are ranks. Everybody sends piece ``r`` to rank ``r``, which adds what it got, rank 0's numbers first, and sends the sum
to everybody. As in a ring, each rank sends ``2 (size-1)/size`` of its numbers; but the order of the additions depends
on ``size`` alone, not on the MPI, the network, or who happens to be late. So a run has the same bits every time.

Waiting is ours, too. MPI waits busily, and where there are more ranks than cores, those who wait keep those who work
from working. Ours looks, lets others have the core, and after a while sleeps between two looks; and it can give up.
But a large message goes over a network in pieces, and only while somebody looks: so a nap is a thousandth of the
waiting so far.
"""

import os
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn.backends.base import Array
from tinycnn.distributed.communicator import Communicator
from tinycnn.errors import RankLostError

PATIENCE_S = 600.0  # that the others may be late before they are given up
FAREWELL_S = 5.0  # that a rank which has failed waits for others to fail, too, before it ends them
AWAKE_S = 2e-4  # of waiting, before sleeping between two looks
NAP, SHORTEST_S, LONGEST_S = 1e-3, 5e-6, 2e-3  # a nap, as a fraction of the time waited so far, and its bounds


class MpiCommunicator(Communicator):
    """The processes that ``mpiexec`` started, bound by ``comm``, an mpi4py communicator that nobody else uses.

    Other arrays than NumPy's go through NCCL (``nccl.py``). ``all_reduce`` raises RankLostError when the others have
    not come for ``patience_s`` seconds.
    """

    def __init__(self, comm: Any, *, patience_s: float = PATIENCE_S) -> None:
        self.comm, self.farewell = comm, comm.Dup()
        self.rank, self.size, self.patience_s = comm.Get_rank(), comm.Get_size(), patience_s
        self.gpus: Communicator | None = None

    def all_reduce(self, numbers: Array) -> None:
        if not isinstance(numbers, np.ndarray):
            self._between_gpus().all_reduce(numbers)
            return
        flat = numbers.reshape(-1)
        if not flat.size:
            return
        pieces = np.zeros((self.size, -(-flat.size // self.size)), flat.dtype)  # the last one filled up with zeros
        pieces.reshape(-1)[: flat.size] = flat
        mine = np.empty_like(pieces)  # (size, n): my piece of everybody's numbers
        self._wait(self.comm.Ialltoall(pieces, mine))
        total = mine[0]
        for theirs in mine[1:]:
            total += theirs
        self._wait(self.comm.Iallgather(total, pieces))
        flat[...] = pieces.reshape(-1)[: flat.size]

    def _wait(self, request: Any, patience_s: float | None = None) -> None:
        """Until ``request`` is done, with ever more regard for others."""
        patience_s = self.patience_s if patience_s is None else patience_s
        began = time.monotonic()
        while not request.Test():
            waited = time.monotonic() - began
            if waited > patience_s:
                raise RankLostError(
                    f"rank {self.rank} of {self.size} has waited {patience_s:g} s for the others: one of them hangs or "
                    "cannot be reached. Whatever was saved before is as it was; take the run up with --resume"
                )
            if waited < AWAKE_S:
                os.sched_yield()
            else:
                time.sleep(min(max(NAP * waited, SHORTEST_S), LONGEST_S))

    def _between_gpus(self) -> Communicator:
        if self.gpus is None:
            from tinycnn.distributed.nccl import NcclCommunicator

            self.gpus = NcclCommunicator(self)
        return self.gpus

    def finish(self, code: int, error: str = "") -> int:
        """End together: wait until all are here. Who has failed waits a few seconds only, and then ends the others.

        Who was stopped, with a ``code`` but no ``error``, waits as long as ever: rank 0 may be writing the checkpoint.

        The message of the first rank that has failed is printed. Nothing may be asked of the ranks afterwards.
        """
        own, codes = np.array([code, bool(error)]), np.zeros((self.size, 2), np.int64)
        request = self.farewell.Iallgather(own, codes)
        try:
            self._wait(request, FAREWELL_S if error else self.patience_s)
        except RankLostError as lost:
            self.abort(code or 2, error or f"error: {lost}")
        failed = np.flatnonzero(codes[:, 1])
        if len(failed) and failed[0] == self.rank:
            print(error, file=sys.__stderr__, flush=True)
        return int(codes[:, 0].max())

    def abort(self, code: int, error: str) -> None:
        """End all ranks at once, whatever they are doing."""
        print(f"{error} (on rank {self.rank} of {self.size}; all end)", file=sys.__stderr__, flush=True)
        self.comm.Abort(code)

    def abort_on_bugs(self) -> None:
        """From now on, an exception that nobody catches ends all ranks: they would wait for this one for ever."""

        def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
            self.abort(1, "".join(traceback.format_exception(kind, error, trace)).rstrip())

        sys.excepthook = hook

    @property
    def launcher(self) -> list[str]:
        return [mpiexec(), "-n", str(self.size)]


def own_mpiexec() -> Path:
    """The one that an MPI from PyPI puts beside Python."""
    return Path(sys.prefix) / "bin" / "mpiexec"


def mpiexec() -> str:
    """How a command line calls the right one: with its folder where the search path leads to none, or to another."""
    own = own_mpiexec()
    return str(own) if own.exists() and shutil.which("mpiexec") != str(own) else "mpiexec"
