"""What a process does first that is to be one of several: it finds the others, and shares the machine with them."""

import importlib.util
import os
import shlex
import sys
from typing import Any

from tinycnn.backends import get_backend, has_gpu
from tinycnn.backends.threads import get_threads, share_machine
from tinycnn.distributed.communicator import Communicator, use_communicator
from tinycnn.distributed.mpi import PATIENCE_S, MpiCommunicator, mpiexec, own_mpiexec
from tinycnn.errors import SettingError

INSTALL = "`pip install 'tinycnn[mpi]'` (in the repository: `pip install -e '.[mpi]'`)"
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")  # in the environment of a rank: how many there are
NUMBERS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID")  # and which this is
PATIENCE = "TINYCNN_PATIENCE_S"  # in the environment: how long to wait for a rank that does not answer


def start() -> Communicator:
    """Be one of the ranks that ``mpiexec`` started; from now on only rank 0 is heard.

    Each rank takes its part of the machine's cores, and of its GPUs. Raises SettingError, with the command that mends
    it, without mpi4py, without MPI, and in a process that nobody started as a rank.
    """
    if importlib.util.find_spec("mpi4py") is None:
        raise SettingError(f"--distributed needs mpi4py, and an MPI: {INSTALL}")
    if not any(name in os.environ for name in NUMBERS):
        command = shlex.join([mpiexec(), "-n", "2", *sys.orig_argv])
        raise SettingError(
            f"--distributed is for several processes, and this one was started alone. Start two: {command}"
        )
    if any(os.environ.get(name, "0") != "0" for name in NUMBERS):
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (until the process ends)
    world = _load_mpi().COMM_WORLD
    started = next((int(os.environ[name]) for name in SIZES if name in os.environ), world.size)
    if world.size != started:
        raise SettingError(
            f"mpiexec started {started} processes, but they do not find each other: it belongs to another MPI than the "
            f"one that mpi4py found. Use {own_mpiexec()}"
        )
    ranks = MpiCommunicator(world.Dup(), patience_s=_patience_s())
    ranks.abort_on_bugs()
    _share_machine(world)
    use_communicator(ranks)
    return ranks


def _load_mpi() -> Any:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # mpi4py is there, the library that it looks for is not
        raise SettingError(f"mpi4py finds no MPI ({str(error).splitlines()[0]}): {INSTALL}") from None
    return MPI


def _patience_s() -> float:
    text = os.environ.get(PATIENCE, str(PATIENCE_S))
    try:
        return float(text)
    except ValueError:
        raise SettingError(f"{PATIENCE}={text}: expected a number of seconds") from None


def _share_machine(world: Any) -> None:
    """Give this rank its part of what the ranks on this machine have together."""
    node = world.Split_type(_load_mpi().COMM_TYPE_SHARED)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    share = len(set().union(*node.allgather(set(cores)))) // node.size
    share_machine(min(share, get_threads()))  # which OMP_NUM_THREADS may have limited
    get_backend().activate()
    if importlib.util.find_spec("cupy") and has_gpu():
        from tinycnn.distributed.nccl import take_gpu

        take_gpu(node.rank)
    node.Free()
