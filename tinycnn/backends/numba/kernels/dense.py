"""The dense layer: matrix products of NumPy's own BLAS, called without Python, and what surrounds them."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import simd
from .geometry import TileShape, tile_shape
from .jit import exact_kernel, inlined, kernel
from .lanes import LANES, MAX_ACCUMULATORS

COLUMNS = 4 if MAX_ACCUMULATORS > 12 else 2
IN_CACHE = 512  # rows of weights: those of a tile take 128 KiB, and fit the second cache
TILE: TileShape = tile_shape(MAX_ACCUMULATORS // COLUMNS, COLUMNS)  # some images x some outputs

FLOAT, FLOATS, INT = ir.FloatType(), ir.FloatType().as_pointer(), ir.IntType(32)
ROW_MAJOR, NOT_TRANSPOSED, TRANSPOSED = 101, 111, 112  # of CBLAS


def sgemm_with(bits):
    """The intrinsic that calls `cblas_sgemm` at an address; its sizes are integers of `bits` bits."""

    @intrinsic
    def call_sgemm(typing_context, sgemm, flip_a, flip_b, M, N, K, a, lda, b, ldb, c, ldc):
        size = ir.IntType(bits)
        kinds = [INT, INT, INT, size, size, size, FLOAT, FLOATS, size, FLOATS, size, FLOAT, FLOATS, size]

        def emit(context, builder, signature, arguments):
            address, flips, sizes = arguments[0], arguments[1:3], arguments[3:6]
            (a_data, b_data, c_data), steps = (
                [
                    context.make_array(kind)(context, builder, arguments[i]).data
                    for kind, i in ((a, 6), (b, 8), (c, 10))
                ],
                [arguments[i] for i in (7, 9, 11)],
            )
            whole = [builder.trunc(value, size) if bits < 64 else value for value in (*sizes, *steps)]
            orders = [INT(ROW_MAJOR), *(builder.trunc(flip, INT) for flip in flips)]
            function = builder.inttoptr(address, ir.FunctionType(ir.VoidType(), kinds).as_pointer())
            scaled = [FLOAT(1.0), a_data, whole[3], b_data, whole[4], FLOAT(0.0), c_data, whole[5]]
            builder.call(function, [*orders, *whole[:3], *scaled])
            return context.get_dummy_value()

        numbers = [types.intp] * 5
        return types.void(types.intp, *numbers, a, types.intp, b, types.intp, c, types.intp), emit

    return call_sgemm


call_sgemm_32, call_sgemm_64 = sgemm_with(32), sgemm_with(64)


@inlined
def order_of(transposed):
    """CBLAS' number for a matrix that is read as it is, or transposed."""
    return TRANSPOSED if transposed else NOT_TRANSPOSED


@inlined
def row_step(matrix):
    """Floats between two rows; the stride of a single row may be any number."""
    return matrix.strides[0] // 4 if matrix.shape[0] > 1 else max(matrix.shape[1], 1)


@kernel
def matrix_product(sgemm, bits, a, transpose_a, b, transpose_b, c):
    """`c = a @ b` in float32, either of them transposed; `sgemm` is the address of `cblas_sgemm`.

    The rows of all three are contiguous, and may lie apart.
    """
    M, N = c.shape
    K = a.shape[0] if transpose_a else a.shape[1]
    if K == 0:
        for m in range(M):
            for n in range(N):
                c[m, n] = 0
    if M * N * K == 0:
        return
    flip_a, flip_b = order_of(transpose_a), order_of(transpose_b)
    lda, ldb, ldc = row_step(a), row_step(b), row_step(c)
    if bits == 64:
        call_sgemm_64(sgemm, flip_a, flip_b, M, N, K, a, lda, b, ldb, c, ldc)
    else:
        call_sgemm_32(sgemm, flip_a, flip_b, M, N, K, a, lda, b, ldb, c, ldc)


@exact_kernel
def masked(grad_y, y, grad):
    """`grad = grad_y * (y > 0)`, all flat."""
    for i in range(grad.size):
        grad[i] = grad_y[i] * (np.float32(1) if y[i] > 0 else np.float32(0))


@kernel
def sum_rows(grad_y, total):
    """`grad_y (N, F)` -> its sum over the rows, `total (F,)`, added in float64."""
    sums = np.zeros(total.size, np.float64)
    for n in range(grad_y.shape[0]):
        for f in range(total.size):
            sums[f] += grad_y[n, f]
    for f in range(total.size):
        total[f] = sums[f]


@kernel
def images_times_weight(x, weight, bias, shape, relu, y, start, stop):
    """Images [start, stop), at least as many as a tile has rows: `y (N, out) = relu(x (N, in) @ weight + bias)`.

    All are flat. Some rows of the weights at a time are multiplied by all images, while they are in the cache. The sum
    over each such part begins at 0, which also rounds less than one long sum.
    """
    outputs, rows, width = bias.size, len(shape), len(shape[0]) * LANES
    inputs = weight.size // outputs
    tiles = -(-(stop - start) // rows)
    sums, zeros = np.zeros(tiles * rows * width, np.float32), simd.full(shape, 0.0)
    for column in range(0, outputs, width):
        left = outputs - column
        for first in range(0, inputs, IN_CACHE):
            last = min(first + IN_CACHE, inputs)
            for tile in range(tiles):
                image, total = min(start + tile * rows, stop - rows), zeros  # the last tile overlaps the one before
                sources = simd.spaced(shape, image * inputs, inputs)
                for i in range(first, last):
                    row = simd.load(shape[:1], weight, (0,), i * outputs + column, left)
                    total = simd.add_outer(total, x, sources, i, row)
                places = simd.spaced(shape, tile * rows * width, width)
                if first > 0:
                    total = simd.add(total, simd.load(shape, sums, places, 0, None))
                if last < inputs:
                    simd.store(sums, places, 0, None, total)
                    continue
                total = simd.add(total, simd.load(shape, bias, simd.spaced(shape, 0, 0), column, left))
                if relu:
                    total = simd.where_positive(total, total, zeros)
                simd.store(y, simd.spaced(shape, image * outputs, outputs), column, left, total)
