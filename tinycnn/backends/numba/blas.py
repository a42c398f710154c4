"""NumPy's own matrix product as an address that compiled code can call."""

import ctypes
from functools import cache
from typing import NamedTuple

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

NAMES = {  # of cblas_sgemm → bits of its integers
    "scipy_cblas_sgemm64_": 64,
    "cblas_sgemm64_": 64,
    "scipy_cblas_sgemm": 32,
    "cblas_sgemm": 32,
}


class Sgemm(NamedTuple):
    """``cblas_sgemm``: its address, and the bits of the integers that it takes."""

    address: int
    bits: int
    sums_in_order: bool  # some rows of a large product have the same bits as in the whole, as with OpenBLAS


@cache
def find_sgemm() -> Sgemm | None:
    """The function in the library that NumPy uses; None where it cannot be found (macOS' Accelerate, for instance)."""
    libraries = [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]
    for library in sorted(libraries, key=lambda library: "numpy" not in library.filepath):
        functions = ctypes.CDLL(library.filepath)
        for name, bits in NAMES.items():
            if hasattr(functions, name):
                address = ctypes.cast(getattr(functions, name), ctypes.c_void_p).value or 0
                return Sgemm(address, bits, library.internal_api == "openblas")
    return None
