"""Exercise 8: max-pooling, winners and ties."""

import math
from collections.abc import Callable
from functools import cache, partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tinycnn.backends.numpy_backend import NumpyBackend
from tinycnn.exercises.checking import (
    WRONG_SHAPES,
    Mistake,
    after,
    check_float32,
    compare,
    created_at,
    made_at,
    normal,
    numeric_gradient,
    renamed,
    returned,
    shown_at,
    situation,
)
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.exercises.e06_im2col import WRONG_CUTS, Uninitialised
from tinycnn.exercises.max_pool_mistakes import (
    LARGE,
    MISTAKES,
    YS,
    Window,
    finite,
    maximum_of_numbers,
    mistaken,
    mistaken_y,
)
from tinycnn.exercises.symptoms import FORM
from tinycnn.exercises.tracing import Returns

TASK = """
    y[n, oh, ow, c] = max_{kh, kw}  x[n, oh*SH + kh - PH, ow*SW + kw - PW, c]

A small change of the largest pixel changes y by the same amount; a small change of the others changes nothing. So each
grad_y goes undivided to the pixel that won. At a tie, the first of the equal maxima in row-major order wins (the one
with the smallest kh*KW + kw), as in PyTorch on the CPU. You write both directions:

- max_pool2d returns (y, winner): the maximum of each window, and whatever your backward needs to know about it.
  `windows` has a pair for each of the KH*KW places in a window: its number kh*KW + kw, and slices; x[slices], of the
  shape of y, is what all windows read there. np.stack of all x[slices], with max and argmax, is a good way. Another is
  a loop over `windows` that keeps the largest value and the winner so far; y starts as minus infinity.
- max_pool2d_backward gets your `winner`, and sends grad_y there; window_positions(kernel_size, stride, grid) gives the
  windows again.
- Both return the dtype of what comes in: networks are trained in float32, and np.zeros alone makes float64.

First task: 2x2 windows side by side, without padding (PH = PW = 0). The check reports when it is right. Extra step:

- windows that overlap, in which a pixel may win several times;
- padding, which is minus infinity and never wins; grad_x is returned without it, as in col2im of exercise 6;
- NaN, which wins over every number.
"""
FIRST_TASK = "2x2 windows side by side, ties included"
STEP = 1e-3  # from one pixel to the next: the first of equals is a little larger, and no other order changes
INSIDE = """\
        inside = padded(np.ones((1, *x.shape[1:3], 1), dtype=bool), padding, value=False)  # (1, H + 2*PH, W + 2*PW, 1)
"""  # only the winner of a window of minus infinity needs it
OF_FORWARD = (  # mistakes in what forward remembers, which only the gradient shows
    "all winners",
    "last wins",
    "last NaN wins",
    "smallest",
    "without sign",
    "never stored",
    "stored everywhere",
)
OF_EXTRA = "last NaN wins", "overwritten", f"overwritten{FORM}where it wins", "cut elsewhere"  # the first task is right
OF_EITHER = "another winner", "another number", "one place alone", "not from zeros"  # they have no line
REMARK = (
    "a remark, for a case that the exercise does not ask for: in a window of minus infinity and padding alone, all are "
    "equal. Yours lets the padding win there; the package lets the first pixel of the image win."
)


def check(student: ModuleType) -> str | None:
    """The values against the definition, and the gradient against finite differences, in every case.

    Returns a remark if all but padding next to minus infinity is as in the package.
    """
    if vars(student).get("np") is np:
        vars(student)["np"] = Uninitialised()
    *required, unasked = extra_cases()
    for name in first_cases():
        check_case(student, name)
    with situation("on float32 images"):
        check_dtypes(student, *first_cases()[name])
    with after(FIRST_TASK, is_extra=True):
        for name in required:
            check_case(student, name)
    try:
        check_case(student, unasked)
    except Mistake:
        return REMARK
    return None


def check_case(student: ModuleType, what: str) -> None:
    """Raise Mistake unless ``y`` is the maximum of each window and the gradient of ``x`` is right."""
    backend, (x, window) = student.NumpyBackend(), {**first_cases(), **extra_cases()}[what]
    with situation(f"with {what}"):
        forward, lines, given = "NumpyBackend.max_pool2d", Returns(), x.copy()
        with lines.watched():
            y, winner = pair(returned(backend.max_pool2d(given, *window), forward), forward)
        check_unchanged("x", x, given, forward)
        maximum, source = NumpyBackend().max_pool2d(x, *window)[0], "the maximum of each window"
        source += f"; {LARGE:.0f} stands for NaN" * bool(np.isnan(x).any())
        line, line_of_winner = made_at(lines.last), made_at(lines.last, 1)
        possible = {key: wrong for key, wrong in YS.items() if what in first_cases() or key == "padded by 0"}
        typical = {key: partial(mistaken_y, wrong, x, window) for key, wrong in possible.items()}
        typical["NaN loses"] = partial(maximum_of_numbers, x, window)
        typical["stride left out"] = partial(mistaken_y, lambda pixels: pixels.max(axis=0), x, window, (1, 1))
        is_exchanged = np.array_equal(winner, maximum, equal_nan=True)
        key = "pair exchanged" if is_exchanged else "number for maximum"
        with renamed(WRONG_SHAPES, "shape of y"), renamed(["pair exchanged"], key), shown_at(lines.last, [key]):
            compare("y", finite(maximum), finite(np.asarray(y)), source, about=forward, line=line, suspects=typical)
        check_gradient(backend, what, winner, line_of_winner)


