"""Exercise 11: SGD with momentum, and Adam."""

import math
from types import ModuleType
from typing import Any

import numpy as np

from tinycnn.exercises.checking import Mistake, compare, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.tensor import Tensor

TASK = """
An optimizer updates a parameter p from its gradient g. The docstrings of SGD and Adam state the formulas; write them
for arrays.

Everything happens in place (p -= ..., velocity *= ...): p and its slots are the arrays that the network and the
optimizer hold, and `p = p - ...` would only bind a local name to a new array. Mind the order: does the formula use the
old v or the new one? The arguments of Adam are step_size = lr / (1 - β₁ᵗ) and v_scale = 1 / (1 - β₂ᵗ): see `rates`.
"""
LR, STEPS = 0.1, 4


def sgd_by_hand(p: float, gradients: list[float], momentum: float, nesterov: bool, weight_decay: float) -> float:
    """The formula for one number."""
    v = 0.0
    for g in gradients:
        g = g + weight_decay * p
        v = momentum * v + g
        p = p - LR * (g + momentum * v if nesterov else v)
    return p


def adam_by_hand(p: float, gradients: list[float], beta1: float, beta2: float, eps: float) -> float:
    """The formula for one number."""
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        p = p - LR * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + eps)
    return p


def check(student: ModuleType) -> None:
    """Some steps of each, number by number."""
    for momentum, nesterov, weight_decay in ((0.9, False, 0), (0, False, 0), (0.9, True, 0), (0.9, False, 0.1)):
        settings: dict[str, Any] = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        with situation(f"SGD with {settings}"):
            check_steps(student.SGD, settings, lambda p, g, s=settings: sgd_by_hand(p, g, **s))
    for beta1, beta2, eps in ((0.9, 0.999, 1e-8), (0.5, 0.9, 0.1)):
        with situation(f"Adam with betas ({beta1}, {beta2}) and eps {eps}"):
            settings, formula = {"betas": (beta1, beta2), "eps": eps}, (beta1, beta2, eps)
            check_steps(student.Adam, settings, lambda p, g, f=formula: adam_by_hand(p, g, *f))


def check_steps(optimizer: Any, settings: dict[str, Any], by_hand: Any) -> None:
    """After each step the parameter is what the formula says, in the array where it was."""
    parameter, gradients = Tensor(normal(2, 3), requires_grad=True), normal(STEPS, 2, 3, seed=1)
    start, array = parameter.data.copy(), parameter.data
    descent = optimizer([parameter], lr=LR, **settings)
    for step in range(STEPS):
        parameter.grad = gradients[step].copy()
        descent.step()
        places = np.ndindex(start.shape)
        values = [by_hand(start[place], [g[place] for g in gradients[: step + 1]]) for place in places]
        expected = np.array(values).reshape(start.shape)
        if np.array_equal(array, start):
            raise Mistake("the parameter has not moved: p must change in place")
        compare(f"the parameter after step {step + 1}", expected, array, "the formula, number by number")
        if not np.array_equal(parameter.grad, gradients[step]):
            raise Mistake("the gradient itself has changed: write g = g + ..., not g += ...")


EXERCISE = Exercise(
    name="11_optimizers",
    title="SGD with momentum, and Adam.",
    source="tinycnn.optim.sgd_and_adam",
    chapter="docs/path/08_optimizers.md",
    task=TASK,
    hint="first update the slots in place, then move p by them; weight decay is added to the gradient before all else. "
    "SGD: velocity *= self.momentum, and so on.",
    holes=(
        Hole("SGD.update", "Change p and velocity in place; g stays as it is."),
        Hole("Adam.adam_update", "Change p, m and v in place; g stays as it is. The square root is backend.xp.sqrt.",
             starts="m "),
    ),
    check=check,
)  # fmt: skip
