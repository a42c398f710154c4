"""How kernels are compiled: serial, without the GIL so that Python threads run them in parallel, cached on disk.

Numba recompiles a cached kernel only when the file that defines it changes. It does not notice a change in an imported
file or another lane count. Both are therefore part of the kernel's name, and so of the name of its cache file.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from .lanes import LANES

# "contract" fuses a * b + c. The other fast-math flags are off: NaNs must stay NaNs to show that a run diverges.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


def source_stamp() -> str:
    """A short hash of every file in this folder."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


STAMP = source_stamp()


def kernel(function: Callable) -> Callable:
    """Compile `function` on its first call with each combination of argument types.

    The cache on disk is left out where Numba finds no folder that it can write to.
    """
    function.__qualname__ = f"{function.__name__}_{LANES}lanes_{STAMP}"
    try:
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # no writable folder for the cache
        return numba.njit(**OPTIONS)(function)


def inlined(function: Callable) -> Callable:
    """A helper for kernels, always inlined: a real call would write tiles to memory."""
    return numba.njit(forceinline=True, **OPTIONS)(function)
