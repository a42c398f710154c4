"""Exercise 7: convolution."""

import math
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from tinycnn.backends.base import Pair, window_grid
from tinycnn.backends.numpy_backend import NumpyBackend
from tinycnn.exercises import e06_im2col
from tinycnn.exercises.checking import Arrays, check_gradients, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.exercises.symptoms import FORM

TASK = """
With cols = im2col(x) (N*OH*OW, KH*KW*C) and W = weight.reshape(KH*KW*C, F), convolution is a dense layer whose rows are
windows instead of images:

    Y = cols W + bias                                                  Y (N*OH*OW, F)

So its gradients are those of a dense layer. Two reshapes bring grad_y and grad_W into their shapes. The gradient of the
windows, grad_cols, becomes the gradient of the pixels by

    self.backend.col2im(grad_cols, self.x_shape, (KH, KW), self.stride, self.padding)

Over which axes is the gradient of the bias a sum, and why? The bias is optional: without it, backward returns two
gradients.
"""
TURNED: dict[str, Any] = {  # the weight, in the gradient of x
    "filter turned": np.s_[::-1, ::-1],
    f"filter turned{FORM}with its channels": np.s_[::-1, ::-1, ::-1],
    "one side turned": np.s_[::-1],
    f"one side turned{FORM}the columns": np.s_[:, ::-1],
}
MIXED = {  # the axes of the weight, in the gradient of x
    "filter mixed": (1, 0, 2, 3),
    f"filter mixed{FORM}by .T": (2, 1, 0, 3),
    f"filter mixed{FORM}channels first": (2, 0, 1, 3),
}
ROWS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {  # grad_y (N, OH, OW, F) as rows
    f"rows mixed{FORM}by a reshape": lambda grad_y, F: grad_y.reshape(F, -1).T,
    f"rows mixed{FORM}by a transpose": lambda grad_y, F: grad_y.transpose(3, 0, 1, 2).reshape(-1, F),
    f"rows mixed{FORM}by .T": lambda grad_y, F: grad_y.T.reshape(-1, F),
}
WINDOWS: dict[str, Callable[[Pair, Pair], tuple[Pair, Pair]]] = {  # stride and padding, in the gradient of x
    "other windows": lambda stride, padding: ((1, 1), (0, 0)),
    f"other windows{FORM}stride": lambda stride, padding: (stride[::-1], padding),
    f"other windows{FORM}padding": lambda stride, padding: (stride, padding[::-1]),
}
OTHERS = f"overwritten{FORM}by windows", "not transposed", "cols themselves", "slope alone"
MISTAKES = *OTHERS, *TURNED, *MIXED, *ROWS, *WINDOWS


def check(student: ModuleType) -> None:
    """With stride and padding, and without a bias; no two axes of the filters have the same length."""
    inputs = {"x": normal(3, 4, 3, 4), "weight": normal(3, 2, 4, 5, seed=1), "bias": normal(5, seed=2)}
    check_window(student, inputs, (1, 1), (0, 0))
    with situation("with stride (2, 1) and padding (1, 0)"):
        check_window(student, inputs, (2, 1), (1, 0))
    with situation("without a bias"):
        check_window(student, {name: inputs[name] for name in ("x", "weight")}, (1, 1), (0, 0))


def check_window(student: ModuleType, inputs: Arrays, stride: Pair, padding: Pair) -> None:
    """The gradients with one stride and padding."""
    mistakes = {key: partial(mistaken, key, inputs, stride, padding) for key in MISTAKES}
    check_gradients(lambda *arrays: student.Conv2dFunction(stride, padding)(*arrays), inputs, suspects=mistakes)


def mistaken(key: str, inputs: Arrays, stride: Pair, padding: Pair, name: str, grad_y: np.ndarray) -> np.ndarray | None:
    """A gradient with a mistake, one of ``MISTAKES``; None if it is not made there."""
    x, weight = inputs["x"], inputs["weight"]
    (KH, KW, _, F), backend = weight.shape, NumpyBackend()
    if name == "bias" or key == "slope alone":
        return np.ones(F) if name == "bias" and key == "slope alone" else None  # (F,)
    cols = backend.im2col(x, (KH, KW), stride, padding)  # (N*OH*OW, KH*KW*C)
    rows = ROWS[key](grad_y, F) if key in ROWS else grad_y.reshape(-1, F)  # (N*OH*OW, F)
    if name == "weight" and (key == "not transposed" or key in ROWS):
        as_columns = cols.T if key in ROWS else cols.reshape(cols.shape[::-1])  # (KH*KW*C, N*OH*OW)
        return (as_columns @ rows).reshape(weight.shape)  # (KH, KW, C, F)
    if name != "x":
        return None
    turned = weight[TURNED.get(key, ...)].transpose(MIXED.get(key, (0, 1, 2, 3)))
    matrix = turned.reshape(F, -1) if key == "not transposed" else turned.reshape(-1, F).T  # (F, KH*KW*C)
    grad_cols = cols if key == "cols themselves" else rows @ matrix  # (N*OH*OW, KH*KW*C)
    if key == f"overwritten{FORM}by windows":
        return e06_im2col.mistaken("by windows", grad_cols, x.shape, (KH, KW), stride, padding)
    windows = WINDOWS[key](stride, padding) if key in WINDOWS else (stride, padding)
    is_possible = math.prod(window_grid(x.shape, (KH, KW), *windows)) * len(x) == len(grad_cols)
    return backend.col2im(grad_cols, x.shape, (KH, KW), *windows) if is_possible else None


