"""Compiled CPU kernels: SIMD registers as a Numba type, and the kernels written with them."""
