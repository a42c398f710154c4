"""3x3 convolution with 16 multiplications where the definition takes 36: Winograd's F(2x2, 3x3).

Two outputs of a three-tap filter take four products instead of six (Winograd 1980; Lavin & Gray 2016). In two
dimensions, for the 2x2 outputs of one 4x4 patch d and one filter g, summed over the channels:
    y = At [ (G g Gt) * (Bt d B) ] A,   * element by element.
Filters are transformed once per step, and patches once for all filters. The rest is 16 small matrix products
(patches x channels) @ (channels x filters), one for each place in the 4x4 patch. The rounding error is that of im2col.

The products leave the memory idle. While they are computed, the kernels fetch what they will read and write some images
later, a few cache lines at a time (`ahead_of`): a sixth of the time where the images do not fit the second cache.

Where the number of outputs is odd, one row and one column of them belong to no whole tile. One output of three taps
takes three products, where two take four: 529 products instead of 576 for 11x11 outputs, 49 instead of 64 for 3x3.

One 2x2 output tile is exactly one 2x2 pool window. The transformations spread infinities and NaNs to other outputs of
the patch. Where an output is NaN, the outputs are therefore computed again by the definition; gradients are not.
"""

from typing import NamedTuple

import numpy as np

from . import simd
from .conv_block import remaining
from .geometry import ConvGeometry, Layout, Table, TileShape, grid, tile_shape
from .jit import inlined, kernel
from .lanes import LANES, MAX_ACCUMULATORS

ROW = tile_shape(1, 1)  # one vector
COLUMN = tile_shape(4, 1)  # four vectors, one below the other
MIN_CHANNELS = 8  # and filters: below it the transformations take longer than the products they save
LINE = 16  # floats in a cache line
CACHE_FLOATS = 1 << 16  # of images and results: twice as many, with those fetched ahead, fit the second cache
FILTER_FLOATS = 1 << 18  # of transformed filters: more leave the second cache before they are used again
GROUPS = 6  # of tiles that are multiplied by a filter while it is in the cache, where there are more filters than that
PASSES = 4  # over all filters, for the tiles of some images, at least: then few groups mix tiles of several kinds


class Tiling(NamedTuple):
    """The 2x2 tiles of an image's outputs; where OH or OW is odd, the last tiles overlap those before.

    An overlapping tile leaves its first row or column of outputs to the tile before. The second output of `output_mix`
    does not contain its first argument, and in `grad_output_mix` a gradient of 0 becomes a first result of 0. So these
    tiles need no products for the first row or column of their 4x4 patch.

    Tiles that need the same products are neighbours. Those of the last column come first, then the whole tiles, those
    of the last row, and the last tile of both. Passed to kernels as a plain tuple, like `Layout`.
    """

    patches: Table  # (tiles,): where the 4x4 patch of each tile starts in the image
    targets: Table  # (tiles, 2, 2), flat: where each output lies; the next one where an earlier tile computes it
    pixels: Table  # (4,): where the patches of a tile's outputs start, relative to the first one
    keep: np.ndarray  # (tiles, 2, 2), flat: 0 for an output that belongs to an earlier tile, else 1
    kinds: Table  # (5,): where the tiles of each of the four kinds start, and the number of tiles
    images: int  # taken at a time: first the tiles of the first kind in all of them, then those of the next kind


