"""Exercise 3: the dense layer."""

from functools import partial
from types import ModuleType

import numpy as np

from tinycnn.exercises.checking import Arrays, Suspects, check_gradients, normal, situation
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
    mistakes: Suspects = {
        "not transposed": partial(with_reshapes, inputs),
        "sums multiplied": partial(product_of_sums, inputs),
        "slope alone": lambda name, grad_y: np.ones(2) if name == "bias" else None,
        "bias as a factor": lambda name, grad_y: inputs[name] * grad_y.sum(axis=0) if name == "bias" else None,
    }
    check_gradients(student.dense, inputs, suspects=mistakes)
    with situation("without a bias"):
        check_gradients(student.dense, {name: inputs[name] for name in ("x", "weight")})


def with_reshapes(inputs: Arrays, name: str, grad_y: np.ndarray) -> np.ndarray | None:
    """The gradient with a reshape in place of the transpose; None for the bias."""
    x, weight = inputs["x"], inputs["weight"]
    reshaped = {
        "x": grad_y @ weight.reshape(weight.shape[::-1]),  # (N, out) (out, in)
        "weight": x.reshape(x.shape[::-1]) @ grad_y,  # (in, N) (N, out)
    }
    return reshaped.get(name)


def product_of_sums(inputs: Arrays, name: str, grad_y: np.ndarray) -> np.ndarray | None:
    """The product of two sums in place of the sum of the products; None for the bias."""
    sums = {
        "x": (grad_y.sum(axis=1), inputs["weight"].sum(axis=1)),
        "weight": (inputs["x"].sum(axis=0), grad_y.sum(axis=0)),
    }
    return np.outer(*sums[name]) if name in sums else None


EXERCISE = Exercise(
    name="03_dense",
    title="The dense layer.",
    source="tinycnn.ops.dense",
    chapter="docs/path/03_dense_and_relu.md",
    task=TASK,
    hint="the gradient of b[j] has one summand for each image of the batch. Use the shapes: only one product of x (N, "
    "in) and grad_y (N, out) has the shape of weight, (in, out).",
    holes=(
        Hole("DenseFunction.backward", "grad_y (N, out) → the gradients of x (N, in), weight (in, out), and of bias\n"
             "(out,) if len(self.inputs) is 3."),
    ),
    formulas={
        "x": "grad_x[n, i] = Σ_j grad_y[n, j] W[i, j], (N, out) (out, in) → (N, in): grad_x = grad_y @ self.weight.T",
        "weight": "grad_W[i, j] = Σ_n x[n, i] grad_y[n, j], (in, N) (N, out) → (in, out): grad_weight = self.x.T @ "
        "grad_y",
        "bias": "grad_b[j] = Σ_n grad_y[n, j], a sum over axis 0: grad_bias = grad_y.sum(axis=0)",
        "DenseFunction.backward": "grad_x = grad_y @ self.weight.T; grad_weight = self.x.T @ grad_y; grad_bias = "
        "grad_y.sum(axis=0); return (grad_x, grad_weight) if len(self.inputs) is 2, else (grad_x, grad_weight, "
        "grad_bias)",
    },
    hints={
        "sums multiplied": (
            "both factors are summed first, and then multiplied; it has to be the sum of the products.",
            "(x₁ + x₂) (g₁ + g₂) is not x₁ g₁ + x₂ g₂. In einsum, one letter for the summed axis, in both arrays.",
        ),
        "slope alone": (
            "it is 1, the slope of a single y[n, j]: grad_y, the gradient that arrives, is not used.",
            "b[j] is added to y[n, j] for every image n. What does each of these y receive?",
        ),
        "bias as a factor": (
            "the bias stands in its own gradient; y contains it as a summand, and not as a factor of anything.",
            "If b[j] grows by 1, y[n, j] grows by 1, however large b[j] is.",
        ),
        "of x": (
            "x[n, i] is in every y[n, j], multiplied by W[i, j]. So its gradient is a sum over j.",
            "Compute grad_x[0, 0] on paper, from the first row of grad_y and the first row of weight. What does your "
            "line take in their place?",
        ),
        "of weight": (
            "W[i, j] is in y[n, j] for every image n, multiplied by x[n, i]. So its gradient is a sum over n.",
            "Compute grad_weight[0, 0] on paper, from the first column of x and the first column of grad_y. What does "
            "your line take in their place?",
        ),
        "of bias": (
            "b[j] is added in y[n, j], for every image n. So its gradient is the sum of grad_y[n, j] over n.",
            "Which axis of grad_y counts the images? The sum over it has one number for each output.",
        ),
    },
    check=check,
)  # fmt: skip
