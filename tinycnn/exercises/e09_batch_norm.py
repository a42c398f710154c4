"""Exercise 9: batch normalisation."""

from functools import partial
from types import ModuleType

import numpy as np

from tinycnn.exercises.checking import Arrays, Mistake, check_gradients, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole, Planted
from tinycnn.exercises.evidence import check_each
from tinycnn.exercises.symptoms import BOTH, close
from tinycnn.tensor import Tensor

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


TERMS = "direct term", "term through the mean", "term through the variance"
PLANTED: Planted = {
    "x_hat left out": [("BatchNormFunction.backward", {"grad_y * self.x_hat": "grad_y"})],
    "x for x_hat": [("BatchNormFunction.backward", {"(grad_y * self.x_hat": "(grad_y * self.inputs[0].data"})],
    "x_hat in beta": [("BatchNormFunction.backward", {"(grad_y, axis": "(grad_y * self.x_hat, axis"})],
    "gamma in a sum": [
        ("BatchNormFunction.backward", {"(grad_y * self.x_hat,": "(grad_y * self.x_hat * self.gamma,"}),
        ("BatchNormFunction.backward", {"(grad_y,": "(grad_y * self.gamma,"}),
    ],
    "arguments exchanged": [
        ("BatchNormFunction.backward", {"grad_y, grad_gamma, grad_beta)": "grad_y, grad_beta, grad_gamma)"})
    ],
    "sums left out": [
        ("BatchNormFunction.grad_x", {"grad_beta /": "grad_y /", "(grad_gamma /": "(grad_y * self.x_hat /"}),
    ],
    "whole numbers": [
        ("BatchNormFunction.grad_x", {"beta / self": "beta // self", "(grad_gamma / self.M)": "grad_gamma // self.M"}),
        ("BatchNormFunction.grad_x", {"beta / self": "beta // self", "gamma / self": "gamma // self"}),
    ],
    "x_hat left out of x": [
        ("BatchNormFunction.grad_x", {"self.x_hat * (grad_gamma / self.M)": "grad_gamma / self.M"})
    ],
    "mean for x_hat": [("BatchNormFunction.grad_x", {"self.x_hat * (": "self.mean * ("})],
    "needs_grad": [("BatchNormFunction.backward", {" if self.needs_grad[0] else None": ""})],
}


def check(student: ModuleType) -> None:
    """Rows and images."""
    shapes = {"rows (N, C)": (5, 3), "images (N, H, W, C)": (3, 2, 5, 4)}
    check_each([*(partial(check_case, student, *case) for case in shapes.items()), partial(check_no_grad_x, student)])


def check_case(student: ModuleType, what: str, shape: tuple[int, ...]) -> None:
    """The gradients of beta and gamma, from which that of x is made, and then that of x."""
    C = shape[-1]
    inputs = {"x": 2 * normal(*shape), "gamma": normal(C, seed=1), "beta": normal(C, seed=2)}
    with situation(f"for {what}"):
        try:
            check_gradients(
                lambda x, gamma, beta: student.BatchNormFunction(EPS)(x, gamma, beta),
                inputs,
                suspects={key: partial(without, inputs, paths) for key, paths in PATHS.items()},
                has_mean=True,
                order=("beta", "gamma", "x"),
            )
        except Mistake as mistake:
            if mistake.about in ("beta", "gamma") and mistake.came is not None:
                mistake.outcome = [
                    mistake.grads[name] for name in ("beta", "gamma")
                ]  # exchanged, or one is like the other
            if mistake.about == "x" and mistake.came is not None and mistake.symptom in ("", "order", "zero"):
                sentence, mistake.symptom = off_terms(inputs, mistake.came)
                mistake.args = (f"{mistake}\n  {sentence}",)
            raise


def check_no_grad_x(student: ModuleType) -> None:
    """The gradient of x is the longest formula: it is not computed for images, which need none."""
    with situation("when x needs no gradient"):
        gamma, beta = (Tensor(normal(3), requires_grad=True) for _ in range(2))
        creator = student.BatchNormFunction(EPS)(Tensor(normal(5, 3)), gamma, beta).creator
        grads = creator.backward(normal(5, 3, seed=99))
        if isinstance(grads, tuple | list) and grads[0] is not None:
            text = "backward computed the gradient of x, expected None in its place"
            raise Mistake(text, symptom="needs_grad", about="BatchNormFunction.backward")


