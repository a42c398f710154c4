"""Convolution -> bias -> ReLU (if asked) where every output and every gradient is needed, as before a batch norm.

All three kernels are matrix products on images as they lie in memory, in tiles that stay in registers. `weight` is
(blocks, depth, floats in a tile's row), but (KH, F, whole vectors of KW * C floats) for grad_x.
"""

from . import simd
from .conv_block import convolve, remaining
from .jit import inlined, kernel
from .lanes import LANES


@kernel
def dense_forward(x, weight, bias, taps, outputs, image_size, shape, filters, count, relu, y, start, stop):
    """Images [start, stop): y (N, OH, OW, F)."""
    width, rows = len(shape[0]) * LANES, simd.spaced(shape, 0, filters)
    for n in range(start, stop):
        for block in range(bias.size // width):
            for i in range(0, outputs.size, len(shape)):
                first = min(i, outputs.size - len(shape))  # the last tile overlaps the one before
                total = simd.load(shape, bias, simd.spaced(shape, 0, 0), block * width, None)
                bases = simd.gather(shape, outputs, first, n * image_size)
                total = convolve(total, x, bases, taps, weight, block * taps.size * width, shape)
                if relu:
                    total = simd.where_positive(total, total, simd.full(shape, 0.0))
                target = (n * outputs.size + first) * filters + block * width
                simd.store(y, rows, target, remaining(count, block * width), total)


@kernel
def dense_grad_weight(
    x, grad_y, taps, outputs, image_size, shape, filters, count, block, grad_weight, grad_bias, start, stop
):
    """Images [start, stop): adds to grad_weight (depth, F rounded up to whole tiles) and grad_bias (F, likewise)."""
    width = len(shape[0]) * LANES
    for begin in range(start, stop, block):  # so many images fit the cache
        end = min(begin + block, stop)
        for column in range(0, grad_bias.size, width):
            left = remaining(count, column)
            bias = simd.full(shape[:1], 0.0)
            for i in range(begin * outputs.size, end * outputs.size):
                bias = simd.add(bias, simd.load(shape[:1], grad_y, (0,), i * filters + column, left))
            simd.accumulate(grad_bias, (0,), column, None, bias)
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
    """The gradients of a few outputs, `shape` rows, to a row of their patches."""
    total = simd.full(shape, 0.0)
    for f in range(filters):
        row = simd.load(shape[:1], weight, (0,), start + f * padded, None)
        total = simd.add_outer(total, grad_y, simd.spaced(shape, 0, filters), source + f, row)
    simd.accumulate(grad_x, bases, offset, count, total)


@kernel
def dense_grad_x(
    weight, grad_y, outputs, image_size, row_size, kernel_rows, run, shape, tail, filters, grad_x, start, stop
):
    """Images [start, stop) of grad_x, overwritten."""
    width, padded = len(shape[0]) * LANES, -(-run // LANES) * LANES
    whole = outputs.size - outputs.size % len(shape)
    grad_x[start * image_size : stop * image_size] = 0
    for n in range(start, stop):
        image, grad = n * image_size, n * outputs.size * filters
        for kh in range(kernel_rows):
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
