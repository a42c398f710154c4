"""Report whether this machine can train, how fast it is, and which command fixes each problem.

Each check performs the work that it reports on: it compiles and runs a kernel, or trains a network for two steps.
Exit codes: 0 if at least one backend trains, 1 if none does.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import shlex
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn import data, layers, optim
from tinycnn.backends import load_backend, use_backend
from tinycnn.backends.base import Backend
from tinycnn.backends.cuda_driver import Driver, card_is_plugged_in, cupy_package, find_driver
from tinycnn.backends.threads import get_threads
from tinycnn.errors import DataError, in_words
from tinycnn.files import write_atomically
from tinycnn.run.console import counted
from tinycnn.train.trainer import Trainer
from tinycnn.version import __version__

TRIES = 5
CPU_COPY_BYTES, CPU_MATRIX = 128 << 20, 1024
GPU_COPY_BYTES, GPU_MATRIX = 1 << 30, 8192
OLDEST_CUDA = 12, 0  # of a driver that CuPy works with
DRIVERS = "https://www.nvidia.com/drivers"
DRIVER_COMMANDS = {  # by the program that shows which system this is
    "ubuntu-drivers": "sudo ubuntu-drivers install",
    "apt": "sudo apt install nvidia-driver",
    "dnf": "sudo dnf install akmod-nvidia",
}
KERNELS_BYTES = 1 << 20  # the compiled kernels of one network


@dataclass(frozen=True)
class Finding:
    """One line of the report: the subject, whether it works (None: optional and missing), and the repair."""

    name: str
    works: bool | None
    found: str
    repair: str = ""  # a command


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for the format and the extent of the report."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--no-speed", action="store_true", help="do not measure speed")


def run(options: argparse.Namespace) -> int:
    """Print the report; returns 0 when a backend trains here, else 1."""
    findings = list(examine(find_driver(), speed=not options.no_speed))
    usable = [finding.name.removeprefix("train ") for finding in findings if is_training(finding) and finding.works]
    if options.json:
        print(json.dumps({"findings": [asdict(finding) for finding in findings], "backends": usable}, indent=2))
    else:
        for finding in findings:
            print(line(finding))
        print(f"\n{verdict(usable, load_backend('auto').name)}")
    return 0 if usable else 1


def is_training(finding: Finding) -> bool:
    """Whether the finding reports on training with a backend."""
    return finding.name.startswith("train ")


def line(finding: Finding) -> str:
    """The finding as one line of text, and a second one with the repair, if any."""
    mark = {True: "ok", False: "fails", None: "-"}[finding.works]
    text = f"{finding.name:<18} {mark:<5}  {finding.found}"
    purpose = {False: "to repair", True: "to improve", None: "to install"}[finding.works]
    if finding.works is None and finding.name.startswith("data "):
        purpose = "to download"
    return text + (f"\n{'':<26}{purpose}: {finding.repair}" if finding.repair else "")


def verdict(usable: list[str], automatic: str) -> str:
    """The last line: the backends that train here, and the one that auto selects."""
    if not usable:
        return "No backend trains here: start with the first line that fails."
    fails = "" if automatic in usable else ", which fails"
    return f"Training works here with --backend {' or '.join(usable)}; --backend auto selects {automatic}{fails}."


def examine(driver: Driver | None, *, speed: bool) -> Iterator[Finding]:
    """Run all checks, in order of dependency."""
    versions = f"{platform.python_version()} on {platform.platform()}, tinycnn {__version__}"
    yield Finding("python", True, versions)
    yield Finding("numpy", True, np.__version__)
    yield checked("numba", numba_finding, "pip install --upgrade numba")
    yield gpu_finding(driver)
    cupy = cupy_finding(driver, installed_cupy())
    yield cupy
    yield from data_findings()
    for name in ("cupy", "numba", "numpy"):
        package = cupy_package(driver) if name == "cupy" else name  # not "cupy", which would be a second CuPy
        if name != "cupy" or cupy.works:
            yield checked(
                f"train {name}", partial(training_finding, name), f"pip install --upgrade {shlex.quote(package)}"
            )
    if speed:
        yield checked("speed cpu", partial(speed_finding, "cpu", "numpy", CPU_COPY_BYTES, CPU_MATRIX))
        if cupy.works:
            yield checked("speed gpu", partial(speed_finding, "gpu", "cupy", GPU_COPY_BYTES, GPU_MATRIX))


def checked(name: str, check: Callable[[], Finding], repair: str = "") -> Finding:
    """The finding of ``check``; an exception is also reported as a finding."""
    try:
        return check()
    except Exception as error:
        sentence = str(error) or type(error).__name__
        return Finding(name, False, sentence, command_in(sentence) or repair)


def command_in(sentence: str) -> str:
    """The first command in an error message: text in backticks of several words; "" if there is none."""
    found = re.search(r"`(\S+ [^`]+)`", sentence)
    return found.group(1) if found else ""


def numba_finding() -> Finding:
    """Compile one kernel, or load it from the cache, and run it."""
    backend = load_backend("numba")
    from tinycnn.backends.numba.kernels import cache, lanes, plain

    start = time.perf_counter()
    cols = backend.im2col(np.ones((1, 4, 4, 1), np.float32), (3, 3), (1, 1), (0, 0))
    took_s = time.perf_counter() - start
    if cols.sum() != 36:
        return Finding("numba", False, "a kernel gave a wrong result", "pip install --force-reinstall numba llvmlite")
    text = f"{importlib.metadata.version('numba')}, {counted(get_threads(), 'thread')}, {lanes.LANES or 'no'} floats "
    text += f"per SIMD register; a kernel was compiled and ran in {took_s:.1f} s; "
    folder = vars(plain)["im2col"].stats.cache_path
    reason = why_no_room(folder) if folder else cache.failures.get(cache.UNWRITABLE, "no folder is writable")
    if reason is None:
        return Finding("numba", True, f"{text}compiled kernels are cached in {folder}")
    return Finding("numba", True, f"{text}compiled kernels are not cached ({reason})", another_folder())


def why_no_room(folder: str | Path) -> str | None:
    """The reason why compiled kernels cannot be written to ``folder``; None if they can."""
    trial = Path(folder) / f"doctor-{os.getpid()}"
    try:
        write_atomically(trial, bytes(KERNELS_BYTES))
        trial.unlink()
    except OSError as error:
        return in_words(error)
    return None


def another_folder() -> str:
    """The command that moves compiled kernels to the home folder if there is room, else one that shows the disks."""
    home = Path("~").expanduser()
    return "df -h" if why_no_room(home) else f"export NUMBA_CACHE_DIR={shlex.quote(str(home / '.numba'))}"


def gpu_finding(driver: Driver | None) -> Finding:
    """The NVIDIA driver and its GPUs."""
    if driver is None:
        if card_is_plugged_in():
            return Finding("gpu", False, f"an NVIDIA GPU, but no driver for it: {DRIVERS}", install_driver())
        return Finding("gpu", None, "no NVIDIA GPU")
    version = f"driver for CUDA {driver.cuda[0]}.{driver.cuda[1]}"
    if driver.error:
        return Finding("gpu", False, f"{version}, which does not start (CUDA error {driver.error})", "nvidia-smi")
    if not driver.gpus:
        hidden = "CUDA_VISIBLE_DEVICES" in os.environ
        return Finding(
            "gpu", False, f"{version}, but it finds no GPU", "unset CUDA_VISIBLE_DEVICES" if hidden else "nvidia-smi"
        )
    if driver.cuda < OLDEST_CUDA:
        return Finding("gpu", False, f"{version}, older than CuPy needs, CUDA 12.0: {DRIVERS}", install_driver())
    names = "; ".join(
        f"{gpu.name}, compute capability {gpu.capability}, {gpu.memory_bytes / 2**30:.0f} GiB" for gpu in driver.gpus
    )
    return Finding("gpu", True, f"{names}; {version}")


def install_driver() -> str:
    """The command that installs or updates the driver; "" on a system whose packages are not known here."""
    return next((command for tool, command in DRIVER_COMMANDS.items() if shutil.which(tool)), "")


def installed_cupy() -> list[str]:
    """The installed distributions of CuPy with their versions: ``cupy-cuda13x 14.2.0``."""
    found = {
        f"{distribution.name} {distribution.version}"
        for distribution in importlib.metadata.distributions()
        if re.fullmatch(r"cupy(-cuda\w+|-rocm\S+)?", distribution.name or "", re.IGNORECASE)
    }
    return sorted(found)


def cupy_finding(driver: Driver | None, packages: list[str]) -> Finding:
    """Whether one CuPy is installed, fits the driver, and runs a kernel."""
    wanted = f"pip install '{cupy_package(driver)}'"
    if len(packages) > 1:
        names = " ".join(package.split()[0] for package in packages)
        found = f"{' and '.join(packages)} are installed together and break each other"
        return Finding("cupy", False, found, f"pip uninstall -y {names} && {wanted}")
    if not packages:
        found = "not installed" if shows_gpu(driver) else "not installed; it is needed only with a GPU"
        return Finding("cupy", False if shows_gpu(driver) else None, found, wanted if shows_gpu(driver) else "")
    if not shows_gpu(driver):
        return Finding("cupy", None, f"{packages[0]}, but no GPU was found")
    name = packages[0].split()[0]
    if name != "cupy" and not cupy_package(driver).startswith(name) and driver and driver.cuda < (13, 0):
        found = f"{packages[0]} needs a newer driver than one for CUDA {driver.cuda[0]}.{driver.cuda[1]}"
        return Finding("cupy", False, found, f"pip uninstall -y {name} && {wanted}")
    if driver and driver.cuda < OLDEST_CUDA:
        return Finding("cupy", False, f"{packages[0]} needs a driver for CUDA 12.0 or newer", install_driver())
    repair = wanted if cupy_package(driver).startswith(f"{name}[") else f"pip uninstall -y {name} && {wanted}"
    finding = checked("cupy", partial(kernel_finding, packages[0]))
    return finding if finding.works else replace(finding, repair=repair)  # the error names the packages of all drivers


def shows_gpu(driver: Driver | None) -> bool:
    """Whether the driver has started and shows a GPU."""
    return driver is not None and bool(driver.gpus)


def kernel_finding(package: str) -> Finding:
    """Load the backend, which runs a kernel."""
    start = time.perf_counter()
    load_backend("cupy")
    return Finding("cupy", True, f"{package}; a kernel was ready and ran in {time.perf_counter() - start:.1f} s")


def data_findings() -> Iterator[Finding]:
    """The data sets on this machine; nothing is downloaded."""
    for name in ("mnist", "fashion_mnist"):
        yield checked(f"data {name}", partial(data_finding, name))
    yield checked("data digits", partial(data_finding, "digits"), "pip install scikit-learn")


def data_finding(name: str) -> Finding:
    """Where a data set was found."""
    try:
        found = data.load(name, download=False)
    except DataError as error:
        if "is not available" not in str(error):
            repair = "unset TINYCNN_DATA" if "TINYCNN_DATA" in os.environ else ""
            return Finding(f"data {name}", False, str(error), repair)
        fetch = f"python -c \"from tinycnn import data; data.load('{name}')\""
        cached = re.search(r"cache: (.*)", str(error))
        damaged = cached is not None and not re.search("holds neither|does not exist", cached[1])
        text = "not here yet; it is downloaded at first use"
        text = f"damaged, and replaced at first use ({cached[1]})" if cached and damaged else text
        return Finding(f"data {name}", None, text, fetch)
    return Finding(f"data {name}", True, f"{len(found.x_train):,} + {len(found.x_test):,} images, {found.source}")


def training_finding(name: str) -> Finding:
    """Two steps of a tiny network, compared with those of the NumPy backend."""
    losses, expected = tiny_losses(name), tiny_losses("numpy")
    if not np.allclose(losses, expected, rtol=1e-3):
        found = f"losses {losses} instead of {expected}"
        return Finding(f"train {name}", False, found, f"tinycnn gradcheck --backend {name} --kernels")
    return Finding(f"train {name}", True, "a tiny network learns")


def tiny_losses(name: str) -> list[float]:
    """The losses of two training steps on backend ``name``."""
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), dtype=np.uint8)
    with use_backend(name) as backend:
        parts = layers.Conv2d(4), layers.ReLU(), layers.MaxPool2d(), layers.Flatten(), layers.Dense(2)
        model = layers.Sequential(*parts, input_shape=(8, 8, 1))
        trainer = Trainer(model, optim.Adam(model.parameters()), batch_size=8)
        batch = [backend.asarray(array) for array in (images, np.arange(8) % 2, np.arange(8))]
        return [float(backend.to_host(trainer.step(*batch)[0])) for _ in range(2)]


def speed_finding(where: str, name: str, copy_bytes: int, size: int) -> Finding:
    """The speed of copying memory (bytes read and written) and of a float32 matrix product."""
    backend = load_backend(name)
    copy_s, product_s = copy_seconds(backend, copy_bytes), product_seconds(backend, size)
    text = f"copy {2 * copy_bytes / copy_s / 1e9:,.0f} GB/s, "
    text += f"product of {size} x {size} float32 matrices {2 * size**3 / product_s / 1e9:,.0f} GFLOP/s"
    return Finding(f"speed {where}", True, text)


def copy_seconds(backend: Backend, size: int) -> float:
    """Seconds to copy ``size`` bytes."""
    source = backend.xp.ones(size, np.uint8)
    target = backend.xp.empty_like(source)

    def copy() -> Any:
        target[...] = source
        return target

    return median_seconds(backend, copy)


def product_seconds(backend: Backend, size: int) -> float:
    """Seconds to multiply two matrices of random numbers, ``(size, size)`` float32."""
    rng = np.random.default_rng(0)
    a, b = (backend.asarray(rng.standard_normal((size, size), dtype=np.float32)) for _ in range(2))
    return median_seconds(backend, lambda: a @ b)


def median_seconds(backend: Backend, work: Callable[[], Any]) -> float:
    """The median of ``TRIES`` calls after one warm-up call; reading one element of the result waits for a GPU."""
    times = []
    for _ in range(1 + TRIES):
        start = time.perf_counter()
        backend.to_host(work().reshape(-1)[:1])
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
