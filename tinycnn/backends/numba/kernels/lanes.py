"""The number of floats in one SIMD register of this CPU, and the number of registers a tile may use."""

import os

import llvmlite.binding as llvm

from tinycnn.errors import BackendError

LANE_COUNTS = {"16": 16, "8": 8, "4": 4, "0": 0}


def choose_lanes() -> int:
    """16 with AVX-512, 8 with AVX2, else 4 (NEON, SSE). TINYCNN_SIMD_LANES overrides it; 0 stands for plain loops.

    Raises BackendError for another value of TINYCNN_SIMD_LANES.
    """
    requested = os.environ.get("TINYCNN_SIMD_LANES", "")
    if requested in LANE_COUNTS:
        return LANE_COUNTS[requested]
    if requested:
        raise BackendError(
            f"TINYCNN_SIMD_LANES={requested!r}: expected one of {', '.join(LANE_COUNTS)}; "
            "`unset TINYCNN_SIMD_LANES` to let the CPU decide"
        )
    features = llvm.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx2") else 4


LANES = choose_lanes()
WIDTH = LANES or 1  # geometry.py and simd.py must import, though unused, where plain loops were requested
# AVX-512 and NEON have 32 registers, AVX2 has 16; some must stay free for operands.
MAX_ACCUMULATORS = 12 if LANES == 8 else 24
