"""Exercise 11: SGD with momentum, and Adam."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations
from types import ModuleType
from typing import Any

import numpy as np

from tinycnn.exercises.checking import Mistake, compare, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.exercises.diagnosis import BOTH
from tinycnn.tensor import Tensor

TASK = """
An optimizer updates a parameter p from its gradient g. The docstrings of SGD and Adam state the formulas; write them
for arrays.

Everything happens in place (p -= ..., velocity *= ...): p and its slots are the arrays that the network and the
optimizer hold, and `p = p - ...` would only bind a local name to a new array. Mind the order: does the formula use the
old v or the new one? The arguments of Adam are step_size = lr / (1 - β₁ᵗ) and v_scale = 1 / (1 - β₂ᵗ): see `rates`.
"""
LR, STEPS = 0.1, 4
Formula = Callable[[float, list[float]], float]  # the start and the gradients → the parameter after the steps


def sgd_by_hand(
    p: float,
    gradients: list[float],
    *,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    rate: float = LR,
    late: bool = False,
    forgets: bool = False,
) -> float:
    """The formula for one number; with mistakes: the step uses the old velocity (``late``), or ``forgets`` it."""
    v = 0.0
    for g in gradients:
        g = g + weight_decay * p
        old, v = v, g if forgets else momentum * v + g
        used = old if late else v
        p = p - rate * (g + momentum * used if nesterov else used)
    return p


def adam_by_hand(
    p: float,
    gradients: list[float],
    *,
    beta1: float,
    beta2: float,
    eps: float,
    rate: float = LR,
    corrected: bool = True,
    power: int = 2,
    forgets: str = "",
) -> float:
    """The formula for one number; with mistakes: v not ``corrected``, or of the ``power`` 1 of the gradient; the
    running mean that is forgotten after each step, ``m`` or ``v``.
    """
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m, v = 0.0 if forgets == "m" else m, 0.0 if forgets == "v" else v
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * abs(g) ** power
        v_hat = v / (1 - beta2**t) if corrected else v
        p = p - rate * (m / (1 - beta1**t)) / (math.sqrt(v_hat) + eps)
    return p


def check(student: ModuleType) -> None:
    """Some steps of each, number by number."""
    for momentum, nesterov, weight_decay in (
        (0.9, False, 0), (0, False, 0), (0.9, True, 0), (0.5, False, 0.1), (0.9, True, 0.1),
    ):  # fmt: skip
        settings: dict[str, Any] = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        with situation(f"SGD with {settings}"):
            by_hand, mistakes = (
                partial(sgd_by_hand, **settings),
                {"uphill": {"rate": -LR}, "velocity late": {"late": True}, "velocity lost": {"forgets": True}},
            )
            check_steps(student.SGD, settings, by_hand, "SGD.update", mistakes)
    for beta1, beta2, eps in ((0.9, 0.999, 1e-8), (0.5, 0.9, 0.1)):
        with situation(f"Adam with betas ({beta1}, {beta2}) and eps {eps}"):
            settings = {"betas": (beta1, beta2), "eps": eps}
            formula = partial(adam_by_hand, beta1=beta1, beta2=beta2, eps=eps)
            mistakes = {
                "uphill": {"rate": -LR},
                "v not corrected": {"corrected": False},
                "square forgotten": {"power": 1},
                "m lost": {"forgets": "m"},
                "v lost": {"forgets": "v"},
            }
            check_steps(student.Adam, settings, formula, "Adam.adam_update", mistakes)


def check_steps(
    optimizer: Any, settings: dict[str, Any], by_hand: Callable[..., float], place: str, mistakes: Mapping[str, Any]
) -> None:
    """After each step the parameter is what the formula says, in the array where it was.

    ``mistakes``: by symptom, the settings of ``by_hand`` that make the mistake; two of them may meet.
    """
    pairs = {f"{a}{BOTH}{b}": mistakes[a] | mistakes[b] for a, b in combinations(mistakes, 2)}
    wrongs = {key: partial(by_hand, **changed) for key, changed in {**mistakes, **pairs}.items()}
    parameter, gradients = Tensor(normal(2, 3), requires_grad=True), normal(STEPS, 2, 3, seed=1)
    start, array = parameter.data.copy(), parameter.data
    descent = optimizer([parameter], lr=LR, **settings)
    for step in range(STEPS):
        parameter.grad = gradients[step].copy()
        descent.step()
        expected = stepped(start, gradients[: step + 1], by_hand)
        if step == 0 and settings.get("momentum") and np.array_equal(array, start):
            continue  # a step by the old velocity, which is 0: the next one shows whether that is the mistake
        if np.array_equal(array, start):
            text = "the parameter has not moved: p must change in place"
            raise Mistake(text, symptom="only a name", about=place, place=place)
        typical = {key: partial(stepped, start, gradients[: step + 1], wrong) for key, wrong in wrongs.items()}
        what, source = f"the parameter after step {step + 1}", "the formula, number by number"
        compare(what, expected, array, source, about=place, place=place, suspects=typical)
        if not np.array_equal(parameter.grad, gradients[step]):
            text = "the gradient itself has changed: write g = g + ..., not g += ..."
            raise Mistake(text, symptom="in place", about=place, place=place)


def stepped(start: np.ndarray, gradients: np.ndarray, formula: Formula) -> np.ndarray:
    """The parameter after the steps of ``formula``, number by number."""
    values = [formula(float(start[place]), [float(g[place]) for g in gradients]) for place in np.ndindex(start.shape)]
    return np.array(values).reshape(start.shape)


EXERCISE = Exercise(
    name="11_optimizers",
    title="SGD with momentum, and Adam.",
    source="tinycnn.optim.sgd_and_adam",
    chapter="docs/path/08_optimizers.md",
    task=TASK,
    hint="first update the slots in place, then move p by them; weight decay is added to the gradient before all else. "
    "SGD: velocity *= self.momentum, and so on.",
    formulas={
        "SGD.update": "velocity *= momentum; velocity += g; p -= lr * velocity; with nesterov p -= lr * (g + momentum "
        "* velocity)",
        "Adam.adam_update": "m *= β₁; m += (1 - β₁) g; v *= β₂; v += (1 - β₂) g²; then p -= step_size m / (√(v "
        "v_scale) + eps)",
    },
    hints={
        "AttributeError": (
            "there is no attribute of this name. An optimizer has no self.backend.",
            "The backend is an argument of adam_update: backend.xp.sqrt. Settings are attributes, such as self.eps.",
        ),
        "uphill": (
            "p moves with the gradient; descent goes against it.",
            "The gradient points to where the loss grows: p -= ..., not p += ...",
        ),
        "velocity late": (
            "p moves by the old velocity; the formula takes the new one.",
            "First update the velocity, then move p.",
        ),
        "v not corrected": (
            "the running mean v starts at 0 and is not corrected for that.",
            "v_scale is 1 / (1 - β₂ᵗ): it belongs below the root, as a factor of v.",
        ),
        "square forgotten": (
            "v is a mean of squares of the gradient.",
            "(1 - β₂) g², not (1 - β₂) |g|.",
        ),
        "only a name": (
            "p = p - ... makes a new array and gives it a local name; the network keeps the old one.",
            "p -= ... changes the array that the network holds.",
        ),
        **{
            f"{slot} lost": (
                f"{slot} begins with zeros in every step: the array that the optimizer holds has not changed.",
                f"{slot} = ... gives a new array a local name; {slot} *= ... and {slot} += ... change the old one.",
            )
            for slot in ("velocity", "m", "v")
        },
    },
    holes=(
        Hole("SGD.update", "Change p and velocity in place; g stays as it is."),
        Hole("Adam.adam_update", "Change p, m and v in place; g stays as it is. The square root is backend.xp.sqrt.",
             starts="m "),
    ),
    check=check,
    keeps=("SGD", "Adam"),
)  # fmt: skip
