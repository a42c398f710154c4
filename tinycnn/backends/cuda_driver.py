"""What the NVIDIA driver reports through its C interface, which works without CuPy.

The names are those of the CUDA driver API, https://docs.nvidia.com/cuda/cuda-driver-api.
"""

import ctypes
import sys
from dataclasses import dataclass
from pathlib import Path

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # numbers of device attributes in cuda.h
NVIDIA, DISPLAY_CLASSES = "0x10de", ("0x0300", "0x0302")  # PCI: vendor; screens, and processors without a screen


@dataclass(frozen=True)
class GPU:
    """A GPU that the driver knows."""

    name: str
    capability: str  # "9.0"
    memory_bytes: int


@dataclass(frozen=True)
class Driver:
    """The driver: the newest CUDA it can run, as (13, 0), and its GPUs; ``error`` is not 0 where it cannot start."""

    cuda: tuple[int, int]
    gpus: list[GPU]
    error: int = 0


def find_driver() -> Driver | None:
    """The driver of this machine; None where none is installed."""
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    error = cuda.cuInit(0)
    version = ctypes.c_int(0)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    count = ctypes.c_int(0)
    if not error:
        cuda.cuDeviceGetCount(ctypes.byref(count))
    gpus = [_gpu(cuda, number) for number in range(count.value)]
    return Driver((version.value // 1000, version.value % 1000 // 10), gpus, error)


def _gpu(cuda: ctypes.CDLL, number: int) -> GPU:
    device, name, memory = ctypes.c_int(0), ctypes.create_string_buffer(256), ctypes.c_size_t(0)
    cuda.cuDeviceGet(ctypes.byref(device), number)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    major, minor = (_attribute(cuda, which, device) for which in (CAPABILITY_MAJOR, CAPABILITY_MINOR))
    return GPU(name.value.decode(errors="replace"), f"{major}.{minor}", memory.value)


def _attribute(cuda: ctypes.CDLL, which: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int(0)
    cuda.cuDeviceGetAttribute(ctypes.byref(value), which, device)
    return value.value


def card_is_plugged_in(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether Linux sees an NVIDIA GPU, with a driver or without."""
    return any(
        _content(device / "vendor") == NVIDIA and _content(device / "class").startswith(DISPLAY_CLASSES)
        for device in devices.glob("*")
    )


def _content(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def cupy_package(driver: Driver | None) -> str:
    """The CuPy wheel that fits the driver, with the CUDA headers and libraries it needs."""
    major = 13 if driver is None or driver.cuda >= (13, 0) else 12
    return f"cupy-cuda{major}x[ctk]"
