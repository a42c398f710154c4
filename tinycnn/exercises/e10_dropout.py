"""Exercise 10: dropout."""

from functools import partial
from types import ModuleType

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.exercises.checking import Mistake, check_gradients, compare, situation
from tinycnn.exercises.cutting import Exercise, Hole, Planted
from tinycnn.exercises.evidence import check_each
from tinycnn.tensor import Tensor

TASK = """
    y = x · mask,      mask = 0 with probability p, else 1/(1 - p)

The factor 1/(1 - p) makes the expected value of y equal to x, so that at test time the layer does nothing. The mask is
self.backend.dropout_mask(x.shape, self.p, x.dtype, self.key); the same key gives the same mask. You write forward and
backward.
"""


X = np.arange(1.0, 81.0).reshape(8, 10)
FORWARD, BACKWARD = "DropoutFunction.forward", "DropoutFunction.backward"
PLANTED: Planted = {
    "not scaled": [
        (FORWARD, {"return x * self.mask": "return x * (self.mask > 0)"}),
        (BACKWARD, {"self.mask": "(self.mask > 0)"}),
    ],
    "scaled twice": [
        (FORWARD, {"x * self.mask": "x * self.mask / (1 - self.p)"}),
        (BACKWARD, {"self.mask": "self.mask / (1 - self.p)"}),
    ],
    "divided by p": [(FORWARD, {"x * self.mask": "x * (self.mask > 0) / self.p"})],
    "not masked": [(FORWARD, {"x * self.mask": "x"})],
    "mask added": [(FORWARD, {"x * self.mask": "x + self.mask"})],
    "mask alone": [(FORWARD, {"x * self.mask": "self.mask"})],
    "wrong share": [(FORWARD, {"self.p": "1 - self.p"})],
    "the dropped ones": [(BACKWARD, {"self.mask": "(self.mask == 0)"})],
}


def check(student: ModuleType) -> None:
    """The values, and if they are right, the gradient."""
    cases = [partial(check_values, student, p, key) for p, key in ((0.25, (3, 1)), (0.25, (4, 1)), (0.5, (3, 1)))]
    check_each([partial(check_values_and_gradient, student, cases[0]), *cases[1:]])


def check_values_and_gradient(student: ModuleType, check_values: partial[None]) -> None:
    """The gradient is compared only where y is right: it would be that of another function."""
    p, key = check_values.args[1:]
    check_values()
    with situation(f"with p = {p} and key {key}"):
        check_gradients(lambda x: student.DropoutFunction(p, key)(x), {"x": X})


def check_values(student: ModuleType, p: float, key: tuple[int, int]) -> None:
    """y is x times the mask of the backend, in a new array."""
    function, x = student.DropoutFunction(p, key), Tensor(X.copy())
    with situation(f"with p = {p} and key {key}"):
        y = function(x).numpy()
        if not np.array_equal(x.data, X):
            text = "x itself has changed: compute into a new array, the old one is still needed"
            raise Mistake(text, symptom="in place", about=FORWARD, place=FORWARD)
        mask = get_backend().dropout_mask(X.shape, p, X.dtype, key)
        compare("y", X * mask, y, "x times the mask of the backend", about=FORWARD, place=FORWARD)


EXERCISE = Exercise(
    name="10_dropout",
    title="Dropout.",
    source="tinycnn.ops.dropout",
    chapter="docs/path/07_batch_norm_and_dropout.md",
    task=TASK,
    hint="y is a product of x and something that does not depend on x. The gradient needs the same mask "
    "as forward, so forward stores it.",
    formulas={
        "x": "grad_x = grad_y * self.mask",
        "": "self.mask = self.backend.dropout_mask(x.shape, self.p, x.dtype, self.key); y = x * self.mask; grad_x "
        "= grad_y * self.mask",
    },
    hints={
        "not scaled": (
            "the kept values are not scaled up by 1/(1 - p).",
            "The mask of the backend holds 0 and 1/(1 - p) already: use its numbers, not only where it is 0.",
        ),
        "scaled twice": (
            "the kept values are multiplied by 1/(1 - p) twice.",
            "The mask of the backend holds 0 and 1/(1 - p) already.",
        ),
        "divided by p": (
            "the kept values are divided by p; their share is 1 - p.",
            "The mask of the backend holds 0 and 1/(1 - p) already: use its numbers, not only where it is 0.",
        ),
        "not masked": (
            "nothing is dropped: y is x.",
            "Is the mask of the backend a factor of what you return, and did you give it p as it is?",
        ),
        "mask added": ("the mask is added to x; y is their product.", "A dropped value is multiplied by 0."),
        "mask alone": ("the mask itself is returned; y is x times the mask.", "A kept value is x times 1/(1 - p)."),
        "wrong share": (
            "p is used as the probability to keep a value; it is the probability to drop it.",
            "Give the backend p itself.",
        ),
        "the dropped ones": (
            "the gradient reaches the values that were dropped, and not those that were kept.",
            "The same mask, in both directions.",
        ),
        "of DropoutFunction.forward": (
            "y is to be x times the mask that the backend makes from the shape, p, the dtype and the key.",
            "self.backend.dropout_mask(x.shape, self.p, x.dtype, self.key) has a number of its own for every element.",
        ),
        "shape": (
            "y has one number for each x, also for those that are dropped: they are 0, and stay in their places.",
            "An index such as x[mask > 0] keeps only some of the numbers; a product keeps all.",
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
    planted=PLANTED,
    check=check,
    keeps=("DropoutFunction",),
)
