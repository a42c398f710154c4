"""The types that the arguments of kernels have on every backend."""

from dataclasses import dataclass
from typing import Any

Array = Any  # numpy.ndarray or cupy.ndarray
Pair = tuple[int, int]  # down, across
Pool = tuple[Pair, Pair]  # window, stride


@dataclass(frozen=True)
class StepInMemory:
    """A step number stored in the memory of a backend: ``base ()`` int64, plus the steps ``more`` counted since."""

    base: Array
    more: int = 0

    def __add__(self, steps: int) -> "StepInMemory":
        return StepInMemory(self.base, self.more + steps)


RandomKey = tuple[int, int | StepInMemory]  # seed, step
