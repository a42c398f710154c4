"""The first call of a process that becomes a rank: it connects to the others, and they share the machine."""

import importlib.util
import math
import os
import shlex
import sys
from contextlib import suppress
from typing import Any

from tinycnn.distributed.communicator import Communicator, join
from tinycnn.distributed.mpi import TIMEOUT_S, MpiCommunicator, mpiexec, own_mpiexec
from tinycnn.errors import SettingError

INSTALL = "`pip install 'tinycnn[mpi]'`"
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")  # environment variables of a rank: the number of ranks
NUMBERS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID")  # and its own number
TIMEOUT = "TINYCNN_TIMEOUT_S"  # environment variable: seconds to wait for a rank that does not respond


def start() -> Communicator:
    """Make this process one of the ranks that ``mpiexec`` started. From now on only rank 0 prints.

    Each rank takes its share of the machine's cores and one of its GPUs. Raises SettingError, which includes the
    command to run instead, if mpi4py or MPI is missing or if this process was not started as a rank.
    """
    if importlib.util.find_spec("mpi4py") is None:
        raise SettingError(f"training on several ranks requires mpi4py and an MPI library: {INSTALL}")
    if not any(name in os.environ for name in NUMBERS):
        command = shlex.join([mpiexec(), "-n", "2", *sys.orig_argv])
        raise SettingError(f"training on several ranks: this process was started alone. Start two: {command}")
    if any(os.environ.get(name, "0") != "0" for name in NUMBERS):
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (until the process ends)
    world = _load_mpi().COMM_WORLD
    started = next((int(os.environ[name]) for name in SIZES if name in os.environ), world.size)
    if world.size != started:
        raise SettingError(
            f"mpiexec started {started} processes, but they cannot find each other: it belongs to a different MPI from "
            f"the one that mpi4py loaded. Use {own_mpiexec()}"
        )
    ranks = MpiCommunicator(world.Dup(), timeout_s=_timeout_s())
    ranks.abort_on_uncaught_exceptions()
    ranks.local_rank, ranks.cores = _place_on_machine(world)
    join(ranks)
    return ranks


def _load_mpi() -> Any:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # mpi4py is installed, but not the MPI library
        raise SettingError(f"mpi4py cannot find MPI ({str(error).splitlines()[0]}): {INSTALL}") from None
    return MPI


def _timeout_s() -> float:
    text = os.environ.get(TIMEOUT, str(TIMEOUT_S))
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise SettingError(f"{TIMEOUT}={text}: expected a number of seconds above 0")


def _place_on_machine(world: Any) -> tuple[int, int]:
    """The number of this rank among those on its machine, and its number of cores."""
    node = world.Split_type(_load_mpi().COMM_TYPE_SHARED)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    all_cores = set().union(*node.allgather(set(cores)))
    place = node.rank, max(len(all_cores) // node.size, 1)
    node.Free()
    return place
