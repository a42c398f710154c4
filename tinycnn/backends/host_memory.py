"""Host memory: keeps freed memory for the next step, provides large pages, and measures how much is free.

A training step allocates the same large arrays again and again. By default the C library gives each of them back to the
operating system when it is freed, and the next one is mapped anew, zeroed and faulted in page by page, which took up to
a third of the step. With glibc two settings change that; elsewhere this does nothing.

The processor remembers where a few thousand pages lie in memory. With the usual 4 KiB, these hold less than the 32 MiB
that a step of `batchnorm_cnn` reads and writes. A recorded step therefore lies in pages of 2 MiB.
"""

import ctypes
import mmap
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # their numbers in malloc.h
LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc takes no more
KEPT_BYTES = 512 << 20
LARGE_PAGE = 2 << 20


def keep_freed_memory() -> bool:
    """Ask the allocator to keep up to 512 MiB of freed memory; returns whether it does."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl and others have none
    if mallopt is None:
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD) and mallopt(TRIM_THRESHOLD, KEPT_BYTES))


def large_pages(size: int) -> np.ndarray:
    """At least ``size`` bytes, in pages of 2 MiB where the system provides them (Linux); raises MemoryError."""
    size = -(-size // LARGE_PAGE) * LARGE_PAGE
    array = _mapped(size + LARGE_PAGE) if hasattr(mmap, "MADV_HUGEPAGE") else np.empty(size + LARGE_PAGE, np.uint8)
    skip = -array.__array_interface__["data"][0] % LARGE_PAGE  # a large page begins at a multiple of its size
    return array[skip : skip + size]


def _mapped(size: int) -> np.ndarray:
    try:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"the system refused {size} bytes") from error
    with suppress(OSError):  # a system without large pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)


def free_host_memory(system: Path = Path("/")) -> int | None:
    """The bytes this process can still allocate, by the limits of machine, container and process; None if unknown.

    Known on Linux only; ``system`` is the folder that holds ``proc`` and ``sys``.
    """
    available = _kib(system / "proc/meminfo", "MemAvailable:")
    rooms = [] if available is None else [available]
    group = system / "sys/fs/cgroup"
    limit, used = (_number(group / name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        rooms.append(limit - used)
    size = _kib(system / "proc/self/status", "VmSize:")
    if size is not None and (most := _address_space()) is not None:
        rooms.append(most - size)
    return max(min(rooms), 0) if rooms else None


def _kib(file: Path, name: str) -> int | None:
    """The value of a line ``name  123 kB``, in bytes."""
    lines = file.read_text().splitlines() if file.exists() else []
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(name)), None)


def _number(file: Path) -> int | None:
    text = file.read_text().strip() if file.exists() else ""
    return int(text) if text.isdigit() else None  # "max": without a limit


def _address_space() -> int | None:
    """What ``ulimit -v`` allows."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit
