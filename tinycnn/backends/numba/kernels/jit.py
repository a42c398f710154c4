"""How kernels are compiled: serial, without the GIL (Python threads run them side by side), cached on disk if possible.

Numba notices a change only in the file that defines a kernel, not in the files it imports, nor another lane count.
So both become part of the kernel's name, and with it of the name of its cache file.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from .lanes import LANES

# "contract" fuses a * b + c. NaNs stay NaNs: a diverging run must be noticed.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


def source_stamp() -> str:
    """A short hash of every file in this folder."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


STAMP = source_stamp()


def kernel(function: Callable) -> Callable:
    """Compile `function` on its first call with each combination of argument types."""
    function.__qualname__ = f"{function.__name__}_{LANES}lanes_{STAMP}"
    try:
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # no folder that Numba could write its cache to
        return numba.njit(**OPTIONS)(function)


def inlined(function: Callable) -> Callable:
    """A helper for kernels, always inlined: tiles that cross a real call would leave the registers."""
    return numba.njit(forceinline=True, **OPTIONS)(function)
