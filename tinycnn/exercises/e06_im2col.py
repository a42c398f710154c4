"""Exercise 6: im2col and col2im."""

from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from tinycnn.backends.base import Pair, window_grid
from tinycnn.exercises.checking import (
    WRONG_SHAPES,
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
from tinycnn.exercises.cutting import Exercise, Hole
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
SETTINGS: list[tuple[Pair, Pair, Pair]] = [((3, 3), (1, 1), (0, 0)), ((2, 2), (2, 2), (0, 0)), ((2, 3), (2, 1), (1, 2))]


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


WRONG_CUTS = "cut elsewhere", "not summed", "shape"  # mistakes with the padding, which the last line cuts off


def slow_col2im(cols: np.ndarray, x_shape: tuple[int, ...], *window: Any) -> np.ndarray:
    """For each pixel: which places of ``cols`` are copies of it, and their sum."""
    grad_x = np.zeros(x_shape)
    for index in np.ndindex(x_shape):
        pixel = np.zeros(x_shape)
        pixel[index] = 1
        grad_x[index] = (slow_im2col(pixel, *window) * cols).sum()
    return grad_x


def check(student: ModuleType) -> None:
    """Both kernels against their definitions."""
    backend, x = student.NumpyBackend(), normal(2, 5, 4, 2)
    for window in SETTINGS:
        with situation("with kernel_size {}, stride {}, padding {}".format(*window)):
            expected = slow_im2col(x, *window)
            lines = Returns()
            with lines.watched():
                came = returned(backend.im2col(x.copy(), *window), "NumpyBackend.im2col")
            with renamed(WRONG_SHAPES, "shape of cols"):
                compare("im2col(x)", expected, came, "the definition", about="im2col", line=made_at(lines.last))
            cols = normal(*expected.shape, seed=1)
            with lines.watched():
                came = returned(backend.col2im(cols.copy(), x.shape, *window), "NumpyBackend.col2im")
            summed, source = slow_col2im(cols, x.shape, *window), "the sum over all copies of the pixel"
            typical = {key: partial(mistaken, key, cols, x.shape, *window) for key in ("overwritten", "cut elsewhere")}
            line = made_at(lines.last)
            wrong_shapes = () if any(window[2]) else WRONG_SHAPES
            with renamed(wrong_shapes, "shape of x"), shown_at(lines.last, WRONG_CUTS):
                compare("col2im(cols)", summed, came, source, about="col2im", line=line, suspects=typical)
    with situation("on float32 images"):
        lines = Returns()
        with lines.watched():
            cols = backend.im2col(x.astype(np.float32), *window)
        check_float32("im2col(x)", cols, "NumpyBackend.im2col", created_at(lines.last))
        with lines.watched():
            came = backend.col2im(cols, x.shape, *window)
        check_float32("col2im(cols)", came, "NumpyBackend.col2im", created_at(lines.last))


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
    hint="the two loops are the same; im2col reads from x[window], col2im adds to it (with +=: a pixel lies in several "
    "windows). col2im works on the padded image and cuts the padding off at the end.",
    formulas={
        "im2col": "cols (N, OH, OW, KH*KW, C); for each position: cols[:, :, :, position] = x[window]; then reshape to "
        "(N*OH*OW, KH*KW*C)",
        "col2im": "reshape cols to (N, OH, OW, KH*KW, C), start with zeros in the shape of the padded image; for each "
        "position: x[window] += cols[:, :, :, position]; return x without its padding",
        "NumpyBackend.im2col": "cols (N, OH, OW, KH*KW, C); for each position: cols[:, :, :, position] = x[window]",
        "NumpyBackend.col2im": "for each position: x[window] += cols[:, :, :, position], with x the padded image",
    },
    hints={
        "overwritten": (
            "a pixel that lies in several windows keeps only what came last.",
            "The gradient of a number that was used several times is a sum: += in place of =.",
        ),
        "cut elsewhere": (
            "the padding is cut off at the wrong edges.",
            "In the padded image, the image begins at row PH and column PW.",
        ),
        "shape of cols": (
            "cols has one row for each window, and in it one number for each place of the window and channel.",
            "np.stack of all x[slices] along axis 3 is (N, OH, OW, KH*KW, C); a reshape makes it (N*OH*OW, KH*KW*C).",
        ),
        "shape of x": (
            "col2im returns an array in the shape of x.",
            "The shape is x_shape, plus the padding until it is cut off. Is cols reshaped to (N, OH, OW, KH*KW, C)?",
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
    check=check,
    keeps=("window_positions", "NumpyBackend.im2col", "NumpyBackend.col2im"),
    part_of="NumpyBackend",
)  # fmt: skip
