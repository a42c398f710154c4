"""Gradients of the pooled block, without arithmetic on zeros.

Of each pool window's outputs only the winner has a gradient, and none has where ReLU was off. So the gradients that are not zero
are first written to a list (without branches: every entry is written, and the next overwrites it if it was zero).
A tile that holds one patch, or as many of its rows as there are registers, then stays in registers for a whole list:
  grad_weight: one filter's patch += gradient * the image's patch, for the list of one filter in a few images;
  grad_x:      one patch of the image += gradient * the filter's patch, for the list of one place in an image.
Patches are read from and added to the images where they lie; there are no columns.

A patch of the first layer, 3x3x1, would leave most lanes empty: there the lanes are filters, and the zeros stay (`masked_grad_weight`).
"""

import numpy as np

from . import simd
from .conv_block import remaining
from .jit import inlined, kernel
from .lanes import LANES


@inlined
def list_filter(f, filters, grad_y, winner, first, last, windows, pixels, image_size, values, patches):
    """Of one filter and images [first, last): the gradients that are not zero, and where their patches begin; how many."""
    found, off = 0, pixels.size - 1
    for n in range(first, last):
        for w in range(windows.size):
            i = (n * windows.size + w) * filters + f
            pixel = simd.read(winner, i)
            simd.write(values, found, simd.read(grad_y, i))
            simd.write(patches, found, n * image_size + simd.read(windows, w) + simd.read(pixels, pixel))
            found += pixel < off
    return found


@kernel
def sparse_grad_weight(
    x, grad_y, winner, windows, pixels, image_size, row_size, kernel_rows, run, shape, tail, filters, block,
    grad_weight, grad_bias, start, stop,
):  # fmt: skip
    """Images [start, stop): adds to grad_weight (F, KH, whole vectors) and grad_bias (F,)."""
    width = len(shape[0]) * LANES
    padded = -(-run // LANES) * LANES
    values, patches = np.empty(block * windows.size + 1, np.float32), np.empty(block * windows.size + 1, np.int64)
    for first in range(start, stop, block):
        for f in range(filters):
            found = list_filter(
                f, filters, grad_y, winner, first, min(first + block, stop), windows, pixels, image_size, values, patches
            )
            for i in range(found):
                grad_bias[f] += values[i]
            for kh in range(0, kernel_rows, len(shape)):
                for column in range(0, padded, width):
                    target = (f * kernel_rows + kh) * padded + column
                    rows = simd.spaced(shape, 0, row_size)
                    total = simd.load(shape, grad_weight, simd.spaced(shape, 0, padded), target, None)
                    for i in range(found):
                        offset = patches[i] + kh * row_size + column
                        total = simd.add_scaled(total, values[i], x, rows, offset, remaining(tail, column))
                    simd.store(grad_weight, simd.spaced(shape, 0, padded), target, None, total)


@kernel
def masked_grad_weight(
    x, grad_y, winner, taps, windows, pixels, image_size, shape, filters, count, grad_weight, grad_bias, start, stop
):
    """Images [start, stop): adds to grad_weight (depth, whole tiles of filters) and grad_bias (whole tiles of filters)."""
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


@kernel
def sparse_grad_x(
    weight, grad_y, winner, windows, pixels, image_size, row_size, kernel_rows, run, shape, tail, filters,
    grad_x, start, stop,
):  # fmt: skip
    """Images [start, stop) of grad_x, overwritten."""
    width = len(shape[0]) * LANES
    padded = -(-run // LANES) * LANES
    lists = windows.size * pixels.size
    values, names = np.empty(lists * filters, np.float32), np.empty(lists * filters, np.int32)
    found = np.empty(lists, np.int64)
    grad_x[start * image_size : stop * image_size] = 0
    for n in range(start, stop):
        for w in range(windows.size):
            list_pixels(grad_y, winner, (n * windows.size + w) * filters, filters, values, names, found, w, pixels.size)
        for kh in range(0, kernel_rows, len(shape)):
            for column in range(0, padded, width):
                for w in range(windows.size):
                    for pixel in range(pixels.size - 1):
                        target = n * image_size + windows[w] + pixels[pixel] + kh * row_size + column
                        total = simd.load(shape, grad_x, simd.spaced(shape, 0, row_size), target, remaining(tail, column))
                        bucket = w * pixels.size + pixel
                        for i in range(bucket * filters, bucket * filters + simd.read(found, bucket)):
                            offset = (kh * filters + simd.read(names, i)) * padded + column
                            total = simd.add_scaled(
                                total, simd.read(values, i), weight, simd.spaced(shape, 0, padded*filters), offset, None
                            )
                        simd.store(grad_x, simd.spaced(shape, 0, row_size), target, remaining(tail, column), total)
