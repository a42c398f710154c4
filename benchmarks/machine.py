"""What a figure was measured on: processor, threads, versions. Goes into every result file."""

import importlib.metadata
import os
import platform
from pathlib import Path


def processor() -> str:
    """The processor's name as the system reports it."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Of everything that computes, as far as it is installed."""
    found = {"python": platform.python_version()}
    for package in (
        "tinycnn",
        "numpy",
        "numba",
        "llvmlite",
        "torch",
        "mpi4py",
        "mpich",
        "cupy-cuda12x",
        "cupy-cuda13x",
    ):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def simd_lanes() -> int | None:
    """How many floats the Numba backend computes at once; None without Numba."""
    try:
        from tinycnn.backends.numba.kernels.lanes import LANES
    except ImportError:
        return None
    return LANES


def describe(threads: int) -> dict[str, object]:
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "simd_lanes": simd_lanes(),
        "system": platform.platform(),
        "versions": versions(),
    }


def peak_memory_mib() -> float:
    """The most memory this process ever held, from Linux' VmHWM (ru_maxrss would count the parent's); NaN elsewhere."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan"))
