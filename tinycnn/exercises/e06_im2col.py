"""Exercise 6: im2col and col2im."""

from functools import cache, partial
from types import ModuleType
from typing import Any

import numpy as np

from tinycnn.backends.base import Pair, window_grid
from tinycnn.exercises.checking import (
    WRONG_SHAPES,
    Mistake,
    check_float32,
    compare,
    created_at,
    made_at,
    normal,
    renamed,
    returned,
    shown_at,
    situation,
)
from tinycnn.exercises.cutting import Exercise, Hole, Planted
from tinycnn.exercises.evidence import check_each
from tinycnn.exercises.tracing import Returns

TASK = """
Convolution becomes one matrix product when every window of the image is a row of a matrix:

    cols = im2col(x):   cols[(n, oh, ow), (kh, kw, c)] = x[n, oh*SH + kh - PH, ow*SW + kw - PW, c]     0 outside of x

im2col is used on the way forward: it copies a pixel into every window that contains it. On the way back, a pixel
receives the sum of the gradients of all its copies: col2im. You write both. col2im is the transpose of im2col: for any
x and any cols, the sum of im2col(x) * cols is the sum of x * col2im(cols).

Both return the dtype of what comes in: networks are trained in float32, and np.zeros alone makes float64.

Do not loop over pixels: window_positions(kernel_size, stride, (OH, OW)) gives, for each of the KH*KW places in a
window, its number kh*KW + kw, and slices: x[slices], of shape (N, OH, OW, C), is what all windows read there from the
padded image. The class is a whole backend; once your two functions work, a network trains on it.
"""
SETTINGS: list[tuple[Pair, Pair, Pair]] = [
    ((3, 3), (1, 1), (0, 0)),
    ((2, 2), (2, 2), (0, 0)),
    ((2, 3), (2, 1), (1, 2)),
    ((3, 2), (1, 1), (2, 1)),
]


def slow_im2col(x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair) -> np.ndarray:
    """The definition, pixel by pixel."""
    (N, H, W, C), (KH, KW), (SH, SW), (PH, PW) = x.shape, kernel_size, stride, padding
    OH, OW = window_grid(x.shape, kernel_size, stride, padding)
    cols = np.zeros((N, OH, OW, KH, KW, C))
    for n, oh, ow, kh, kw in np.ndindex(N, OH, OW, KH, KW):
        h, w = oh * SH + kh - PH, ow * SW + kw - PW
        if 0 <= h < H and 0 <= w < W:
            cols[n, oh, ow, kh, kw] = x[n, h, w]
    return cols.reshape(N * OH * OW, KH * KW * C)


