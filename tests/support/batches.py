"""Many small cases as one test: pytest and its workers take about 3 ms for a test, longer than most kernels take."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

SIZE = 16


@dataclass(frozen=True)
class Batch:
    """Some of the cases that share a key; ``str()`` is the name of the test, ``ReLUFunction 2 of 5``."""

    key: Any
    number: int
    of: int
    cases: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{getattr(self.key, '__name__', self.key)} {self.number} of {self.of}"

    def check(self, check: Callable[[Any], None]) -> None:
        """Call ``check`` with every case; raises ExceptionGroup with the failures, each with its case as a note."""
        failures = []
        for case in self.cases:
            try:
                check(case)
            except Exception as failure:
                failure.add_note(f"case: {case}")
                failures.append(failure)
        if failures:
            raise ExceptionGroup(f"{len(failures)} of {len(self.cases)} cases fail: {self}", failures)


def batches(cases: Iterable[Any], key: Callable[[Any], Any]) -> list[Batch]:
    """The cases in batches of at most ``SIZE``, in their order; a batch has cases of one key only."""
    by_key = defaultdict(list)
    for case in cases:
        by_key[key(case)].append(case)
    return [
        Batch(one, start // SIZE + 1, -(-len(own) // SIZE), tuple(own[start : start + SIZE]))
        for one, own in by_key.items()
        for start in range(0, len(own), SIZE)
    ]
