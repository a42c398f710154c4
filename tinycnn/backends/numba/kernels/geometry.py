"""Where things lie in memory: the tables that let one kernel serve every kernel size, stride and pool.

A convolution output reads one float of the image per weight, at `start of its patch + tap`; the patch of output
(oh, ow) starts at `(oh * SH * W + ow * SW) * C`. So a kernel needs no (kh, kw, c) loops, only a table of taps.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .lanes import LANES, MAX_ACCUMULATORS

Table = np.ndarray  # of int64: positions in a flat array
WIDTH = LANES or 1


def tile_shape(rows: int, columns: int) -> tuple[tuple[int, ...], ...]:
    """What the SIMD layer takes for a shape: `rows` tuples of `columns` zeros."""
    return ((0,) * columns,) * rows


def vectors_in_tile(floats: int) -> int:
    """How many vectors a tile's row should have to hold so many floats: 1, 2 or, with registers enough, 4."""
    vectors = -(-floats // WIDTH)
    return min(4 if MAX_ACCUMULATORS > 12 else 2, 1 << (vectors - 1).bit_length())


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`."""
    return next(divisor for divisor in range(min(number, limit), 0, -1) if number % divisor == 0)


def grid(height: int, width: int, row: int, column: int) -> Table:
    """Positions of a height x width grid whose rows are `row` and whose columns are `column` floats apart."""
    return (np.arange(height)[:, None] * row + np.arange(width) * column).ravel()


@dataclass(frozen=True)
class ConvGeometry:
    """A valid convolution of (H, W, C) images with (KH, KW, C, F) weights, and the max-pool that follows, if any."""

    image: tuple[int, int, int]
    kernel: tuple[int, int]
    filters: int
    stride: tuple[int, int] = (1, 1)
    pool: tuple[int, int] = (1, 1)
    pool_stride: tuple[int, int] = (1, 1)

    @property
    def image_size(self) -> int:
        """Floats in an image."""
        return self.image[0] * self.image[1] * self.image[2]

    @property
    def conv_shape(self) -> tuple[int, int]:
        """OH, OW."""
        (H, W, _), (KH, KW), (SH, SW) = self.image, self.kernel, self.stride
        return (H - KH) // SH + 1, (W - KW) // SW + 1

    @property
    def pooled_shape(self) -> tuple[int, int]:
        """PH, PW."""
        (OH, OW), (PKH, PKW), (PSH, PSW) = self.conv_shape, self.pool, self.pool_stride
        return (OH - PKH) // PSH + 1, (OW - PKW) // PSW + 1

    @property
    def row_size(self) -> int:
        """Floats in a row of an image."""
        return self.image[1] * self.image[2]

    @property
    def run(self) -> int:
        """Floats of a patch that are contiguous in memory: KW * C."""
        return self.kernel[1] * self.image[2]

    @property
    def depth(self) -> int:
        """Floats in a patch: KH * KW * C."""
        return self.kernel[0] * self.run

    @cached_property
    def taps(self) -> Table:
        """For each weight of a filter, where in the patch is the float it multiplies."""
        return grid(self.kernel[0], self.run, self.row_size, 1)

    @cached_property
    def outputs(self) -> Table:
        """Where in the image is the patch of each convolution output (oh, ow)."""
        return grid(*self.conv_shape, self.stride[0] * self.row_size, self.stride[1] * self.image[2])

    @cached_property
    def windows(self) -> Table:
        """Where in the image is the patch of the first output of each pool window (ph, pw)."""
        row, column = self.stride[0] * self.row_size, self.stride[1] * self.image[2]
        return grid(*self.pooled_shape, self.pool_stride[0] * row, self.pool_stride[1] * column)

    @cached_property
    def pixels(self) -> Table:
        """Where are the patches of a pool window's outputs, from the first one on."""
        return grid(*self.pool, self.stride[0] * self.row_size, self.stride[1] * self.image[2])

    @property
    def off(self) -> int:
        """The winner's index where no output won, because ReLU was off."""
        return self.pool[0] * self.pool[1]

    @property
    def columns(self) -> int:
        """Vectors of filters in a tile."""
        return vectors_in_tile(self.filters)

    @property
    def blocks(self) -> int:
        """Tiles needed for all filters."""
        return -(-self.filters // (self.columns * WIDTH))

    @cached_property
    def pool_tile(self) -> tuple[tuple[int, ...], ...]:
        """The tile of the pooled forward pass: the pixels of a window, or an equal part of them."""
        return tile_shape(largest_divisor(self.off, MAX_ACCUMULATORS // self.columns), self.columns)

    @property
    def count(self) -> int | None:
        """How many filters really exist, or None where they fill whole tiles."""
        return None if self.filters == self.blocks * self.columns * WIDTH else self.filters

    @property
    def padded_run(self) -> int:
        """Floats in a run, rounded up to whole vectors."""
        return -(-self.run // WIDTH) * WIDTH

    @cached_property
    def patch_tile(self) -> tuple[tuple[int, ...], ...]:
        """The tile that holds a patch, or one row of it, or an equal part of a row."""
        columns = largest_divisor(self.padded_run // WIDTH, MAX_ACCUMULATORS)
        whole = self.kernel[0] * self.padded_run // WIDTH <= MAX_ACCUMULATORS
        return tile_shape(self.kernel[0] if whole else 1, columns)

    @property
    def grad_x_tile(self) -> tuple[tuple[int, ...], ...]:
        """The same for grad_x, but one row at a time where the filters do not fit the first cache (32 KiB) at once."""
        large = self.filters * self.kernel[0] * self.padded_run > 1 << 13
        return self.patch_tile[:1] if large else self.patch_tile

    @cached_property
    def taps_tile(self) -> tuple[tuple[int, ...], ...]:
        """The tile that holds the weights of some filters: all taps, or an equal part of them."""
        return tile_shape(largest_divisor(self.depth, MAX_ACCUMULATORS // self.columns), self.columns)

    @cached_property
    def dense_tile(self) -> tuple[tuple[int, ...], ...]:
        """The tile of the dense forward pass: that many outputs, so that little is computed twice."""
        outputs, limit = len(self.outputs), MAX_ACCUMULATORS // self.columns
        cost = {rows: -(-outputs // rows) * (rows * self.columns + self.columns + 1) for rows in range(1, limit + 1)}
        return tile_shape(min(outputs, min(cost, key=cost.__getitem__)), self.columns)

    @cached_property
    def spread_tile(self) -> tuple[tuple[int, ...], ...]:
        """The tile of the dense grad_x: some outputs, and a row of their patches or an equal part of it."""
        columns = largest_divisor(self.padded_run // WIDTH, MAX_ACCUMULATORS // 4)
        return tile_shape(min(len(self.outputs), MAX_ACCUMULATORS // columns), columns)

    @property
    def origins(self) -> tuple[np.ndarray, np.ndarray]:
        """oh and ow where the 2x2 tiles of outputs begin: the last overlaps the one before if OH or OW is odd."""
        OH, OW = self.conv_shape
        return np.minimum(np.arange(0, OH, 2), OH - 2), np.minimum(np.arange(0, OW, 2), OW - 2)

    @cached_property
    def tiles(self) -> Table:
        """Where in the image is the 4x4 patch of each 2x2 tile of outputs."""
        rows, columns = self.origins
        return (rows[:, None] * self.row_size + columns * self.image[2]).ravel()

    @cached_property
    def targets(self) -> Table:
        """Which output is the first of each 2x2 tile."""
        rows, columns = self.origins
        return (rows[:, None] * self.conv_shape[1] + columns).ravel()

    @cached_property
    def tile_pixels(self) -> Table:
        """Where are the patches of a 2x2 tile's outputs, from the first one on."""
        return grid(2, 2, self.row_size, self.image[2])

    @cached_property
    def keep(self) -> np.ndarray:
        """(tiles, 2, 2), flat: 0 for an output that belongs to an earlier tile, else 1."""
        rows, columns = ([(1.0, 1.0) if o % 2 == 0 else (0.0, 1.0) for o in origins] for origins in self.origins)
        return np.einsum("ai,bj->abij", rows, columns).astype(np.float32).ravel()

    @cached_property
    def winograd_tile(self) -> tuple[tuple[int, ...], ...]:
        """The tile of the products in the Winograd kernels: some patches x some filters."""
        return tile_shape(MAX_ACCUMULATORS // self.columns, self.columns)

    @cached_property
    def winograd_grad_tile(self) -> tuple[tuple[int, ...], ...]:
        """The same for grad_x: some patches x some channels."""
        columns = vectors_in_tile(self.image[2])
        return tile_shape(MAX_ACCUMULATORS // columns, columns)

    @cached_property
    def winograd_sum_tile(self) -> tuple[tuple[int, ...], ...]:
        """The same for grad_weight: some channels x some filters."""
        return tile_shape(largest_divisor(self.image[2], MAX_ACCUMULATORS // self.columns), self.columns)

    @property
    def tail(self) -> int | None:
        """How many floats of a tile's row really exist, or None if all; only a tile with whole runs can have a tail."""
        return None if self.run == self.padded_run else self.run
