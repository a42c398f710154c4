"""Convolution -> bias -> optional ReLU where every output and every gradient is needed, as before a batch norm.

All three kernels are matrix products that read images in place, in tiles that stay in registers. `weight` is (blocks,
depth, floats in a tile's row) in the forward pass, and (KH, F, KW * C padded to whole vectors) for grad_x.
"""

from . import simd
from .conv_block import convolve, remaining
from .geometry import ConvGeometry, Layout, TileShape, largest_divisor, tile_shape
from .jit import inlined, kernel
from .lanes import LANES, MAX_ACCUMULATORS, WIDTH

ONE, FOUR = tile_shape(1, 1), tile_shape(4, 1)  # rows of one vector
MOST_ROWS = 8  # outputs in a tile of the forward pass: for more, LLVM spills vectors to a stack that is not aligned
GRAD_X_ROWS = 4  # outputs in a tile of grad_x, at least


def forward_tile(geometry: ConvGeometry) -> TileShape:
    """The tile of `dense_forward`: some outputs x some filters, chosen so that few outputs are computed twice."""
    outputs, columns = len(geometry.outputs), geometry.columns
    rows = range(1, min(MAX_ACCUMULATORS // columns, MOST_ROWS) + 1)
    cost = {row: -(-outputs // row) * (row * columns + columns + 1) for row in rows}
    return tile_shape(min(outputs, min(cost, key=cost.__getitem__)), columns)


def grad_x_tile(geometry: ConvGeometry) -> TileShape:
    """The tile of `dense_grad_x`: some outputs x a row of their patches, or an equal part of it."""
    columns = largest_divisor(geometry.padded_run // WIDTH, MAX_ACCUMULATORS // GRAD_X_ROWS)
    return tile_shape(min(len(geometry.outputs), MAX_ACCUMULATORS // columns), columns)


@kernel
def dense_forward(x, weight, bias, layout, shape, count, relu, y, start, stop):
    """Images [start, stop): y (N, OH, OW, F)."""
    layout = Layout(*layout)
    taps, outputs, filters = layout.taps, layout.outputs, layout.filters
    width, rows = len(shape[0]) * LANES, simd.spaced(shape, 0, filters)
    for n in range(start, stop):
        for block in range(bias.size // width):
            for i in range(0, outputs.size, len(shape)):
                first = min(i, outputs.size - len(shape))  # the last tile overlaps the one before
                total = simd.load(shape, bias, simd.spaced(shape, 0, 0), block * width, None)
                bases = simd.gather(shape, outputs, first, n * layout.image_size)
                total = convolve(total, x, bases, taps, weight, block * taps.size * width, shape)
                if relu:
                    total = simd.where_positive(total, total, simd.full(shape, 0.0))
                target = (n * outputs.size + first) * filters + block * width
                simd.store(y, rows, target, remaining(count, block * width), total)


@inlined
def add_bias(grad_y, first, last, filters, count, grad_bias):
    """Add the gradients of outputs [first, last) to float64 grad_bias (F up to whole tiles), eight at a time.

    Eight are first added in float32, pairwise: less work than adding each in float64, and as exact.
    """
    for column in range(0, grad_bias.size, LANES):
        left, eights = remaining(count, column), last - (last - first) % 8
        for i in range(first, eights, 8):
            a = simd.load(FOUR, grad_y, simd.spaced(FOUR, i * filters, filters), column, left)
            b = simd.load(FOUR, grad_y, simd.spaced(FOUR, (i + 4) * filters, filters), column, left)
            sums = simd.add(a, b)
            ends = simd.add(simd.row_of(sums, 0), simd.row_of(sums, 3))
            simd.accumulate_row(grad_bias, column, simd.add(ends, simd.add(simd.row_of(sums, 1), simd.row_of(sums, 2))))
        for i in range(eights, last):
            simd.accumulate_row(grad_bias, column, simd.load(ONE, grad_y, (0,), i * filters + column, left))


@kernel
def dense_grad_weight(x, grad_y, layout, shape, count, block, grad_weight, grad_bias, start, stop):
    """Images [start, stop): adds to grad_weight (depth, F up to whole tiles) and float64 grad_bias (F, likewise)."""
    layout = Layout(*layout)
    taps, outputs, filters, image_size = layout.taps, layout.outputs, layout.filters, layout.image_size
    width = len(shape[0]) * LANES
    for begin in range(start, stop, block):  # `block` images fit the cache
        end = min(begin + block, stop)
        add_bias(grad_y, begin * outputs.size, end * outputs.size, filters, count, grad_bias)
        for column in range(0, grad_bias.size, width):
            left = remaining(count, column)
            for first in range(0, taps.size, len(shape)):
                rows, total = simd.gather(shape, taps, first, 0), simd.full(shape, 0.0)
                for n in range(begin, end):
                    for i in range(outputs.size):
                        grad = simd.load(shape[:1], grad_y, (0,), (n * outputs.size + i) * filters + column, left)
                        total = simd.add_outer(total, x, rows, n * image_size + simd.read(outputs, i), grad)
                target = first * grad_bias.size + column
                simd.accumulate(grad_weight, simd.spaced(shape, 0, grad_bias.size), target, None, total)


@inlined
def spread(shape, grad_y, filters, source, weight, start, padded, grad_x, bases, offset, count):
    """Add the gradients of as many outputs as `shape` has rows to one row of their patches."""
    total = simd.full(shape, 0.0)
    for f in range(filters):
        row = simd.load(shape[:1], weight, (0,), start + f * padded, None)
        total = simd.add_outer(total, grad_y, simd.spaced(shape, 0, filters), source + f, row)
    simd.accumulate(grad_x, bases, offset, count, total)


@kernel
def dense_grad_x(weight, grad_y, layout, shape, tail, grad_x, start, stop):
    """Images [start, stop) of grad_x (N, H, W, C), overwritten."""
    layout = Layout(*layout)
    outputs, filters, image_size, row_size = layout.outputs, layout.filters, layout.image_size, layout.row_size
    width, padded = len(shape[0]) * LANES, -(-layout.run // LANES) * LANES
    whole = outputs.size - outputs.size % len(shape)
    grad_x[start * image_size : stop * image_size] = 0
    for n in range(start, stop):
        image, grad = n * image_size, n * outputs.size * filters
        for kh in range(layout.kernel_rows):
            for column in range(0, padded, width):
                offset, part, left = kh * row_size + column, kh * filters * padded + column, remaining(tail, column)
                for i in range(0, whole, len(shape)):
                    bases = simd.gather(shape, outputs, i, image)
                    spread(
                        shape, grad_y, filters, grad + i * filters, weight, part, padded, grad_x, bases, offset, left
                    )
                for i in range(whole, outputs.size):
                    base, one = image + outputs[i], shape[:1]
                    spread(
                        one, grad_y, filters, grad + i * filters, weight, part, padded, grad_x, (base,), offset, left
                    )
