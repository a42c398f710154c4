"""Matrix products of NumPy in a recorded step: the BLAS function that NumPy calls, with the same arguments.

NumPy computes some products in other ways: those with a vector, those of a matrix with its own transpose, and those of
matrices that BLAS cannot read. They are refused. Threads compute blocks of rows where that gives the same bits.
"""

from typing import Any

import numpy as np

from tinycnn.backends.numba.blas import find_sgemm
from tinycnn.backends.numba.dense import LEAST_PRODUCT, row_blocks
from tinycnn.backends.numba.kernels import dense
from tinycnn.backends.numba.recorded_array import NotRecordedError, RecordedArray, plain
from tinycnn.backends.threads import in_parallel


def record_matmul(recorder: Any, a: Any, b: Any) -> RecordedArray:
    """Record ``a @ b`` of two float32 matrices."""
    sgemm, matrices = find_sgemm(), (a, b)
    if not sgemm or not all(isinstance(x, np.ndarray) and x.dtype == np.float32 and x.ndim == 2 for x in matrices):
        raise NotRecordedError("matmul")
    real = [plain(recorder.real(x)) for x in matrices]
    transposed = np.may_share_memory(*real) and real[0].strides != real[1].strides
    if min(*a.shape, *b.shape) < 2 or a.shape[1] != b.shape[0] or transposed:
        raise NotRecordedError("matmul")
    turned = [not has_contiguous_rows(x) for x in matrices]
    a, b = (x.T if transposed else x for x, transposed in zip(matrices, turned, strict=True))
    if not (has_contiguous_rows(a) and has_contiguous_rows(b)):
        raise NotRecordedError("matmul")
    c = recorder.empty((a.shape[1 if turned[0] else 0], b.shape[0 if turned[1] else 1]), np.float32)
    whole = turned[0] or not sgemm.sums_in_order
    blocks = row_blocks(len(c), 1 if whole else 2 * a.size * c.shape[1] / LEAST_PRODUCT)

    def work(part: int) -> None:
        some = slice(*blocks[part])
        dense.matrix_product(*sgemm[:2], a if whole else a[some], turned[0], b, turned[1], c[some])

    in_parallel(work, len(blocks))
    return c


def has_contiguous_rows(x: np.ndarray) -> bool:
    """Whether BLAS can read a matrix row by row; the rows may lie apart."""
    between_rows, between_numbers = x.strides
    return between_numbers == x.itemsize and between_rows >= x.shape[1] * x.itemsize
