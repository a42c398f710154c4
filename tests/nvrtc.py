"""CUDA source → machine code for a GPU that need not be there: NVIDIA's run-time compiler through ctypes."""

import ctypes
import functools
import importlib.util
from pathlib import Path

SUCCESS = 0


@functools.cache
def library():
    """The compiler from the package ``nvidia-cuda-nvrtc-cu12``; None where it is not installed."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(place) / "cuda_nvrtc" / "lib" for place in spec.submodule_search_locations] if spec else []
    found = [path for folder in folders for path in folder.glob("libnvrtc.so.*")]
    return ctypes.CDLL(str(found[0])) if found else None


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
