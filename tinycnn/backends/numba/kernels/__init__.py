"""Compiled CPU kernels: SIMD registers as a Numba type, and the kernels that use them."""
