"""Exercise 12: a gradient checker that cannot be fooled."""

import re
from collections.abc import Callable
from itertools import combinations
from types import ModuleType

import numpy as np

from tinycnn.errors import GradientError
from tinycnn.exercises.checking import Mistake, normal
from tinycnn.exercises.cutting import Exercise, Hole
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
RIGHT: dict[str, Case] = {
    "x.exp()": (lambda x: x.exp(), (PLAIN,)),
    "x.T @ x": (lambda x: x.T @ x, (PLAIN,)),
    "a * b": (lambda a, b: a * b, (PLAIN, OTHER)),
    "ReLU, with an input that is exactly 0": (lambda x: FlatAtZero()(x), (WITH_ZERO,)),
    "ReLU, with an input nearer to 0 than eps": (lambda x: FlatAtZero()(x), (NEAR_ZERO,)),
}
WRONG: dict[str, Case] = {
    "a flipped image whose gradient is not flipped": (lambda x: Flipped()(x), (PLAIN,)),
    "a gradient that ignores grad_y": (lambda x: IgnoresUpstream()(x), (PLAIN,)),
    "a gradient a thousand times too large": (lambda x: ThousandTimes()(x), (PLAIN,)),
    "a gradient that is wrong at its last element": (lambda x: OneElement()(x), (PLAIN,)),
    "a ReLU with slope 2 at its kink": (lambda x: SteepAtZero()(x), (WITH_ZERO,)),
    "a product whose second gradient is wrong": (lambda a, b: SecondInput()(a, b), (PLAIN, OTHER)),
}


def check(student: ModuleType) -> None:
    """Correct gradients must pass, wrong ones must fail."""
    for what, (fn, inputs) in RIGHT.items():
        try:
            result = student.gradcheck(fn, leaves(inputs))
        except GradientError as error:
            text, symptom = f"the checker refuses a correct gradient, {what}: {error}", "refuses"
            symptom = "kink" if inputs[0] is WITH_ZERO else "one input" if len(inputs) > 1 else symptom
            raise Mistake(text, symptom=symptom, place="_Check.compare") from None
        if inputs[0] is WITH_ZERO and result.kinks != [(0, (1,))]:
            text = f"{what}: result.kinks is {result.kinks}, expected [(0, (1,))], the place of the 0"
            raise in_compare(text, "kink not noted")
        if inputs[0] is NEAR_ZERO and result.kinks:
            text = f"{what}: a kink is found at {result.kinks}, where the function has a derivative"
            raise in_compare(text, "one distance")
        if inputs[0] is PLAIN and result.kinks:
            text = f"{what} is smooth, and the checker finds kinks: its slopes to the left and to the right differ"
            raise Mistake(text, symptom="slopes", place="_Check._slopes")
    for what, (fn, inputs) in WRONG.items():
        if student.gradcheck(fn, leaves(inputs), raise_exception=False):
            raise Mistake(f"the checker was fooled by {what}", symptom=f"fooled: {what}", place="_Check.compare")
    check_tolerances(student)
    check_message(student)


def check_tolerances(student: ModuleType) -> None:
    """Each tolerance alone can accept a gradient that is not quite right; the error is noted."""
    second, last = (
        WRONG["a product whose second gradient is wrong"],
        WRONG["a gradient that is wrong at its last element"],
    )
    for (fn, inputs), settings in ((second, {"atol": 0.0, "rtol": 0.02}), (last, {"atol": 1.0, "rtol": 0.0})):
        result = student.gradcheck(fn, leaves(inputs), raise_exception=False, **settings)
        given = ", ".join(f"{name} {value}" for name, value in settings.items())
        if not result:
            text = f"with {given}, a gradient within the tolerance is refused: {result.failure}"
            raise in_compare(text, "one tolerance")
        if result.worst_error < 0.005:
            text = f"with {given}, result.worst_error is {result.worst_error:.2g}, expected about 1 % or 0.5"
            raise in_compare(text, "error not noted")


