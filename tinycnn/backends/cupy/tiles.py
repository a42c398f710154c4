"""Matrix products on tiles (``cuda/tile.cuh``): grids, the ranges of long sums, and the launch.

The number of ranges depends on shapes alone, not on the GPU, so every GPU adds in the same order.
"""

import numpy as np

from tinycnn.backends.cupy.launch import Grid, Launcher

ROWS = 64  # of a tile, see cuda/tile.cuh
STEP = 16
ENOUGH_BLOCKS = 256  # about two for each multiprocessor of a large GPU
WORTH_CUTTING = 256  # below that, adding up the ranges, a kernel of its own, takes longer than it saves
LEAST_RANGE = 4 * STEP  # a shorter sum is not worth a block of its own


def width_for(columns: int) -> int:
    """The width of the tiles for a matrix with ``columns`` columns."""
    return 16 if columns <= 16 else 32 if columns <= 32 else 64


def tiles_for(rows: int, columns: int, rows_of_tile: int = ROWS) -> Grid:
    """The grid of tiles that covers a matrix."""
    return max(1, -(-rows // rows_of_tile)), -(-columns // width_for(columns))


def ranges_for(length: int, blocks: int) -> tuple[int, int]:
    """``(number, size)`` of the ranges into which a sum is cut, to have enough blocks; sizes are whole steps."""
    wanted = max(1, min(ENOUGH_BLOCKS // blocks, length // LEAST_RANGE)) if length >= WORTH_CUTTING else 1
    size = max(STEP, -(-length // wanted // STEP) * STEP)
    return max(1, -(-length // size)), size


def multiply(
    launch: Launcher, file: str, kernel: str, columns: int, dtype: np.dtype, grid: Grid, *arguments: object
) -> None:
    """Launch the variant of ``kernel`` for a result with ``columns`` columns; on tensor cores if ``launch.tf32``."""
    launch(file, f"{kernel}_{width_for(columns)}", dtype, grid, *arguments, tf32=bool(launch.tf32))
