"""Gradients of the pooled block, without arithmetic on zeros.

Only the winner of a pool window has a gradient, and no output has one where ReLU was off. The kernels first list the
gradients that are not zero. This takes no branches: each entry is written, and the next one overwrites a zero. A tile
that holds one patch, or as many of its rows as there are registers, then stays in registers for a whole list:
  grad_weight: one filter's patch += gradient * the image's patch, for the list of one filter in a few images;
  grad_x:      one patch of the image += gradient * the filter's patch, for the list of one place in an image.
Patches are read from and added to the images in place. There is no matrix of columns.

A patch of the first layer, 3x3x1, would leave most lanes empty. There the lanes are filters, and products with zeros
are computed (`masked_grad_weight`). `winner` is not checked: it must come from the forward pass.
"""

import numpy as np

from . import simd
from .conv_block import remaining
from .geometry import ConvGeometry, Layout, TileShape, largest_divisor, tile_shape
from .jit import inlined, kernel
from .lanes import LANES, MAX_ACCUMULATORS, WIDTH

MAX_CACHED_WEIGHTS = 1 << 13  # floats that fit the first cache (32 KiB)


def grad_weight_tile(geometry: ConvGeometry) -> TileShape:
    """The tile of `sparse_grad_weight`: a patch, or one row of it, or an equal part of a row."""
    vectors = geometry.padded_run // WIDTH
    whole = geometry.kernel[0] * vectors <= MAX_ACCUMULATORS
    return tile_shape(geometry.kernel[0] if whole else 1, largest_divisor(vectors, MAX_ACCUMULATORS))


def grad_x_tile(geometry: ConvGeometry) -> TileShape:
    """The tile of `sparse_grad_x`: the same, but one row at a time where the filters do not fit the first cache."""
    tile, weights = grad_weight_tile(geometry), geometry.filters * geometry.kernel[0] * geometry.padded_run
    return tile[:1] if weights > MAX_CACHED_WEIGHTS else tile


@inlined
def list_filter(f, layout, grad_y, winner, first, last, values, patches):
    """List the gradients of filter f in images [first, last) that are not zero, and where their patches start.

    Writes to values and patches, and returns the length of the list.
    """
    windows, pixels = layout.windows, layout.pixels
    found, off = 0, pixels.size - 1
    for n in range(first, last):
        for w in range(windows.size):
            i = (n * windows.size + w) * layout.filters + f
            pixel = simd.read(winner, i)
            simd.write(values, found, simd.read(grad_y, i))
            simd.write(patches, found, n * layout.image_size + simd.read(windows, w) + simd.read(pixels, pixel))
            found += pixel < off
    return found


@inlined
def add_image_patches(shape, total, values, patches, found, x, row_size, offset, left):
    """`total` plus the sum over a list of gradient * the image's patch (a tile of it, `offset` from its start)."""
    rows = simd.spaced(shape, 0, row_size)
    for i in range(found):
        total = simd.add_scaled(total, simd.read(values, i), x, rows, simd.read(patches, i) + offset, left)
    return total


