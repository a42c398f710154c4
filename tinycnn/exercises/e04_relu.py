"""Exercise 4: ReLU."""

from collections.abc import Callable
from functools import partial
from types import ModuleType

import numpy as np

from tinycnn.exercises.checking import check_gradients, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.exercises.symptoms import FORM

TASK = """
    y = max(x, 0)

Where x > 0, y changes as x does. Where x < 0, y does not change. At the kink x = 0 any slope between 0 and 1 is valid
(a subgradient); this package takes 0, as others do. Forward stores y and not x: that is enough, and the next layer
stores y anyway.
"""


Wrong = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of grad_y and y
MISTAKES: dict[str, Wrong] = {
    "y for the slope": lambda grad_y, y: grad_y * y,
    f"y for the slope{FORM}of the larger": lambda grad_y, y: np.maximum(grad_y * y, 0),
    "by grad_y": lambda grad_y, y: np.maximum(grad_y, 0),
    "by both": lambda grad_y, y: np.where(y > 0, np.maximum(grad_y, 0), 0),
    "the other side": lambda grad_y, y: grad_y * (y <= 0),
    "without its sign": lambda grad_y, y: abs(grad_y) * (y > 0),
    "above 1": lambda grad_y, y: grad_y * (y > 1),
    "sign of grad_y": lambda grad_y, y: 1.0 * (grad_y > 0),
    "compared late": lambda grad_y, y: 1.0 * (grad_y * y > 0),
    "exchanged": lambda grad_y, y: y * (grad_y > 0),
    "y itself": lambda grad_y, y: y,
    "ones": lambda grad_y, y: np.ones_like(y),
    "one elsewhere": lambda grad_y, y: np.where(y > 0, grad_y, 1),
    "minus elsewhere": lambda grad_y, y: np.where(y > 0, grad_y, -grad_y),
}


def check(student: ModuleType) -> None:
    """Away from the kink, and at it."""
    x = normal(3, 4)
    typical = {key: partial(mistaken, wrong, np.maximum(x, 0)) for key, wrong in MISTAKES.items()}
    check_gradients(student.relu, {"x": x}, suspects=typical)
    with situation("at x = 0, where the slope is to be 0 (the difference is taken a little to the left)"):
        at_zero = np.array([0.0, 1.0, -1.0])
        closed = {"closed kink": lambda _, grad_y: grad_y * (at_zero >= 0)}
        check_gradients(student.relu, {"x": at_zero}, differences_at={"x": at_zero - 1e-3}, suspects=closed)


def mistaken(wrong: Wrong, y: np.ndarray, _: str, grad_y: np.ndarray) -> np.ndarray:
    """The gradient with a mistake."""
    return wrong(grad_y, y)


FORMULA = "grad_x is grad_y where y > 0, else 0: return grad_y * (self.y > 0)"
EXERCISE = Exercise(
    name="04_relu",
    title="ReLU.",
    source="tinycnn.ops.relu",
    chapter="docs/path/03_dense_and_relu.md",
    task=TASK,
    hint="grad_y passes where the output is positive and nowhere else.",
    formulas={"x": FORMULA, "": FORMULA},
    hints={
        "upstream": (
            "it is the slope alone, 0 or 1: grad_y, the gradient that arrives, is not used.",
            "By the chain rule, the gradient of x is grad_y times the slope.",
        ),
        "sign of grad_y": (
            "it is 1 where grad_y is positive and else 0; the slope is 1 where y is positive, and grad_y is its "
            "factor.",
            "The comparison is that of y with 0. Its result, 0 or 1, is multiplied by grad_y.",
        ),
        "compared late": (
            "the product of grad_y and y is compared with 0: Python multiplies before it compares.",
            "Brackets around the comparison: a * (b > 0).",
        ),
        "exchanged": (
            "y passes where grad_y is positive; grad_y has to pass where y is positive.",
            "Which of the two arrives, and which of the two decides?",
        ),
        "y itself": (
            "it is y itself; the gradient is made of grad_y and of the slope, 0 or 1.",
            "Forward returns y. backward returns grad_y where y is positive, however large y is.",
        ),
        "ones": (
            "it is 1 everywhere: neither grad_y, the gradient that arrives, nor the slope is used.",
            "By the chain rule, the gradient of x is grad_y times the slope, which is 0 where y is 0.",
        ),
        "one elsewhere": (
            "where y is 0, the gradient is 1 here; it has to be 0.",
            "Where the output is 0, a small change of x changes nothing.",
        ),
        "minus elsewhere": (
            "where y is 0, grad_y passes with the other sign, as the absolute value of x would have it; it has to be "
            "0 there.",
            "Where the output is 0, a small change of x changes nothing.",
        ),
        "shape": (
            "numbers are missing: each number of x has its own gradient, also where it is 0.",
            "An index such as a[y > 0] keeps only some of the numbers; the product with y > 0 keeps all, and makes "
            "the others 0. Nothing is to be summed.",
        ),
        "closed kink": (
            "at x = 0 the slope should be 0, and yours is 1.",
            "Is it y > 0 or y >= 0?",
        ),
        "upstream alone": (
            "grad_y passes everywhere, as if ReLU were not there. y is never negative, so y >= 0 is true everywhere.",
            "Where the output is 0, a small change of x changes nothing: there the gradient is 0.",
        ),
        "zero": (
            "nothing passes: all numbers are 0. y is never negative, so y < 0 is true nowhere.",
            "The slope is 1 where y is positive.",
        ),
        "y for the slope": (
            "y stands in place of the slope. The slope is 1 where y is positive, however large y is.",
            "If x grows by 1 from 2 to 3, by how much does y grow?",
        ),
        "by grad_y": (
            "grad_y passes where grad_y itself is positive; y has to be positive.",
            "The slope depends on x, or on y. A negative grad_y passes, too, where y is positive.",
        ),
        "by both": (
            "grad_y passes only where it is positive itself; a negative grad_y has to pass, too, where y is positive.",
            "The slope depends on x, or on y, and not on grad_y.",
        ),
        "the other side": (
            "grad_y passes where y is 0, and not where y is positive: the two cases are exchanged.",
            "np.where(condition, a, b) is a where the condition is true, and b elsewhere.",
        ),
        "without its sign": (
            "grad_y has lost its sign; a negative grad_y passes as a negative number.",
            "grad_y is multiplied by the slope, 0 or 1, and nothing else.",
        ),
        "above 1": (
            "grad_y passes only where y is greater than 1; it has to pass wherever y is greater than 0.",
            "The kink of ReLU is at 0.",
        ),
    },
    holes=(Hole("ReLUFunction.backward", "grad_y → grad_x, both in the shape of x."),),
    check=check,
)
