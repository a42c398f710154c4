"""Where things lie in memory: the tables that let one kernel serve every kernel size, stride and pool.

A convolution output reads one float of the image per weight, at `start of its patch + tap`; the patch of output
(oh, ow) starts at `(oh * SH * W + ow * SW) * C`. So a kernel needs no (kh, kw, c) loops, only a table of taps.

The tile of registers that a kernel works with is chosen in the kernel's own file.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from .lanes import MAX_ACCUMULATORS, WIDTH

Table = np.ndarray  # of int64: positions in a flat array
TileShape = tuple[tuple[None, ...], ...]  # `rows` tuples of `columns` Nones, see simd.py


class Layout(NamedTuple):
    """What kernels read of a `ConvGeometry`: sizes in floats, and tables of positions.

    Callers pass it as a plain tuple, and the kernel rebuilds it: `layout = Layout(*layout)`. Numba checks the class of
    a named tuple on every call from Python, which takes 0.9 µs. With a plain tuple, the whole call takes 1.2 µs.
    """

    image_size: int
    row_size: int
    channels: int
    kernel_rows: int
    run: int
    filters: int
    taps: Table
    outputs: Table
    windows: Table
    pixels: Table


def tile_shape(rows: int, columns: int) -> TileShape:
    """The shape of a tile of rows x columns vectors, as the functions in simd.py take it."""
    return ((None,) * columns,) * rows


def vectors_in_tile(floats: int) -> int:
    """The number of vectors in a tile's row for `floats` floats: 1 to 4, or to 2 with few registers.

    Tiles of that size compute the fewest vectors: 3 x 1 for 48 floats, 3 x 2 for 96. Among those, the widest is chosen.
    """
    vectors = -(-floats // WIDTH)
    if vectors == 1:
        return 1
    sizes = range(4 if MAX_ACCUMULATORS > 12 else 2, 1, -1)
    return min(sizes, key=lambda size: -(-vectors // size) * size)


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
    def padded_run(self) -> int:
        """Floats in a run, rounded up to whole vectors."""
        return -(-self.run // WIDTH) * WIDTH

    @property
    def depth(self) -> int:
        """Floats in a patch: KH * KW * C."""
        return self.kernel[0] * self.run

    @property
    def off(self) -> int:
        """The winner's index where no output won, because ReLU was off."""
        return self.pool[0] * self.pool[1]

    @cached_property
    def outputs(self) -> Table:
        """Where the patch of each convolution output (oh, ow) starts in the image."""
        return grid(*self.conv_shape, self.stride[0] * self.row_size, self.stride[1] * self.image[2])

    @cached_property
    def layout(self) -> Layout:
        """The sizes and tables for kernels. Pass `tuple(layout)` to a kernel.

        `taps`: for each weight of a filter, the position of its float in the patch. `windows`: where the patch of the
        first output of each pool window (ph, pw) starts in the image. `pixels`: where the patches of a window's outputs
        start, relative to the first one, followed by one entry for "no winner", which is never used as a patch.
        """
        row, column = self.stride[0] * self.row_size, self.stride[1] * self.image[2]
        return Layout(
            image_size=self.image_size,
            row_size=self.row_size,
            channels=self.image[2],
            kernel_rows=self.kernel[0],
            run=self.run,
            filters=self.filters,
            taps=grid(self.kernel[0], self.run, self.row_size, 1),
            outputs=self.outputs,
            windows=grid(*self.pooled_shape, self.pool_stride[0] * row, self.pool_stride[1] * column),
            pixels=np.append(grid(*self.pool, row, column), 0),
        )

    @property
    def columns(self) -> int:
        """Vectors of filters in a tile."""
        return vectors_in_tile(self.filters)

    @property
    def blocks(self) -> int:
        """Tiles needed for all filters."""
        return -(-self.filters // (self.columns * WIDTH))

    @cached_property
    def count(self) -> int | None:
        """The number of filters, or None where they fill whole tiles and no mask is needed."""
        return None if self.filters == self.blocks * self.columns * WIDTH else self.filters

    @cached_property
    def tail(self) -> int | None:
        """The number of floats in a run, or None where they fill whole vectors and no mask is needed."""
        return None if self.run == self.padded_run else self.run

    @property
    def weight_tile(self) -> TileShape:
        """The tile that holds the weights of some filters: all taps, or an equal part of them."""
        return tile_shape(largest_divisor(self.depth, MAX_ACCUMULATORS // self.columns), self.columns)
