"""Exercise 7: convolution."""

from functools import partial
from types import ModuleType

import numpy as np

from tinycnn.backends.base import Pair
from tinycnn.backends.numpy_backend import NumpyBackend
from tinycnn.exercises import e06_im2col
from tinycnn.exercises.checking import Arrays, check_gradients, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.exercises.diagnosis import FORM

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
MISTAKES = f"overwritten{FORM}by windows", "filter turned", "not transposed"


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
    """The gradient of ``x`` with a mistake, one of ``MISTAKES``; of ``weight`` with the last one; else None."""
    x, weight = inputs["x"], inputs["weight"]
    KH, KW, _, F = weight.shape
    if name == "weight" and key == "not transposed":
        cols = NumpyBackend().im2col(x, (KH, KW), stride, padding)  # (N*OH*OW, KH*KW*C)
        return (cols.reshape(cols.shape[::-1]) @ grad_y.reshape(-1, F)).reshape(weight.shape)  # (KH, KW, C, F)
    if name != "x":
        return None
    turned = weight[::-1, ::-1] if key == "filter turned" else weight
    matrix = turned.reshape(F, -1) if key == "not transposed" else turned.reshape(-1, F).T  # (F, KH*KW*C)
    grad_cols = grad_y.reshape(-1, F) @ matrix  # (N*OH*OW, KH*KW*C)
    if key == f"overwritten{FORM}by windows":
        return e06_im2col.mistaken("by windows", grad_cols, x.shape, (KH, KW), stride, padding)
    return NumpyBackend().col2im(grad_cols, x.shape, (KH, KW), stride, padding)


EXERCISE = Exercise(
    name="07_conv2d",
    title="Convolution.",
    source="tinycnn.ops.conv2d",
    chapter="docs/path/05_convolution.md",
    task=TASK,
    hint="it is the dense layer of exercise 3 on cols: grad_W from cols and grad_Y, grad_cols from grad_Y and W, the "
    "bias summed over all rows, that is, over all images and all pixels.",
    formulas={
        "x": "grad_cols = grad_Y Wᵀ: (N*OH*OW, F) (F, KH*KW*C); grad_x = col2im(grad_cols, x_shape, (KH, KW), stride, "
        "padding)",
        "weight": "grad_W = colsᵀ grad_Y: (KH*KW*C, N*OH*OW) (N*OH*OW, F), reshaped to (KH, KW, C, F)",
        "bias": "grad_b[f] = Σ grad_y[n, oh, ow, f] over images and pixels: the sum of grad_Y over axis 0",
        "Conv2dFunction.backward": "with grad_Y = grad_y as (N*OH*OW, F): grad_W = colsᵀ grad_Y, grad_cols = grad_Y "
        "Wᵀ, grad_b = the sum of grad_Y over axis 0; return (grad_x, grad_W) if len(self.inputs) is 2, else (grad_x, "
        "grad_W, grad_b)",
    },
    hints={
        "not rows": (
            "an array with four axes meets a matrix. The matrix product needs its windows as rows.",
            "grad_Y = grad_y.reshape(-1, F) has the rows of cols: (N*OH*OW, F). Reshape it first; all three use it.",
        ),
        "filter turned": (
            "the filter is turned by 180°, as if backward were another convolution.",
            "Each window's gradient is grad_y times the filter as it is; col2im puts it where the window was.",
        ),
        "not transposed": (
            "a reshape stands where a transpose is needed: it has the right shape, but keeps the order of the numbers.",
            "The matrices of forward are cols, and the weight reshaped to (KH*KW*C, F): transpose these.",
        ),
    },
    holes=(Hole("Conv2dFunction.backward", "grad_y (N, OH, OW, F) → the gradients of x (N, H, W, C), weight\n"
                "(KH, KW, C, F), and of bias (F,) if len(self.inputs) is 3."),),
    check=check,
    keeps=("Conv2dFunction",),
)  # fmt: skip
