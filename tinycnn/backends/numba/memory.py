"""The memory of a recording: laid out once, while the step is recorded, and used by every replay.

An array that Python has dropped leaves its block to a later array, as in any allocator. One rule is added: the parts of
a row run at the same time. So a block that one part drops is not given to another part of the same row.
"""

import math
import weakref
from typing import Any

import numpy as np

from tinycnn.backends.host_memory import large_pages
from tinycnn.backends.numba.kernels.arrays import CACHE_LINE
from tinycnn.backends.numba.recorded_array import RecordedArray

NAN_BYTE = 0xFF  # four or eight of these bytes are a NaN
MOST_WASTE = 2  # a block may be this many times as large as the array


class Memory:
    """Blocks of memory for the arrays of one recording."""

    def __init__(self) -> None:
        self.blocks: list[np.ndarray] = []
        self.unused = np.empty(0, np.uint8)  # of the large pages that the last blocks were cut from
        self.free: list[np.ndarray] = []  # for every later array
        self.of_part: list[np.ndarray] = []  # for later arrays of the same part
        self.part, self.parts = 0, 0  # the number of the current part, from 1, 0 outside parts; how many there were
        self.of_row: list[np.ndarray] = []  # for arrays of later rows
        self.open = True

    @property
    def size(self) -> int:
        """Bytes in all blocks."""
        return sum(block.size for block in self.blocks)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> RecordedArray:
        """An array of the recording, aligned to a cache line."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        needed = max(-(-size // CACHE_LINE) * CACHE_LINE, CACHE_LINE)
        block = self._reused(needed)
        if block is None:
            block = self._new_block(needed)
            block[...] = NAN_BYTE  # a NumPy function that reads it before a kernel has written it gives itself away
            self.blocks.append(block)
        array = np.ndarray.__new__(RecordedArray, shape, dtype, buffer=block)
        array.pooled = True
        weakref.finalize(array, self._release, block, self.part).atexit = False
        return array

    def _new_block(self, needed: int) -> np.ndarray:
        """A block that has not been used yet."""
        pages = self.unused if needed <= self.unused.size else large_pages(needed)
        block, rest = pages[:needed], pages[needed:]
        if pages is self.unused or rest.size > self.unused.size:
            self.unused = rest
        return block

    def _reused(self, needed: int) -> np.ndarray | None:
        """The smallest free block that fits, no longer free."""
        for blocks in (self.of_part, self.free):
            fitting = [i for i, block in enumerate(blocks) if needed <= block.size <= MOST_WASTE * needed]
            if fitting:
                return blocks.pop(min(fitting, key=lambda i: blocks[i].size))
        return None

    def _release(self, block: np.ndarray, part: int) -> None:
        """The array that was created in this part has been dropped."""
        if not self.open:
            return
        if not self.part:
            self.free.append(block)
        elif part == self.part:
            self.of_part.append(block)
        else:
            self.of_row.append(block)

    def begin_part(self) -> None:
        """What is dropped from now on stays with this part."""
        self.end_part()
        self.part = self.parts = self.parts + 1

    def end_part(self) -> None:
        """Later parts of this row do not get the blocks of the part."""
        self.of_row += self.of_part
        self.of_part, self.part = [], 0

    def end_row(self) -> None:
        """Every array dropped so far may be overwritten."""
        self.end_part()
        self.free += self.of_row
        self.of_row = []

    def close(self) -> None:
        """The step is recorded."""
        self.open, self.free, self.of_row, self.of_part = False, [], [], []
