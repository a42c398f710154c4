"""Runs CUDA kernels on the host: ``EmulatedModule(source, defines)`` is ``cupy.RawModule`` compiled with g++.

``emulator.cpp`` describes the method and the errors that a checked module detects. Kernels take the same arguments as
on a GPU. An argument whose type differs from the parameter's is an error here; on a GPU it is read as garbage.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
FORWARD, REVERSE, SHUFFLED, SHUFFLED_AGAIN = ORDERS = range(4)
COMPILER = shutil.which("g++")
CPU = Path("/proc/cpuinfo")
FUSED = ["-fexpensive-optimizations", "-ffp-contract=fast"]  # a*b + c is rounded once, as NVIDIA's compiler does it
FUSED += ["-mfma"] if CPU.exists() and re.search(r"^flags\b.*\bfma\b", CPU.read_text(), re.MULTILINE) else []
FLAGS = ["-std=c++17", "-O1", *FUSED, "-fPIC", "-fvisibility=hidden", "-U_FORTIFY_SOURCE", "-w"]
KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\(\d+\)\s+)?(?!__launch_bounds__)(\w+)\s*\(([^)]*)\)")
ASM = re.compile(r'\basm(?: volatile)?\(((?:\s*"[^"]*")+)\s*:([^;]*?)\)\s*;')
OPERAND = re.compile(r'"[=+]?[a-z]"\s*\(')
WIDTHS = re.compile(r"FOR_EACH_WIDTH\((\w+),\s*\(([^)]*)\)")
C_TYPES = {
    "unsigned char": np.uint8,
    "int": np.int32,
    "unsigned": np.uint32,
    "long long": np.int64,
    "unsigned long long": np.uint64,
    "float": np.float32,
    "double": np.float64,
}


class KernelError(AssertionError):
    """A launch or memory access of a kernel that is an error on a GPU."""


class EmulatedModule:
    """All kernels of one source, compiled with ``defines`` such as ``{"REAL": "float"}``."""

    def __init__(self, source, defines, *, checked=False):
        self.defines, self.checked = defines, checked
        self.parameters = kernels_of(source)
        self.library = ctypes.CDLL(str(compiled(source, defines, checked, list(self.parameters))))

    def get_function(self, name):
        return EmulatedKernel(self, name)


class EmulatedKernel:
    """A kernel that is called like CuPy's, with NumPy arrays: ``kernel(grid, block, arguments)``."""

    def __init__(self, module, name):
        self.module, self.name = module, name
        self.launch = getattr(module.library, f"launch_{name}")
        self.launch.restype = ctypes.c_char_p
        self.types = [self._parse(parameter) for parameter in module.parameters[name].split(",")]

    def _parse(self, parameter):
        words = re.sub(r"\b(const|__restrict__)\b", "", parameter).replace("*", " * ").split()
        words = [self.module.defines["REAL"] if word == "real" else word for word in words]
        words = [self.module.defines["PLACE"] if word == "PLACE" else word for word in words]
        pointer = "*" in words
        return " ".join(word for word in words[:-1] if word != "*"), pointer

    def check(self, grid, block, arguments):
        """Return the cells that hold the arguments; raises KernelError if the kernel cannot be launched with them."""
        if len(arguments) != len(self.types):
            raise KernelError(f"{self.name} takes {len(self.types)} arguments, got {len(arguments)}")
        if min(grid) < 1 or np.prod(block) > 1024 or max((*grid[1:], 0)) > 65535:
            raise KernelError(f"{self.name} cannot be launched with grid {grid} and block {block}")
        return [self._cell(value, *kind) for value, kind in zip(arguments, self.types, strict=True)]

    def __call__(self, grid, block, arguments, order=FORWARD, arrays=None):
        cells = self.check(grid, block, arguments)
        if self.module.checked:
            self._register(arrays or [value for value in arguments if is_array(value)])
        places = (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))
        sizes = [(ctypes.c_uint * 3)(*(*size, 1, 1)[:3]) for size in (grid, block)]
        error = self.launch(*sizes, order, places)
        if error:
            raise KernelError(f"{self.name}: {error.decode()}")

    def in_all_orders(self, grid, block, arguments, arrays=None):
        """Run the kernel on fresh copies in each order of ``ORDERS``; raises KernelError unless the bits agree.

        ``arrays`` maps the addresses stored in structures to their arrays.
        """
        originals, results = reached(arguments, arrays or {}), []
        for order in ORDERS:
            copies = {address: guarded(array) for address, array in originals.items()}
            self(grid, block, [moved(value, copies) for value in arguments], order, copies.values())
            results.append(copies)
        for address, array in originals.items():
            first, *others = (copies[address] for copies in results)
            if any(other.tobytes() != first.tobytes() for other in others):
                raise KernelError(f"{self.name}: another order of blocks and threads gives another result")
            if array.flags.writeable:
                array[...] = first

    def _register(self, arrays):
        register = self.module.library.register_array
        register(None, ctypes.c_size_t(0))
        for array in arrays:
            register(ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes))

    def _cell(self, value, kind, pointer):
        """The argument as an array of one element, whose address is passed to the kernel."""
        if pointer and isinstance(value, np.uintp) and value == 0:  # a null pointer
            return np.zeros(1, np.uintp)
        if pointer:
            wanted = C_TYPES[kind]
            if not (isinstance(value, np.ndarray) and value.dtype == wanted and value.flags.c_contiguous):
                found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value)
                raise KernelError(f"{self.name}: {found} for a contiguous array of {kind}")
            return np.array([value.ctypes.data], np.uintp)
        if kind in C_TYPES:
            if type(value) is not C_TYPES[kind]:
                raise KernelError(f"{self.name}: {type(value)} for a parameter of type {kind}")
            return np.array([value])
        if not (isinstance(value, np.ndarray) and value.dtype.names and value.size == 1):
            raise KernelError(f"{self.name}: {type(value)} for a parameter of type {kind}")
        return value.reshape(1)


