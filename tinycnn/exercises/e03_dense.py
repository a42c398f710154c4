"""Exercise 3: the dense layer."""

from types import ModuleType

from tinycnn.exercises.checking import check_gradients, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole

TASK = """
    y = x W + b,    y[n, j] = Σ_i x[n, i] W[i, j] + b[j]          x (N, in), W (in, out), b (out,), y (N, out)

Every gradient is a sum over the uses of that number:

    W[i, j] multiplies x[n, i] in y[n, j], for every image n of the batch.
    b[j]    is added to y[n, j], for every image n of the batch.
    x[n, i] is used in every y[n, j].

Write these three sums with indices, then without a loop. The bias is optional: without it, backward returns two
gradients.
"""


def check(student: ModuleType) -> None:
    """All inputs; without bias."""
    inputs = {"x": normal(4, 3), "weight": normal(3, 2, seed=1), "bias": normal(2, seed=2)}
    check_gradients(student.dense, inputs)
    with situation("without a bias"):
        check_gradients(student.dense, {name: inputs[name] for name in ("x", "weight")})


EXERCISE = Exercise(
    name="03_dense",
    title="The dense layer.",
    source="tinycnn.ops.dense",
    chapter="docs/path/03_dense_and_relu.md",
    task=TASK,
    hint="the gradient of b[j] has one summand for each image of the batch. Shapes guide you: weight (in, out) can "
    "only come from x (N, in) and grad_y (N, out) in one way.",
    holes=(
        Hole("DenseFunction.backward", "grad_y (N, out) → the gradients of x (N, in), weight (in, out), and of bias\n"
             "(out,) if len(self.inputs) is 3."),
    ),
    formulas={
        "x": "grad_x[n, i] = Σ_j grad_y[n, j] W[i, j], that is grad_y Wᵀ: (N, out) (out, in) → (N, in)",
        "weight": "grad_W[i, j] = Σ_n x[n, i] grad_y[n, j], that is xᵀ grad_y: (in, N) (N, out) → (in, out)",
        "bias": "grad_b[j] = Σ_n grad_y[n, j], a sum over axis 0",
        "DenseFunction.backward": "grad_x = grad_y Wᵀ, grad_W = xᵀ grad_y, grad_b = the sum of grad_y over axis 0; "
        "return (grad_x, grad_W) if len(self.inputs) is 2, else (grad_x, grad_W, grad_b)",
    },
    check=check,
)  # fmt: skip
