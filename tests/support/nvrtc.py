"""CUDA source → machine code, without a GPU: NVIDIA's run-time compiler through ctypes."""

import ctypes
import functools
import importlib.util
import re
from pathlib import Path
from typing import NamedTuple

SUCCESS = 0
# The options that CuPy 14.2 adds for a RawModule (cupy/cuda/compiler.py), and a report of each kernel's resources.
OPTIONS = ["--std=c++17", "-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v"]
ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


class Resources(NamedTuple):
    """Resources of a kernel: registers and bytes of local memory per thread, bytes of shared memory per block."""

    registers: int
    local: int  # the stack and spilled registers; both are in slow memory
    shared: int


@functools.cache
def library():
    """The compiler from the package ``nvidia-cuda-nvrtc-cu12``; None where it is not installed."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(place) / "cuda_nvrtc" / "lib" for place in spec.submodule_search_locations] if spec else []
    found = [path for folder in folders for path in folder.glob("libnvrtc.so.*")]
    return ctypes.CDLL(str(found[0])) if found else None


def version():
    """The version of the compiler, such as ``"12.9"``."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    check(library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


def compile_kernels(source, gpu, *defines):
    """Compile with CuPy's options → ``(machine code, messages, {kernel: Resources})``."""
    code, messages = compile_cuda(source, [f"-arch={gpu}", *defines, *OPTIONS])
    lines = messages.splitlines()
    report = [line for line in lines if line.startswith("ptxas") and "warning" not in line and "error" not in line]
    return code, "\n".join(line for line in lines if line not in report), resources("\n".join(report))


def resources(report):
    """``{kernel: Resources}`` from the assembler's report with ``-v``."""
    found = {}
    for part in report.split("Compiling entry function")[1:]:
        kernel, spills, used = (pattern.search(f"Compiling entry function{part}") for pattern in (ENTRY, SPILLS, USED))
        shared = SHARED.search(part)
        local = sum(map(int, spills.groups()))
        found[kernel[1]] = Resources(int(used[1]), local, int(shared[1]) if shared else 0)
    return found


def compile_cuda(source, options):
    """``(machine code, messages)``; the code is empty when the source has errors."""
    nvrtc, program = library(), ctypes.c_void_p()
    check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None))
    options = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    failed = nvrtc.nvrtcCompileProgram(program, len(options), options) != SUCCESS
    messages = text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).rstrip(b"\0").decode()
    code = b"" if failed else text(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program)
    check(nvrtc.nvrtcDestroyProgram(ctypes.byref(program)))
    return code, messages


def text(size_of, write, program):
    size = ctypes.c_size_t()
    check(size_of(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    check(write(program, buffer))
    return buffer.raw


def check(status):
    if status != SUCCESS:
        raise RuntimeError(f"NVRTC failed with status {status}")
