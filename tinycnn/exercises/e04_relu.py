"""Exercise 4: ReLU."""

from types import ModuleType

import numpy as np

from tinycnn.exercises.checking import check_gradients, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole

TASK = """
    y = max(x, 0)

Where x > 0, y changes as x does. Where x < 0, y does not change. At the kink x = 0 any slope between 0 and 1 is valid
(a subgradient); this package takes 0, as others do. Forward stores y and not x: that is enough, and the next layer
stores y anyway.
"""


def check(student: ModuleType) -> None:
    """Away from the kink, and at it."""
    check_gradients(student.relu, {"x": normal(3, 4)})
    with situation("at x = 0, where the slope is to be 0 (the difference is taken a little to the left)"):
        at_zero = np.array([0.0, 1.0, -1.0])
        closed = {"closed kink": lambda _, grad_y: grad_y * (at_zero >= 0)}
        check_gradients(student.relu, {"x": at_zero}, differences_at={"x": at_zero - 1e-3}, suspects=closed)


EXERCISE = Exercise(
    name="04_relu",
    title="ReLU.",
    source="tinycnn.ops.relu",
    chapter="docs/path/03_dense_and_relu.md",
    task=TASK,
    hint="grad_y passes where the output is positive and nowhere else.",
    formulas={"x": "grad_x = grad_y where y > 0, else 0", "": "grad_x = grad_y where y > 0, else 0"},
    hints={
        "closed kink": (
            "at x = 0 the slope is to be 0, and yours is 1.",
            "Is it y > 0 or y >= 0?",
        ),
        "upstream alone": (
            "grad_y passes everywhere, as if ReLU were not there.",
            "Where the output is 0, a small change of x changes nothing.",
        ),
    },
    holes=(Hole("ReLUFunction.backward", "grad_y → grad_x, both in the shape of x."),),
    check=check,
)
