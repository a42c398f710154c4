"""Convolution -> bias -> ReLU -> max-pool in one pass: the convolution's outputs never reach memory.

Exact savings: relu(max(conv) + bias) = max(relu(conv + bias)), so bias and ReLU run on the pooled values only;
outputs that no pool window reads are never computed.
"""

import numpy as np
from numba import types
from numba.extending import overload

from . import simd
from .geometry import ConvGeometry, Layout, TileShape, largest_divisor, tile_shape
from .jit import inlined, kernel
from .lanes import LANES, MAX_ACCUMULATORS


def forward_tile(geometry: ConvGeometry) -> TileShape:
    """The tile of `pooled_forward`: the pixels of a window, or an equal part of them, x some filters."""
    return tile_shape(largest_divisor(geometry.off, MAX_ACCUMULATORS // geometry.columns), geometry.columns)


def remaining(count, used):
    """The number of floats left after `used` of `count`; None, which stands for all, stays None."""


@overload(remaining)
def compile_remaining(count, used):
    """Chosen by the type of `count`, so that code for whole tiles contains no masks."""
    if isinstance(count, types.NoneType):
        return lambda count, used: None
    return lambda count, used: count - used


@inlined
def convolve(total, x, bases, taps, weight, start, shape):
    """`total` plus a tile of outputs: row r is the patch at bases[r], column f a filter of the block at `start`."""
    for k in range(taps.size):
        filters = simd.load(shape[:1], weight, (0,), start + k * len(shape[0]) * LANES, None)
        total = simd.add_outer(total, x, bases, simd.read(taps, k), filters)
    return total


@kernel
def pooled_forward(x, weight, bias, layout, shape, count, y, winner, start, stop):
    """Images [start, stop): y (N, PH, PW, F), and the index of the winning output in its window, as winner.

    The index is the number of outputs in a window where ReLU is off. winner is None where no gradient will be needed.
    """
    layout = Layout(*layout)
    taps, windows, pixels, outputs_in_window = layout.taps, layout.windows, layout.pixels, layout.pixels.size - 1
    width = len(shape[0]) * LANES
    zero, off = simd.full(shape[:1], 0.0), simd.full(shape[:1], outputs_in_window)
    for n in range(start, stop):
        for block in range(bias.size // width):
            left = remaining(count, block * width)
            for w in range(windows.size):
                best, index = simd.full(shape[:1], -np.inf), zero
                for first in range(0, outputs_in_window, len(shape)):
                    bases = simd.gather(shape, pixels, first, n * layout.image_size + windows[w])
                    zeros = simd.full(shape, 0.0)
                    outputs = convolve(zeros, x, bases, taps, weight, block * taps.size * width, shape)
                    if winner is None:
                        best = simd.largest(best, outputs)
                    else:
                        best, index = simd.update_max(best, index, outputs, first)
                value = simd.add(best, simd.load(shape[:1], bias, (0,), block * width, None))
                target = (n * windows.size + w) * layout.filters + block * width
                simd.store(y, (0,), target, left, simd.where_positive(value, value, zero))
                if winner is not None:
                    simd.store(winner, (0,), target, left, simd.where_positive(value, index, off))
