"""The gradients of Winograd's convolution: each transformation of `winograd.py` is transposed.

With V = Bt d B of a patch and M = A dy At of the gradients of its outputs, the gradient of the filters is
Gt [ sum over the patches of V * M ] G, and that of the patch is B [ (G g Gt) * M ] Bt, * element by element. The sums
over patches, and those over filters, are again 16 small matrix products.

The sums of a weight gradient are 16/9 of its size. Where they do not fit the second cache, the channels are taken in
parts, and the gradients transformed again for each.
"""

import numpy as np

from . import simd
from .conv_dense import add_bias
from .geometry import ConvGeometry, Layout, TileShape, largest_divisor, tile_shape, vectors_in_tile
from .jit import inlined, kernel
from .lanes import LANES, MAX_ACCUMULATORS
from .winograd import (
    COLUMN,
    FILTER_FLOATS,
    ROW,
    Tiling,
    ahead_of,
    fetch,
    images_in_turn,
    multiply,
    needed,
    place_size,
    rows_of,
    store_four,
    tile_at,
    transform_patch,
)

PATCHES = 32  # in a matrix product of grad_weight
SUMMED_TILES = 512  # in a sum of grad_weight, at least: each sum is cleared, transformed, and added


def tiles_of(geometry: ConvGeometry) -> int:
    """The number of 2x2 tiles of an image's outputs."""
    OH, OW = geometry.conv_shape
    return -(-OH // 2) * -(-OW // 2)


def images_at_a_time(geometry: ConvGeometry) -> int:
    """The number of images whose bias gradients `dense_grad_weight` adds at a time."""
    return max(1, PATCHES // tiles_of(geometry))


def least_images(geometry: ConvGeometry) -> int:
    """The number of images that have `SUMMED_TILES`."""
    return -(-SUMMED_TILES // tiles_of(geometry))


def channels_at_a_time(geometry: ConvGeometry) -> int:
    """How many channels `dense_grad_weight` takes at a time: whole vectors whose sums stay in the second cache.

    For each such part of the channels, all gradients are transformed again: parts much smaller than necessary take
    longer than all channels at a time.
    """
    vectors, left = divmod(geometry.image[2], LANES)
    most = FILTER_FLOATS // (16 * LANES * geometry.blocks * geometry.columns * LANES)
    some = largest_divisor(vectors, max(most, 1)) if vectors else 0
    return LANES * some if not left and 2 * some >= most else geometry.image[2]


def grad_weight_tile(geometry: ConvGeometry, channels: int) -> TileShape:
    """The tile of the products in `dense_grad_weight`: a divisor of `channels` x some filters."""
    return tile_shape(largest_divisor(channels, MAX_ACCUMULATORS // geometry.columns), geometry.columns)


def grad_x_tile(geometry: ConvGeometry) -> TileShape:
    """The tile of the products in `dense_grad_x`: some patches x some channels."""
    columns = vectors_in_tile(geometry.image[2])
    return tile_shape(MAX_ACCUMULATORS // columns, columns)


@inlined
def grad_output_mix(a, b):
    """A applied to two rows."""
    return a, simd.add(a, b), simd.subtract(a, b), simd.negative(b)


@inlined
def grad_patch_mix(a, b, c, d):
    """B applied to four rows."""
    return a, simd.add(simd.subtract(b, c), d), simd.subtract(simd.add(b, c), a), simd.negative(d)


@inlined
def grad_filter_mix(a, b, c, d):
    """Gt applied to four rows."""
    half = simd.full(ROW, 0.5)
    total, difference = simd.multiply(half, simd.add(b, c)), simd.multiply(half, simd.subtract(b, c))
    return simd.add(a, total), difference, simd.add(total, d)


@inlined
def transform_grad(grad_y, image, targets, filters, keep, t, grads, target, place):
    """A g At of the gradients of one tile for all filters; outputs that belong to an earlier tile count as 0."""
    for f in range(0, filters, LANES):
        left = filters - f
        a = scaled_load(grad_y, image + targets[4 * t] + f, left, keep[4 * t])
        b = scaled_load(grad_y, image + targets[4 * t + 1] + f, left, keep[4 * t + 1])
        c = scaled_load(grad_y, image + targets[4 * t + 2] + f, left, keep[4 * t + 2])
        d = scaled_load(grad_y, image + targets[4 * t + 3] + f, left, keep[4 * t + 3])
        upper, lower = grad_output_mix(a, b), grad_output_mix(c, d)
        for column in range(4):
            four = grad_output_mix(upper[column], lower[column])
            store_four(grads, target + column * place + f, 4 * place, four)


@inlined
def scaled_load(array, start, left, factor):
    """factor * one vector of the array."""
    return simd.add_scaled(simd.full(ROW, 0.0), factor, array, (start,), 0, left)


@kernel
def dense_grad_weight(x, grad_y, layout, tiling, shape, some, count, block, grad_weight, grad_bias, start, stop):
    """Images [start, stop): adds to grad_weight and grad_bias, as `conv_dense.dense_grad_weight`.

    The products take `PATCHES` patches at a time, of one image or of several, and `some` of the channels.
    """
    layout, tiling = Layout(*layout), Tiling(*tiling)
    outputs, filters, padded = layout.outputs.size, layout.filters, grad_bias.size
    depth, step = -(-some // LANES) * LANES, some * padded
    patches = np.empty(16 * place_size(PATCHES * depth), np.float32)
    grads, sums = np.zeros(16 * place_size(PATCHES * padded), np.float32), np.empty(16 * step, np.float32)
    for channel in range(0, layout.channels, some):
        sums[:] = 0
        add_to_sums(x, grad_y, layout, tiling, shape, channel, some, depth, padded, patches, grads, sums, start, stop)
        for i in range(0, step, LANES):
            finish_grad_weight(sums, i, step, grad_weight, channel * padded + i, layout.channels * padded)
    for begin in range(start, stop, block):
        add_bias(grad_y, begin * outputs, min(begin + block, stop) * outputs, filters, count, grad_bias)


@inlined
def add_to_sums(x, grad_y, layout, tiling, shape, channel, some, depth, padded, patches, grads, sums, start, stop):
    """Add the products of images [start, stop) to sums (16, some, padded), for `some` channels from `channel` on."""
    tiles, targets, keep, kinds = tiling.patches, tiling.targets, tiling.keep, tiling.kinds
    image_size, row_size, channels, filters = layout.image_size, layout.row_size, layout.channels, layout.filters
    outputs = layout.outputs.size
    patch_step, grad_step = place_size(PATCHES * depth), place_size(PATCHES * padded)
    steps = 16 * (padded // (len(shape[0]) * LANES)) * (some // len(shape))
    for begin in range(start, stop, tiling.images):
        images = min(tiling.images, stop - begin)
        for first in range(0, images * tiles.size, PATCHES):
            size = min(PATCHES, images * tiles.size - first)
            read = ahead_of((begin + images) * tiles.size + first, PATCHES, tiles.size, image_size, steps)
            also_read = ahead_of((begin + images) * tiles.size + first, PATCHES, tiles.size, outputs * filters, steps)
            for i in range(size):
                n, t = tile_at(first + i, images, kinds)
                source, grad = (begin + n) * image_size + tiles[t] + channel, (begin + n) * outputs * filters
                transform_patch(x, source, row_size, channels, some, patches, i * depth, patch_step)
                transform_grad(grad_y, grad, targets, filters, keep, t, grads, i * padded, grad_step)
            for place in range(16):
                needing = needed(place, first, size, images, kinds)
                add_products(
                    patches, place * patch_step, grads, place * grad_step, needing, some, depth, padded, shape, sums,
                    place * some * padded, x, read, grad_y, also_read, place * steps // 16,
                )  # fmt: skip


@inlined
def add_products(
    patches, patch, grads, first, some, channels, depth, padded, shape, sums, start, x, read, grad_y, also_read, step
):
    """For one place: (channels x patches) @ (patches x filters) of `some` patches, added to `sums`."""
    for column in range(0, padded, len(shape[0]) * LANES):
        for c in range(0, channels, len(shape)):
            fetch(x, read, step)
            fetch(grad_y, also_read, step)
            step += 1
            bases, rows = simd.spaced(shape, patch + c, 1), simd.spaced(shape, start + c * padded, padded)
            if some[0] >= some[1]:
                continue
            total = simd.load(shape, sums, rows, column, None)
            for i in range(some[0], some[1]):
                grad = simd.load(shape[:1], grads, (0,), first + i * padded + column, None)
                total = simd.add_outer(total, patches, bases, i * depth, grad)
            simd.store(sums, rows, column, None, total)


@inlined
def finish_grad_weight(sums, start, step, grad_weight, target, distance):
    """Add Gt s G to grad_weight: 4x4 sums, `step` floats apart, give 3x3 weights, `distance` floats apart."""
    places = simd.spaced(COLUMN, start, step)
    rows = grad_filter_mix_columns(sums, places, step)
    for kh in range(3):
        a, b, c, d = rows_of(rows[kh])
        one, two, three = grad_filter_mix(a, b, c, d)
        simd.accumulate(grad_weight, (target + 3 * kh * distance,), 0, None, one)
        simd.accumulate(grad_weight, (target + (3 * kh + 1) * distance,), 0, None, two)
        simd.accumulate(grad_weight, (target + (3 * kh + 2) * distance,), 0, None, three)


@inlined
def grad_filter_mix_columns(sums, places, step):
    """Gt applied to the four rows of 4x4 sums, each row a column of vectors."""
    half = simd.full(COLUMN, 0.5)
    a, b = simd.load(COLUMN, sums, places, 0, None), simd.load(COLUMN, sums, places, 4 * step, None)
    c, d = simd.load(COLUMN, sums, places, 8 * step, None), simd.load(COLUMN, sums, places, 12 * step, None)
    total, difference = simd.multiply(half, simd.add(b, c)), simd.multiply(half, simd.subtract(b, c))
    return simd.add(a, total), difference, simd.add(total, d)


@kernel
def dense_grad_x(transformed, grad_y, layout, tiling, shape, groups, grad_x, start, stop):
    """Images [start, stop) of grad_x (N, H, W, C), overwritten, as `conv_dense.dense_grad_x`."""
    layout, tiling = Layout(*layout), Tiling(*tiling)
    tiles, targets, keep, kinds = tiling.patches, tiling.targets, tiling.keep, tiling.kinds
    image_size, row_size, channels, filters = layout.image_size, layout.row_size, layout.channels, layout.filters
    outputs = layout.outputs.size
    rows, width, depth = groups * len(shape), len(shape[0]) * LANES, -(-filters // LANES) * LANES
    size, result, steps = place_size(rows * depth), place_size(rows * width), 16 * -(-channels // width)
    grads, products = np.empty(16 * size, np.float32), np.empty(16 * result, np.float32)
    most = images_in_turn(tiling, rows)
    for begin in range(start, stop, most):
        images = min(most, stop - begin)
        grad_x[begin * image_size : (begin + images) * image_size] = 0
        for first in range(0, images * tiles.size, rows):
            read = ahead_of((begin + images) * tiles.size + first, rows, tiles.size, outputs * filters, steps)
            written = ahead_of((begin + images) * tiles.size + first, rows, tiles.size, image_size, steps)
            some = min(rows, images * tiles.size - first)
            taken = -(-some // len(shape))
            for r in range(taken * len(shape)):
                n, t = tile_at(first + min(r, some - 1), images, kinds)
                grad = (begin + n) * outputs * filters
                transform_grad(grad_y, grad, targets, filters, keep, t, grads, r * depth, size)
            for column in range(0, channels, width):
                multiply(
                    grads, size, transformed, 16 * filters * column, filters, depth, shape, taken, products,
                    result, grad_y, read, grad_x, written, 16 * column // width, first, images, kinds,
                )  # fmt: skip
                for r in range(some):
                    n, t = tile_at(first + r, images, kinds)
                    for c in range(0, min(width, channels - column), LANES):
                        target, left = (begin + n) * image_size + tiles[t] + column + c, channels - column - c
                        add_patch(products, r * width + c, result, grad_x, target, row_size, channels, left)


@inlined
def add_patch(products, start, step, grad_x, target, row_size, channels, left):
    """Add B m Bt to one 4x4 patch of grad_x, for one vector of channels."""
    places = simd.spaced(COLUMN, start, step)
    columns = grad_patch_mix(
        simd.load(COLUMN, products, places, 0, None), simd.load(COLUMN, products, places, 4 * step, None),
        simd.load(COLUMN, products, places, 8 * step, None), simd.load(COLUMN, products, places, 12 * step, None),
    )  # fmt: skip
    for h in range(4):
        a, b, c, d = rows_of(columns[h])
        four = simd.stack(grad_patch_mix(a, b, c, d))
        simd.accumulate(grad_x, simd.spaced(COLUMN, target + h * row_size, channels), 0, left, four)
