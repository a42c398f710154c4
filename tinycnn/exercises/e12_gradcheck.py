"""Exercise 12: a gradient checker."""

import ast
import re
from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinycnn.exercises.checking import WRONG_SHAPES, Mistake, agree, compare, normal, renamed, returned, situation
from tinycnn.exercises.cutting import Exercise, Hole, Planted
from tinycnn.exercises.evidence import check_each
from tinycnn.exercises.tracing import frame_of_error, statement_at, student_file
from tinycnn.tensor import Function, Tensor

TASK = """
A gradient can be checked without calculus: for outputs y = f(x) and an upstream gradient v,

    d(v·y)/dx  ≈  (v·f(x + eps·e) - v·f(x - eps·e)) / 2 eps

1. __init__: the upstream gradient v, in the shape of y. Many checkers take all ones; then errors that cancel in the sum
   stay hidden. (Is a flipped image visible in the sum of its pixels?)
2. _slopes: how fast v·y grows on the way from x - eps·direction to x (left) and from x to x + eps·direction (right):
   two arrays, with one summand for each output. self._moved(i, step) is f with `step` added to input i, self.y is f(x).
3. compare: the numeric slope is the mean of left and right, summed over the outputs. A gradient passes when
   |analytic - numeric| <= self.atol + self.rtol·|numeric|. If it does not, and
   self._is_subgradient(analytic, left, right) returns True (a kink: ReLU at 0, a tie in a max), append the place to
   self.result.kinks. Otherwise raise GradientError with the input, the index, and both numbers.
"""


class Flipped(Function):
    """Right in the sum, wrong everywhere else."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x[::-1].copy()

    def backward(self, grad_y: np.ndarray) -> np.ndarray:
        return grad_y


class IgnoresUpstream(Function):
    """As if every upstream gradient were 1."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        return 2 * x

    def backward(self, grad_y: np.ndarray) -> np.ndarray:
        return np.full_like(grad_y, 2.0)


class ThousandTimes(Function):
    """Small gradients, but a thousand times too large."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        return 1e-2 * x

    def backward(self, grad_y: np.ndarray) -> np.ndarray:
        return 10 * grad_y


class Negated(Function):
    """A square with the sign of its gradient reversed."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x * x

    def backward(self, grad_y: np.ndarray) -> np.ndarray:
        return -2 * self.inputs[0].data * grad_y


class BothSides(Function):
    """x → max(x, 0) and max(-x, 0): two outputs that have their kinks at the same place."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return np.stack([np.maximum(x, 0), np.maximum(-x, 0)])

    def backward(self, grad_y: np.ndarray) -> np.ndarray:
        return grad_y[0] * (self.x > 0) - grad_y[1] * (self.x < 0)


class OneElement(Function):
    """Wrong at one place only."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x * x

    def backward(self, grad_y: np.ndarray) -> np.ndarray:
        grad = 2 * self.inputs[0].data * grad_y
        grad.flat[-1] += 0.5
        return grad


