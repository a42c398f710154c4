"""Exercise 10: dropout."""

from types import ModuleType

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.exercises.checking import Mistake, check_gradients, situation
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.tensor import Tensor

TASK = """
    y = x · mask,      mask = 0 with probability p, else 1/(1 - p)

The factor 1/(1 - p) makes the expected value of y equal to x, so that at test time the layer does nothing. The mask is
self.backend.dropout_mask(x.shape, self.p, x.dtype, self.key); the same key gives the same mask. You write forward and
backward.
"""


def check(student: ModuleType) -> None:
    """The values, then the gradient."""
    x, p = np.arange(1.0, 81.0).reshape(8, 10), 0.25
    factors = student.DropoutFunction(p, (3, 1))(Tensor(x)).numpy() / x
    if not 0.1 < (factors == 0).mean() < 0.4:
        text = f"with p = {p}, {(factors == 0).mean():.0%} of the values were dropped"
        raise Mistake(text, symptom="wrong share", place="DropoutFunction.forward")
    if not np.isin(np.round(factors, 9), [0, round(1 / (1 - p), 9)]).all():
        text = f"with p = {p} each value is to be multiplied by 0 or by 1/(1 - p) = {1 / (1 - p):.4g}"
        raise Mistake(text, symptom="not scaled", place="DropoutFunction.forward")
    for p, key in ((0.25, (3, 1)), (0.25, (4, 1)), (0.5, (3, 1))):
        y = student.DropoutFunction(p, key)(Tensor(x)).numpy()
        masked, place = x * get_backend().dropout_mask(x.shape, p, x.dtype, key), "DropoutFunction.forward"
        if not np.allclose(y, masked):
            text = f"with p = {p} and key {key}, y is not x times the mask of the backend"
            raise Mistake(text, symptom="another mask", about=place, place=place)
    p = 0.25
    with situation(f"with p = {p}"):
        unscaled = {"not scaled": lambda _, grad_y: grad_y * (factors > 0)}
        check_gradients(lambda x: student.DropoutFunction(p, (3, 1))(x), {"x": x}, suspects=unscaled)


EXERCISE = Exercise(
    name="10_dropout",
    title="Dropout.",
    source="tinycnn.ops.dropout",
    chapter="docs/path/07_batch_norm_and_dropout.md",
    task=TASK,
    hint="y is a product of x and something that does not depend on x. The gradient needs the same mask "
    "as forward, so forward stores it.",
    formulas={
        "x": "grad_x = grad_y · mask",
        "": "self.mask = the mask; y = x · self.mask; grad_x = grad_y · self.mask",
    },
    hints={
        "not scaled": (
            "the kept values are not scaled up by 1/(1 - p).",
            "The mask of the backend holds 0 and 1/(1 - p) already: use its numbers, not only where it is 0.",
        ),
        "another mask": (
            "the mask is not the one that the backend makes from the shape, p and key.",
            "self.backend.dropout_mask(x.shape, self.p, x.dtype, self.key) has a number of its own for every element.",
        ),
        "wrong share": (
            "p is the probability to drop a value, not to keep it.",
            "Give the backend p itself.",
        ),
        "upstream alone": (
            "what was dropped in forward gets a gradient in backward.",
            "y does not depend on a value that was multiplied by 0. The same mask, in both directions.",
        ),
    },
    holes=(
        Hole("DropoutFunction.forward", "x → y, the same shape. What will backward need?"),
        Hole("DropoutFunction.backward", "grad_y → grad_x, the same shape."),
    ),
    check=check,
    keeps=("DropoutFunction",),
)
