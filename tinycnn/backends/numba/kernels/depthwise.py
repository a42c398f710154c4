"""Depthwise convolution: a filter sees one channel, so the lanes of a register are channels.

The filters of as many channels as a register has lanes stay in registers, one register for each place of a filter,
while the kernel goes through the outputs of an image: one multiply-add for each load. An image is padded in `scratch`,
which fits the second cache. `layout` is passed as a plain tuple of the fields of `Layout`, see `geometry.Layout`.
"""

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic

from . import simd
from .conv_block import remaining
from .geometry import Table, TileShape, grid, largest_divisor, tile_shape
from .jit import inlined, kernel
from .lanes import LANES, MAX_ACCUMULATORS

FLUSH = 32  # products that are added in float32 before they are added in float64


class Layout(NamedTuple):
    """Sizes in floats, and tables of positions in a padded image."""

    height: int
    row_size: int  # of the image: W * C
    channels: int
    padded_size: int  # of the padded image
    padded_row: int
    first: int  # where the image begins in the padded one
    taps: Table  # the pixels of a patch
    outputs: Table  # where the patch of each output starts


def layout_of(
    image: tuple[int, int, int], kernel_size: tuple[int, int], stride: tuple[int, int], pads: tuple[int, int, int, int]
) -> Layout:
    """For images (H, W, C); `pads` is (top, bottom, left, right)."""
    (H, W, C), (KH, KW), (SH, SW), (top, bottom, left, right) = image, kernel_size, stride, pads
    padded_height, padded_width = top + H + bottom, left + W + right
    row = padded_width * C
    OH, OW = (padded_height - KH) // SH + 1, (padded_width - KW) // SW + 1
    return Layout(
        height=H,
        row_size=W * C,
        channels=C,
        padded_size=padded_height * row,
        padded_row=row,
        first=top * row + left * C,
        taps=grid(KH, KW, row, C),
        outputs=grid(OH, OW, SH * row, SW * C),
    )


def tile_of(places: int) -> TileShape:
    """The places of a filter, or an equal part of them, for as many channels as a register has lanes."""
    return tile_shape(largest_divisor(places, MAX_ACCUMULATORS), 1)


# ---- Functions of tiles with one column ----


@intrinsic
def add_products(typing_context, total, a, b):
    """`total`, one row, plus the sum over all rows of a * b."""

    def emit(context, builder, signature, arguments):
        (result,), left, right = (simd.unpack(builder, argument) for argument in arguments)
        for x, y in zip(left, right, strict=True):
            result = simd.multiply_add(builder, x, y, result)
        return simd.pack(builder, [result])

    return total(total, a, b), emit


@intrinsic
def add_times_row(typing_context, total, a, row):
    """total[r] + a[r] * row[0] for every row r."""

    def emit(context, builder, signature, arguments):
        sums, factors, (vector,) = (simd.unpack(builder, argument) for argument in arguments)
        pairs = zip(factors, sums, strict=True)
        return simd.pack(builder, [simd.multiply_add(builder, factor, vector, one) for factor, one in pairs])

    return total(total, a, row), emit


@intrinsic
def accumulate_rows(typing_context, array, bases, offset, tile):
    """Add a tile to a flat array of float64: row r at array[bases[r] + offset]."""

    def emit(context, builder, signature, arguments):
        array_value, bases_value, offset_value, tile_value = arguments
        addresses = simd.Memory(context, builder, array, array_value).tile(tile, bases_value, offset_value)
        for (address, _), vector in zip(addresses, simd.unpack(builder, tile_value), strict=True):
            doubles = builder.bitcast(address, simd.DOUBLES.as_pointer())
            total = builder.fadd(builder.load(doubles, align=8), builder.fpext(vector, simd.DOUBLES))
            builder.store(total, doubles, align=8)
        return context.get_dummy_value()

    return types.void(array, bases, types.intp, tile), emit


# ---- Kernels ----


