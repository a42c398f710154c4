"""Copies between the orders in which arrays are stored and those in which kernels read them; sums of partial sums.

Every kernel writes all of its output, also the lanes that belong to no weight, which become 0.
"""

import numpy as np

from .jit import kernel

LINE = 16  # floats in a cache line


@kernel
def pad_images(x, padding, y, start, stop):
    """Images [start, stop): `x (N, H, W, C)` -> `y (N, H + 2 PH, W + 2 PW, C)`, zeros around the edge."""
    PH, PW = padding
    for n in range(start, stop):
        for h in range(y.shape[1]):
            for w in range(y.shape[2]):
                inside = PH <= h < PH + x.shape[1] and PW <= w < PW + x.shape[2]
                for c in range(x.shape[3]):
                    y[n, h, w, c] = x[n, h - PH, w - PW, c] if inside else 0


@kernel
def crop_images(y, padding, x, start, stop):
    """Images [start, stop): the inverse of `pad_images`."""
    PH, PW = padding
    for n in range(start, stop):
        for h in range(x.shape[1]):
            for w in range(x.shape[2]):
                for c in range(x.shape[3]):
                    x[n, h, w, c] = y[n, PH + h, PW + w, c]


@kernel
def pack_filters(weight, filters, start, stop):
    """Rows [start, stop) of `weight (depth, F)` -> `filters (blocks, depth, width)`."""
    F, width = weight.shape[1], filters.shape[2]
    for block in range(filters.shape[0]):
        for k in range(start, stop):
            for f in range(width):
                here = block * width + f < F
                filters[block, k, f] = weight[k, block * width + f] if here else np.float32(0)


@kernel
def pack_patches(weight, patches, start, stop):
    """Filters [start, stop) of `weight (KH, run, F)` -> `patches (KH, F, padded run)`."""
    for kh in range(weight.shape[0]):
        for f in range(start, stop):
            for i in range(weight.shape[1]):
                patches[kh, f, i] = weight[kh, i, f]
            for i in range(weight.shape[1], patches.shape[2]):
                patches[kh, f, i] = 0


@kernel
def pack_bias(bias, packed):
    """`bias (F,)` -> `packed (F or more,)`."""
    for f in range(packed.size):
        packed[f] = bias[f] if f < bias.size else np.float32(0)


@kernel
def clear(weight_sum, bias_sum):
    """Set both flat arrays to 0."""
    for i in range(weight_sum.size):
        weight_sum[i] = 0
    for i in range(bias_sum.size):
        bias_sum[i] = 0


@kernel
def add_parts(parts, total, start, stop):
    """Elements [start, stop) of `total (size,)`: the sum of `parts (P, size)`, added in order."""
    for i in range(start, stop):
        total[i] = parts[0, i]
    for part in range(1, parts.shape[0]):
        for i in range(start, stop):
            total[i] += parts[part, i]


@kernel
def add_weight_parts(parts, total, start, stop):
    """Rows [start, stop): `parts (P, depth, F or more)` -> `total (depth, F)`, added in order."""
    for k in range(start, stop):
        for f in range(total.shape[1]):
            total[k, f] = parts[0, k, f]
        for part in range(1, parts.shape[0]):
            for f in range(total.shape[1]):
                total[k, f] += parts[part, k, f]


@kernel
def add_patch_parts(parts, total, start, stop):
    """Filters [start, stop): `parts (P, F, KH, run or more)` -> `total (KH, run, F)`, added in order.

    The numbers of a run are contiguous in the parts, those of all filters in the total.
    """
    runs = np.empty((LINE, total.shape[1]), np.float32)
    for kh in range(total.shape[0]):
        for first in range(start, stop, LINE):
            size = min(LINE, stop - first)
            for f in range(size):
                for i in range(runs.shape[1]):
                    runs[f, i] = parts[0, first + f, kh, i]
                for part in range(1, parts.shape[0]):
                    for i in range(runs.shape[1]):
                        runs[f, i] += parts[part, first + f, kh, i]
            for i in range(runs.shape[1]):
                for f in range(size):
                    total[kh, i, first + f] = runs[f, i]


@kernel
def add_bias_parts(parts, total):
    """`parts (P, F or more)` float64 -> `total (F,)` float32, added in order."""
    for f in range(total.size):
        value = parts[0, f]
        for part in range(1, parts.shape[0]):
            value += parts[part, f]
        total[f] = value
