"""Stand-ins for the arrays from outside a recording: the parameters, the images, the table of the epoch.

A recording holds the addresses of these arrays. While it is made, Python sees stand-ins of the same shape, full of NaN
(integers: 0). A NumPy function that reads one, unnoticed by ``RecordedArray``, computes with these numbers, so the
first replay differs from the step run from Python.
"""

import bisect
from typing import Any

import numpy as np

from tinycnn.backends.numba.recorded_array import NotRecordedError, RecordedArray


def address_of(array: np.ndarray) -> int:
    """Where the first element of an array lies."""
    return array.__array_interface__["data"][0]


class StandIns:
    """The stand-ins of one recording, and the arrays that they stand for."""

    def __init__(self) -> None:
        self.known: list[tuple[int, np.ndarray, np.ndarray]] = []  # address, stand-in, array, in order of the address

    def track(self, array: np.ndarray) -> RecordedArray:
        """A stand-in for ``array``."""
        if not array.flags.c_contiguous:
            raise NotRecordedError("transpose")
        stand_in = np.zeros(array.shape, array.dtype)
        if array.dtype.kind == "f":
            stand_in[...] = np.nan
        bisect.insort(self.known, (address_of(stand_in), stand_in, array), key=lambda one: one[0])
        return stand_in.view(RecordedArray)

    def real(self, array: np.ndarray) -> np.ndarray:
        """The part of an outside array that ``array`` stands for; an array with memory of its own as it is."""
        address = address_of(array)
        place = bisect.bisect_right(self.known, address, key=lambda one: one[0]) - 1
        if place < 0:
            return array
        start, stand_in, outside = self.known[place]
        if address >= start + stand_in.nbytes:
            return array
        memory = outside.reshape(-1).view(np.uint8)
        return np.ndarray(array.shape, array.dtype, memory, address - start, array.strides)

    def real_arguments(self, arguments: Any) -> Any:
        """Arguments of a kernel with real arrays; also inside tuples."""
        if isinstance(arguments, tuple):
            return tuple(map(self.real_arguments, arguments))
        return self.real(arguments) if isinstance(arguments, np.ndarray) else arguments