@kernel
def sparse_grad_weight(x, grad_y, winner, layout, shape, tail, block, grad_weight, grad_bias, start, stop):
    """Images [start, stop), `block` at a time: adds to grad_weight (F, KH, padded KW * C), float64 grad_bias (F,)."""
    layout = Layout(*layout)
    filters, kernel_rows, row_size = layout.filters, layout.kernel_rows, layout.row_size
    width, padded, most = len(shape[0]) * LANES, -(-layout.run // LANES) * LANES, block * layout.windows.size + 1
    rows = simd.spaced(shape, 0, padded)
    values, patches = np.empty(most, np.float32), np.empty(most, np.int64)
    for first in range(start, stop, block):
        last = min(first + block, stop)
        for f in range(filters):
            found = list_filter(f, layout, grad_y, winner, first, last, values, patches)
            for i in range(found):
                grad_bias[f] += values[i]
            for kh in range(0, kernel_rows, len(shape)):
                for column in range(0, padded, width):
                    target, left = (f * kernel_rows + kh) * padded + column, remaining(tail, column)
                    offset = kh * row_size + column
                    total = simd.load(shape, grad_weight, rows, target, None)
                    total = add_image_patches(shape, total, values, patches, found, x, row_size, offset, left)
                    simd.store(grad_weight, rows, target, None, total)


@kernel
def masked_grad_weight(x, grad_y, winner, layout, shape, count, grad_weight, grad_bias, start, stop):
    """Images [start, stop): adds to grad_weight (depth, F up to whole tiles) and float64 grad_bias (F, likewise)."""
    layout = Layout(*layout)
    taps, windows, pixels = layout.taps, layout.windows, layout.pixels
    filters, image_size = layout.filters, layout.image_size
    width = len(shape[0]) * LANES
    zero, off = simd.full(shape[:1], 0.0), simd.full(shape[:1], pixels.size - 1)
    for column in range(0, grad_bias.size, width):
        left = remaining(count, column)
        for first in range(0, taps.size, len(shape)):
            rows, target = simd.gather(shape, taps, first, 0), first * grad_bias.size + column
            total, bias = simd.full(shape, 0.0), zero
            for n in range(start, stop):
                for w in range(windows.size):
                    source, patch = (n * windows.size + w) * filters + column, n * image_size + windows[w]
                    index = simd.load(shape[:1], winner, (0,), source, left)
                    grad = simd.load(shape[:1], grad_y, (0,), source, left)
                    for pixel in range(pixels.size - 1):
                        mine = simd.where_equal(index, simd.full(shape[:1], pixel), grad, zero)
                        total = simd.add_outer(total, x, rows, patch + pixels[pixel], mine)
                    bias = simd.add(bias, simd.where_equal(index, off, zero, grad))
                    if w % 8 == 7 or w == windows.size - 1:  # few enough to be added in float32
                        if first == 0:
                            simd.accumulate_row(grad_bias, column, bias)
                        bias = zero
            simd.accumulate(grad_weight, simd.spaced(shape, 0, grad_bias.size), target, None, total)


@inlined
def list_pixels(grad_y, winner, start, filters, values, indices, found, window, pixels):
    """List, for each pixel of one pool window, the gradients that are not zero and the indices of their filters."""
    for pixel in range(pixels):
        simd.write(found, window * pixels + pixel, 0)
    for f in range(filters):
        bucket = window * pixels + np.intp(simd.read(winner, start + f))
        already = simd.read(found, bucket)
        simd.write(values, bucket * filters + already, simd.read(grad_y, start + f))
        simd.write(indices, bucket * filters + already, f)
        simd.write(found, bucket, already + 1)


@inlined
def add_filter_patches(shape, total, values, indices, first, found, weight, filters, padded, offset):
    """`total` plus the sum over a list of gradient * the filter's patch (a tile of it, `offset` from its start)."""
    rows = simd.spaced(shape, 0, filters * padded)
    for i in range(first, first + found):
        start = simd.read(indices, i) * padded + offset
        total = simd.add_scaled(total, simd.read(values, i), weight, rows, start, None)
    return total


@kernel
def sparse_grad_x(weight, grad_y, winner, layout, shape, tail, grad_x, start, stop):
    """Images [start, stop) of grad_x (N, H, W, C), overwritten; weight is (KH, F, padded KW * C)."""
    layout = Layout(*layout)
    windows, pixels, places = layout.windows, layout.pixels, layout.pixels.size
    filters, image_size, row_size = layout.filters, layout.image_size, layout.row_size
    width, padded = len(shape[0]) * LANES, -(-layout.run // LANES) * LANES
    values = np.empty(windows.size * places * filters, np.float32)
    indices, found = np.empty(values.size, np.int32), np.empty(windows.size * places, np.int64)
    rows = simd.spaced(shape, 0, row_size)
    grad_x[start * image_size : stop * image_size] = 0
    for n in range(start, stop):
        for w in range(windows.size):
            list_pixels(grad_y, winner, (n * windows.size + w) * filters, filters, values, indices, found, w, places)
        for kh in range(0, layout.kernel_rows, len(shape)):
            for column in range(0, padded, width):  # a part of the filters that fits the first cache
                part, left = kh * filters * padded + column, remaining(tail, column)
                for w in range(windows.size):
                    for pixel in range(places - 1):
                        target = n * image_size + windows[w] + pixels[pixel] + kh * row_size + column
                        i = w * places + pixel
                        total, size = simd.load(shape, grad_x, rows, target, left), simd.read(found, i)
                        total = add_filter_patches(
                            shape, total, values, indices, i * filters, size, weight, filters, padded, part
                        )
                        simd.store(grad_x, rows, target, left, total)
