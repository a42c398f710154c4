"""Exercise 13: a new operation."""

from contextlib import suppress
from types import ModuleType

import numpy as np

from tinycnn.exercises.checking import Mistake, check_gradients, compare, normal, returned, situation
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.tensor import Function, Tensor

TASK = """
The operation:

    y = x  where x > 0,      y = slope · x  elsewhere

You write forward and backward: forward computes on arrays and stores what backward needs; backward returns grad_x for
grad_y. Use self.backend.xp in place of numpy, and mind the dtype: xp.where(x > 0, 1, 0.1) is float64 for any x. Then
write gradient_is_right, with gradcheck.
"""


class WrongLeakyReLU(Function):
    """Its gradient is that of ReLU: wrong where x is negative."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return np.where(x > 0, x, 0.1 * x)

    def backward(self, grad_y: np.ndarray) -> np.ndarray:
        return grad_y * (self.x > 0)


class AllLeaking(WrongLeakyReLU):
    """Its gradient is wrong where x is positive."""

    def backward(self, grad_y: np.ndarray) -> np.ndarray:
        return grad_y * 0.1


def check(student: ModuleType) -> None:
    """Check the values, the gradient, float32, and that the student's own check can fail."""
    x, place = normal(3, 4), "LeakyReLUFunction.forward"
    for slope in (0.3, 2.0, -0.5):
        came = student.leaky_relu(Tensor(x.copy()), slope=slope).numpy()
        expected = np.array([v if v > 0 else slope * v for v in x.flat]).reshape(x.shape)
        what = f"leaky_relu(x, slope={slope})"
        compare(what, expected, came, "the definition", about="forward", place=place)
    for slope in (0.3, 2.0, -0.5):
        with situation(f"with slope {slope}"):
            check_gradients(
                lambda x, slope=slope: student.leaky_relu(x, slope=slope),
                {"x": x},
                suspects={"slope left out": lambda _, grad_y: grad_y * (x > 0)},
            )
    if not returned(student.gradient_is_right(), "gradient_is_right"):
        text = "leaky_relu is right, but gradient_is_right() says that it is not"
        raise Mistake(text, symptom="own check", about="gradient_is_right", place="gradient_is_right")
    for wrong, where in ((WrongLeakyReLU, "negative"), (AllLeaking, "positive")):
        vars(student)["leaky_relu"] = lambda x, slope=0.1, wrong=wrong: wrong()(x)
        with suppress(AssertionError):
            if student.gradient_is_right():
                text = f"gradient_is_right() is true for a leaky_relu whose gradient is wrong where x is {where}"
                raise Mistake(text, symptom="own check", about="gradient_is_right", place="gradient_is_right")


EXERCISE = Exercise(
    name="13_leaky_relu",
    title="An operation of your own: leaky ReLU, with its gradient check.",
    source="tinycnn.exercises.leaky_relu",
    chapter="docs/path/03_dense_and_relu.md",
    task=TASK,
    hint="the factor, 1 or slope, is the same in both directions: keep it. In the check, x needs float64, "
    "requires_grad=True, and values on both sides of 0.",
    formulas={
        "x": "grad_x = grad_y where x > 0, else slope · grad_y",
        "forward": "y = x where x > 0, else slope · x",
        "LeakyReLUFunction.forward": "self.factor = xp.where(x > 0, 1, slope).astype(x.dtype); y = x · self.factor",
        "LeakyReLUFunction.backward": "grad_x = grad_y · self.factor",
        "gradient_is_right": "bool(gradcheck(lambda x: leaky_relu(x), x, raise_exception=False)), x of float64",
    },
    hints={
        "slope left out": (
            "where x is negative the gradient is 0, as for ReLU; here y still changes, by slope times as much.",
            "Forward multiplies by 1 or by slope. Backward multiplies by the same factor.",
        ),
        "own check": (
            "the check does not decide between right and wrong.",
            "Call gradcheck on a function that calls leaky_relu, with an x that has values on both sides of 0, and "
            "return its result as a bool.",
        ),
    },
    holes=(
        Hole("LeakyReLUFunction.forward", "x → y, the same shape and dtype."),
        Hole("LeakyReLUFunction.backward", "grad_y → grad_x, the same shape and dtype."),
        Hole("gradient_is_right", "A float64 tensor with requires_grad=True, and gradcheck(lambda x: ..., x)."),
    ),
    check=check,
)