def three_terms(inputs: Arrays, grad_y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """s, and the three terms whose sum, times gamma and s, is the gradient of x."""
    x, axes = inputs["x"], tuple(range(grad_y.ndim - 1))
    s = 1 / np.sqrt(x.var(axis=axes) + EPS)
    x_hat = (x - x.mean(axis=axes)) * s
    mean, along = grad_y.mean(axis=axes), (grad_y * x_hat).mean(axis=axes)
    return s, grad_y, -mean + 0 * grad_y, -x_hat * along


def without(inputs: Arrays, paths: tuple[float, float, float], name: str, grad_y: np.ndarray) -> np.ndarray | None:
    """The gradient of x with the factors ``paths`` for the mean, the variance and gamma."""
    if name != "x":
        return None
    through_mean, through_variance, with_gamma = paths
    s, direct, mean, variance = three_terms(inputs, grad_y)
    scale = inputs["gamma"] if with_gamma else 1.0
    return scale * s * (direct + through_mean * mean + through_variance * variance)


def off_terms(inputs: Arrays, came: np.ndarray) -> tuple[str, str]:
    """Which of the three terms of the gradient of x is off and by which factor, as a sentence; and the symptom.

    The factors are those with which the three terms add up to ``came``, in each channel.
    """
    s, *terms = three_terms(inputs, normal(*came.shape, seed=99))
    gamma, (C, M) = inputs["gamma"], (came.shape[-1], came.size // came.shape[-1])
    rows, wanted = [(gamma * s * term).reshape(M, C) for term in terms], came.reshape(M, C)
    factors = np.array([np.linalg.lstsq(np.stack(rows, -1)[:, c], wanted[:, c], rcond=None)[0] for c in range(C)]).T
    if not close(sum(f * row for f, row in zip(factors, rows, strict=True)), wanted):
        return "The direct term, that through the mean and that through the variance do not add up to it.", "of x"
    var = 1 / s**2 - EPS
    known = {
        "gamma": gamma, "1/gamma": 1 / gamma, "s": s, "1/s": 1 / s, "1/s²": 1 / s**2, "√(var + eps)/var": 1 / s / var,
        "√(var + eps)/√var": 1 / s / np.sqrt(var), "M": M + 0 * s, "1/M": 1 / M + 0 * s,
    }  # fmt: skip

    def times(factor: np.ndarray) -> str:
        if close(factor, 0 * s):
            return "missing"
        name = next((name for name, one in known.items() if close(factor, one)), "")
        if name:
            return f"{name} times what it should be" + ("" if "M" in name else ", in each channel")
        is_one = close(factor, factor[:1])
        return f"{factor[0]:.4g} times what it should be" if is_one else "multiplied by another factor in each channel"

    direct, mean, variance = factors
    if close(mean, direct) and close(variance, direct):
        return f"The sum of all three terms is {times(direct)}.", "common factor"
    if close(direct, np.ones(C)) and close(mean, variance):
        text = f"The direct term is right. The sum of the other two is {times(mean)}."
        return text, "divided by another number"
    off = [(what, factor) for what, factor in zip(TERMS, factors, strict=True) if not close(factor, np.ones(C))]
    return " ".join(f"The {what} is {times(factor)}." for what, factor in off), off[0][0] if len(
        off
    ) == 1 else "several terms"


GRAD_X = (
    "self.gamma * self.inverse_std * (grad_y - grad_beta / self.M - self.x_hat * grad_gamma / self.M), with one term "
    "for each path"
)
EXERCISE = Exercise(
    name="09_batch_norm",
    title="Batch normalisation.",
    source="tinycnn.ops.batch_norm",
    chapter="docs/path/07_batch_norm_and_dropout.md",
    task=TASK,
    hint="FixedBatchNormFunction.backward, below, is the case where only the direct path exists. Here one x also "
    "changes the mean and the variance of its channel, and with them all values of the channel: two more terms, each "
    "with a sum over the channel.",
    formulas={
        "x": f"grad_x = {GRAD_X}",
        "gamma": "grad_gamma = (grad_y * self.x_hat).sum(axis=self.axes), over all axes but the last",
        "beta": "grad_beta = grad_y.sum(axis=self.axes), over all axes but the last",
        "BatchNormFunction.backward": "grad_beta = grad_y.sum(axis=self.axes); grad_gamma = (grad_y * "
        "self.x_hat).sum(axis=self.axes); grad_x = self.grad_x(grad_y, grad_gamma, grad_beta) if self.needs_grad[0] "
        "else None; return grad_x, grad_gamma, grad_beta",
        "BatchNormFunction.grad_x": f"return {GRAD_X}",
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
        "direct term": (
            "the direct path, where mean and variance stay as they are, has a wrong factor.",
            "x̂ = (x - mean) s: along this path d x̂/d x = s, and d y/d x̂ = gamma.",
        ),
        "term through the mean": (
            "the path through the mean has a wrong factor or sign.",
            "Along this path d x̂/d x is -s/M, for each of the M values of the channel: a sum over grad_y.",
        ),
        "term through the variance": (
            "the path through the variance has a wrong factor or sign.",
            "d x̂/d var · d var/d x = (-x̂ s²/2) · (2 (x - mean)/M), and (x - mean) s = x̂. One x̂ stands inside the "
            "sum over the channel, with grad_y; the other one outside of it.",
        ),
        "divided by another number": (
            "the two sums, over grad_y and over grad_y x̂, have a wrong factor.",
            "mean and var divide by M, the number of values in a channel, so their paths do: self.M, once.",
        ),
        "common factor": (
            "all three paths have the same factor too much, or lack it.",
            "gamma and s stand before the whole bracket, once each; s = self.inverse_std is 1/√(var + eps) already.",
        ),
        "x for x_hat": (
            "x stands where x̂ belongs, in the gradient of gamma.",
            "y = gamma x̂ + beta: gamma multiplies x̂, the normalised numbers, and not x.",
        ),
        "x_hat left out": (
            "the gradient of gamma is that of beta: x̂ is missing.",
            "y = gamma x̂ + beta: by how much does y change when gamma changes by 1?",
        ),
        "x_hat in beta": (
            "the gradient of beta is that of gamma: it contains x̂.",
            "y = gamma x̂ + beta: by how much does y change when beta changes by 1?",
        ),
        "gamma in a sum": (
            "gamma stands in the gradient of gamma or beta, on which it has no influence.",
            "y = gamma x̂ + beta: the slope of y is x̂ for gamma, and 1 for beta.",
        ),
        "arguments exchanged": (
            "grad_x is called with the gradients of gamma and beta in each other's place.",
            "def grad_x(self, grad_y, grad_gamma, grad_beta): the order in the call has to be the same.",
        ),
        "sums left out": (
            "the paths through the mean and through the variance lack the sum over the channel.",
            "One x changes the mean, and the mean changes all M values: add up what each of them contributes.",
        ),
        "whole numbers": ("// rounds down to a whole number.", "A division of numbers with fractions is /."),
        "x_hat left out of x": (
            "the path through the variance lacks x̂.",
            "d var/d x = 2 (x - mean)/M: the variance grows most with the numbers that are far from the mean.",
        ),
        "several terms": (
            "more than one of the three terms is not what it should be.",
            "Compute the three paths one by one, as in the task, and print their shapes: two of them contain a sum "
            "over the channel.",
        ),
        "mean for x_hat": (
            "the path through the variance has the mean in the place of x̂.",
            "d var/d x = 2 (x - mean)/M, and (x - mean) s is x̂.",
        ),
        "needs_grad": (
            "a gradient is computed that is not needed.",
            "Images need none: where self.needs_grad[0] is False, backward returns None for x.",
        ),
        "of x": (
            "FixedBatchNormFunction.backward, below, is the case where only the direct path exists. Here one x also "
            "changes the mean and the variance of its channel, and with them all its values: two more terms.",
            "Compute the three paths one by one, as in the task, and print their shapes: two of them contain a sum "
            "over the channel.",
        ),
    },
    holes=(
        Hole("BatchNormFunction.backward", "grad_y in the shape of x → the gradients of x (see grad_x; None unless\n"
             "self.needs_grad[0]), gamma (C,) and beta (C,)."),
        Hole("BatchNormFunction.grad_x", "grad_y, the gradients of gamma and beta (C,) → grad_x, in the shape of x."),
    ),
    planted=PLANTED,
    check=check,
    keeps=("BatchNormFunction", "FixedBatchNormFunction"),
)  # fmt: skip
