"""Exercise 13: a new operation."""

from types import ModuleType

import numpy as np

from tinycnn.exercises.checking import Mistake, check_gradients, compare, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.tensor import Function, Tensor

TASK = """
An operation of your own, with the check of its gradient:

    y = x  where x > 0,      y = slope · x  elsewhere

forward computes on arrays and stores what backward needs; backward returns grad_x for grad_y. Use self.backend.xp in
place of numpy, and mind the dtype: xp.where(x > 0, 1, 0.1) is float64 for any x. Then write gradient_is_right, with
gradcheck.
"""


class WrongLeakyReLU(Function):
    """Its gradient is that of ReLU."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return np.where(x > 0, x, 0.1 * x)

    def backward(self, grad_y: np.ndarray) -> np.ndarray:
        return grad_y * (self.x > 0)


def check(student: ModuleType) -> None:
    """Check the values, the gradient, float32, and that the student's own check can fail."""
    x = normal(3, 4)
    came = student.leaky_relu(Tensor(x), slope=0.3).numpy()
    compare("leaky_relu(x, slope=0.3)", np.array([v if v > 0 else 0.3 * v for v in x.flat]).reshape(x.shape), came)
    with situation("with slope 0.3"):
        check_gradients(lambda x: student.leaky_relu(x, slope=0.3), {"x": x})
    with situation("on a float32 input"):
        single = Tensor(x.astype(np.float32), requires_grad=True)
        student.leaky_relu(single).sum().backward()
    if not student.gradient_is_right():
        raise Mistake("leaky_relu is right, but gradient_is_right() says that it is not")
    vars(student)["leaky_relu"] = lambda x, slope=0.1: WrongLeakyReLU()(x)
    try:
        fooled = student.gradient_is_right()
    except AssertionError:
        return
    if fooled:
        raise Mistake("gradient_is_right() is true for a wrong leaky_relu too; does it call leaky_relu and gradcheck?")


EXERCISE = Exercise(
    name="13_leaky_relu",
    title="An operation of your own: leaky ReLU, with its gradient check.",
    source="tinycnn.exercises.leaky_relu",
    chapter="docs/architecture.md",
    task=TASK,
    hint="the factor, 1 or slope, is the same in both directions: keep it. In the check, x needs float64, "
    "requires_grad=True, and values on both sides of 0.",
    holes=(
        Hole("LeakyReLUFunction.forward", "x → y, the same shape and dtype."),
        Hole("LeakyReLUFunction.backward", "grad_y → grad_x, the same shape and dtype."),
        Hole("gradient_is_right", "A float64 tensor with requires_grad=True, and gradcheck(lambda x: ..., x)."),
    ),
    check=check,
)