class SteepAtZero(Function):
    """ReLU whose slope at 0 is 2: not between 0 and 1."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return np.maximum(x, 0)

    def backward(self, grad_y: np.ndarray) -> np.ndarray:
        return grad_y * np.where(self.x == 0, 2.0, self.x > 0)


class FlatAtZero(SteepAtZero):
    """The correct ReLU."""

    def backward(self, grad_y: np.ndarray) -> np.ndarray:
        return grad_y * (self.x > 0)


class OneAtZero(SteepAtZero):
    """ReLU with slope 1 at 0, which is right, too."""

    def backward(self, grad_y: np.ndarray) -> np.ndarray:
        return grad_y * (self.x >= 0)


class SecondInput(Function):
    """y = a b with the gradient of b one percent too large."""

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.a, self.b = a, b
        return a * b

    def backward(self, grad_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return grad_y * self.b, grad_y * self.a * 1.01


Case = tuple[Callable[..., Tensor], tuple[np.ndarray, ...]]  # a function, and its inputs
PLAIN, OTHER, WITH_ZERO = normal(3, 2), normal(3, 2, seed=1), np.array([1.0, 0.0, -1.0])
NEAR_ZERO = np.array([1.0, 1e-7, -1.0])  # nearer than eps: only the small factors of CLOSER stay on one side
TWO_KINKS = "max(x, 0) and max(-x, 0) together, at 0"  # which the mean of left and right may happen to hit
RIGHT: dict[str, Case] = {
    "x.exp()": (lambda x: x.exp(), (PLAIN,)),
    "x.T @ x": (lambda x: x.T @ x, (PLAIN,)),
    "a * b": (lambda a, b: a * b, (PLAIN, OTHER)),
    "ReLU, with an input that is exactly 0": (lambda x: FlatAtZero()(x), (WITH_ZERO,)),
    "ReLU with slope 1 at 0, with an input that is exactly 0": (lambda x: OneAtZero()(x), (WITH_ZERO,)),
    "ReLU, with an input nearer to 0 than eps": (lambda x: FlatAtZero()(x), (NEAR_ZERO,)),
    TWO_KINKS: (lambda x: BothSides()(x), (np.zeros(4),)),
}
KINKS: dict[str, list[Any]] = {  # that the result has to list; elsewhere none
    "ReLU, with an input that is exactly 0": [(0, (1,))],
    "ReLU with slope 1 at 0, with an input that is exactly 0": [(0, (1,))],
}
THOUSAND = "a gradient a thousand times too large"
BENT = "3 max(x, 0) + x, with an input that is exactly 0"  # slope 1 to the left, 4 to the right
CASES = RIGHT | {BENT: (lambda x: FlatAtZero()(x) * 3.0 + x, (WITH_ZERO,))}
WRONG: dict[str, Case] = {
    "a flipped image whose gradient is not flipped": (lambda x: Flipped()(x), (PLAIN,)),
    "a gradient that ignores grad_y": (lambda x: IgnoresUpstream()(x), (PLAIN,)),
    THOUSAND: (lambda x: ThousandTimes()(x), (PLAIN,)),
    "a gradient with the wrong sign": (lambda x: Negated()(x), (PLAIN,)),
    "a gradient that is wrong at its last element": (lambda x: OneElement()(x), (PLAIN,)),
    "a ReLU with slope 2 at its kink": (lambda x: SteepAtZero()(x), (WITH_ZERO,)),
    "a product whose second gradient is wrong": (lambda a, b: SecondInput()(a, b), (PLAIN, OTHER)),
}
TOLERATED = {  # each tolerance alone can accept a gradient that is not quite right: the settings, and worst_error
    "a product whose second gradient is wrong": ({"atol": 0.0, "rtol": 0.02}, 0.01),
    "a gradient that is wrong at its last element": ({"atol": 1.0, "rtol": 0.0}, 0.5),
}
INIT, SLOPES, COMPARE = "_Check.__init__", "_Check._slopes", "_Check.compare"


def check(student: ModuleType) -> None:
    """The upstream gradient, the slopes, and what is made of both: correct gradients pass, wrong ones fail."""
    check_each([
        partial(check_upstream, student),
        *(partial(check_slopes, student, what, i) for what, i in ((BENT, 0), ("a * b", 1))),
        *(partial(check_right, student, what) for what in RIGHT),
        *(partial(check_wrong, student, what) for what in WRONG),
        partial(check_wrong, student, THOUSAND, atol=0.0, rtol=1.0),
        *(partial(check_tolerances, student, what) for what in TOLERATED),
        partial(check_message, student),
    ])  # fmt: skip


def checker(student: ModuleType, what: str) -> Any:
    """The student's ``_Check`` for a case."""
    fn, inputs = CASES[what]
    return student._Check(fn, leaves(inputs), 1e-6, 1e-5, 1e-3)