def check_gradient(backend: Any, what: str, winner: Any, line_of_winner: int | None) -> None:
    """Raise Mistake unless the gradient of ``x`` is right; ``winner``: what the student's forward returned."""
    (x, window), place = {**first_cases(), **extra_cases()}[what], "NumpyBackend.max_pool2d_backward"
    (y, first), lines = NumpyBackend().max_pool2d(x, *window), Returns()
    grad_y = normal(*y.shape, seed=1)
    given = grad_y.copy()
    with lines.watched():
        came = returned(backend.max_pool2d_backward(given, winner, x.shape, *window), place)
    check_unchanged("grad_y", grad_y, given, place)
    possible = MISTAKES if what in first_cases() else OF_EXTRA
    typical: dict[str, Callable[[], np.ndarray]] = {key: partial(mistaken, key, x, window, grad_y) for key in possible}
    typical["upstream"] = partial(NumpyBackend().max_pool2d_backward, np.ones_like(grad_y), first, x.shape, *window)
    with (
        shown_at(None, OF_EITHER),
        renamed(("places", "zero"), "another winner"),
        renamed(("not finite",), "not from zeros"),
        renamed(() if any(window[2]) else WRONG_SHAPES, "shape"),  # without padding, it is not the padding
        shown_at(lines.last, WRONG_CUTS),
        shown_at(line_of_winner, OF_FORWARD, "NumpyBackend.max_pool2d"),
    ):
        compare(
            "the gradient of x",
            expected_of(what),
            came,
            about="x",
            line=made_at(lines.last),
            suspects=typical,
            counts=[(math.prod(window[0]), "pixels in a window")],
            has_mean=False,
        )


@cache
def expected_of(what: str) -> np.ndarray:
    """The gradient of ``x`` in one case, from finite differences of the package's own ``y``, which is the maximum."""
    x, window = {**first_cases(), **extra_cases()}[what]
    grad_y = normal(*NumpyBackend().max_pool2d(x, *window)[0].shape, seed=1)
    return numeric_gradient(
        lambda x: SimpleNamespace(data=NumpyBackend().max_pool2d(x.data, *window)[0]),
        {"x": where_differences_are_taken(x)},
        grad_y,
        "x",
    )


def check_unchanged(name: str, before: np.ndarray, after: np.ndarray, place: str) -> None:
    """Raise Mistake if the function ``place`` has changed an array that it was given."""
    if not np.array_equal(before, after, equal_nan=True):
        text = f"{place} changed {name} in place, which other functions may need: compute into a new array"
        raise Mistake(text, symptom="in place", about=place, place=place)


def check_dtypes(student: ModuleType, x: np.ndarray, window: Window) -> None:
    """Raise Mistake unless ``y`` and the gradient of a float32 image are float32."""
    backend, x = student.NumpyBackend(), x.astype(np.float32)
    lines = Returns()
    with lines.watched():
        y, winner = backend.max_pool2d(x, *window)
    check_float32("y", y, "NumpyBackend.max_pool2d", created_at(lines.last))
    with lines.watched():
        came = backend.max_pool2d_backward(np.ones_like(y), winner, x.shape, *window)
    check_float32("the gradient of x", came, "NumpyBackend.max_pool2d_backward", created_at(lines.last))