EXERCISE = Exercise(
    name="07_conv2d",
    title="Convolution.",
    source="tinycnn.ops.conv2d",
    chapter="docs/path/05_convolution.md",
    task=TASK,
    hint="it is the dense layer of exercise 3 on cols: grad_W from cols and grad_Y, grad_cols from grad_Y and W, the "
    "bias summed over all rows, that is, over all images and all pixels.",
    formulas={
        "x": "(N*OH*OW, F) (F, KH*KW*C): grad_cols = grad_y.reshape(-1, F) @ self.weight.reshape(-1, F).T; grad_x = "
        "self.backend.col2im(grad_cols, self.x_shape, (KH, KW), self.stride, self.padding)",
        "weight": "(KH*KW*C, N*OH*OW) (N*OH*OW, F): grad_weight = (self.cols.T @ grad_y.reshape(-1, F)).reshape(KH, "
        "KW, C, F)",
        "bias": "the sum over images and pixels: grad_bias = grad_y.reshape(-1, F).sum(axis=0)",
        "Conv2dFunction.backward": "with grad_Y = grad_y.reshape(-1, F) and W = self.weight.reshape(-1, F): "
        "grad_weight = (self.cols.T @ grad_Y).reshape(KH, KW, C, F); grad_cols = grad_Y @ W.T; grad_x = "
        "self.backend.col2im(grad_cols, self.x_shape, (KH, KW), self.stride, self.padding); grad_bias = "
        "grad_Y.sum(axis=0); return (grad_x, grad_weight) if len(self.inputs) is 2, else (grad_x, grad_weight, "
        "grad_bias)",
    },
    hints={
        "not rows": (
            "an array with four axes meets a matrix. The matrix product needs two axes: windows as rows, and a column "
            "for each filter.",
            "grad_Y = grad_y.reshape(-1, F) has the rows of cols: (N*OH*OW, F). The weight is (KH*KW*C, F). Reshape "
            "both first.",
        ),
        "filter turned": (
            "the filter is turned by 180°, as if backward were another convolution.",
            "Each window's gradient is grad_y times the filter as it is; col2im puts it where the window was.",
        ),
        "one side turned": (
            "the rows, or the columns, of the filter stand in reverse order.",
            "Each window's gradient is grad_y times the filter as it is; col2im puts it where the window was.",
        ),
        "filter mixed": (
            "the axes of the weight are in another order than in a row of cols.",
            "A row of cols is (KH, KW, C), as the first three axes of the weight are: reshape(-1, F), and then .T of "
            "this matrix.",
        ),
        "rows mixed": (
            "grad_y is brought into rows in which numbers of different windows and filters are mixed.",
            "The filters are the last axis of grad_y already: reshape(-1, F) keeps the F numbers of a window together.",
        ),
        "other windows": (
            "col2im gets another stride or padding than im2col in forward, or their two numbers in reverse order.",
            "self.stride and self.padding, as they are: (rows, columns).",
        ),
        "slope alone": (
            "it has the slope of each y, 1, and no grad_y: the gradient that arrives is not used.",
            "The bias of a filter is added in every window of every image. What does each of these y receive?",
        ),
        "cols themselves": (
            "col2im gets cols, the windows of x, and not their gradient.",
            "grad_cols comes from grad_Y and W. For x itself, cols is only what the gradient of W needs.",
        ),
        "arguments": (
            "the function that is called in this line cannot work with these arguments: their order, or one of them, "
            "is not that of forward.",
            "col2im(grad_cols, self.x_shape, (KH, KW), self.stride, self.padding): the five of the task.",
        ),
        "reshape": (
            "a reshape keeps all numbers, and here there are more or fewer than in the new shape.",
            "grad_cols has each pixel once for every window that contains it: col2im adds these up. grad_W has the "
            "shape of the weight.",
        ),
        "not transposed": (
            "a reshape stands where a transpose is needed: it has the right shape, but keeps the order of the numbers.",
            "The matrices of forward are cols, and the weight reshaped to (KH*KW*C, F): transpose these.",
        ),
        "matrix product": (
            "the inner sizes of the matrix product differ: a transpose is missing, or a reshape gives other rows and "
            "columns than it should.",
            "cols is (N*OH*OW, KH*KW*C), grad_Y = grad_y.reshape(-1, F) is (N*OH*OW, F), and W = weight.reshape(-1, F) "
            "is (KH*KW*C, F). Which of them has to be transposed in this product?",
        ),
        "shape": (
            "the gradient of an input always has the shape of that input.",
            "grad_cols (N*OH*OW, KH*KW*C) becomes grad_x by col2im. grad_W (KH*KW*C, F) becomes the gradient of the "
            "weight by a reshape to (KH, KW, C, F).",
        ),
    },
    holes=(Hole("Conv2dFunction.backward", "grad_y (N, OH, OW, F) → the gradients of x (N, H, W, C), weight\n"
                "(KH, KW, C, F), and of bias (F,) if len(self.inputs) is 3."),),
    check=check,
    keeps=("Conv2dFunction",),
)  # fmt: skip