def check_upstream(student: ModuleType) -> None:
    """A weight of its own for each output, of a size at which errors show."""
    both = checker(student, "x.T @ x")
    upstream, y = np.asarray(both.upstream), both.y
    text, symptom = "", ""
    if upstream.shape != y.shape:
        text, symptom = f"self.upstream has shape {upstream.shape}, expected that of y, {y.shape}", "shape of upstream"
    elif upstream.dtype != y.dtype:
        text, symptom = f"self.upstream is {upstream.dtype}, expected {y.dtype} as y is", "dtype of upstream"
    elif np.abs(upstream).max() < 1e-3:
        text, symptom = f"all numbers of self.upstream are smaller than {1e-3}", "small upstream"
    elif np.ptp(upstream) == 0:
        text = (
            f"self.upstream is {upstream.flat[0]:.4g} for every output: a flipped image, for instance, cannot be seen"
        )
        symptom = "equal upstream"
    if text:
        raise Mistake(text, symptom=symptom, about=INIT, place=INIT)


def check_slopes(student: ModuleType, what: str, i: int) -> None:
    """To the left and to the right, against the definition."""
    fn, inputs = CASES[what]
    own, direction = checker(student, what), normal(*inputs[i].shape, seed=3)
    with situation(f"in _slopes for {what}"):
        came = returned(own._slopes(i, direction, 1e-6), SLOPES)
        if not isinstance(came, tuple | list) or len(came) != 2:
            text = "_slopes has to return two arrays: left, right"
            raise Mistake(text, symptom="two slopes", about=SLOPES, place=SLOPES)
        moved = {step: [x + step * direction * (k == i) for k, x in enumerate(inputs)] for step in (-1e-6, 1e-6)}
        y, below, above = (fn(*map(Tensor, xs)).numpy() for xs in (inputs, moved[-1e-6], moved[1e-6]))
        plain = (y - below) / 1e-6, (above - y) / 1e-6
        right = tuple(own.upstream * slope for slope in plain)
        turned = all(agree(one, other) for one, other in zip(came, right[::-1], strict=True))
        for k, side in enumerate(("left", "right")):
            other_side = right[1 - k]
            suspects = {
                "exchanged sides" if turned else "one side twice": other_side.copy,
                "from the other side": (-other_side).copy,
                "upstream left out": plain[k].copy,
                "two steps": (right[k] / 2).copy,
            }
            what = f"{side}, the slope to the {side} of each output,"
            with renamed(WRONG_SHAPES, "shape of slopes"):
                compare(
                    what, right[k], came[k], "the definition", about=SLOPES, place=SLOPES, suspects=suspects,
                    given={f"input {i}": inputs[i], "direction": direction, "self.upstream": own.upstream},
                )  # fmt: skip


def judged(student: ModuleType, case: Case, **settings: Any) -> Any:
    """The result of the student's gradcheck, without raising; raises Mistake for another error than GradientError."""
    fn, inputs = case
    try:
        return student.gradcheck(fn, leaves(inputs), raise_exception=False, **settings)
    except NotImplementedError:
        raise
    except Exception as error:
        if raised_name(error) == type(error).__name__:
            raise in_compare(f"{type(error).__name__} is raised in place of GradientError", "another error") from None
        raise


def raised_name(error: Exception) -> str:
    """The name of the error that the line of the student's file raises by itself; empty if it does not."""
    path = Path(student_file.get())
    found = frame_of_error(error, path)
    statement = statement_at(ast.parse(path.read_text(encoding="utf-8")), found[1]) if found else None
    if isinstance(statement, ast.Assert):
        return "AssertionError"
    if isinstance(statement, ast.Raise) and statement.exc is not None:
        return ast.unparse(statement.exc).partition("(")[0]
    return ""