def pair(value: Any, place: str) -> tuple[Any, Any]:
    """``value`` if it is a pair; raises Mistake for a single array."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        count = f"{len(value)} values" if isinstance(value, tuple | list) else "one array"
        text = f"{place} returned {count}, expected the pair (y, winner)"
        raise Mistake(text, symptom="pair", about=place, place=place)
    return value[0], value[1]


def images() -> tuple[np.ndarray, np.ndarray]:
    """Images ``(N, H, W, C)`` of distinct numbers, and of numbers of which many are equal."""
    return normal(2, 5, 4, 2), np.round(normal(2, 5, 4, 2))


def first_cases() -> dict[str, tuple[np.ndarray, Window]]:
    """``x (N, H, W, C)`` and a window: the first task."""
    distinct, tied = images()
    apart = ((2, 2), (2, 2), (0, 0))
    return {"2x2 windows": (distinct, apart), "ties, where the first pixel is to win": (tied, apart)}


def extra_cases() -> dict[str, tuple[np.ndarray, Window]]:
    """``x (N, H, W, C)`` and a window: overlapping windows, padding, NaN, minus infinity."""
    distinct, tied = images()
    with_nan, with_infinity = (np.where(tied > 0.5, bad, tied) for bad in (np.nan, -np.inf))
    with_infinity[0, :2, :2] = -np.inf  # a corner whose window has nothing else
    overlapping, with_padding = ((2, 2), (1, 1), (0, 0)), ((3, 2), (2, 1), (1, 0))
    return {
        "overlapping windows": (distinct, overlapping),
        "ties in overlapping windows": (tied, overlapping),
        "padding (it never wins)": (distinct - 5, with_padding),
        "NaN, which wins": (with_nan, overlapping),
        "minus infinity, which wins over padding": (with_infinity, with_padding),
    }


def where_differences_are_taken(x: np.ndarray) -> np.ndarray:
    """``x`` itself if it is finite and distinct; else numbers in the same order, the first of equals the largest."""
    numbers = finite(x)
    has_ties = np.unique(numbers).size < numbers.size
    return numbers - STEP * np.arange(20).reshape(5, 4, 1) if has_ties else numbers


EXERCISE = Exercise(
    name="08_max_pool",
    title="Max-pooling: winners and ties.",
    source="tinycnn.backends.numpy_backend",
    chapter="docs/path/06_max_pool.md",
    task=TASK,
    hint="the output of a window is one of its pixels. Backward needs to know which one, and nothing else.",
    formulas={
        "x": "for each position: grad_x[window] += grad_y · (winner == position); return it without its padding",
        "NumpyBackend.max_pool2d": "stack x[window] of all positions; winner = its argmax and y = its max over axis 0",
        "NumpyBackend.max_pool2d_backward": "for each position: grad_x[window] += grad_y · (winner == position); "
        "return it without its padding",
    },
    hints={
        "pair": (
            "forward has to return two things: y, and what your backward needs to know.",
            "return y, winner: winner is all that max_pool2d_backward gets from forward.",
        ),
        "shape of y": (
            "y should have one number for each window and channel: (N, OH, OW, C).",
            "np.stack puts the KH*KW places of a window in front, so max and argmax go over axis 0.",
        ),
        "upstream": (
            "the winners get 1: grad_y, the gradient that arrives, is not used.",
            "backward returns d loss / d x. When the winner grows by 1, y grows by 1, and the loss by grad_y.",
        ),
        "overwritten": (
            "a pixel that won in several windows keeps only one of their gradients.",
            "The gradient of a number that is used several times is a sum: += in place of =.",
        ),
        "all winners": (
            "at a tie, grad_y goes to every pixel that is equal to the maximum, so its sum grows.",
            "One pixel of each window gets grad_y: the first of the equal ones. Remember a position, not x == y.",
        ),
        "everywhere": (
            "every pixel of a window gets its grad_y.",
            "A small change of a pixel that did not win changes nothing. Where is winner used in your backward?",
        ),
        "shared": (
            "grad_y is divided among all pixels of the window, as for an average.",
            "When the winner grows by 1, y grows by 1, whatever the size of the window: grad_y is not divided.",
        ),
        "last NaN wins": (
            "of several NaN in a window, the last wins; it is to be the first.",
            "After a NaN, nothing can win any more: a place wins only where y so far is not NaN.",
        ),
        "smallest": (
            "the smallest pixel wins.",
            "max and argmax give the largest one and its place; in a loop, a place wins where x[slices] > y.",
        ),
        "without sign": (
            "the signs are left out: the pixel that is farthest from 0 wins.",
            "The maximum is the largest number; -3 is smaller than 1.",
        ),
        "never stored": (
            "winner is the first place everywhere, whichever pixel is the largest.",
            "In a loop, compare x[slices] with y, and store the number in winner, before y becomes the larger of both.",
        ),
        "stored everywhere": (
            "winner is set anew at every place, also where nothing has won: only the last place is remembered.",
            "Change winner only where this place wins: winner[wins] = number, or np.where(wins, number, winner).",
        ),
        "losers": (
            "all pixels get their grad_y, except the winner.",
            "winner == number is true where this place has won.",
        ),
        "number as factor": (
            "grad_y is multiplied by winner, a number from 0 to KH*KW - 1.",
            "winner says which place gets grad_y: compare it with the number of the place, winner == number.",
        ),
        "first place alone": (
            "every place checks whether the first one has won.",
            "window_positions gives the number of each place: compare winner with that.",
        ),
        "another number": (
            "forward and backward number the places differently: grad_y arrives one place too far, or too early.",
            "Both count from 0: kh*KW + kw, the first number of window_positions; so does argmax.",
        ),
        "another winner": (
            "grad_y does not arrive at the pixels that won: winner, or what backward compares it with, is wrong.",
            "Print winner for one window of forward, and its pixels. Is it the place of the largest? Over which axis "
            "does argmax go?",
        ),
        "one place alone": (
            "only the first place of each window is used.",
            "Does `return` stand inside the loop?",
        ),
        "one image alone": ("only one image gets a gradient.", "The first axis of grad_x[slices] counts all of them."),
        "stride left out": (
            "the windows are one pixel apart, whatever the stride is.",
            "window_positions(kernel_size, stride, grid) gives slices with the stride.",
        ),
        "not from zeros": (
            "the sum does not start with 0.",
            "np.zeros: np.empty leaves in an array whatever was in memory before.",
        ),
        "mean for maximum": (
            "y is the mean, or the sum, of each window.",
            "Max-pooling keeps one pixel of each window, the largest.",
        ),
        "one pixel": (
            "y is always the pixel at the same place of the window, whichever is the largest.",
            "In a loop, y may change only where x[slices] is larger: y[wins] = x[slices][wins], or np.maximum.",
        ),
        "last left out": (
            "the last place of each window is left out.",
            "windows has KH*KW places, from 0 to KH*KW - 1.",
        ),
        "from zero": (
            "y is at least 0: the maximum starts at 0.",
            "The largest of three negative numbers is negative. y as it is given starts at minus infinity.",
        ),
        "padded by 0": (
            "the padding counts as 0, which is larger than negative pixels; the padding should never win.",
            "x is padded by minus infinity already.",
        ),
        "number for maximum": (
            "y is the number of the winner, which argmax gives; it should be the pixel there, the maximum.",
            "max over the places of the window gives y, argmax over them gives winner.",
        ),
        "pair exchanged": (
            "y and winner are returned in each other's place.",
            "return y, winner: the maximum first.",
        ),
        "shape": (
            "grad_x should have the shape of x; here the padding is cut off at the wrong edges.",
            "The image has the rows PH : PH + H and the columns PW : PW + W of the padded image. -PH as an end is "
            "wrong where PH is 0.",
        ),
        "broadcast": (
            "two arrays are combined number by number, and their shapes do not match.",
            "grad_y, winner and grad_x[slices] have one shape (N, OH, OW, C) if grad_x is as large as the padded "
            "image, the call is window_positions(kernel_size, stride, grid), and argmax goes over axis 0.",
        ),
        "cut elsewhere": (
            "the padding is cut off at the wrong edges.",
            "In the padded image, the image begins at row PH and column PW.",
        ),
        "not summed": (
            "the padding is still there.",
            "Cut PH rows and PW columns off at each side before you return.",
        ),
        "averaged": (
            "grad_y is divided by the number of pixels in a window, as for an average.",
            "When the winner grows by 1, y grows by 1, whatever the size of the window: grad_y is not divided.",
        ),
        "NaN loses": (
            "NaN loses against numbers. Every comparison with NaN is False, x > NaN as well as NaN > y.",
            "A place wins where x[slices] is larger than y so far, or where it has the first NaN: np.isnan finds NaN.",
        ),
        "last wins": (
            "at a tie, the last of the equal pixels wins; it is to be the first.",
            "In which order does forward go through a window? >= in place of > lets a later equal pixel win.",
        ),
        "of NumpyBackend.max_pool2d": (
            "y is to be the largest number of each window, and NaN where the window has one.",
            "Go through windows: where x[slices] is larger than y so far, or the first NaN, this place wins so far; "
            "np.maximum keeps NaN, and np.argmax finds it.",
        ),
        "": (
            "the output of a window is one of its pixels. Backward needs to know which one, and nothing else.",
            "In forward, the winner is the first place with the largest number or with NaN. In backward, each place "
            "adds grad_y where it is the winner.",
        ),
    },
    holes=(
        Hole("NumpyBackend.max_pool2d", "x, padded by minus infinity, and windows as described above → (y, winner).",
             starts="winner ="),
        Hole("NumpyBackend.max_pool2d_backward", "grad_y (N, OH, OW, C), and winner as your max_pool2d returned it\n"
             "→ grad_x (N, H, W, C), without the padding.",
             starts="grad_x ="),
    ),
    check=check,
    keeps=("window_positions", "NumpyBackend.max_pool2d", "NumpyBackend.max_pool2d_backward"),
    part_of="NumpyBackend",
    spoilers=((INSIDE, ""),),
)  # fmt: skip
