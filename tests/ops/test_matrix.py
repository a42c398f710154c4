"""Every op × backend × dtype × memory layout, empty and single-image batches, ties, NaN and infinities.

``test_gradients.py`` holds each derivative to finite differences, in float64 and in the plainest layout. Here each op
gives the same values and the same gradients whatever its inputs look like; what they are compared with is computed by
the loop oracle, in float64, from contiguous arrays. A sample of each op's settings meets everything else:

    python -m tests.ops.test_matrix        prints the list and its length
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import pytest

import tinycnn
from tests.support.backends import on_backends
from tests.support.batches import Batch
from tinycnn import Tensor, no_grad, ops
from tinycnn.backends.base import Backend
from tinycnn.ops.activations.clip import ClipFunction
from tinycnn.ops.activations.elu import ELUFunction
from tinycnn.ops.activations.hardswish import HardSwishFunction
from tinycnn.ops.activations.leaky_relu import LeakyReLUFunction
from tinycnn.ops.avg_pool2d import AvgPool2dFunction
from tinycnn.ops.batch_norm import FixedBatchNormFunction
from tinycnn.ops.conv2d import Conv2dFunction
from tinycnn.ops.dense import DenseFunction
from tinycnn.ops.dropout import DropoutFunction
from tinycnn.ops.elementwise.abs import AbsFunction
from tinycnn.ops.max_pool2d import MaxPool2dFunction
from tinycnn.ops.relu import ReLUFunction
from tinycnn.ops.softmax import LogSoftmaxFunction, SoftmaxFunction
from tinycnn.tensor import Function, Max
from tinycnn.testing.gradient_cases import CASES, SMOOTH, WITH_KINKS, Case, positive, rounded
from tinycnn.testing.layouts import LAYOUTS
from tinycnn.testing.loop_backend import LoopBackend

SETTINGS_PER_OP = 4  # 2 for those in the folders of ops/, which call no kernel
DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}  # of the largest number in the result: sums are short here
BATCHED = (  # the ops that work image by image, so that the first axis may have any length
    Conv2dFunction, MaxPool2dFunction, AvgPool2dFunction, DenseFunction, ReLUFunction, SoftmaxFunction,
    LogSoftmaxFunction, FixedBatchNormFunction, DropoutFunction, *SMOOTH, *WITH_KINKS,
)  # fmt: skip
SPECIAL = {
    "NaN": [np.nan, 1, -2],
    "plus infinity": [np.inf, 1, -2],
    "minus infinity": [-np.inf, 1, -2],
    "all of them": [np.nan, np.inf, -np.inf, 0, -0.0, 1, -2],
    "zeros of both signs": [0, -0.0],
    "ties": [-1, 0, 1],
    "equal": [1],
    "huge": [1e37, -1e37, 3e38],
    "tiny": [1e-40, -1e-40, 1e-45],
}


@dataclass(frozen=True)
class Entry:
    """One cell of the matrix: an op with its settings, a dtype, a layout, and how many images (None: its own)."""

    case: Case
    dtype: str
    layout: str = "C"
    images: int | None = None

    def __str__(self) -> str:
        batch = "" if self.images is None else f"-{self.images} images"
        return f"{self.case}-{self.dtype}-{self.layout}{batch}"

    @property
    def function(self) -> type[Function]:
        return self.case.function

    def arrays(self) -> list[np.ndarray]:
        shapes = list(self.case.shapes)
        if self.images is not None:
            shapes[0] = (self.images, *shapes[0][1:])
        rng = np.random.default_rng(0)
        drawn = (np.asarray(self.case.draw(rng, shape)).astype(self.dtype) for shape in shapes)
        return [LAYOUTS[self.layout](array) for array in drawn]


@dataclass(frozen=True)
class Special:
    """An op with its settings, a dtype, and the row of SPECIAL that its inputs are drawn from."""

    case: Case
    dtype: str
    values: str

    def __str__(self) -> str:
        return f"{self.case}-{self.dtype}-{self.values}"

    @property
    def function(self) -> type[Function]:
        return self.case.function


def sample(function: type[Function]) -> list[Case]:
    """A few cases of an op, evenly spread over all its settings."""
    own = [case for case in CASES if case.function is function]
    plain = function.__module__.count(".") > 2
    count = min(SETTINGS_PER_OP // (1 + plain), len(own))
    return [own[i * len(own) // count] for i in range(count)]


def entries() -> Iterator[Entry]:
    for function in dict.fromkeys(case.function for case in CASES):
        for case in sample(function):
            yield from (Entry(case, dtype, layout) for dtype in DTYPES for layout in LAYOUTS)
            if function in BATCHED and len(case.shapes[0]) > 1:
                yield from (Entry(case, dtype, images=images) for dtype in DTYPES for images in (0, 1))


ENTRIES = list(entries())
SPECIALS = [
    Special(case, dtype, name)
    for function in dict.fromkeys(case.function for case in CASES)
    for case in sample(function)[::2]
    if case.draw is not positive or len(case.shapes) == 1
    for dtype in DTYPES
    for name in SPECIAL
]


def value_and_gradients(case: Case, arrays: list[np.ndarray], upstream: np.ndarray) -> list[np.ndarray]:
    """The output and the gradient of every input, on the host."""
    to_host = tinycnn.get_backend().to_host
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    y = case.call(*tensors)
    y.backward(upstream)
    return [to_host(array) for array in (y.data, *(x.grad for x in tensors))]


@cache
def exact(entry: Entry) -> tuple[np.ndarray, list[np.ndarray]]:
    """A random upstream gradient, and the float64 results of the loop oracle for contiguous copies of the inputs."""
    arrays = [np.array(array, np.float64, order="C") for array in entry.arrays()]
    with tinycnn.use_backend("loops"):
        shape = entry.case.call(*map(Tensor, arrays)).shape
        upstream = np.asarray(np.random.default_rng(1).normal(size=shape), entry.dtype)
        laid_out = LAYOUTS[entry.layout](upstream)
        return laid_out, value_and_gradients(entry.case, arrays, np.array(laid_out, np.float64, order="C"))


def check(entry: Entry) -> None:
    arrays = entry.arrays()
    upstream, expected = exact(replace(entry, layout="C") if entry.layout != "broadcast" else entry)
    upstream = LAYOUTS[entry.layout](upstream)
    before = [array.copy() for array in (*arrays, upstream)]
    ours, again = (value_and_gradients(entry.case, arrays, upstream) for _ in range(2))
    for got, repeated, wanted in zip(ours, again, expected, strict=True):
        assert (got.dtype, got.shape) == (np.dtype(entry.dtype), wanted.shape)
        assert got.tobytes() == repeated.tobytes(), "two runs differ"
        largest = np.abs(wanted).max(initial=1)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE[entry.dtype] * largest)
    for array, copy in zip((*arrays, upstream), before, strict=True):
        np.testing.assert_array_equal(array, copy, err_msg="an input was changed")


@pytest.mark.parametrize(("backend", "batch"), on_backends(ENTRIES), indirect=["backend"])
def test_values_and_gradients(backend: Backend, batch: Batch) -> None:
    batch.check(check)


@pytest.mark.parametrize(("backend", "batch"), on_backends(SPECIALS), indirect=["backend"])
def test_special_values(backend: Backend, batch: Batch) -> None:
    batch.check(partial(check_special, backend))


def check_special(backend: Backend, special: Special) -> None:
    """Where the loop oracle, computing in the same dtype, has NaN or an infinity, so has every backend.

    To a GPU, a subnormal number is itself or zero, as an operation will have it: CuPy compiles with ``-ftz=true``. And
    whether a sum of products that overflows is infinite or NaN depends on the order in which a library adds up.
    """
    case, dtype, rng = special.case, special.dtype, np.random.default_rng(0)
    arrays = [rng.choice(SPECIAL[special.values], size=shape).astype(dtype) for shape in case.shapes]
    got = value_on(backend.name, case, arrays)
    wanted = [value_on("loops", case, arrays)]
    if "cupy" in backend.name:
        got, wanted = without_subnormals(got), [*wanted, value_on("loops", case, list(map(without_subnormals, arrays)))]
        wanted = list(map(without_subnormals, wanted))
    largest = np.abs(wanted[0][np.isfinite(wanted[0])]).max(initial=0)
    near = [np.isclose(got, one, rtol=0, atol=TOLERANCE[dtype] * largest, equal_nan=True) for one in wanted]
    if backend.name != "numpy" and special.values == "huge":
        near.append(~np.isfinite(got) & ~np.isfinite(wanted[0]))
    assert np.any(near, axis=0).all(), (got, wanted)


def value_on(name: str, case: Case, arrays: list[np.ndarray]) -> np.ndarray:
    """The output of an op, computed by backend ``name``."""
    with np.errstate(all="ignore"), no_grad(), tinycnn.use_backend(name):
        return case.call(*(Tensor(array) for array in arrays)).numpy()


def without_subnormals(array: np.ndarray) -> np.ndarray:
    """Zero for every number that is too small to be kept in full precision."""
    return np.where(np.abs(array) < np.finfo(array.dtype).tiny, 0, array).astype(array.dtype)


# Other slopes than that of the left side at the kinks of a function, each stated in the docstring of its file.
SLOPES_AT_KINKS: dict[type[Function], Callable[[float], float]] = {
    ClipFunction: lambda x: 0,  # as outside of both limits
    HardSwishFunction: lambda x: float(x > 0),  # at -3 and 3, as outside of both, where it is a straight line
    AbsFunction: lambda x: 0,  # between those of the two sides
}
GRID = np.arange(-70, 71) / 10  # has every kink of the cases, such as 0.3 of `clip`
TIED = [case for case in CASES if case.draw is rounded and case.function not in SLOPES_AT_KINKS]


def check_ties(case: Case) -> None:
    """Lowering every element by a trace, the later ones more, lets the first of equals win and makes zeros negative.

    So the gradient at a tie must be the gradient beside it. ``gradcheck`` cannot ask for this: it sees inputs, and
    what is first there need not be first inside a composition (``max(-x)`` turns the trace around).
    """
    (x,) = [tensor.numpy() for tensor in case.inputs()]
    upstream = np.asarray(np.random.default_rng(1).normal(size=case.call(Tensor(x)).shape))
    trace = 1e-9 * (1 + np.arange(x.size).reshape(x.shape))
    at, beside = (value_and_gradients(case, [array], upstream)[1] for array in (x, x - trace))
    np.testing.assert_allclose(at, beside, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("backend", "batch"), on_backends(TIED), indirect=["backend"])
def test_ties_go_to_the_first(backend: Backend, batch: Batch) -> None:
    batch.check(check_ties)


ONE_BY_ONE = [  # one number to one number: for an array, each output depends on one input
    case
    for case in CASES
    if case.shapes == ((),) and case.function.__module__.startswith("tinycnn.ops.") and case.draw is not positive
]


def check_slopes_at_kinks(case: Case) -> dict[float, float]:
    """At every kink on the grid, the slope must be that of its left side, or what ``SLOPES_AT_KINKS`` states.

    Returns the slopes at the kinks. Those at both sides are compared with finite differences by other tests.
    """
    left, at, right = (value_and_gradients(case, [GRID + near], np.ones(GRID.shape))[1] for near in (-1e-7, 0, 1e-7))
    kinks = np.flatnonzero(abs(right - left) > 1e-3)
    for i in kinks:
        stated = SLOPES_AT_KINKS.get(case.function)
        expected = stated(GRID[i]) if stated else left[i]
        assert abs(at[i] - expected) < 1e-6, (
            f"{case}: the slope at {GRID[i]} is {at[i]}, expected {expected}: that of the left side, unless the "
            "docstring of the operation and SLOPES_AT_KINKS state another"
        )
    return {float(GRID[i]): float(at[i]) for i in kinks}


@pytest.mark.parametrize(("backend", "batch"), on_backends(ONE_BY_ONE), indirect=["backend"])
def test_the_slope_at_a_kink_is_that_of_the_left_side(backend: Backend, batch: Batch) -> None:
    batch.check(check_slopes_at_kinks)


@pytest.mark.parametrize(
    ("function", "kinks"),
    [
        (ReLUFunction, {0: 0}), (AbsFunction, {0: 0}), (HardSwishFunction, {-3: 0, 3: 1}),
        (ClipFunction, {-1: 0, 0.3: 0, 1.5: 0}), (LeakyReLUFunction, {0: -0.5}), (ELUFunction, {0: 1.5}),
    ],
)  # fmt: skip
def test_the_grid_reaches_every_kink(function: type[Function], kinks: dict[float, float]) -> None:
    found: dict[float, float] = {}
    for case in ONE_BY_ONE:
        if case.function is function:
            found |= check_slopes_at_kinks(case)  # the settings of the last case win
    assert found == pytest.approx(kinks)


def test_a_slope_of_the_right_side_is_noticed() -> None:
    with pytest.raises(AssertionError, match=r"the slope at 0.0 is 1.0, expected 0.0: that of the left"):
        check_slopes_at_kinks(Case(ReLUFunction, "on at 0", lambda x: x - ops.relu(-x) * -1, ((),)))


# ------------------------------------------------------------------------------------------------- is it a matrix?


def test_the_matrix_covers_every_op_dtype_and_layout() -> None:
    functions = {case.function for case in CASES}
    cells = {(entry.case.function, entry.dtype, entry.layout) for entry in ENTRIES}
    assert len(cells) == len(functions) * len(DTYPES) * len(LAYOUTS)
    assert {(entry.case.function, entry.images) for entry in ENTRIES} >= {(f, n) for f in BATCHED for n in (0, 1)}
    assert len({str(entry) for entry in ENTRIES}) == len(ENTRIES)


def test_layouts_have_the_strides_of_their_names() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    for name, layout in LAYOUTS.items():
        array = layout(x)
        assert array.flags.c_contiguous == (name in ("C", "read-only"))
        assert array.flags.f_contiguous == (name == "Fortran")
        if name != "broadcast":
            np.testing.assert_array_equal(array, x)


class IgnoresStrides(LoopBackend):
    """Reads memory as if it were contiguous, as a kernel that takes a bare pointer would."""

    name = "ignores strides"

    def max_pool2d(self, x, *settings):
        base = x if x.base is None else x.base
        memory = np.asarray(base).ravel(order="K")[: x.size]
        return super().max_pool2d(memory.reshape(x.shape), *settings)


@pytest.mark.parametrize("layout", ["Fortran", "strided", "reversed"])
def test_a_backend_that_ignores_strides_is_noticed(layout: str) -> None:
    tinycnn.register_backend("ignores strides", IgnoresStrides)
    case = next(case for case in sample(MaxPool2dFunction) if case.draw is not rounded)
    with tinycnn.use_backend("ignores strides"):
        check(Entry(case, "float64"))
        with pytest.raises(AssertionError):
            check(Entry(case, "float64", layout))


def last_wins(x: Tensor) -> Tensor:
    reverse = np.arange(x.shape[1])[::-1]
    turned = x @ Tensor(np.eye(x.shape[1])[reverse])
    return turned.max(axis=1)


def test_a_wrong_tie_is_noticed() -> None:
    right = Case(Max, "first", lambda x: x.max(axis=1), ((6, 5),), rounded)
    check_ties(right)
    with pytest.raises(AssertionError):
        check_ties(replace(right, call=last_wins))
    with pytest.raises(AssertionError):
        check_ties(Case(ReLUFunction, "on at 0", lambda x: x - ops.relu(x) * 0 + ops.relu(-x), ((6, 5),), rounded))


if __name__ == "__main__":
    for entry in ENTRIES:
        print(entry)
    for special in SPECIALS:
        print(special)
    print(
        f"{len(ENTRIES)} + {len(SPECIALS)} + {len(TIED)} ties = {len(ENTRIES) + len(SPECIALS) + len(TIED)} per backend"
    )
