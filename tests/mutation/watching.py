"""Records which test cases run which line: only those cases can detect a mistake in it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

FEW = 6  # cases per test function that run first


class Watching:
    """A pytest plugin that records which lines of ``paths`` each case runs, and its time."""

    def __init__(self, paths: list[Path]) -> None:
        from coverage import Coverage

        self.seconds: dict[str, float] = {}
        self.coverage = Coverage(data_file=None, include=[str(path) for path in paths], config_file=False)
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.coverage.switch_context(item.nodeid)
        start = time.process_time()
        result = yield
        self.seconds[item.nodeid] = time.process_time() - start
        return result

    def lines(self) -> dict[str, dict[int, list[str]]]:
        """File → line → names of cases; the empty name stands for the import."""
        self.coverage.stop()
        data = self.coverage.get_data()
        return {path: data.contexts_by_lineno(path) for path in data.measured_files()}


@dataclass
class Seen:
    """The record: CPU seconds of each case; file → line → cases that run it."""

    seconds: dict[str, float]
    lines: dict[str, dict[int, list[str]]]

    def cases(self, lines: dict[Path, set[int]]) -> list[str]:
        """The cases that run one of these lines."""
        seen = [(self.lines.get(str(path), {}), numbers) for path, numbers in lines.items()]
        running = {case for by_line, numbers in seen for line in numbers for case in by_line.get(line, [])}
        return few_first([case for case in self.seconds if case in running])

    def on_import(self, path: Path, lines: range) -> bool:
        seen = self.lines.get(str(path), {})
        return any("" in seen.get(line, []) for line in lines)


def few_first(cases: list[str]) -> list[str]:
    """All cases: first a few of each test function, spread over its cases, then the others."""
    some = set(few(cases))
    return sorted(cases, key=lambda case: case not in some)


def few(cases: list[str], most: int = FEW) -> list[str]:
    functions: dict[str, list[str]] = {}
    for case in cases:
        functions.setdefault(case.partition("[")[0], []).append(case)
    return [case for group in functions.values() for case in spread(group, most)]


def spread(cases: list[str], most: int) -> list[str]:
    count = min(most, len(cases))
    return [cases[i * len(cases) // count] for i in range(count)]