@inlined
def pad(x, n, layout, scratch):
    """Copy image `n` into `scratch`, whose edges stay zero."""
    source, target = n * layout.height * layout.row_size, layout.first
    for _ in range(layout.height):
        for i in range(layout.row_size):
            simd.write(scratch, target + i, simd.read(x, source + i))
        source += layout.row_size
        target += layout.padded_row


@kernel
def forward(x, weight, bias, layout, shape, count, y, start, stop):
    """Images [start, stop): y (N, OH, OW, C); weight is (KH * KW, C up to whole registers), bias likewise."""
    layout = Layout(*layout)
    taps, outputs, channels = layout.taps, layout.outputs, layout.channels
    scratch, width = np.zeros(layout.padded_size, np.float32), bias.size
    for n in range(start, stop):
        pad(x, n, layout, scratch)
        for channel in range(0, width, LANES):
            left, shift = remaining(count, channel), simd.load(shape[:1], bias, (0,), channel, None)
            for first in range(0, taps.size, len(shape)):
                filters = simd.load(shape, weight, simd.spaced(shape, channel, width), first * width, None)
                places = simd.gather(shape, taps, first, channel)
                for o in range(outputs.size):
                    target = (n * outputs.size + o) * channels + channel
                    total = shift if first == 0 else simd.load(shape[:1], y, (0,), target, left)
                    pixels = simd.load(shape, scratch, places, simd.read(outputs, o), left)
                    simd.store(y, (0,), target, left, add_products(total, pixels, filters))


@kernel
def grad_weight(x, grad_y, layout, shape, count, weight_sum, bias_sum, start, stop):
    """Images [start, stop): adds to weight_sum (KH * KW, C up to whole registers) and bias_sum, both float64."""
    layout = Layout(*layout)
    taps, outputs, channels = layout.taps, layout.outputs, layout.channels
    scratch, width = np.zeros(layout.padded_size, np.float32), bias_sum.size
    for n in range(start, stop):
        pad(x, n, layout, scratch)
        for channel in range(0, width, LANES):
            left = remaining(count, channel)
            for first in range(0, taps.size, len(shape)):
                places, rows = simd.gather(shape, taps, first, channel), simd.spaced(shape, first * width, width)
                for some in range(0, outputs.size, FLUSH):
                    total, shift = simd.full(shape, 0.0), simd.full(shape[:1], 0.0)
                    for o in range(some, min(some + FLUSH, outputs.size)):
                        grad = simd.load(shape[:1], grad_y, (0,), (n * outputs.size + o) * channels + channel, left)
                        pixels = simd.load(shape, scratch, places, simd.read(outputs, o), left)
                        total, shift = add_times_row(total, pixels, grad), simd.add(shift, grad)
                    accumulate_rows(weight_sum, rows, channel, total)
                    if first == 0:
                        accumulate_rows(bias_sum, (0,), channel, shift)


@kernel
def grad_x(weight, grad_y, layout, shape, count, grad, start, stop):
    """Images [start, stop) of grad (N, H, W, C), overwritten: each output adds to the pixels of its patch."""
    layout = Layout(*layout)
    taps, outputs, channels = layout.taps, layout.outputs, layout.channels
    scratch, width = np.empty(layout.padded_size, np.float32), weight.size // taps.size
    for n in range(start, stop):
        scratch[:] = 0
        for channel in range(0, width, LANES):
            left = remaining(count, channel)
            for first in range(0, taps.size, len(shape)):
                filters = simd.load(shape, weight, simd.spaced(shape, channel, width), first * width, None)
                places = simd.gather(shape, taps, first, channel)
                for o in range(outputs.size):
                    source = (n * outputs.size + o) * channels + channel
                    row = simd.load(shape[:1], grad_y, (0,), source, left)
                    pixels = simd.load(shape, scratch, places, simd.read(outputs, o), left)
                    simd.store(scratch, places, simd.read(outputs, o), left, add_times_row(pixels, filters, row))
        source, target = layout.first, n * layout.height * layout.row_size
        for _ in range(layout.height):
            for i in range(layout.row_size):
                simd.write(grad, target + i, simd.read(scratch, source + i))
            source += layout.padded_row
            target += layout.row_size
