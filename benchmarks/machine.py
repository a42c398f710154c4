"""The machine of a measurement for its result file, and the report of runs: processor, threads, versions, means."""

import argparse
import importlib.metadata
import json
import os
import platform
import shlex
import statistics
import sys
from pathlib import Path
from typing import Any


def processor() -> str:
    """The processor's name as the operating system reports it."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that affect speed."""
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


def torch_build() -> str | None:
    """For which device PyTorch was built, "CPU" or its version of CUDA; None without PyTorch."""
    try:
        import torch.version
    except ImportError:
        return None
    return f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"


def simd_lanes() -> int | None:
    """The number of floats per SIMD register of the Numba backend; None without Numba."""
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
        "torch_build": torch_build(),
    }


def peak_memory_mib() -> float:
    """Peak memory of this process, from VmHWM on Linux (ru_maxrss includes the parent's peak); NaN elsewhere."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan"))


def write_results(path: Path, measured: str, threads: int, results: list[dict[str, Any]]) -> None:
    """Write the figures and the machine to ``path``."""
    replace(path, {"measured": measured, "machine": describe(threads), "results": results})


def replace(path: Path, contents: dict[str, Any]) -> None:
    """Write ``contents`` under another name first, so that the file ``path`` is always complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)


def report(runs: list[dict[str, Any]], threads: int, path: Path | None, by: tuple[str, ...] = ("library",)) -> None:
    """Print mean ± standard deviation over the seeds for all runs with the same ``by``; write them to ``path``."""
    for group in dict.fromkeys(tuple(run[key] for key in by) for run in runs):
        own = [run for run in runs if tuple(run[key] for key in by) == group]
        columns = {key: [run[key] for run in own] for key in own[0] if key not in (*by, "seed")}
        print(*group, f"({len(own)} seeds)", {key: mean_and_deviation(values) for key, values in columns.items()})
    if path:
        write(runs, threads, path)


def mean_and_deviation(values: list[float]) -> str:
    """Such as ``0.9905 ± 0.0004``; without the deviation for a single value."""
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{deviation}"


def write(runs: list[dict[str, Any]], threads: int, path: Path) -> None:
    """Write runs, command and machine to the result file ``path``."""
    replace(path, {"command": shlex.join(["python", *sys.argv]), "machine": describe(threads), "runs": runs})


def runs_in(path: Path | None) -> list[dict[str, Any]]:
    """The runs that the result file already contains."""
    if not (path and path.exists()):
        return []
    try:
        return json.loads(path.read_text(encoding="utf-8"))["runs"]
    except (ValueError, KeyError, TypeError):
        from tinycnn.errors import DataError  # here: a script may have to choose its tinycnn first

        raise DataError(f"{path}: not a file of results with runs; choose another file") from None


def result_file(text: str) -> Path:
    """The value of an option that names the file for the results: refused before the measurement, not after it."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder: expected the name of a file")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: {above} is not a folder")
    return path


def positive(text: str) -> int:
    """The value of an option that counts something."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a positive integer")
    return int(text)
