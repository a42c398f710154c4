"""Exercise 13: a new operation."""

from contextlib import suppress
from functools import partial
from types import ModuleType

import numpy as np

from tinycnn.errors import GradientError
from tinycnn.exercises.checking import Mistake, check_gradients, compare, normal, returned, situation
from tinycnn.exercises.cutting import Exercise, Hole, Planted
from tinycnn.exercises.evidence import check_each
from tinycnn.exercises.leaky_relu import leaky_relu
from tinycnn.tensor import Function, Tensor

TASK = """
The operation:

    y = x  where x > 0,      y = slope · x  elsewhere

At x = 0, the gradient may take either slope. In the chapter, exercise 2 is the same operation with a fixed slope.

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


X = normal(3, 4)
FORWARD, BACKWARD = "LeakyReLUFunction.forward", "LeakyReLUFunction.backward"
FACTOR, PRODUCT = "where(x > 0, 1, self.slope)", "grad_y * self.factor"
CHOICE = "self.backend.xp.where({} > 0, grad_y, self.slope * grad_y)"
PLANTED: Planted = {
    "slope fixed": [(FORWARD, {"self.slope": "0.1"})],
    "slope everywhere": [(FORWARD, {FACTOR: "where(x > 0, self.slope, self.slope)"})],
    "sides exchanged": [(FORWARD, {FACTOR: "where(x > 0, self.slope, 1)"})],
    "minus slope": [(FORWARD, {FACTOR: "where(x > 0, 1, -self.slope)"})],
    "as ReLU": [(FORWARD, {FACTOR: "where(x > 0, 1, 0)"})],
    "factor alone": [(FORWARD, {"return x * self.factor": "return self.factor"})],
    "the larger one": [(FORWARD, {"return x * self.factor": "return self.backend.xp.maximum(x, self.slope * x)"})],
    "sign of y": [(BACKWARD, {PRODUCT: CHOICE.format("self.factor * self.inputs[0].data")})],
    "sign of grad_y": [(BACKWARD, {PRODUCT: CHOICE.format("grad_y")})],
    "factor twice": [(BACKWARD, {PRODUCT: f"{PRODUCT} * self.factor"})],
    "factor added": [(FORWARD, {"return x * self.factor": "return x + self.factor"})],
    "slope for all": [(BACKWARD, {PRODUCT: "grad_y * self.slope"})],
    "divided": [(BACKWARD, {PRODUCT: "grad_y / self.factor"})],
    "slope left out": [(BACKWARD, {PRODUCT: "grad_y * (self.factor == 1)"})],
}


def check(student: ModuleType) -> None:
    """Check the values, and if they are right, the gradient and float32; and that the student's own check can fail."""
    check_each([*(partial(check_slope, student, slope) for slope in (0.3, 2.0, -0.5)), partial(check_own, student)])


def check_slope(student: ModuleType, slope: float) -> None:
    """y, and the gradient of x."""
    expected = np.array([v if v > 0 else slope * v for v in X.flat]).reshape(X.shape)
    x = Tensor(X.copy())
    came = student.leaky_relu(x, slope=slope).numpy()
    if not np.array_equal(x.data, X):
        text = "x itself has changed: compute into a new array, the old one is still needed"
        raise Mistake(text, symptom="in place", about="forward", place=FORWARD)
    compare(
        f"leaky_relu(x, slope={slope})",
        expected,
        came,
        "the definition",
        about="forward",
        place=FORWARD,
        given={"x": X},
    )
    with situation(f"with slope {slope}"):
        check_gradients(lambda x: student.leaky_relu(x, slope=slope), {"x": X})


def check_own(student: ModuleType) -> None:
    """gradient_is_right is true for a leaky_relu that is right, and false for wrong ones."""
    about, theirs = "gradient_is_right", vars(student)["leaky_relu"]
    try:
        vars(student)["leaky_relu"] = leaky_relu
        if not returned(student.gradient_is_right(), about):
            text = "gradient_is_right() is not true for a leaky_relu that is right"
            raise Mistake(text, symptom="own check", about=about, place=about)
        for wrong, where in ((WrongLeakyReLU, "negative"), (AllLeaking, "positive")):
            vars(student)["leaky_relu"] = lambda x, slope=0.1, wrong=wrong: wrong()(x)
            with suppress(AssertionError, GradientError):
                if student.gradient_is_right():
                    text = f"gradient_is_right() is true for a leaky_relu whose gradient is wrong where x is {where}"
                    raise Mistake(text, symptom="own check", about=about, place=about)
    finally:
        vars(student)["leaky_relu"] = theirs