def output_tiles(geometry: ConvGeometry) -> Tiling:
    """The tiles of a geometry with at least 2x2 outputs."""
    OH, OW = geometry.conv_shape
    kind = {(False, True): 0, (False, False): 1, (True, False): 2, (True, True): 3}
    tiles = [(kind[h == OH - 1, w == OW - 1], h, w) for h in range(0, OH, 2) for w in range(0, OW, 2)]
    kinds, rows, columns = np.transpose(sorted(tiles))
    two = np.arange(2)
    target_rows, target_columns = np.minimum(rows[:, None] + two, OH - 1), np.minimum(columns[:, None] + two, OW - 1)
    keep_rows, keep_columns = rows[:, None] + two < OH, columns[:, None] + two < OW
    first_row, first_column = np.minimum(rows, OH - 2), np.minimum(columns, OW - 2)
    return Tiling(
        patches=first_row * geometry.row_size + first_column * geometry.image[2],
        targets=(target_rows[:, :, None] * OW + target_columns[:, None, :]).ravel() * geometry.filters,
        pixels=grid(2, 2, geometry.row_size, geometry.image[2]),
        keep=(keep_rows[:, ::-1, None] & keep_columns[:, None, ::-1]).astype(np.float32).ravel(),
        kinds=np.searchsorted(kinds, np.arange(5)),
        images=max(1, CACHE_FLOATS // (geometry.image_size + OH * OW * geometry.filters)),
    )


def supports(geometry: ConvGeometry) -> bool:
    """Whether the 2x2 tiles fit, and there are enough products to pay for the transformations."""
    g = geometry
    fits = g.kernel == (3, 3) and g.stride == (1, 1) and min(g.conv_shape) >= 2
    return fits and min(g.image[2], g.filters) >= MIN_CHANNELS


def forward_tile(geometry: ConvGeometry) -> TileShape:
    """The tile of the products in the forward kernels: some patches x some filters."""
    return tile_shape(MAX_ACCUMULATORS // geometry.columns, geometry.columns)


def groups(geometry: ConvGeometry) -> int:
    """How many groups of tiles `dense_forward` and `dense_grad_x` multiply by a filter before they read the next one.

    The results have the same bits for any number.
    """
    return GROUPS if 16 * geometry.image[2] * geometry.filters > FILTER_FLOATS else 1


@inlined
def images_in_turn(tiling, rows):
    """As `Tiling.images`, but enough for `PASSES`, each of `rows` tiles. Each image still has its tiles in order."""
    return max(tiling.images, -(-PASSES * rows // tiling.patches.size))


@inlined
def patch_mix(a, b, c, d):
    """Bt applied to four rows."""
    return simd.subtract(a, c), simd.add(b, c), simd.subtract(c, b), simd.subtract(b, d)


@inlined
def filter_mix(a, b, c):
    """G applied to three rows."""
    half = simd.full(ROW, 0.5)
    middle, sides = simd.multiply(half, b), simd.multiply(half, simd.add(a, c))
    return a, simd.add(sides, middle), simd.subtract(sides, middle), c


@inlined
def output_mix(a, b, c, d):
    """At applied to four rows."""
    return simd.add(a, simd.add(b, c)), simd.subtract(simd.subtract(b, c), d)


@inlined
def rows_of(tile):
    """The four rows of a column of vectors."""
    return simd.row_of(tile, 0), simd.row_of(tile, 1), simd.row_of(tile, 2), simd.row_of(tile, 3)


@inlined
def store_four(array, start, step, four):
    """Write four vectors, `step` floats apart."""
    simd.store(array, (start,), 0, None, four[0])
    simd.store(array, (start + step,), 0, None, four[1])
    simd.store(array, (start + 2 * step,), 0, None, four[2])
    simd.store(array, (start + 3 * step,), 0, None, four[3])


@inlined
def mixed_filter_row(filters, start, step, left):
    """One row of a filter, g Gt."""
    a = simd.load(ROW, filters, (start,), 0, left)
    b = simd.load(ROW, filters, (start + step,), 0, left)
    return filter_mix(a, b, simd.load(ROW, filters, (start + 2 * step,), 0, left))


@kernel
def transform_filters(filters, start, steps, items, floats, width, transformed):
    """G g Gt of `items` x `floats` filters -> (16, items, width).

    `steps`: the distances between the rows of a filter's 3x3 weights, between their columns, and between items.
    """
    row_step, column_step, item_step = steps
    for item in range(items):
        for i in range(0, width, LANES):
            source, left = start + item * item_step + i, floats - i
            upper = mixed_filter_row(filters, source, column_step, left)
            middle = mixed_filter_row(filters, source + row_step, column_step, left)
            lower = mixed_filter_row(filters, source + 2 * row_step, column_step, left)
            for column in range(4):
                four = filter_mix(upper[column], middle[column], lower[column])
                place = (column * items + item) * width + i
                store_four(transformed, place, 4 * items * width, four)


@inlined
def place_size(floats):
    """The distance between two of the 16 places in scratch memory, for `floats` floats of each.

    With a power of two, all 16 lines that a transformation writes would belong to the same few sets of the first cache.
    """
    return floats + LINE


@inlined
def transform_patch(x, start, row_size, channels, some, patches, target, place):
    """Bt d B of one 4x4 patch for `some` of the channels; the 16 results lie `place` floats apart."""
    for c in range(0, some, LANES):
        columns, left = simd.spaced(COLUMN, start + c, channels), some - c
        a = simd.load(COLUMN, x, columns, 0, left)
        b = simd.load(COLUMN, x, columns, row_size, left)
        d = simd.load(COLUMN, x, columns, 2 * row_size, left)
        e = simd.load(COLUMN, x, columns, 3 * row_size, left)
        mixed = patch_mix(a, b, d, e)
        for row in range(4):
            one, two, three, four = rows_of(mixed[row])
            store_four(patches, target + 4 * row * place + c, place, patch_mix(one, two, three, four))


@inlined
def tile_at(place, images, kinds):
    """The image and the tile at a place in the order of `Tiling`, for so many images."""
    kind = 0
    while place >= images * kinds[kind + 1]:
        kind += 1
    n, t = divmod(place - images * kinds[kind], kinds[kind + 1] - kinds[kind])
    return n, kinds[kind] + t


@inlined
def needed(product, first, size, images, kinds):
    """Which of `size` tiles, from place `first` on, need this one of the 16 products: those in [begin, end)."""
    begin = images * kinds[1] if product % 4 == 0 else 0
    end = images * (kinds[2] if product < 4 else kinds[3] if product % 4 == 0 else kinds[4])
    return max(begin - first, 0), min(end - first, size)


@inlined
def ahead_of(first, count, tiles, size, steps):
    """What to fetch in `steps` steps: where the first begins, and how many floats each of them takes.

    It is the share of `count` tiles, from `first` on, of images of `size` floats and `tiles` tiles.
    """
    return first * size // tiles, -(-count * size // (tiles * steps * LINE)) * LINE


@inlined
def fetch(array, ahead, step):
    """Fetch the share of one step, which will be read."""
    for i in range(ahead[0] + step * ahead[1], ahead[0] + (step + 1) * ahead[1], LINE):
        simd.prefetch(array, i)


@inlined
def fetch_to_write(array, ahead, step):
    """The same for what will be written."""
    for i in range(ahead[0] + step * ahead[1], ahead[0] + (step + 1) * ahead[1], LINE):
        simd.prefetch_to_write(array, i)


@inlined
def multiply(
    patches,
    size,
    filters,
    start,
    channels,
    depth,
    shape,
    groups,
    products,
    result,
    source,
    read,
    target,
    written,
    step,
    first,
    images,
    kinds,
):
    """For each of the 16 places: (patches x channels) @ (channels x filters) -> products (16, groups * rows, width).

    The 16 places lie `size` floats apart in `patches`, and `result` in `products`. The products are 0 where none of the
    patches of a group needs them.
    """
    width, rows = len(shape[0]) * LANES, len(shape)
    for place in range(16):
        fetch(source, read, step + place)
        fetch_to_write(target, written, step + place)
        for group in range(groups):
            total, bases = simd.full(shape, 0.0), simd.spaced(shape, place * size + group * rows * depth, depth)
            begin, end = needed(place, first + group * rows, rows, images, kinds)
            for c in range(channels if begin < end else 0):
                row = simd.load(shape[:1], filters, (0,), start + (place * channels + c) * width, None)
                total = simd.add_outer(total, patches, bases, c, row)
            simd.store(products, simd.spaced(shape, place * result + group * rows * width, width), 0, None, total)


@inlined
def transform_product(products, start, step):
    """At m A: the 2x2 outputs of one patch, for one vector of filters."""
    places = simd.spaced(COLUMN, start, step)
    upper, lower = output_mix(
        simd.load(COLUMN, products, places, 0, None), simd.load(COLUMN, products, places, 4 * step, None),
        simd.load(COLUMN, products, places, 8 * step, None), simd.load(COLUMN, products, places, 12 * step, None),
    )  # fmt: skip
    a, b, c, d = rows_of(upper)
    e, f, g, h = rows_of(lower)
    return output_mix(a, b, c, d), output_mix(e, f, g, h)


@inlined
def direct_outputs(x, base, pixels, taps, weight, start, stride):
    """The 2x2 outputs by the definition; `stride` is the width of the block of weights."""
    total, bases = simd.full(COLUMN, 0.0), simd.gather(COLUMN, pixels, 0, base)
    for k in range(taps.size):
        total = simd.add_outer(total, x, bases, taps[k], simd.load(ROW, weight, (0,), start + k * stride, None))
    return total


@inlined
def outputs_of(products, result, r, column, x, base, pixels, taps, weight, block, width):
    """The 2x2 outputs of row r of the products, for one vector of filters; NaN only where the definition has NaN."""
    (a, b), (c, d) = transform_product(products, r * width + column, result)
    if simd.any_nan(a) or simd.any_nan(b) or simd.any_nan(c) or simd.any_nan(d):
        return rows_of(direct_outputs(x, base, pixels, taps, weight, block * taps.size * width + column, width))
    return a, b, c, d


@kernel
def pooled_forward(x, weight, transformed, bias, layout, shape, count, y, winner, start, stop):
    """Images [start, stop) of the pooled block, as `conv_block.pooled_forward`, for 3x3 kernels and 2x2 pools."""
    layout = Layout(*layout)
    taps, windows, pixels, filters = layout.taps, layout.windows, layout.pixels, layout.filters
    image_size, row_size, channels = layout.image_size, layout.row_size, layout.channels
    rows, width, depth = len(shape), len(shape[0]) * LANES, -(-channels // LANES) * LANES
    size, result = place_size(rows * depth), rows * width
    patches, products = np.empty(16 * size, np.float32), np.empty(16 * result, np.float32)
    zero, off, last = simd.full(ROW, 0.0), simd.full(ROW, 4), stop * windows.size - 1
    steps, whole = 16 * (bias.size // width), (0, 0, windows.size, windows.size, windows.size)  # as in `Tiling.kinds`
    for first in range(start * windows.size, stop * windows.size, rows):
        read = ahead_of(first + windows.size, rows, windows.size, image_size, steps)
        written = ahead_of(first + windows.size, rows, windows.size, windows.size * filters, steps)
        for r in range(rows):  # rows beyond the last window repeat it
            n, w = divmod(min(first + r, last), windows.size)
            transform_patch(x, n * image_size + windows[w], row_size, channels, channels, patches, r * depth, size)
        for block in range(bias.size // width):
            multiply(
                patches, size, transformed, block * 16 * channels * width, channels, depth, shape, 1, products, result,
                x, read, y, written, 16 * block, 0, 1, whole,
            )  # fmt: skip
            for r in range(min(rows, last + 1 - first)):
                n, w = divmod(first + r, windows.size)
                base = n * image_size + windows[w]
                for column in range(0, width, LANES):
                    left = remaining(count, block * width + column)
                    a, b, c, d = outputs_of(products, result, r, column, x, base, pixels, taps, weight, block, width)
                    best, index = simd.update_max(a, zero, b, 1)
                    best, index = simd.update_max(best, index, c, 2)
                    best, index = simd.update_max(best, index, d, 3)
                    value = simd.add(best, simd.load(ROW, bias, (0,), block * width + column, None))
                    target = (first + r) * filters + block * width + column
                    simd.store(y, (0,), target, left, simd.where_positive(value, value, zero))
                    simd.store(winner, (0,), target, left, simd.where_positive(value, index, off))


@kernel
def dense_forward(x, weight, transformed, bias, layout, tiling, shape, groups, count, relu, y, start, stop):
    """Images [start, stop) of y (N, OH, OW, F), as `conv_dense.dense_forward`."""
    layout, tiling = Layout(*layout), Tiling(*tiling)
    taps, tiles, targets, pixels, kinds = layout.taps, tiling.patches, tiling.targets, tiling.pixels, tiling.kinds
    image_size, row_size, channels, filters = layout.image_size, layout.row_size, layout.channels, layout.filters
    outputs = layout.outputs.size
    rows, width, depth = groups * len(shape), len(shape[0]) * LANES, -(-channels // LANES) * LANES
    size, result = place_size(rows * depth), place_size(rows * width)
    patches, products = np.empty(16 * size, np.float32), np.empty(16 * result, np.float32)
    zeros, steps, most = simd.full(COLUMN, 0.0), 16 * (bias.size // width), images_in_turn(tiling, rows)
    for begin in range(start, stop, most):
        images = min(most, stop - begin)
        for first in range(0, images * tiles.size, rows):
            read = ahead_of((begin + images) * tiles.size + first, rows, tiles.size, image_size, steps)
            written = ahead_of((begin + images) * tiles.size + first, rows, tiles.size, outputs * filters, steps)
            some = min(rows, images * tiles.size - first)
            taken = -(-some // len(shape))
            for r in range(taken * len(shape)):  # rows beyond the last tile repeat it
                n, t = tile_at(first + min(r, some - 1), images, kinds)
                source = (begin + n) * image_size + tiles[t]
                transform_patch(x, source, row_size, channels, channels, patches, r * depth, size)
            for block in range(bias.size // width):
                multiply(
                    patches, size, transformed, block * 16 * channels * width, channels, depth, shape, taken, products,
                    result, x, read, y, written, 16 * block, first, images, kinds,
                )  # fmt: skip
                for r in range(some):
                    n, t = tile_at(first + r, images, kinds)
                    base = (begin + n) * image_size + tiles[t]
                    places = simd.gather(COLUMN, targets, 4 * t, (begin + n) * outputs * filters + block * width)
                    for column in range(0, width, LANES):
                        left = remaining(count, block * width + column)
                        four = simd.stack(
                            outputs_of(products, result, r, column, x, base, pixels, taps, weight, block, width)
                        )
                        four = simd.add(four, simd.load(COLUMN, bias, (0, 0, 0, 0), block * width + column, None))
                        if relu:
                            four = simd.where_positive(four, four, zeros)
                        simd.store(y, places, column, left, four)
