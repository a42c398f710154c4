"""Exercise 8: max-pooling, winners and ties."""

import math
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tinycnn.backends.base import Pair
from tinycnn.backends.numpy_backend import NumpyBackend, padded, window_positions
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
from tinycnn.exercises.diagnosis import FORM
from tinycnn.exercises.e06_im2col import WRONG_CUTS
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
Window = tuple[Pair, Pair, Pair]  # kernel_size, stride, padding
LARGE = 100.0  # stands for NaN, and -LARGE for minus infinity, where differences are taken


INSIDE = """\
        inside = padded(np.ones((1, *x.shape[1:3], 1), dtype=bool), padding, value=False)  # (1, H + 2*PH, W + 2*PW, 1)
"""  # only the winner of a window of minus infinity needs it
MISTAKES = (
    "overwritten",
    f"overwritten{FORM}where it wins",
    "cut elsewhere",
    "all winners",
    "last wins",
    "everywhere",
    "shared",
)
OF_FORWARD = "all winners", "last wins"  # mistakes in what forward remembers, which only the gradient shows
REMARK = (
    "a remark, for a case that the exercise does not ask for: in a window of minus infinity and padding alone, all are "
    "equal. Yours lets the padding win there; the package lets the first pixel of the image win."
)


def check(student: ModuleType) -> str | None:
    """The gradient in every case, against differences of the values that the student's own forward takes.

    Returns a remark if all but padding next to minus infinity is as in the package.
    """
    *required, (what, (x, window)) = extra_cases().items()
    for name, case in first_cases().items():
        check_case(student, name, *case)
    with situation("on float32 images"):
        check_dtypes(student, *case)
    with after(FIRST_TASK, is_extra=True):
        for name, case in required:
            check_case(student, name, *case)
    try:
        check_case(student, what, x, window)
    except Mistake:
        return REMARK
    return None


def check_case(student: ModuleType, what: str, x: np.ndarray, window: Window) -> None:
    """Raise Mistake unless ``y`` is the maximum of each window and the gradient of ``x`` is right."""
    backend, place = student.NumpyBackend(), "NumpyBackend.max_pool2d_backward"
    with situation(f"with {what}"):
        forward, lines = "NumpyBackend.max_pool2d", Returns()
        with lines.watched():
            y, winner = pair(returned(backend.max_pool2d(x.copy(), *window), forward), forward)
        maximum, first_place = NumpyBackend().max_pool2d(x, *window)
        source = f"the maximum of each window{f'; {LARGE:.0f} stands for NaN' * bool(np.isnan(x).any())}"
        line, line_of_winner = made_at(lines.last), made_at(lines.last, 1)
        ignored = {"NaN loses": partial(maximum_of_numbers, x, window)}
        with renamed(WRONG_SHAPES, "shape of y"):
            compare("y", finite(maximum), finite(np.asarray(y)), source, about=forward, line=line, suspects=ignored)
        grad_y = normal(*y.shape, seed=1)
        with lines.watched():
            came = returned(backend.max_pool2d_backward(grad_y.copy(), winner, x.shape, *window), place)
        expected = numeric_gradient(
            lambda x: SimpleNamespace(data=backend.max_pool2d(x.data, *window)[0]),
            {"x": where_differences_are_taken(x)},
            grad_y,
            "x",
        )
        typical = {key: partial(mistaken, key, x, window, grad_y) for key in MISTAKES}
        ones = np.ones_like(grad_y)
        typical["upstream"] = partial(NumpyBackend().max_pool2d_backward, ones, first_place, x.shape, *window)
        wrong_shapes = () if any(window[2]) else WRONG_SHAPES  # without padding, it is not the padding
        line, places = made_at(lines.last), [(math.prod(window[0]), "pixels in a window")]
        with (
            renamed(wrong_shapes, "shape"),
            shown_at(lines.last, WRONG_CUTS),
            shown_at(line_of_winner, OF_FORWARD, forward),
        ):
            compare(
                "the gradient of x",
                expected,
                came,
                about="x",
                line=line,
                suspects=typical,
                counts=places,
                has_mean=False,
            )


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


def mistaken(key: str, x: np.ndarray, window: Window, grad_y: np.ndarray) -> np.ndarray:
    """The gradient of ``x`` with a mistake, one of ``MISTAKES``."""
    kernel_size, stride, padding = window
    y, winner = NumpyBackend().max_pool2d(x, *window)
    pixels, grad_x = padded(x, padding, value=-np.inf), np.zeros_like(padded(x, padding))
    places = list(window_positions(kernel_size, stride, (y.shape[1], y.shape[2])))
    last = len(places) - 1 - np.argmax([pixels[place] for _, place in reversed(places)], axis=0)  # as y
    for position, place in places:
        if key == "overwritten":
            grad_x[place] = grad_y * (winner == position)
        elif key == "cut elsewhere":
            grad_x[place] += grad_y * (winner == position)
        elif FORM in key:
            grad_x[place] = np.where(winner == position, grad_y, grad_x[place])
        elif key == "all winners":
            grad_x[place] += grad_y * (pixels[place] == y)
        elif key == "last wins":
            grad_x[place] += grad_y * (last == position)
        else:
            grad_x[place] += grad_y / (math.prod(kernel_size) if key == "shared" else 1)
    (_, H, W, _), (PH, PW) = x.shape, (0, 0) if key == "cut elsewhere" else padding
    return grad_x[:, PH : PH + H, PW : PW + W]


def maximum_of_numbers(x: np.ndarray, window: Window) -> np.ndarray:
    """``y`` where NaN never wins, as in a loop that asks for a larger one."""
    return finite(NumpyBackend().max_pool2d(np.where(np.isnan(x), -np.inf, x), *window)[0])


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


def finite(x: np.ndarray) -> np.ndarray:
    """``x`` with a large number for NaN, and its negative for minus infinity."""
    return np.nan_to_num(x, nan=LARGE, neginf=-LARGE)


EXERCISE = Exercise(
    name="08_max_pool",
    title="Max-pooling: winners and ties.",
    source="tinycnn.backends.numpy_backend",
    chapter="docs/path/06_max_pool.md",
    task=TASK,
    hint="a window passes on one of its pixels. Backward needs to know which one, and nothing else.",
    formulas={
        "x": "for each position: grad_x[window] += grad_y · (winner == position); return it without its padding",
        "NumpyBackend.max_pool2d": "stack x[window] of all positions; winner = its argmax and y = its max over axis 0",
        "NumpyBackend.max_pool2d_backward": "for each position: grad_x[window] += grad_y · (winner == position); "
        "return it without its padding",
    },
    hints={
        "pair": (
            "forward returns two things: y, and what your backward needs to know.",
            "return y, winner: winner is all that max_pool2d_backward gets from forward.",
        ),
        "shape of y": (
            "y has one number for each window and channel: (N, OH, OW, C).",
            "np.stack puts the KH*KW places of a window in front, so max and argmax go over axis 0.",
        ),
        "upstream": (
            "the winners get 1: grad_y, the gradient that arrives, is not used.",
            "backward returns d loss / d x. A winner changes y as much as itself, and y changes the loss by grad_y.",
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
            "The winner changes y by as much as it changes itself, whatever the size of the window: undivided.",
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
            "The winner changes y by as much as it changes itself, whatever the size of the window: undivided.",
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
            "a window passes on one of its pixels. Backward needs to know which one, and nothing else.",
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
