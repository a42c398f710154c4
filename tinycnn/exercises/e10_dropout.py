"""Exercise 10: dropout."""

from types import ModuleType

import numpy as np

from tinycnn.exercises.checking import Mistake, check_gradients, situation
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.tensor import Tensor

TASK = """
    y = x · mask,      mask = 0 with probability p, else 1/(1 - p)

The factor 1/(1 - p) makes the expected value of y equal to x, so that at test time the layer does nothing. The mask is
self.backend.dropout_mask(x.shape, self.p, x.dtype, self.key); the same key gives the same mask.
"""


def check(student: ModuleType) -> None:
    """The values, then the gradient."""
    x, p = np.arange(1.0, 201.0).reshape(10, 20), 0.25
    factors = student.dropout(Tensor(x), p=p, key=(3, 1)).numpy() / x
    if not np.isin(np.round(factors, 9), [0, round(1 / (1 - p), 9)]).all():
        raise Mistake(f"with p = {p} each value is to be multiplied by 0 or by 1/(1 - p) = {1 / (1 - p):.4g}")
    if not 0.1 < (factors == 0).mean() < 0.4:
        raise Mistake(f"with p = {p}, {(factors == 0).mean():.0%} of the values were dropped")
    with situation(f"with p = {p}"):
        check_gradients(lambda x: student.dropout(x, p=p, key=(3, 1)), {"x": x})


EXERCISE = Exercise(
    name="10_dropout",
    title="Dropout.",
    source="tinycnn.ops.dropout",
    chapter="docs/path/07_batch_norm_and_dropout.md",
    task=TASK,
    hint="y is a product of x and something that does not depend on x. The gradient needs the same mask "
    "as forward, so forward stores it.",
    holes=(
        Hole("DropoutFunction.forward", "x → y, the same shape. What will backward need?"),
        Hole("DropoutFunction.backward", "grad_y → grad_x, the same shape."),
    ),
    check=check,
)
