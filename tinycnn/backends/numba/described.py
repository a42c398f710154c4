"""A recorded step as something to read: what each row of its table computes, how much, and how long it takes."""

import inspect
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tinycnn.backends.numba.kernels import depthwise
from tinycnn.backends.numba.kernels.geometry import Layout

REPEATS = 20  # of each row; the shortest time counts


class RowDescription(NamedTuple):
    """One row of a table: its kernels, each with the number of its calls."""

    kernels: dict[str, int]
    parts: int
    shapes: list[tuple[int, ...]]  # of the arrays of its first call
    bytes: int  # in all arrays that the row uses, each counted once
    operations: int  # multiplications and additions of convolutions, matrix products and the optimizer
    microseconds: float


def operations_of(kernel: Any, arguments: tuple[Any, ...]) -> int:
    """The floating point operations of a call, as the definition takes them; 0 for kernels that mostly move numbers.

    A convolution that skips zeros, or needs fewer multiplications, does less than its definition.
    """
    name = kernel.py_func.__name__
    values = dict(zip(inspect.signature(kernel.py_func).parameters, arguments, strict=True))
    if name == "matrix_product":
        a, c = values["a"], values["c"]
        return 2 * c.shape[0] * c.shape[1] * a.shape[0 if values["transpose_a"] else 1]
    if name == "images_times_weight":
        return 2 * int(values["weight"].size) * (values["stop"] - values["start"])
    if name == "adam":
        return 12 * int(values["p"].size)
    if kernel.py_func.__module__ == depthwise.__name__:
        one = depthwise.Layout(*values["layout"])
        return 2 * one.taps.size * one.channels * one.outputs.size * (values["stop"] - values["start"])
    if "layout" in values:
        layout = Layout(*values["layout"])
        outputs = layout.windows.size * (layout.pixels.size - 1) if name == "pooled_forward" else layout.outputs.size
        outputs = layout.windows.size if name.startswith(("sparse", "masked")) else outputs
        return 2 * layout.taps.size * layout.filters * outputs * (values["stop"] - values["start"])
    return 0


def describe(rows: list[Any], run_row: Callable[[int], Callable[[], None]]) -> list[RowDescription]:
    """All rows of a recording; ``run_row(row)`` returns a function that runs one of them."""
    return [described(row, run_row(number)) for number, row in enumerate(rows)]


def described(row: Any, run: Callable[[], None]) -> RowDescription:
    """One row."""
    calls = [call for part in row for call in part]
    kernels: dict[str, int] = {}
    for call in calls:
        kernels[call.kernel] = kernels.get(call.kernel, 0) + 1
    spans = sorted({span for call in calls for span in call.spans})
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    operations = sum(call.operations for call in calls)
    return RowDescription(kernels, len(row), calls[0].shapes, covered(spans), operations, 1e6 * min(times))


def covered(spans: list[tuple[int, int]]) -> int:
    """Bytes in the union of sorted spans of memory."""
    total = reached = 0
    for start, end in spans:
        total += max(end - max(start, reached), 0)
        reached = max(reached, end)
    return total