def kernels_of(source):
    """``{name: parameters}`` of all kernels."""
    source = re.sub(r"//[^\n]*", "", source)
    widths = ((f"{name}_{width}", parameters) for name, parameters in WIDTHS.findall(source) for width in (16, 32, 64))
    return {**dict(KERNEL.findall(source)), **dict(widths)}


def without_asm(source):
    """Replace each ``asm("instruction operands;" : results : inputs)`` with a call of its C++ function."""
    return ASM.sub(lambda found: call_of(*found.groups()) + "\n" * found[0].count("\n"), source)


def call_of(text, operands):
    instruction, places = "".join(re.findall(r'"([^"]*)"', text)).rstrip("; ").split(" ", 1)
    expressions = [part.rstrip(" \n,:")[:-1] for part in OPERAND.split(operands)[1:]]
    arguments = [expressions[int(number)] for number in re.findall(r"%(\d+)", places)]
    return f"ptx::{instruction.replace('.', '_')}(__LINE__, {', '.join(arguments)});"


def compiled(source, defines, checked, kernels):
    """The shared library of a source, compiled once and cached in the folder for temporary files."""
    options = [f"-I{HERE}", *(f"-D{name}={value}" for name, value in defines.items())]
    options += ["-fsanitize=thread"] if checked else []
    text = "\n".join(['#include "cuda_emulator.h"', without_asm(source), *(f"EMULATE({kernel})" for kernel in kernels)])
    emulator = kept("o", HERE.joinpath("emulator.cpp").read_text(encoding="utf-8"), ["-c", f"-I{HERE}"])
    kernel = kept("o", text, ["-c", *options])
    return kept("so", "", ["-shared", "-Wl,-Bsymbolic", str(kernel), str(emulator)])


def kept(kind, source, options):
    """The file that g++ builds from ``source`` with these options; cached."""
    header = (HERE / "cuda_emulator.h").read_text(encoding="utf-8")
    key = hashlib.sha256("\0".join([header, source, *FLAGS, *options]).encode()).hexdigest()[:20]
    folder = Path(tempfile.gettempdir()) / f"tinycnn-cuda-emulator-{os.getuid()}"
    result = folder / f"{key}.{kind}"
    if not result.exists():
        folder.mkdir(exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _run([*options, *(["-x", "c++", "-"] if source else []), "-o", f"{scratch}/made"], source)
            os.replace(f"{scratch}/made", result)
    return result


def _run(arguments, source):
    process = subprocess.run([COMPILER, *FLAGS, *arguments], input=source, capture_output=True, text=True, timeout=600)
    if process.returncode:
        raise KernelError(f"g++ does not compile it:\n{process.stderr[:3000]}")


def guarded(array):
    """A copy with unused space on both sides, so that an access out of bounds is detected and does no damage."""
    room = np.zeros(array.nbytes + 2 * 4096, np.uint8)
    start = 4096 - room.ctypes.data % 256
    inside = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    inside[...] = array
    return inside


def is_array(value):
    """Whether an argument is passed by address; numbers and structures are passed by value."""
    return isinstance(value, np.ndarray) and not value.dtype.names


def addresses_in(struct):
    """The addresses in a structure: its nonzero 64-bit fields."""
    names = [name for name in struct.dtype.names if struct.dtype[name].base == np.uint64]
    return {int(address) for name in names for address in struct[name].ravel() if address}


def reached(arguments, arrays):
    """``{address: array}`` of all arrays that a kernel can access."""
    found = {value.ctypes.data: value for value in arguments if is_array(value)}
    for value in arguments:
        if isinstance(value, np.ndarray) and value.dtype.names:
            found |= {address: arrays[address] for address in addresses_in(value)}
    return found


def moved(value, copies):
    """The argument with the addresses of the copies."""
    if is_array(value):
        return copies[value.ctypes.data]
    if not (isinstance(value, np.ndarray) and addresses_in(value)):
        return value
    value = value.copy()
    for name in (name for name in value.dtype.names if value.dtype[name].base == np.uint64):
        places = value[name].reshape(-1)
        places[:] = [copies[int(address)].ctypes.data if address else 0 for address in places]
    return value