@cache
def expected_of(window: tuple[Pair, Pair, Pair]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """An image and its ``cols``; other ``cols`` and the image that they add up to."""
    x = normal(2, 5, 4, 2)
    expected = slow_im2col(x, *window)
    cols = normal(*expected.shape, seed=1)
    return x, expected, cols, slow_col2im(cols, x.shape, *window)


WRONG_CUTS = "cut elsewhere", "not summed", "shape", "empty"  # mistakes with the padding, which the last line cuts off


def slow_col2im(cols: np.ndarray, x_shape: tuple[int, ...], *window: Any) -> np.ndarray:
    """For each pixel: which places of ``cols`` are copies of it, and their sum."""
    grad_x = np.zeros(x_shape)
    for index in np.ndindex(x_shape):
        pixel = np.zeros(x_shape)
        pixel[index] = 1
        grad_x[index] = (slow_im2col(pixel, *window) * cols).sum()
    return grad_x


MANY_PLACES = 6  # more are not listed
IM2COL, COL2IM = "NumpyBackend.im2col", "NumpyBackend.col2im"
READ, ADD = "cols[:, :, :, position] = x[window]", "x[window] += cols[:, :, :, position]"
AS_CUT = "x[:, window[1].start : window[1].start + OH : stride[0], window[2].start : window[2].start + OW : stride[1]]"
WRONG_NUMBER = {"cols[:, :, :, position]": "cols[:, :, :, position // KW * KH + position % KW]"}
COUNTS = """        counts = 0 * x
        for _, window in window_positions(kernel_size, stride, (OH, OW)):
            counts[window] += 1
        x = x / np.maximum(counts, 1)
        return"""
PLANTED: Planted = {
    "stride left out": [(IM2COL, {"positions(kernel_size, stride,": "positions(kernel_size, (1, 1),"})],
    "end without stride": [(IM2COL, {"x[window]": AS_CUT})],
    "another number": [(IM2COL, WRONG_NUMBER), (IM2COL, {**WRONG_NUMBER, "np.empty": "np.zeros"})],
    "last windows left out": [(IM2COL, {"        return": "        cols[:, -1] = cols[:, :, -1] = 0\n        return"})],
    "first places left out": [(IM2COL, {READ: f"{READ} if position >= KW else 0"})],
    "padded twice": [(IM2COL, {"        cols =": "        x = padded(x, padding)\n        cols ="})],
    "channels added up": [(IM2COL, {"x[window]": "x[window].sum(axis=3, keepdims=True)"})],
    "not from zeros": [(COL2IM, {"np.zeros": "np.empty"}), (COL2IM, {"np.zeros": "np.ones"})],
    "one place alone": [(COL2IM, {"        return": "            return"})],
    "cut elsewhere": [
        (COL2IM, {"PH : PH + H, PW : PW + W": "PW : PW + H, PH : PH + W"}),
        (COL2IM, {"PH : PH + H, PW : PW + W": ":H, :W"}),
    ],
    "columns in another order": [
        (COL2IM, {"KH * KW, C)  # (N": "C, KH * KW).swapaxes(3, 4)  # (N"}),
        (
            COL2IM,
            {"cols.reshape(N, OH, OW, KH * KW, C)": "cols.reshape(KH * KW, N, OH, OW, C).transpose(1, 2, 3, 0, 4)"},
        ),
    ],
    "averaged copies": [(COL2IM, {"        return": COUNTS})],
    "one image alone": [(COL2IM, {ADD: "x[window][0] += cols[0, :, :, position]"})],
}


class Uninitialised:
    """NumPy, where np.empty gives NaN: a number that nothing was stored in is seen, and is the same every time."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def empty(self, shape: Any, dtype: Any = float, **settings: Any) -> np.ndarray:
        array = np.zeros(shape, dtype, **settings)
        if np.issubdtype(array.dtype, np.floating):
            array.fill(np.nan)
        return array

    def empty_like(self, array: np.ndarray, dtype: Any = None, **settings: Any) -> np.ndarray:
        return self.empty(array.shape, dtype or array.dtype, **settings)


def check(student: ModuleType) -> None:
    """Both kernels against their definitions."""
    if vars(student).get("np") is np:
        vars(student)["np"] = Uninitialised()
    backend, image = student.NumpyBackend(), expected_of(SETTINGS[-1])[0].astype(np.float32)
    check_each([
        *(partial(check_im2col, backend, window) for window in SETTINGS),
        *(partial(check_col2im, backend, window) for window in SETTINGS),
        partial(check_arrays, backend, image, SETTINGS[-1]),
    ])  # fmt: skip


def check_im2col(backend: Any, window: tuple[Pair, Pair, Pair]) -> None:
    """Every number, with a sentence about where the wrong ones are."""
    with situation("with kernel_size {}, stride {}, padding {}".format(*window)):
        x, expected, _, _ = expected_of(window)
        given, lines = x.copy(), Returns()
        with lines.watched():
            came = returned(backend.im2col(given, *window), IM2COL)
        try:
            with renamed(WRONG_SHAPES, "shape of cols"):
                compare("im2col(x)", expected, came, "the definition", about="im2col", place=IM2COL)
        except Mistake as mistake:
            sentence = "" if mistake.came is None else where_wrong(expected, mistake.came, x.shape, window)
            mistake.args = (f"{mistake}\n  {sentence}" if sentence else str(mistake),)
            raise
        if not np.array_equal(given, x):
            raise Mistake("im2col changed x, its input", symptom="in place", about="im2col", place=IM2COL)


def where_wrong(
    expected: np.ndarray, came: np.ndarray, x_shape: tuple[int, ...], window: tuple[Pair, Pair, Pair]
) -> str:
    """In which places of the window, or in which windows, numbers of ``cols`` are wrong; empty if in all of both."""
    wrong = ~np.isclose(came, expected)
    wrong = wrong.reshape(x_shape[0], *window_grid(x_shape, *window), *window[0], x_shape[-1])  # (N, OH, OW, KH, KW, C)
    for what, axes in (("places (kh, kw)", (0, 1, 2, 5)), ("windows (oh, ow)", (0, 3, 4, 5))):
        places = wrong.any(axis=axes)
        if places.sum() <= MANY_PLACES and not places.all():
            return (
                f"All of them are in the {what} {', '.join(str(tuple(map(int, one))) for one in np.argwhere(places))}."
            )
    return ""


def check_col2im(backend: Any, window: tuple[Pair, Pair, Pair]) -> None:
    """Every pixel is the sum over its copies."""
    with situation("with kernel_size {}, stride {}, padding {}".format(*window)):
        x, _, cols, summed = expected_of(window)
        given, x_shape, lines = cols.copy(), x.shape, Returns()
        with lines.watched():
            came = returned(backend.col2im(given, x_shape, *window), COL2IM)
        source = "the sum over all copies of the pixel"
        typical = {key: partial(mistaken, key, cols, x_shape, *window) for key in ("overwritten", "cut elsewhere")}
        is_padded = any(window[2])
        with (
            renamed(() if is_padded else WRONG_SHAPES, "shape of x"),
            shown_at(lines.last, WRONG_CUTS),
            shown_at(made_at(lines.last), ("overwritten",)),
        ):
            compare("col2im(cols)", summed, came, source, about="col2im", place=COL2IM, suspects=typical)
        if not np.array_equal(given, cols):
            raise Mistake("col2im changed cols, its input", symptom="in place", about="col2im", place=COL2IM)


def check_arrays(backend: Any, x: np.ndarray, window: tuple[Pair, Pair, Pair]) -> None:
    """Both keep float32, and the image of col2im lies in memory in one piece."""
    lines = Returns()
    with situation("on float32 images"):
        with lines.watched():
            cols = backend.im2col(x, *window)
        check_float32("im2col(x)", cols, IM2COL, created_at(lines.last))
        with lines.watched():
            came = backend.col2im(cols, x.shape, *window)
        check_float32("col2im(cols)", came, COL2IM, created_at(lines.last))
    if not came.flags.c_contiguous:
        text = (
            "the numbers of col2im(cols) are right, but they are a part of a larger array, expected a C-contiguous one"
        )
        raise Mistake(text, symptom="not contiguous", about="col2im", place=COL2IM)


def mistaken(
    key: str, cols: np.ndarray, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair
) -> np.ndarray:
    """``col2im`` with a mistake. ``overwritten``: of all copies, the one at the last place of the window is left.

    ``by windows``: the one in the last window is left. ``cut elsewhere``: the padding is cut off at the wrong edges.
    """
    N, H, W, C = x_shape
    (KH, KW), (SH, SW), (PH, PW) = kernel_size, stride, padding
    OH, OW = window_grid(x_shape, kernel_size, stride, padding)
    x, cols = np.zeros((N, H + 2 * PH, W + 2 * PW, C)), cols.reshape(N, OH, OW, KH, KW, C)
    for kh, kw in list(np.ndindex(KH, KW))[:: -1 if key == "by windows" else 1]:
        place = (slice(None), slice(kh, kh + SH * OH, SH), slice(kw, kw + SW * OW, SW))
        x[place] = cols[:, :, :, kh, kw] + (x[place] if key == "cut elsewhere" else 0)
    PH, PW = (0, 0) if key == "cut elsewhere" else padding
    return x[:, PH : PH + H, PW : PW + W]


EXERCISE = Exercise(
    name="06_im2col",
    title="im2col, and its transpose col2im.",
    source="tinycnn.backends.numpy_backend",
    chapter="docs/path/05_convolution.md",
    task=TASK,
    hint="both functions have the same loop; im2col reads from x[slices], col2im adds to it (with +=: a pixel lies in "
    "several windows). col2im works on the padded image and cuts the padding off at the end.",
    formulas={
        "im2col": "cols (N, OH, OW, KH*KW, C); for each place: cols[:, :, :, number] = x[slices]; then reshape to "
        "(N*OH*OW, KH*KW*C)",
        "col2im": "reshape cols to (N, OH, OW, KH*KW, C), start with zeros in the shape of the padded image; for each "
        "place: x[slices] += cols[:, :, :, number]; return x without its padding",
    },
    hints={
        "of im2col": (
            "cols[:, :, :, number] is what all windows read at one of their places: x[slices], from the padded image.",
            "Compute the number at the index above on paper: which window, place and channel is it? Which pixel "
            "of the padded image is read there?",
        ),
        "of col2im": (
            "col2im adds each number of cols to the pixel that it is a copy of: x[slices] += ..., in the padded image.",
            "Compute the pixel at the index above on paper: which windows contain it, and at which of their places?",
        ),
        "stride left out": (
            "the windows are one pixel apart, whatever the stride is.",
            "window_positions(kernel_size, stride, (OH, OW)) gives slices with the stride.",
        ),
        "end without stride": (
            "the slices have the stride as their step, but end too early.",
            "OH windows that are SH apart need the rows from kh to kh + SH*OH.",
        ),
        "another number": (
            "the places are numbered wrongly: some have the same number, and some numbers are never used.",
            "In each of the KH rows of a window there are KW places: kh*KW + kw, the first number of window_positions.",
        ),
        "last windows left out": (
            "the last row and the last column of windows are left out.",
            "range(OH) counts from 0 to OH - 1 already.",
        ),
        "first places left out": (
            "the first row of each window is left out.",
            "kh counts from 0 to KH - 1, that is range(KH).",
        ),
        "padded twice": (
            "the image is padded a second time.",
            "The line above your code has done it: x has the shape (N, H + 2*PH, W + 2*PW, C).",
        ),
        "channels added up": (
            "the channels are added up; each keeps its own number.",
            "cols has KH*KW*C numbers in each row.",
        ),
        "not from zeros": (
            "the sum does not start with 0.",
            "np.zeros: np.empty leaves in an array whatever was in memory before.",
        ),
        "one place alone": (
            "only the first place of the window is added.",
            "Does `return` stand inside the loop?",
        ),
        "columns in another order": (
            "the numbers of a row of cols are read in another order than im2col writes them.",
            "A row of cols is (KH*KW, C): the channel is the last index. The rows are in the order (N, OH, OW).",
        ),
        "averaged copies": (
            "the mean over all copies of a pixel is taken; its gradient is their sum.",
            "The gradient of a number that is used in several places is the sum of the gradients of all of them.",
        ),
        "one image alone": ("only one image is filled.", "The first axis of x[slices] counts all of them."),
        "not contiguous": (
            "a slice is a view: it shows a part of the padded image, which lies in memory with gaps.",
            "np.ascontiguousarray(...) copies it into an array of its own.",
        ),
        "not an index": (
            "what stands in the square brackets is not an index.",
            "slices is a tuple of three slices, for the images, the rows and the columns: x[slices].",
        ),
        "overwritten": (
            "a pixel that lies in several windows keeps only what came last.",
            "The gradient of a number that was used several times is a sum: += in place of =.",
        ),
        "cut elsewhere": (
            "the padding is cut off at the wrong edges.",
            "In the padded image, the image begins at row PH and column PW.",
        ),
        "shape of cols": (
            "cols should have a row for each window, and in it a number for each place of the window and channel.",
            "np.stack of all x[slices] along axis 3 is (N, OH, OW, KH*KW, C); a reshape makes it (N*OH*OW, KH*KW*C).",
        ),
        "shape of x": (
            "col2im has to return an array in the shape of x.",
            "The shape is x_shape, plus the padding until it is cut off. Is cols reshaped to (N, OH, OW, KH*KW, C)?",
        ),
        "broadcast": (
            "x[slices] and the part of cols have different shapes: x or cols was made in another shape, or an index "
            "stands in the wrong place.",
            "x has to be as large as the padded image, (N, H + 2*PH, W + 2*PW, C), and cols has five axes here, (N, "
            "OH, OW, KH*KW, C): its number is the fourth. Compare with the shapes above.",
        ),
        "not summed": (
            "the padding is still there.",
            "Cut PH rows and PW columns off at each side before you return.",
        ),
    },
    holes=(
        Hole("NumpyBackend.im2col", "x (N, H + 2*PH, W + 2*PW, C), padded → cols (N*OH*OW, KH*KW*C), of x.dtype",
             starts="cols ="),
        Hole("NumpyBackend.col2im", "cols (N*OH*OW, KH*KW*C) → x (N, H, W, C), C-contiguous", starts="cols ="),
    ),
    planted=PLANTED,
    check=check,
    keeps=("window_positions", "NumpyBackend.im2col", "NumpyBackend.col2im"),
    part_of="NumpyBackend",
)  # fmt: skip