def check_right(student: ModuleType, what: str) -> None:
    """A correct gradient passes, and the kinks are listed."""
    result, kinks = judged(student, RIGHT[what]), KINKS.get(what, [])
    if not result:
        symptom = "kink" if kinks else "refuses"
        text = f"the checker refuses a correct gradient, {what}: {result.failure}"
        errors = judged(student, RIGHT[what], atol=1e3, rtol=1e3)  # accepts all, and notes the largest
        raise in_compare(text, symptom, [len(result.kinks), errors.worst_error])
    if result.kinks != kinks and what != TWO_KINKS:
        text, symptom = f"{what}: result.kinks is {result.kinks}", "kink noted"
        if kinks:
            text, symptom = f"{text}, expected {kinks}: (input, index) of each 0", "kink not noted"
        elif "nearer" in what:
            text, symptom = (
                f"{what}: a kink is found at {result.kinks}, where the function has a derivative",
                "one distance",
            )
        raise in_compare(text, symptom)


def check_wrong(student: ModuleType, what: str, **settings: Any) -> None:
    """A wrong gradient fails."""
    result = judged(student, WRONG[what], **settings)
    if result:
        given = f" with {named(settings)}" if settings else ""
        raise in_compare(f"the checker{given} was fooled by {what}", "fooled", [len(result.kinks), result.worst_error])


def check_tolerances(student: ModuleType, what: str) -> None:
    """Each tolerance alone can accept a gradient that is not quite right; the error is noted."""
    settings, worst = TOLERATED[what]
    result = judged(student, WRONG[what], **settings)
    if not result:
        text = f"with {named(settings)}, a gradient within the tolerance is refused: {result.failure}"
        raise in_compare(text, "one tolerance", 1)
    if not np.isclose(result.worst_error, worst, rtol=0.02):
        text = f"with {named(settings)}, result.worst_error is {result.worst_error:.2g}, expected {worst:.2g}"
        raise in_compare(text, "error not noted")


