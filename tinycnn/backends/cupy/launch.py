"""CUDA kernels as Python functions: reads the sources in ``cuda/``, compiles each when it is first used, launches it.

    launch("im2col.cu", "im2col", x.dtype, blocks_for(cols.size), x, cols, windows_of(...), cols.size)

CuPy compiles with NVRTC and keeps the machine code on disk. Python numbers are passed as the C types that all kernels
use for them: ``int`` for whole numbers, the dtype of the arrays for others.
"""

import functools
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinycnn.backends.base import Array, Pair, window_grid
from tinycnn.backends.preparation import preparing
from tinycnn.errors import SettingError

CUDA_FOLDER = Path(__file__).parents[1] / "cuda"
BYTE = np.dtype(np.uint8)
REAL = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
PLACE = {BYTE: "unsigned char", np.dtype(np.int32): "int"}
THREADS = 256  # of a block: eight warps, enough to hide each other's waiting
NOWHERE = np.uintp(0)
MOST_ELEMENTS = 2**31 - 1  # kernels number them with 32 bits
WINDOWS = np.dtype(", ".join(["i4"] * 11))  # H, W, C, KH, KW, SH, SW, PH, PW, OH, OW

Grid = tuple[int, ...]


def source_names() -> list[str]:
    """The kernel files, in alphabetical order."""
    return sorted(path.name for path in CUDA_FOLDER.glob("*.cu"))


@functools.cache
def source(name: str) -> str:
    """The text of a kernel file, each ``#include "file"`` replaced by that file: one text, and no search path."""
    text = CUDA_FOLDER.joinpath(name).read_text(encoding="utf-8")
    for line in re.findall(r'^#include "[^"]+"$', text, flags=re.MULTILINE):
        after = text[: text.index(line)].count("\n") + 2
        text = text.replace(line, f'{source(line.split(chr(34))[1])}\n#line {after} "{name}"')
    return f'#line 1 "{name}"\n{text}'


@functools.lru_cache(maxsize=256)
def windows_of(x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair) -> np.ndarray:
    """``struct Windows`` of ``common.cuh``, by value."""
    _, H, W, C = x_shape
    grid = window_grid(x_shape, kernel_size, stride, padding)
    return np.array([(H, W, C, *kernel_size, *stride, *padding, *grid)], WINDOWS)


def divisor(d: int) -> tuple[int, int, int]:
    """``struct Divisor`` of ``common.cuh``: ``d``, its multiplier and its shift."""
    shift = (d - 1).bit_length()
    return d, (((1 << shift) - d) << 32) // d + 1, shift


def blocks_for(count: int, threads: int = THREADS) -> Grid:
    """A grid with one thread for each of ``count`` elements."""
    return (max(1, -(-count // threads)),)


class Launcher:
    """Compiled kernels by file and types, for the ``cupy`` module that it is given."""

    def __init__(self, cupy: ModuleType) -> None:
        self.cupy = cupy
        self.tf32: bool | None = None  # of the backend, see ``Backend.tf32``
        self.kernels: dict[tuple[str, str, np.dtype, np.dtype, bool], Any] = {}

    def __call__(
        self,
        file: str,
        kernel: str,
        dtype: np.dtype,
        grid: Grid,
        *arguments: Any,
        block: Grid = (THREADS,),
        place: np.dtype = BYTE,
        tf32: bool = False,
    ) -> None:
        """Run ``kernel`` of ``file`` for ``dtype`` on the current stream; ``place`` is the dtype of pool winners.

        ``tf32``: float32 matrix products, on tiles, round their inputs (``cuda/tile_tf32.cuh``).
        """
        key = file, kernel, dtype, place, tf32 and dtype == np.float32
        if key not in self.kernels:
            with preparing():
                self.kernels[key] = self.compile(file, *key[2:]).get_function(kernel)
        self.kernels[key](grid, block, tuple(self.argument(value, dtype) for value in arguments))

    @functools.cache  # noqa: B019  (one launcher per process)
    def compile(self, file: str, dtype: np.dtype, place: np.dtype, tf32: bool) -> Any:
        options = f"-DREAL={REAL[dtype]}", f"-DPLACE={PLACE[place]}", *(["-DTF32=1"] if tf32 else [])
        return self.cupy.RawModule(code=source(file), options=options)

    def argument(self, value: Any, dtype: np.dtype) -> Any:
        """``value`` as the kernel's parameter: numbers get their C type, None is a null pointer."""
        if value is None:
            return NOWHERE
        if isinstance(value, int):
            return np.int32(value)
        if isinstance(value, float):
            return dtype.type(value)
        if isinstance(value, self.cupy.ndarray) and value.size > MOST_ELEMENTS and value.dtype != BYTE:
            raise SettingError(f"an array of {value.shape} has more than 2**31 elements: use a smaller `batch_size`")
        return value

    def contiguous(self, array: Array) -> Array:
        """``array`` itself where it is C-contiguous, else a copy that is: kernels take no strides."""
        return array if array.flags.c_contiguous else self.cupy.ascontiguousarray(array)  # which gives a number an axis

    def elementwise(self, file: str, kernel: str, result: Array, *arguments: object, place: np.dtype = BYTE) -> None:
        """Launch a kernel that computes one element of ``result`` per thread; there may be nothing to compute."""
        if result.size:
            self(file, kernel, result.dtype, blocks_for(result.size), *arguments, result.size, place=place)
