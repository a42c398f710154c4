"""Exercise 9: batch normalisation."""

from types import ModuleType

from tinycnn.exercises.checking import check_gradients, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole

TASK = """
Per channel, over the M values of the batch (all images and pixels):

    mean = Σ x / M      var = Σ (x - mean)² / M      x̂ = (x - mean) / √(var + eps)      y = gamma x̂ + beta

The gradients of gamma and beta are sums, as in a dense layer. x affects y in three ways: directly, through the mean,
and through the variance; its gradient is the sum of the three. With s = 1/√(var + eps):

    d x̂/d mean = -s      d mean/d x = 1/M      d x̂/d var = -x̂ s²/2      d var/d x = 2 (x - mean)/M

The second and third path contain a sum over the channel, since one x changes the mean and the variance of all M
values. The result is short: these sums are the gradients of beta and gamma.
"""


def check(student: ModuleType) -> None:
    """Rows and images."""
    for what, shape in {"rows (N, C)": (5, 3), "images (N, H, W, C)": (3, 2, 2, 2)}.items():
        C = shape[-1]
        with situation(f"for {what}"):
            inputs = {"x": 2 * normal(*shape), "gamma": normal(C, seed=1), "beta": normal(C, seed=2)}
            check_gradients(student.batch_norm, inputs)


EXERCISE = Exercise(
    name="09_batch_norm",
    title="Batch normalisation.",
    source="tinycnn.ops.batch_norm",
    chapter="docs/path/07_batch_norm_and_dropout.md",
    task=TASK,
    hint="FixedBatchNormFunction.backward, below, is the case where only the direct path exists. What is missing takes "
    "the mean out of grad_y, and its part along x̂: what would only shift or stretch the channel changes nothing.",
    holes=(
        Hole("BatchNormFunction.backward", "grad_y in the shape of x → the gradients of x (see grad_x; None unless\n"
             "self.needs_grad[0]), gamma (C,) and beta (C,)."),
        Hole("BatchNormFunction.grad_x", "grad_y, the gradients of gamma and beta (C,) → grad_x, in the shape of x."),
    ),
    check=check,
)  # fmt: skip
