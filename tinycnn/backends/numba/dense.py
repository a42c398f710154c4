"""The dense layer with its ReLU: matrix products of NumPy's BLAS, a part of the inputs in each thread."""

import numpy as np

from tinycnn.backends.array_types import Array
from tinycnn.backends.fused_kernels import Gradients
from tinycnn.backends.numba.blas import find_sgemm
from tinycnn.backends.numba.conv import MOST_PARTIAL_SUMS
from tinycnn.backends.numba.kernels import dense, packing, plain
from tinycnn.backends.numba.kernels.arrays import contiguous, empty
from tinycnn.backends.numba.kernels.lanes import LANES
from tinycnn.backends.threads import MEMORY_ACCESS, in_parallel, pieces, ranges

MOST_READS = 8  # of all weights in a prediction: each part of the images reads them
MOST_BLOCKS = 4  # of a product of matrices
TILE_ROWS = 16  # BLAS may round the rows that are left over in another way
LEAST_PRODUCT = 2.5e6  # operations; OpenBLAS computes smaller products in another way, and may round differently


def matrix_product(a: Array, b: Array, c: Array, *, transpose_a: bool = False, transpose_b: bool = False) -> None:
    """``c = a @ b``, either of them transposed; rows are contiguous."""
    sgemm = find_sgemm()
    if sgemm:
        dense.matrix_product(*sgemm[:2], a, transpose_a, b, transpose_b, c)
    else:
        np.matmul(a.T if transpose_a else a, b.T if transpose_b else b, out=c)


def row_blocks(rows: int, most: float) -> list[tuple[int, int]]:
    """``range(rows)`` in at most ``most`` blocks, and at most four; all but the last are of whole register tiles."""
    tiles = -(-rows // TILE_ROWS)
    blocks = ranges(tiles, max(1, min(MOST_BLOCKS, tiles, int(most))))
    return [(start * TILE_ROWS, min(stop * TILE_ROWS, rows)) for start, stop in blocks]


def gram(x: Array) -> Array:
    """``x @ x.T`` of a C-contiguous ``(n, m)``, which is symmetric: the blocks below the diagonal are copied."""
    n, m = x.shape
    y, blocks = empty((n, n)), row_blocks(n, n * (2 * m / LEAST_PRODUCT) ** 0.5)  # the last block is a square

    def work(part: int) -> None:
        start, stop = blocks[part]
        matrix_product(x[start:stop], x[start:], y[start:stop, start:], transpose_b=True)

    in_parallel(work, len(blocks))
    for start, stop in blocks[1:]:
        y[start:stop, :start] = y[:start, start:stop].T
    return y


def dense_forward(x: Array, weight: Array, bias: Array, *, relu: bool) -> Array:
    """``x (N, in)`` → ``y (N, out)``, ReLU if ``relu``.

    A thread multiplies some of the inputs by their rows of the weights. It takes the rows that it changed in the last
    step, see ``dense_backward`` and ``fused.adam_all``, which may still be in its cache.
    """
    x, weight = contiguous(x), contiguous(weight)
    rows = pieces(len(weight), 2 * len(x) * weight.shape[1], MOST_PARTIAL_SUMS, added=True)
    if len(rows) == 1:
        return product_by_images(x, weight, bias, relu)
    products = empty((len(rows), len(x), weight.shape[1]))

    def work(part: int) -> None:
        some = slice(*rows[part])
        matrix_product(x[:, some], weight[some], products[part])

    in_parallel(work, len(rows))
    y = added(products)  # (N, out)
    plain.add_bias_relu(y, bias, relu, y)
    return y


def dense_inference(x: Array, weight: Array, bias: Array, *, relu: bool) -> Array:
    """``dense_forward`` where no gradient will be needed: a thread computes some of the images, and nothing is added.

    BLAS copies matrices into an order of its own, and reads the weights more often. Training keeps it, because its
    gradients and results would be rounded in another way.
    """
    (N, inputs), outputs, rows = x.shape, weight.shape[1], len(dense.TILE)
    if 2 * rows > N or outputs <= LANES or not inputs:
        return dense_forward(x, weight, bias, relu=relu)
    arrays = contiguous(x).reshape(-1), contiguous(weight).reshape(-1), contiguous(bias)
    y = empty((N, outputs))
    tiles = pieces(-(-N // rows), 2 * weight.size * rows, min(MOST_READS, N // (2 * rows)))

    def work(part: int) -> None:
        first, last = tiles[part]
        dense.images_times_weight(*arrays, dense.TILE, relu, y.reshape(-1), first * rows, min(last * rows, N))

    in_parallel(work, len(tiles))
    return y


def product_by_images(x: Array, weight: Array, bias: Array, relu: bool) -> Array:
    """``dense_forward`` of a small layer: a thread computes some of the images."""
    y = empty((len(x), weight.shape[1]))
    images = pieces(len(x), 2 * weight.size, most_products(x, weight))

    def work(part: int) -> None:
        some = slice(*images[part])
        matrix_product(x[some], weight, y[some])
        plain.add_bias_relu(y[some], bias, relu, y[some])

    in_parallel(work, len(images))
    return y


def most_products(x: Array, weight: Array) -> int:
    """How many parts a product may have, so that BLAS computes each as it computes the whole."""
    return max(1, int(2 * len(x) * weight.size / LEAST_PRODUCT))


def added(products: Array) -> Array:
    """The sum of the partial products ``(parts, N, out)``, added in order."""
    total = empty(products.shape[1:])
    some = pieces(total.size, MEMORY_ACCESS * len(products))
    flat = products.reshape(len(products), -1), total.reshape(-1)
    in_parallel(lambda part: packing.add_parts(*flat, *some[part]), len(some))
    return total


def dense_backward(
    x: Array, weight: Array, y: Array, grad_y: Array, *, relu: bool, need_grad_x: bool, need_grad_weight: bool
) -> Gradients:
    """``grad_y (N, out)`` → ``grad_x (N, in)`` or None, ``grad_weight (in, out)`` or None, ``grad_bias (out,)``."""
    x, weight, grad_y = contiguous(x), contiguous(weight), contiguous(grad_y)
    if relu:
        grad, grad_y = grad_y, empty(grad_y.shape)
        dense.masked(grad.reshape(-1), y.reshape(-1), grad_y.reshape(-1))
    grad_x = empty(x.shape) if need_grad_x else None
    grad_weight = empty(weight.shape) if need_grad_weight else None
    grad_bias = empty(weight.shape[1:])
    rows = pieces(
        len(weight), 2 * len(x) * weight.shape[1], min(32, most_products(x, weight))
    )  # each part has its own inputs: nothing to add

    def work(part: int) -> None:
        some = slice(*rows[part])
        if grad_weight is not None:
            matrix_product(x[:, some], grad_y, grad_weight[some], transpose_a=True)
        if grad_x is not None:
            matrix_product(grad_y, weight[some], grad_x[:, some], transpose_b=True)

    in_parallel(work, len(rows))
    dense.sum_rows(grad_y, grad_bias)
    return grad_x, grad_weight, grad_bias
