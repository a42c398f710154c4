"""Exercise 11: SGD with momentum, and Adam."""

import ast
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinycnn.exercises.checking import Arrays, Mistake, compare, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole, Planted, find_function
from tinycnn.exercises.evidence import check_each
from tinycnn.exercises.tracing import student_file
from tinycnn.tensor import Tensor

TASK = """
An optimizer updates a parameter p from its gradient g. The docstrings of SGD and Adam state the formulas; write them
for arrays.

Everything happens in place (p -= ..., velocity *= ...): p and its slots are the arrays that the network and the
optimizer hold, and `p = p - ...` would only bind a local name to a new array. Mind the order: does the formula use the
old v or the new one? The arguments of Adam are step_size = lr / (1 - β₁ᵗ) and v_scale = 1 / (1 - β₂ᵗ): see `rates`.

Nesterov: the step looks ahead. It adds the gradient to the velocity once more, and so moves p by what the velocity
would be after another step with the same gradient, momentum·v + g, where v is the new velocity and g contains the
weight decay. In SGD.update you add the weight decay to g yourself; adam_update gets a g to which it has been added.
"""
LR, STEPS, SOURCE = 0.1, 4, "the formula, number by number"
SGD, ADAM = "SGD.update", "Adam.adam_update"
Numbers = dict[str, float]  # the parameter and its slots, by name


def sgd_by_hand(
    p: float, gradients: list[float], *, momentum: float, nesterov: bool, weight_decay: float
) -> Iterator[Numbers]:
    """The formula for one number: the velocity and the parameter after each step."""
    v = 0.0
    for g in gradients:
        g = g + weight_decay * p
        v = momentum * v + g
        p = p - LR * (g + momentum * v if nesterov else v)
        yield {"velocity": v, "p": p}


def adam_by_hand(
    p: float, gradients: list[float], *, betas: tuple[float, float], eps: float, weight_decay: float
) -> Iterator[Numbers]:
    """The formula for one number: the slots and the parameter after each step."""
    m, v, (beta1, beta2) = 0.0, 0.0, betas
    for t, g in enumerate(gradients, start=1):
        g = g + weight_decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        p = p - LR * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + eps)
        yield {"m": m, "v": v, "p": p}