def check_message(student: ModuleType) -> None:
    """The error has the index, and two numbers that differ by as much as the gradient is wrong."""
    fn, inputs = WRONG["a gradient that is wrong at its last element"]
    try:
        student.gradcheck(fn, leaves(inputs))
    except GradientError as error:
        text = str(error)
        numbers = [float(one) for one in re.findall(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?", text)]
        gaps = [abs(abs(a - b) - 0.5) for a, b in combinations(numbers, 2)]
        if not re.search(r"\b2\b\D+\b1\b", text) or min(gaps, default=1) > 0.02:
            told = f"the error for a wrong gradient at index (2, 1) of input 0 is: {text or 'empty'}"
            raise in_compare(told, "message") from None


def in_compare(text: str, symptom: str) -> Mistake:
    """A mistake in _Check.compare."""
    return Mistake(text, symptom=symptom, about="_Check.compare", place="_Check.compare")


def leaves(inputs: tuple[np.ndarray, ...]) -> list[Tensor]:
    """Tensors whose gradients are wanted."""
    return [Tensor(x.copy(), requires_grad=True) for x in inputs]


EXERCISE = Exercise(
    name="12_gradcheck",
    title="A gradient checker that cannot be fooled.",
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
        "fooled: a flipped image whose gradient is not flipped": (
            "the upstream gradient is all ones, or all equal: what is exchanged between outputs cannot be seen.",
            "Give every output a random weight of its own, drawn once with self.rng.",
        ),
        "fooled: a gradient a thousand times too large": (
            "the tolerance is too generous.",
            "A bound that grows with the wrong gradient accepts it: compare with self.atol + self.rtol · |numeric|.",
        ),
        "fooled: a gradient that is wrong at its last element": (
            "one wrong element among right ones is not noticed.",
            "Is every element compared on its own, and is the error raised for the first that differs?",
        ),
        "fooled: a ReLU with slope 2 at its kink": (
            "at a kink every number is accepted; only those between the two slopes are right.",
            "Call self._is_subgradient with the slopes to the left and to the right, kept apart, and let it decide.",
        ),
        "one input": (
            "for one input all is well; of two, the wrong one is moved.",
            "self._moved(i, step) moves input i: is i the one that is checked?",
        ),
        "kink not noted": (
            "a kink is accepted, and not listed.",
            "When self._is_subgradient returns True, append the place, (i, index), to self.result.kinks.",
        ),
        "one distance": (
            "x - eps and x + eps lie on different sides of a kink beside x.",
            "Repeat with eps = self.eps * factor for each factor of CLOSER; accept as soon as one of them agrees.",
        ),
        "one tolerance": (
            "one of the two tolerances is not used.",
            "The bound is a sum: self.atol + self.rtol · |numeric|.",
        ),
        "error not noted": (
            "an error within the tolerance is not recorded.",
            "Call self._note_error(|analytic - numeric|, numeric) before you return.",
        ),
        "message": (
            "the error does not say where the gradient is wrong, or by how much.",
            "Put the input, the index, analytic and numeric into the text of GradientError.",
        ),
        "kink": (
            "at a kink there are two slopes, and the gradient may be any number between them.",
            "Before you raise, ask self._is_subgradient(analytic, left, right); note the place in self.result.kinks.",
        ),
        "slopes": (
            "for a smooth function, the slopes to the left and to the right are nearly equal.",
            "Left: (f(x) - f(x - eps)) / eps. Right: (f(x + eps) - f(x)) / eps. Each side has moved by eps.",
        ),
        "refuses": (
            "the numeric slope is not the derivative.",
            "Check the mean of left and right, the sum over all outputs, and the division by eps (not 2 eps: each side "
            "has moved by eps).",
        ),
    },
    holes=(
        Hole("_Check.__init__", "self.upstream = ...  (shape of self.y)", starts="self.upstream", count=1),
        Hole("_Check.compare", "For each factor of CLOSER: take the slopes with eps = self.eps * factor; if they\n"
             "agree with `analytic`, call self._note_error(|analytic - numeric|, numeric) and return.\n"
             "After the loop: the kink, then the error.", starts="for factor"),
        Hole("_Check._slopes", "Two arrays of the shape of y: (to the left, to the right)."),
    ),
    check=check,
)  # fmt: skip
