"""Convolution -> bias -> ReLU -> max-pool in one pass: the convolution's outputs never reach memory.

Exact savings: relu(max(conv) + bias) = max(relu(conv + bias)), so bias and ReLU run on the pooled values only;
outputs that no pool window reads are never computed.
"""

import numpy as np
from numba import types
from numba.extending import overload

from . import simd
from .jit import inlined, kernel
from .lanes import LANES


def remaining(count, used):
    """How many of `count` floats are left; None, for all, stays None."""


@overload(remaining)
def compile_remaining(count, used):
    """Decided by type, so that whole tiles need no masks."""
    if isinstance(count, types.NoneType):
        return lambda count, used: None
    return lambda count, used: count - used


@inlined
def convolve(total, x, bases, taps, weight, start, shape):
    """Add a tile of outputs to `total`: row r is the patch at bases[r], column f a filter of the block at `start`."""
    for k in range(taps.size):
        filters = simd.load(shape[:1], weight, (0,), start + k * len(shape[0]) * LANES, None)
        total = simd.add_outer(total, x, bases, simd.read(taps, k), filters)
    return total


@kernel
def pooled_forward(x, weight, bias, taps, windows, pixels, image_size, shape, filters, count, y, winner, start, stop):
    """Images [start, stop): y (N, PH, PW, F), and which output of its window it is (`pixels.size` if ReLU is off)."""
    width = len(shape[0]) * LANES
    zero, off = simd.full(shape[:1], 0.0), simd.full(shape[:1], pixels.size)
    for n in range(start, stop):
        for block in range(bias.size // width):
            left = remaining(count, block * width)
            for w in range(windows.size):
                best, index = simd.full(shape[:1], -np.inf), zero
                for first in range(0, pixels.size, len(shape)):
                    bases = simd.gather(shape, pixels, first, n * image_size + windows[w])
                    zeros = simd.full(shape, 0.0)
                    outputs = convolve(zeros, x, bases, taps, weight, block * taps.size * width, shape)
                    best, index = simd.update_max(best, index, outputs, first)
                value = simd.add(best, simd.load(shape[:1], bias, (0,), block * width, None))
                target = (n * windows.size + w) * filters + block * width
                simd.store(y, (0,), target, left, simd.where_positive(value, value, zero))
                simd.store(winner, (0,), target, left, simd.where_positive(value, index, off))