def check_message(student: ModuleType) -> None:
    """The error has the index, and two numbers that differ by as much as the gradient is wrong."""
    text = judged(student, WRONG["a gradient that is wrong at its last element"]).failure or ""
    numbers = [float(one) for one in re.findall(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?", text)]
    gaps = [abs(abs(a - b) - 0.5) for a, b in combinations(numbers, 2)]
    if not re.search(r"\b2\b\D+\b1\b", text) or min(gaps, default=1) > 0.02:
        told = f"the error for a wrong gradient at index (2, 1) of input 0 is: {text or 'empty'}"
        raise in_compare(told, "message", 1)


def in_compare(text: str, symptom: str, outcome: Any = None) -> Mistake:
    """A mistake in _Check.compare; ``outcome`` stands for a text that quotes the student's."""
    mistake = Mistake(text, symptom=symptom, about=COMPARE, place=COMPARE)
    mistake.outcome = outcome
    return mistake


def named(settings: dict[str, float]) -> str:
    """``atol 0.0, rtol 0.02``."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def leaves(inputs: tuple[np.ndarray, ...]) -> list[Tensor]:
    """Tensors whose gradients are wanted."""
    return [Tensor(x.copy(), requires_grad=True) for x in inputs]


SUM = "The bound is a sum: self.atol + self.rtol · |numeric|."
BOUND = "error <= self.atol + self.rtol * abs(numeric)"
ERROR = "abs(analytic - numeric)"
MEAN = "float((left + right).sum() / 2)"
KINK = "self._is_subgradient(analytic, left, right)"
NOTED = "            self.result.kinks.append(place)\n            return\n"
TOO_EARLY = f"if not {BOUND}: raise GradientError(f'{{i}} {{index}} {{analytic}} {{numeric}}')"
PLANTED: Planted = {
    "the first input": [(SLOPES, {"self._moved(i,": "self._moved(0,"})],
    "error with a sign": [(COMPARE, {f"error = {ERROR}": "error = analytic - numeric"})],
    "sizes alone": [(COMPARE, {ERROR: "abs(abs(analytic) - abs(numeric))"})],
    "everything passes": [(COMPARE, {BOUND: "True"})],
    "a bound of its own": [(COMPARE, {BOUND: "error <= 1.0"})],
    "bound by analytic": [
        (COMPARE, {BOUND: BOUND.replace("numeric", "analytic")}),
        (COMPARE, {BOUND: "error <= self.atol + abs(analytic)"}),
    ],
    "not asked": [(COMPARE, {KINK: "True"})],
    "whatever at a kink": [
        (COMPARE, {KINK: "abs(left - right).max() > 0.1"}),
        (COMPARE, {KINK: KINK.replace("analytic", "numeric")}),
    ],
    "no kink": [(COMPARE, {KINK: "False"})],
    "kink not appended": [(COMPARE, {"self.result.kinks.append(place)": "pass"})],
    "index noted": [(COMPARE, {"append(place)": "append(index)"})],
    "goes on after a kink": [(COMPARE, {NOTED: NOTED.replace("            return\n", "")})],
    "nothing raised": [(COMPARE, {"raise GradientError(": "print("})],
    "raised too early": [(COMPARE, {f"            if {BOUND}": f"            {TOO_EARLY}\n            if {BOUND}"})],
    "not halved": [(COMPARE, {" / 2)": ")"})],
    "mean over the outputs": [(COMPARE, {".sum() / 2)": ".mean() / 2)"})],
    "not summed up": [(COMPARE, {MEAN: "(left + right) / 2"})],
    "one side": [(COMPARE, {MEAN: "float(left.sum())"}), (COMPARE, {MEAN: "float(right.sum())"})],
    "no relative tolerance": [(COMPARE, {BOUND: "error <= self.atol"})],
    "no absolute tolerance": [(COMPARE, {BOUND: "error <= self.rtol * abs(numeric)"})],
    "no sum of tolerances": [(COMPARE, {BOUND: "error <= self.atol * self.rtol * abs(numeric)"})],
    "one distance": [(COMPARE, {"self.eps * factor": "self.eps"})],
    "not recorded": [(COMPARE, {"self._note_error(error, numeric)": "pass"})],
    "recorded the other way round": [(COMPARE, {"_note_error(error, numeric)": "_note_error(numeric, error)"})],
}


EXERCISE = Exercise(
    name="12_gradcheck",
    title="A gradient checker that is not easily fooled.",
    source="tinycnn.gradcheck",
    chapter="docs/path/09_gradient_checks.md",
    task=TASK,
    hint="draw the upstream gradient at random (self.rng). Each slope is self.upstream times a difference of outputs "
    "over eps, with self._moved(i, step) for f(x + step) and self.y for f(x).",
    formulas={
        "_Check.__init__": "self.upstream = self.rng.normal(size=self.y.shape)",
        "_Check._slopes": "below, above = f(x - eps d), f(x + eps d) by self._moved; left = upstream (y - below) / "
        "eps, right = upstream (above - y) / eps",
        "_Check.compare": "numeric = (left + right).sum() / 2 for each factor of CLOSER; pass if |analytic - numeric| "
        "<= atol + rtol |numeric|; then a kink if self._is_subgradient(analytic, left, right); else raise "
        "GradientError",
        "": "upstream from self.rng.normal; numeric = (left + right).sum() / 2, left = upstream (y - below) / eps, "
        "right = upstream (above - y) / eps; pass if |analytic - numeric| <= atol + rtol |numeric|",
    },
    hints={
        "equal upstream": (
            "the upstream gradient is the same for all outputs: what is exchanged between them cannot be seen.",
            "Give every output a random weight of its own, drawn once with self.rng.",
        ),
        "small upstream": (
            "the upstream gradient is so small that every error lies within the tolerance.",
            "self.rng.normal(size=...) draws numbers of the size 1.",
        ),
        "shape of upstream": (
            "it should have one weight for each number of y.",
            "self.rng.normal(size=self.y.shape).",
        ),
        "dtype of upstream": (
            "the upstream gradient should have the dtype of y: every gradient has that of its array.",
            "self.rng.normal(size=...) is float64.",
        ),
        "two slopes": (
            "_slopes has to return a pair: (to the left, to the right), two arrays in the shape of y.",
            "return left, right",
        ),
        "exchanged sides": (
            "left and right are exchanged.",
            "Left: from x - eps·direction to x. Right: from x to x + eps·direction.",
        ),
        "one side twice": (
            "both slopes are those of one side.",
            "Left: from x - eps·direction to x. Right: from x to x + eps·direction.",
        ),
        "two steps": (
            "it is half of the slope, as after a division by 2 eps; the difference covers one step of eps.",
            "y(x + eps) - y(x - eps) covers two steps. Here one of the two values is y(x), self.y.",
        ),
        "from the other side": (
            "this slope is made from f on the other side of x.",
            "Left takes f(x - eps·direction), right takes f(x + eps·direction): self._moved(i, step) with each sign.",
        ),
        "the first input": (
            "always the first input is moved.",
            "self._moved(i, step) moves input number i, the one that is checked.",
        ),
        "shape of slopes": (
            "each slope should have one number for each output: the sum over the outputs is taken later, in `compare`.",
            "The two arrays have the shape of self.y. At a kink, each output has a range of slopes of its own.",
        ),
        "upstream left out": (
            "these are the slopes of y; those of v·y are expected.",
            "Multiply by self.upstream, output by output.",
        ),
        "of _slopes": (
            "a slope is a difference of two outputs, divided by how far x has moved, times the upstream gradient.",
            "Left: self.upstream * (self.y - f(x - eps·direction)) / eps. Right: self.upstream * (f(x + eps·direction) "
            "- self.y) / eps. self._moved(i, step) is f with `step` added to input i.",
        ),
        "error with a sign": (
            "analytic - numeric is compared without its absolute value: what is too small always passes.",
            "abs(analytic - numeric).",
        ),
        "sizes alone": (
            "the sizes are compared without their signs: 2 and -2 count as equal.",
            "abs(analytic - numeric), and not the difference of two absolute values.",
        ),
        "everything passes": (
            "every gradient passes.",
            "Is |analytic - numeric| compared with the bound before you return?",
        ),
        "a bound of its own": (
            "the bound is a fixed number, far too generous.",
            "self.atol + self.rtol · |numeric|.",
        ),
        "bound by analytic": (
            "the bound grows with the gradient that is checked: a gradient that is large enough always passes.",
            "self.atol + self.rtol · |numeric|.",
        ),
        "not asked": (
            "a gradient that does not agree is accepted without a call of self._is_subgradient.",
            "Call self._is_subgradient(analytic, left, right) and let it decide.",
        ),
        "no kink": (
            "kinks are not treated: at a kink there are two slopes, and the gradient may be any number between them.",
            "Before you raise, ask self._is_subgradient(analytic, left, right); note the place in self.result.kinks.",
        ),
        "whatever at a kink": (
            "at a kink every number is accepted; only those between the two slopes are right.",
            "self._is_subgradient(analytic, left, right) decides, and it is `analytic` that it has to know.",
        ),
        "index noted": (
            "the index alone is listed; a place is the input and the index.",
            "self.result.kinks.append(place).",
        ),
        "goes on after a kink": (
            "after a kink is noted, the error is raised all the same.",
            "Return after self.result.kinks.append(place), or raise in an else.",
        ),
        "nothing raised": (
            "no error is raised for a wrong gradient.",
            "raise GradientError(...): printing is not enough.",
        ),
        "another error": (
            "gradcheck, above, catches GradientError and no other.",
            "raise GradientError(...).",
        ),
        "raised too early": (
            "the error is raised inside the loop, before the smaller distances and the kink are tried.",
            "Raise after the loop over CLOSER, when self._is_subgradient has returned False.",
        ),
        "not halved": (
            "left and right are added: the numeric slope is their mean.",
            "(left + right).sum() / 2.",
        ),
        "mean over the outputs": (
            "the mean is taken over the outputs; v·y is their sum.",
            "(left + right).sum() / 2: the 2 is for left and right.",
        ),
        "not summed up": (
            "the numeric slope is an array: the sum over the outputs is missing.",
            "(left + right).sum() / 2 is one number, as `analytic` is.",
        ),
        "one side": (
            "the slope of one side is taken for the numeric slope; it is the mean of both.",
            "(left + right).sum() / 2: the error of a mean is much smaller, and a kink shows.",
        ),
        "no relative tolerance": ("self.rtol has no effect, or not enough.", SUM),
        "no absolute tolerance": ("self.atol has no effect, or not enough.", SUM),
        "no sum of tolerances": (
            "where one of the tolerances is 0, nothing passes: the bound is not their sum.",
            "The bound is a sum: self.atol + self.rtol · |numeric|.",
        ),
        "one distance": (
            "x - eps and x + eps lie on different sides of a kink beside x.",
            "Repeat with eps = self.eps * factor for each factor of CLOSER; accept as soon as one of them agrees.",
        ),
        "not recorded": (
            "an error within the tolerance is not recorded.",
            "Call self._note_error(|analytic - numeric|, numeric) before you return.",
        ),
        "recorded the other way round": (
            "self._note_error gets its two numbers in each other's place.",
            "self._note_error(error, numeric).",
        ),
        "error not noted": (
            "the error that is recorded is not |analytic - numeric|.",
            "Call self._note_error(|analytic - numeric|, numeric) before you return.",
        ),
        "message": (
            "the error does not say where the gradient is wrong, or by how much.",
            "Put the input, the index, analytic and numeric into the text of GradientError.",
        ),
        "kink not appended": (
            "a kink is accepted, and not listed.",
            "When self._is_subgradient returns True, append the place, (i, index), to self.result.kinks.",
        ),
        "kink not noted": (
            "a gradient at a kink is accepted in another way: it does not reach self._is_subgradient, or another "
            "place is listed.",
            "Is the bound self.atol + self.rtol · |numeric|, and numeric the mean of left and right? Then append "
            "(i, index) to self.result.kinks when self._is_subgradient returns True.",
        ),
        "kink noted": (
            "a kink is listed where there is none.",
            "Append the place only after no factor of CLOSER has agreed, and self._is_subgradient has returned True.",
        ),
        "one tolerance": (
            "the bound is smaller than it should be.",
            "It is a sum: self.atol + self.rtol · |numeric|.",
        ),
        "kink": (
            "at a kink there are two slopes, and the gradient may be any number between them; this one is refused.",
            "Follow `compare` at the index above: what does self._is_subgradient(analytic, left, right) return there? "
            "What happens then?",
        ),
        "refuses": (
            "the slopes to the left and to the right are correct, and so is the gradient, but `compare` refuses it.",
            "Print analytic and numeric: numeric is the mean of left and right, summed over the outputs. Which of them "
            "is not what you meant?",
        ),
        "fooled": (
            "this gradient is wrong, and no GradientError is raised.",
            "Follow `compare`: by which `if` does it return? Each element is compared by itself, with a bound of "
            "self.atol + self.rtol · |numeric|, and then self._is_subgradient decides.",
        ),
    },
    planted=PLANTED,
    holes=(
        Hole("_Check.__init__", "self.upstream = ...  (shape of self.y)", starts="self.upstream", count=1),
        Hole("_Check.compare", "For each factor of CLOSER: take the slopes with eps = self.eps * factor; if they\n"
             "agree with `analytic`, call self._note_error(|analytic - numeric|, numeric) and return.\n"
             "After the loop: the kink, then the error.", starts="for factor"),
        Hole("_Check._slopes", "Two arrays of the shape of y: (to the left, to the right)."),
    ),
    check=check,
)  # fmt: skip
