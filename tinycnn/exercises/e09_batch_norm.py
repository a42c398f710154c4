"""Exercise 9: batch normalisation."""

from functools import partial
from types import ModuleType

import numpy as np

from tinycnn.exercises.checking import Arrays, check_gradients, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.exercises.diagnosis import BOTH

TASK = """
Per channel, over the M values of the batch (all images and pixels):

    mean = Σ x / M      var = Σ (x - mean)² / M      x̂ = (x - mean) / √(var + eps)      y = gamma x̂ + beta

The gradients of gamma and beta are sums, as in a dense layer. x affects y in three ways: directly, through the mean,
and through the variance; its gradient is the sum of the three. With s = 1/√(var + eps):

    d x̂/d mean = -s      d mean/d x = 1/M      d x̂/d var = -x̂ s²/2      d var/d x = 2 (x - mean)/M

The second and third path contain a sum over the channel, since one x changes the mean and the variance of all M
values. The result is short: these sums are the gradients of beta and gamma.
"""


EPS = 1e-3
PATHS = {  # the mistakes that leave out a path: (through the mean, through the variance, gamma), 0 for what is missing
    "variance left out": (1.0, 0.0, 1.0),
    "mean left out": (0.0, 1.0, 1.0),
    "statistics left out": (0.0, 0.0, 1.0),
    "gamma left out": (1.0, 1.0, 0.0),
    f"gamma left out{BOTH}variance left out": (1.0, 0.0, 0.0),
    f"gamma left out{BOTH}mean left out": (0.0, 1.0, 0.0),
    f"gamma left out{BOTH}statistics left out": (0.0, 0.0, 0.0),
}


def check(student: ModuleType) -> None:
    """Rows and images."""
    for what, shape in {"rows (N, C)": (5, 3), "images (N, H, W, C)": (3, 2, 5, 4)}.items():
        C = shape[-1]
        with situation(f"for {what}"):
            inputs = {"x": 2 * normal(*shape), "gamma": normal(C, seed=1), "beta": normal(C, seed=2)}
            check_gradients(
                lambda x, gamma, beta: student.BatchNormFunction(EPS)(x, gamma, beta),
                inputs,
                suspects={key: partial(without, inputs, paths) for key, paths in PATHS.items()},
                has_mean=True,
            )


def without(inputs: Arrays, paths: tuple[float, float, float], name: str, grad_y: np.ndarray) -> np.ndarray | None:
    """The gradient of x with the factors ``paths`` for the mean, the variance and gamma."""
    if name != "x":
        return None
    through_mean, through_variance, with_gamma = paths
    x, axes = inputs["x"], tuple(range(grad_y.ndim - 1))
    s = 1 / np.sqrt(x.var(axis=axes) + EPS)
    x_hat = (x - x.mean(axis=axes)) * s
    mean, along = grad_y.mean(axis=axes), (grad_y * x_hat).mean(axis=axes)
    scale = inputs["gamma"] if with_gamma else 1.0
    return scale * s * (grad_y - through_mean * mean - through_variance * x_hat * along)


EXERCISE = Exercise(
    name="09_batch_norm",
    title="Batch normalisation.",
    source="tinycnn.ops.batch_norm",
    chapter="docs/path/07_batch_norm_and_dropout.md",
    task=TASK,
    hint="FixedBatchNormFunction.backward, below, is the case where only the direct path exists. What is missing takes "
    "the mean out of grad_y, and its part along x̂: what would only shift or stretch the channel changes nothing.",
    formulas={
        "x": "grad_x = gamma s · (grad_y - grad_beta / M - x̂ grad_gamma / M), with s = self.inverse_std",
        "gamma": "grad_gamma = Σ grad_y x̂ over all axes but the last",
        "beta": "grad_beta = Σ grad_y over all axes but the last",
        "BatchNormFunction.backward": "grad_beta = Σ grad_y and grad_gamma = Σ grad_y x̂ over self.axes",
        "BatchNormFunction.grad_x": "gamma s · (grad_y - grad_beta / M - x̂ grad_gamma / M), s = self.inverse_std",
    },
    hints={
        "variance left out": (
            "the path through the variance is missing, as if the variance were a constant.",
            "One x changes the variance, and with it all M values of the channel: a sum over grad_y x̂, times x̂.",
        ),
        "mean left out": (
            "the path through the mean is missing, as if the mean were a constant.",
            "One x changes the mean by 1/M, and with it all M values of the channel: a sum over grad_y.",
        ),
        "statistics left out": (
            "only the direct path is there; mean and variance are taken as constants.",
            "There are three paths from x to y. Each contributes a term, and the gradient is their sum.",
        ),
        "gamma left out": (
            "gamma is missing.",
            "y = gamma x̂ + beta, so the gradient of x̂ is gamma · grad_y.",
        ),
    },
    holes=(
        Hole("BatchNormFunction.backward", "grad_y in the shape of x → the gradients of x (see grad_x; None unless\n"
             "self.needs_grad[0]), gamma (C,) and beta (C,)."),
        Hole("BatchNormFunction.grad_x", "grad_y, the gradients of gamma and beta (C,) → grad_x, in the shape of x."),
    ),
    check=check,
    keeps=("BatchNormFunction", "FixedBatchNormFunction"),
)  # fmt: skip