def check(student: ModuleType) -> None:
    """Some steps of each, number by number."""
    sgd = [
        {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        for momentum, nesterov, weight_decay in (
            (0.9, False, 0.0), (0.0, False, 0.0), (0.9, True, 0.0), (0.5, False, 0.1), (0.9, True, 0.1),
        )
    ]  # fmt: skip
    adam = [
        {"betas": betas, "eps": eps, "weight_decay": weight_decay}
        for betas, eps, weight_decay in (((0.9, 0.999), 1e-8, 0.0), ((0.5, 0.9), 0.1, 0.0), ((0.5, 0.9), 0.1, 0.1))
    ]
    check_each(
        [partial(check_steps, student.SGD, settings, sgd_by_hand, SGD) for settings in sgd]
        + [partial(check_steps, student.Adam, settings, adam_by_hand, ADAM) for settings in adam]
    )


def check_steps(
    optimizer: Any, settings: dict[str, Any], by_hand: Callable[..., Iterator[Numbers]], place: str
) -> None:
    """After each step the slots, and then the parameter, are what the formula says, in the arrays where they were."""
    parameter, gradients = Tensor(normal(2, 3), requires_grad=True), normal(STEPS, 2, 3, seed=1)
    start, array = parameter.data.copy(), parameter.data
    descent = optimizer([parameter], lr=LR, **settings)
    expected = steps_of(by_hand, start, gradients, settings)
    starts = {"p": start, **{name: slot.copy() for name, slot in descent.slots[0].items()}}
    came: dict[str, list[np.ndarray]] = {name: [] for name in ("g", *descent.slots[0], "p")}
    with situation(f"{optimizer.__name__}({', '.join(f'{name}={value}' for name, value in settings.items())})"):
        for step in range(STEPS):
            parameter.grad = gradients[step].copy()
            descent.step()
            for name, numbers in {"g": parameter.grad, **descent.slots[0], "p": array}.items():
                came[name].append(numbers.copy())
        judged = list(descent.slots[0]) if settings.get("momentum", 1) else []  # without momentum, any velocity will do
        try:
            for step in range(STEPS):
                for name in (*judged, "p"):
                    before = {
                        key: numbers[step - 1] if step else starts[key] for key, numbers in came.items() if key != "g"
                    }
                    given = {"lr": np.array(LR), "g": gradients[step], **before}
                    check_array(
                        name, came[name][step], expected[name][step], f"after step {step + 1}", given, judged, place
                    )
                if not np.array_equal(came["g"][step], gradients[step]):
                    text = "the gradient itself has changed: write g = g + ..., not g += ..."
                    raise Mistake(text, symptom="in place", about=place, place=place)
        except Mistake as mistake:
            mistake.outcome = np.array(list(came.values()))
            raise


def check_array(
    name: str, came: np.ndarray, expected: np.ndarray, when: str, given: Arrays, slots: list[str], place: str
) -> None:
    """Raise Mistake unless the slot of this name, or p, is as expected; ``given``: lr, g, and all before the step."""
    if name != "p" and not came.any():
        symptom = "slot only a name" if is_bound_anew(place, name) else "slot unchanged"
        raise Mistake(f"{name} is still all zeros {when}", symptom=symptom, about=place, place=place)
    if name == "p" and np.array_equal(came, given["p"]):
        symptom = "only a name" if is_bound_anew(place, "p") else "not moved"
        raise Mistake(f"p has not moved {when}", symptom=symptom, about=place, place=place)
    rest = f", with the right {' and '.join(slots)}," if name == "p" and slots else ""
    compare(f"{name} {when}{rest}", expected, came, SOURCE, about=place, place=place, given=given)


def is_bound_anew(place: str, name: str) -> bool:
    """Whether the student's function ``place`` has a line ``name = ...``, which gives the name to another array."""
    function = find_function(ast.parse(Path(student_file.get()).read_text(encoding="utf-8")), place)
    assigned = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
    return any(isinstance(one, ast.Name) and one.id == name for node in assigned for one in node.targets)


def steps_of(
    by_hand: Callable[..., Iterator[Numbers]], start: np.ndarray, gradients: np.ndarray, settings: dict[str, Any]
) -> dict[str, np.ndarray]:
    """The parameter and its slots after each step, by name, number by number: arrays (STEPS, ...)."""
    results: dict[str, np.ndarray] = {}
    for place in np.ndindex(start.shape):
        for step, numbers in enumerate(by_hand(float(start[place]), [float(g[place]) for g in gradients], **settings)):
            for name, number in numbers.items():
                results.setdefault(name, np.zeros((STEPS, *start.shape)))[step, *place] = number
    return results


MOVE = "        p -= lr * (g + self.momentum * velocity if self.nesterov else velocity)\n"
AHEAD, ELSE = "self.momentum * velocity", "self.nesterov else velocity\n"
NEW_VELOCITY = "        velocity *= self.momentum\n        velocity += g\n"
NEW_SLOTS = """        m *= self.beta1
        m += (1 - self.beta1) * g
        v *= self.beta2
        v += (1 - self.beta2) * (g * g)
"""
ADAM_MOVE = "        p -= step_size * m / (backend.xp.sqrt(v * v_scale) + self.eps)\n"
PLANTED: Planted = {
    "uphill": [
        (SGD, {"p -= lr": "p += lr"}),
        (SGD, {"else velocity": "else -velocity"}),
        (ADAM, {"p -= step_size": "p += step_size"}),
    ],
    "velocity late": [(SGD, {NEW_VELOCITY: "", MOVE: MOVE + NEW_VELOCITY})],
    "Nesterov left out": [(SGD, {"g + self.momentum * velocity if self.nesterov else velocity": "velocity"})],
    "Nesterov without g": [(SGD, {"(g + self.momentum * velocity if": "(velocity + self.momentum * velocity if"})],
    "Nesterov without decay": [
        (SGD, {"        if self.weight": "        plain = g\n        if self.weight", "(g +": "(plain +"})
    ],
    "no decay": [(SGD, {"g = g + self.weight_decay * p": "pass"})],
    "decay reversed": [(SGD, {"g + self.weight_decay": "g - self.weight_decay"})],
    "decay apart": [
        (SGD, {"g = g + self.weight_decay * p": "p -= lr * self.weight_decay * p"}),
        (SGD, {"g = g + self.weight_decay * p": "pass", MOVE: f"{MOVE}        p -= lr * self.weight_decay * p\n"}),
    ],
    "decay twice": [
        (ADAM, {"        m *= self.beta1": "        g = g + self.weight_decay * p\n        m *= self.beta1"})
    ],
    "less of g": [(SGD, {"velocity += g": "velocity += (1 - self.momentum) * g"})],
    "lr in the velocity": [
        (SGD, {"velocity += g": "velocity += lr * g", MOVE: "        p -= velocity\n"}),
        (SGD, {"velocity += g": "velocity -= lr * g", MOVE: "        p += velocity\n"}),
        (SGD, {"velocity += g": "velocity += lr * g", MOVE: f"        p -= lr * g + {AHEAD} if {ELSE}"}),
        (SGD, {"velocity += g": "velocity += lr * g", MOVE: f"        p -= lr * (g + {AHEAD}) if {ELSE}"}),
        (SGD, {"velocity += g": "velocity -= lr * g", MOVE: f"        p += {AHEAD} - lr * g if {ELSE}"}),
    ],
    "lr twice": [
        (SGD, {"velocity += g": "velocity += lr * g"}),
        (SGD, {"velocity += g": "g = lr * g\n        velocity += g"}),
        (SGD, {"p -= lr *": "p -= lr * lr *"}),
    ],
    "lr left out": [(SGD, {"p -= lr *": "p -="})],
    "velocity kept": [(SGD, {"velocity *= self.momentum": "velocity *= 1 + self.momentum"})],
    "momentum on g": [(SGD, {NEW_VELOCITY: "        velocity += g\n        velocity *= self.momentum\n"})],
    "eps in the root": [(ADAM, {"v * v_scale) + self.eps": "v * v_scale + self.eps)"})],
    "eps left out": [(ADAM, {" + self.eps": ""})],
    "v not corrected": [(ADAM, {"v * v_scale": "v"})],
    "uphill + v not corrected": [(ADAM, {"v * v_scale": "v", "p -= step_size": "p += step_size"})],
    "v divided": [(ADAM, {"v * v_scale": "v / v_scale"})],
    "v_scale outside": [(ADAM, {"sqrt(v * v_scale)": "sqrt(v) * v_scale"})],
    "v_scale stored": [(ADAM, {"v * v_scale)": "v)", "p -=": "v *= v_scale\n        p -="})],
    "no root": [(ADAM, {"backend.xp.sqrt(v * v_scale)": "(v * v_scale)"})],
    "g for m": [(ADAM, {"step_size * m": "step_size * g"})],
    "no step size": [(ADAM, {"step_size * m": "m"})],
    "corrected twice": [(ADAM, {"step_size * m": "step_size * m / (1 - self.beta1)"})],
    "corrected without t": [
        (ADAM, {"step_size * m": "step_size * m / (1 - self.beta1)", "v * v_scale": "v / (1 - self.beta2)"}),
        (ADAM, {"v * v_scale": "v / (1 - self.beta2)"}),
    ],
    "lr for step_size": [(ADAM, {"step_size * m": "self.lr * m"})],
    "beta for 1 - beta": [
        (ADAM, {"(1 - self.beta1) * g": "self.beta1 * g"}),
        (ADAM, {"(1 - self.beta2) * (g * g)": "self.beta2 * (g * g)"}),
        (ADAM, {"(1 - self.beta1) * g": "self.beta1 * g", "(1 - self.beta2) * (g * g)": "self.beta2 * (g * g)"}),
    ],
    "velocity not used": [
        (SGD, {MOVE: "        p -= lr * g\n"}),
        (SGD, {"if self.nesterov else velocity": "if self.nesterov else g"}),
    ],
    "slots late": [(ADAM, {NEW_SLOTS: "", ADAM_MOVE: ADAM_MOVE + NEW_SLOTS})],
    "square forgotten": [(ADAM, {"(g * g)": "g"}), (ADAM, {"(g * g)": "abs(g)"})],
    "m in v": [(ADAM, {"(g * g)": "(m * m)"})],
    "betas exchanged": [(ADAM, {"beta1": "beta0", "beta2": "beta1", "beta0": "beta2"})],
    "beta1 for v": [(ADAM, {"(1 - self.beta2)": "(1 - self.beta1)"})],
    "whole g": [(ADAM, {"(1 - self.beta1) * g": "g"}), (ADAM, {"(1 - self.beta2) * (g * g)": "g * g"})],
    "weight squared": [(ADAM, {"(1 - self.beta2) * (g * g)": "((1 - self.beta2) * g) ** 2"})],
    "slot kept": [(ADAM, {"        v *= self.beta2\n": ""}), (ADAM, {"        m *= self.beta1\n": ""})],
}


EXERCISE = Exercise(
    name="11_optimizers",
    title="SGD with momentum, and Adam.",
    source="tinycnn.optim.sgd_and_adam",
    chapter="docs/path/08_optimizers.md",
    task=TASK,
    hint="first update the slots in place, then move p by them. SGD: g with weight decay, velocity, p. Adam: m, v, p.",
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
            "p moves in the direction of the gradient; it has to move in the opposite direction.",
            "In the direction of the gradient, the loss grows: p -= ..., not p += ...",
        ),
        "velocity late": (
            "p moves by the old velocity; the formula takes the new one.",
            "First update the velocity, then move p.",
        ),
        "Nesterov left out": (
            "self.nesterov is not used: with it, p moves by g + momentum·v.",
            "Two cases: p -= lr * (g + self.momentum * velocity) if self.nesterov, else p -= lr * velocity.",
        ),
        "Nesterov without g": (
            "Nesterov's step has the velocity in place of g.",
            "p ← p - lr·(g + momentum·v): the new velocity once, times momentum, and g.",
        ),
        "Nesterov without decay": (
            "in Nesterov's step g lacks the weight decay.",
            "g = g + self.weight_decay * p stands before all else, so that both uses of g have it.",
        ),
        "no decay": ("SGD leaves out the weight decay.", "g = g + self.weight_decay * p, before all else."),
        "decay reversed": (
            "the weight decay has the wrong sign.",
            "It is the gradient of weight_decay · p² / 2, added to g: p then moves towards 0.",
        ),
        "decay apart": (
            "the weight decay is subtracted from p separately; here it has to be a part of the gradient.",
            "g = g + self.weight_decay * p, before the velocity is updated: the decay then gathers momentum as g does.",
        ),
        "decay twice": (
            "the weight decay is added a second time: the g that adam_update gets contains it.",
            "Adam.update, above, adds it and then calls adam_update.",
        ),
        "less of g": (
            "the velocity takes only a part of g; the formula takes all of it.",
            "v ← momentum·v + g. A running mean, with (1 - β) g, is what Adam keeps.",
        ),
        "lr in the velocity": (
            "the velocity contains the learning rate; the formula applies it when p moves.",
            "v ← momentum·v + g, then p ← p - lr·v. Otherwise a new learning rate would act on new gradients only.",
        ),
        "lr twice": (
            "the learning rate is applied twice.",
            "v ← momentum·v + g, without lr; then p ← p - lr·v. With Nesterov, p ← p - lr·(g + momentum·v).",
        ),
        "lr left out": (
            "the learning rate is missing.",
            "p ← p - lr·v. With Nesterov, p ← p - lr·(g + momentum·v).",
        ),
        "factor": (
            "a constant factor is missing, or is applied twice.",
            "Compare each factor with the formula in the docstring: lr and momentum; or β₁, β₂, step_size and v_scale.",
        ),
        "sign": (
            "a minus is missing, or there is one too many.",
            "Compare each sign with the formula in the docstring. The one minus in front of a gradient is that of the "
            "last step: p ← p - ...",
        ),
        "velocity kept": (
            "the old velocity is kept whole, and momentum times it is added.",
            "velocity *= self.momentum makes it smaller; `velocity += self.momentum * velocity` makes it larger.",
        ),
        "momentum on g": (
            "g is multiplied by momentum, too.",
            "First velocity *= self.momentum, then velocity += g.",
        ),
        "eps in the root": (
            "eps stands inside the root; the formula adds it after the root is taken.",
            "√(v · v_scale) + eps, and not √(v · v_scale + eps).",
        ),
        "eps left out": (
            "eps is missing: it keeps the quotient finite where v is 0.",
            "p ← p - step_size · m / (√(v · v_scale) + eps).",
        ),
        "v not corrected": (
            "the running mean v starts at 0 and is not corrected for that.",
            "v_scale is 1 / (1 - β₂ᵗ): it belongs below the root, as a factor of v.",
        ),
        "v divided": (
            "v is divided by v_scale; it is a factor.",
            "v_scale is 1 / (1 - β₂ᵗ) already.",
        ),
        "v_scale outside": (
            "v_scale stands outside of the root; it corrects v, below the root.",
            "√(v · v_scale), and not √v · v_scale.",
        ),
        "v_scale stored": (
            "the corrected v is stored in v, so that the next step corrects it again.",
            "v itself stays as it is: write v * v_scale below the root.",
        ),
        "no root": ("the square root is missing.", "v is a mean of squares: √(v · v_scale) has the size of g again."),
        "g for m": ("p moves by g; the formula takes its running mean m.", "step_size · m / (√(v · v_scale) + eps)."),
        "no step size": (
            "step_size is missing: p moves by the whole quotient.",
            "step_size is lr / (1 - β₁ᵗ), a factor of m.",
        ),
        "corrected twice": (
            "m is divided by 1 - β₁, but step_size contains this correction already.",
            "step_size is lr / (1 - β₁ᵗ) already.",
        ),
        "corrected without t": (
            "the correction of the first steps is 1 - βᵗ, with the number t of the step, and here it is 1 - β.",
            "v_scale is 1 / (1 - β₂ᵗ), a factor of v; step_size contains 1 / (1 - β₁ᵗ), that of m, already.",
        ),
        "lr for step_size": (
            "self.lr stands in place of step_size, which also contains the correction of m in the first steps.",
            "step_size is an argument of adam_update: lr / (1 - β₁ᵗ), a factor of m.",
        ),
        "beta for 1 - beta": (
            "the new gradient has the weight β of the old mean; the two weights of a running mean sum to 1.",
            "β of the old mean and 1 - β of what is new, in m and in v.",
        ),
        "velocity not used": (
            "p moves by g, as without momentum; it has to move by the velocity.",
            "The velocity contains g already, and the gradients of the steps before. With nesterov it looks ahead.",
        ),
        "slots late": (
            "p moves by the old m and v; it has to move by the new ones.",
            "First update m and v, then move p.",
        ),
        "square forgotten": (
            "the square is missing: v is a running mean of g².",
            "(1 - β₂) g², not (1 - β₂) g or (1 - β₂) |g|.",
        ),
        "m in v": ("v takes the square of m; the formula takes that of g.", "v ← β₂ v + (1 - β₂) g²."),
        "betas exchanged": ("β₁ and β₂ are exchanged.", "β₁, self.beta1, belongs to m, and β₂, self.beta2, to v."),
        "beta1 for v": ("v takes 1 - β₁ of the new square; it is 1 - β₂.", "v ← β₂ v + (1 - β₂) g²."),
        "whole g": (
            "a running mean takes β of the old and 1 - β of the new; here it takes the whole of the new.",
            "m ← β₁ m + (1 - β₁) g, and v ← β₂ v + (1 - β₂) g².",
        ),
        "weight squared": (
            "1 - β₂ is squared together with g; only g should be.",
            "(1 - β₂) g², and not ((1 - β₂) g)².",
        ),
        "slot kept": (
            "a running mean takes β of the old and 1 - β of the new; here it takes the whole of the old.",
            "m *= self.beta1 and v *= self.beta2, before the new parts are added.",
        ),
        "slot only a name": (
            "`=` gives a new array a local name: the array that the optimizer holds has not changed.",
            "v = ... binds the name v; v *= ... and v += ... change the array.",
        ),
        "slot unchanged": (
            "an array that the optimizer holds has not changed: nothing is added to it.",
            "v *= ... and v += ... change the array that the optimizer holds.",
        ),
        "only a name": (
            "p = p - ... makes a new array and gives it a local name; the network keeps the old one.",
            "p -= ... changes the array that the network holds.",
        ),
        "not moved": (
            "p is as before: it does not change, or by what is still 0.",
            "p -= ... changes the array that the network holds. Are the slots updated before p moves by them?",
        ),
        "of SGD.update": (
            "three steps, in this order: the weight decay is added to g, then the velocity is updated, then p moves.",
            "Compare each of your lines with the docstring of SGD, and print g, velocity and p after each.",
        ),
        "of Adam.adam_update": (
            "three steps, in this order: m, then v, then p moves by both.",
            "Compare each of your lines with the docstring of Adam, and print m, v and p after each.",
        ),
    },
    planted=PLANTED,
    holes=(
        Hole("SGD.update", "Change p and velocity in place; g stays as it is."),
        Hole("Adam.adam_update", "Change p, m and v in place; g stays as it is. The square root is backend.xp.sqrt.",
             starts="m "),
    ),
    check=check,
    keeps=("SGD", "Adam"),
)  # fmt: skip