EXERCISE = Exercise(
    name="13_leaky_relu",
    title="An operation of your own: leaky ReLU, with its gradient check.",
    source="tinycnn.exercises.leaky_relu",
    chapter="docs/path/03_dense_and_relu.md",
    task=TASK,
    hint="the factor, 1 or slope, is the same in both directions: keep it. In the check, x needs float64, "
    "requires_grad=True, and values on both sides of 0.",
    formulas={
        "x": "grad_x = self.backend.xp.where(x > 0, grad_y, self.slope * grad_y), with the x that forward stored",
        "forward": "y = self.backend.xp.where(x > 0, x, self.slope * x)",
        "LeakyReLUFunction.forward": "self.factor = self.backend.xp.where(x > 0, 1, self.slope).astype(x.dtype); "
        "return x * self.factor",
        "LeakyReLUFunction.backward": "return grad_y * self.factor",
        "gradient_is_right": "bool(gradcheck(lambda x: leaky_relu(x), x, raise_exception=False)), x of float64",
    },
    hints={
        "slope left out": (
            "where x is negative the gradient is 0, as for ReLU; here y still changes, by slope times as much.",
            "Forward multiplies by 1 or by slope. Backward multiplies by the same factor.",
        ),
        "slope fixed": ("the slope is 0.1, whatever slope is asked for.", "self.slope is the one that was given."),
        "slope everywhere": (
            "x is multiplied by the slope where it is positive, too.",
            "Two cases: y = x where x > 0, and slope · x elsewhere.",
        ),
        "sides exchanged": (
            "the two cases are exchanged.",
            "xp.where(condition, a, b) is a where the condition holds, and b elsewhere.",
        ),
        "minus slope": (
            "the slope has the wrong sign.",
            "y = slope · x where x is negative: negative, too, for a positive slope.",
        ),
        "as ReLU": ("y is 0 where x is negative, as for ReLU.", "There it is slope · x."),
        "factor alone": ("the factor is returned; y is x times the factor.", "y = x · factor, with 1 or slope."),
        "the larger one": (
            "the larger of x and slope · x is y only for slopes up to 1.",
            "Choose by the sign of x, with xp.where.",
        ),
        "sign of y": (
            "the factor is chosen by the sign of y: where x is negative and the slope, too, y is positive.",
            "For ReLU, y > 0 is the same as x > 0; here it is for positive slopes only. Store x, or the factor itself.",
        ),
        "sign of grad_y": (
            "the factor is chosen by the sign of grad_y.",
            "The slope of y depends on where x is: forward has to store that.",
        ),
        "factor twice": ("the factor is applied twice.", "grad_x = grad_y · factor, with 1 or slope."),
        "factor added": ("the factor is added to x; y is their product.", "y = x · factor, with 1 or slope."),
        "slope for all": (
            "grad_y is multiplied by the slope everywhere; where x is positive, the factor is 1.",
            "grad_x = grad_y · factor, with 1 or slope: the same as in forward.",
        ),
        "divided": ("grad_y is divided by the factor.", "y = x · factor, so d y/d x is the factor."),
        "of forward": (
            "y is x where x > 0, and slope · x elsewhere.",
            "Compute the number at the index above on paper.",
        ),
        "own check": (
            "gradient_is_right does not tell a right gradient from a wrong one.",
            "Call gradcheck on a function that calls leaky_relu, with an x that has values on both sides of 0, and "
            "return its result as a bool.",
        ),
        "of gradient_is_right": (
            "gradcheck takes a function and a tensor x of float64, made with requires_grad=True.",
            "x = Tensor(an array of float64 with numbers on both sides of 0, requires_grad=True).",
        ),
    },
    planted=PLANTED,
    holes=(
        Hole("LeakyReLUFunction.forward", "x → y, the same shape and dtype."),
        Hole("LeakyReLUFunction.backward", "grad_y → grad_x, the same shape and dtype."),
        Hole("gradient_is_right", "A float64 tensor with requires_grad=True, and gradcheck(lambda x: ..., x)."),
    ),
    check=check,
)
