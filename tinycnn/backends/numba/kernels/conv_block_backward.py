"""Gradients of the pooled block, without arithmetic on zeros.

Of each pool window's outputs only the winner has a gradient, and none has where ReLU was off. So the gradients that are
not zero are first written to a list (without branches: each entry is written, and the next one overwrites a zero).
A tile that holds one patch, or as many of its rows as there are registers, then stays in registers for a whole list:
  grad_weight: one filter's patch += gradient * the image's patch, for the list of one filter in a few images;
  grad_x:      one patch of the image += gradient * the filter's patch, for the list of one place in an image.
Patches are read from and added to the images where they lie; there are no columns.

A patch of the first layer, 3x3x1, would leave most lanes empty: there the lanes are filters, and zeros take part
(`masked_grad_weight`). `winner` is trusted: it must come from the forward pass.
"""

import numpy as np

from . import simd
from .conv_block import remaining
from .jit import inlined, kernel
from .lanes import LANES


@inlined
def list_filter(f, filters, grad_y, winner, first, last, windows, pixels, image_size, values, patches):
    """Of one filter in images [first, last): the gradients that are not zero, where their patches begin; how many."""
    found, off = 0, pixels.size - 1
    for n in range(first, last):
        for w in range(windows.size):
            i = (n * windows.size + w) * filters + f
            pixel = simd.read(winner, i)
            simd.write(values, found, simd.read(grad_y, i))
            simd.write(patches, found, n * image_size + simd.read(windows, w) + simd.read(pixels, pixel))
            found += pixel < off
    return found


@inlined
def add_image_patches(shape, total, values, patches, found, x, row_size, offset, left):
    """total + the sum over a list of gradient * the image's patch (a tile of it, `offset` from its start)."""
    rows = simd.spaced(shape, 0, row_size)
    for i in range(found):
        total = simd.add_scaled(total, simd.read(values, i), x, rows, simd.read(patches, i) + offset, left)
    return total


@kernel
def sparse_grad_weight(
    x, grad_y, winner, windows, pixels, image_size, row_size, kernel_rows, run, shape, tail, filters, block,
    grad_weight, grad_bias, start, stop,
):  # fmt: skip
    """Images [start, stop): adds to grad_weight (F, KH, whole vectors of KW * C floats) and grad_bias (F,)."""
    width, padded = len(shape[0]) * LANES, -(-run // LANES) * LANES
    rows = simd.spaced(shape, 0, padded)
    values, patches = np.empty(block * windows.size + 1, np.float32), np.empty(block * windows.size + 1, np.int64)
    for first in range(start, stop, block):
        last = min(first + block, stop)
        for f in range(filters):
            found = list_filter(f, filters, grad_y, winner, first, last, windows, pixels, image_size, values, patches)
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
def masked_grad_weight(
    x, grad_y, winner, taps, windows, pixels, image_size, shape, filters, count, grad_weight, grad_bias, start, stop
):
    """Images [start, stop): adds to grad_weight (depth, F rounded up to whole tiles) and grad_bias (F, likewise)."""
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
            simd.accumulate(grad_weight, simd.spaced(shape, 0, grad_bias.size), target, None, total)
            if first == 0:
                simd.accumulate(grad_bias, (0,), column, None, bias)


@inlined
def list_pixels(grad_y, winner, start, filters, values, names, found, window, pixels):
    """Of one pool window: for each of its pixels the gradients that are not zero, and their filters."""
    for pixel in range(pixels):
        simd.write(found, window * pixels + pixel, 0)
    for f in range(filters):
        bucket = window * pixels + np.intp(simd.read(winner, start + f))
        already = simd.read(found, bucket)
        simd.write(values, bucket * filters + already, simd.read(grad_y, start + f))
        simd.write(names, bucket * filters + already, f)
        simd.write(found, bucket, already + 1)


@inlined
def add_filter_patches(shape, total, values, names, first, found, weight, filters, padded, offset):
    """total + the sum over a list of gradient * the filter's patch (a tile of it, `offset` from its start)."""
    rows = simd.spaced(shape, 0, filters * padded)
    for i in range(first, first + found):
        start = simd.read(names, i) * padded + offset
        total = simd.add_scaled(total, simd.read(values, i), weight, rows, start, None)
    return total


@kernel
def sparse_grad_x(
    weight, grad_y, winner, windows, pixels, image_size, row_size, kernel_rows, run, shape, tail, filters,
    grad_x, start, stop,
):  # fmt: skip
    """Images [start, stop) of grad_x, overwritten; weight is (KH, F, whole vectors of KW * C floats)."""
    width, padded, places = len(shape[0]) * LANES, -(-run // LANES) * LANES, pixels.size
    values = np.empty(windows.size * places * filters, np.float32)
    names, found = np.empty(values.size, np.int32), np.empty(windows.size * places, np.int64)
    rows = simd.spaced(shape, 0, row_size)
    grad_x[start * image_size : stop * image_size] = 0
    for n in range(start, stop):
        for w in range(windows.size):
            list_pixels(grad_y, winner, (n * windows.size + w) * filters, filters, values, names, found, w, places)
        for kh in range(0, kernel_rows, len(shape)):
            for column in range(0, padded, width):  # a part of the filters that fits the first cache
                part, left = kh * filters * padded + column, remaining(tail, column)
                for w in range(windows.size):
                    for pixel in range(places - 1):
                        target = n * image_size + windows[w] + pixels[pixel] + kh * row_size + column
                        i = w * places + pixel
                        total, size = simd.load(shape, grad_x, rows, target, left), simd.read(found, i)
                        total = add_filter_patches(
                            shape, total, values, names, i * filters, size, weight, filters, padded, part
                        )
                        simd.store(grad_x, rows, target, left, total)
