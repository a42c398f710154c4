"""How many floats one SIMD register of this CPU holds, and how many registers there are."""

import os

import llvmlite.binding as llvm

CHOICES = {"16": 16, "8": 8, "4": 4, "0": 0}


def choose_lanes() -> int:
    """16 with AVX-512, 8 with AVX2, else 4 (NEON, SSE); TINYCNN_SIMD_LANES overrides, 0 asks for plain loops."""
    asked = os.environ.get("TINYCNN_SIMD_LANES", "")
    if asked in CHOICES:
        return CHOICES[asked]
    if asked:
        raise ValueError(
            f"TINYCNN_SIMD_LANES={asked!r}: expected one of {', '.join(CHOICES)}; unset it to let the CPU decide"
        )
    features = llvm.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx2") else 4


LANES = choose_lanes()
# AVX-512 and NEON have 32 registers, AVX2 has 16; some must stay free for operands.
MAX_ACCUMULATORS = 12 if LANES == 8 else 24
