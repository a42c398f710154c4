"""Exercise 2: the engine, backward() and the order in which it visits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinycnn.errors import AutogradError
from tinycnn.exercises.checking import Mistake, check_gradients, compare, functions_behind, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.exercises.tracing import frame_of_error, student_file
from tinycnn.tensor import Function, Tensor

TASK = """
The core of tinycnn. Every tensor that an operation computed has a `creator`, a Function. A Function has `inputs`, a
tuple of tensors, and `_order`, the number of its call: 1 for the first operation of the program. loss.backward() goes
from the loss to the leaves, the tensors without a creator.

1. _in_reverse_order: all functions that `last` depends on, with every user of a result before its creator. Why is this
   order necessary? Do not use recursion: a chain of 2,000 operations is deeper than Python's stack.
2. backward, the loop: for each function, function.input_gradients(grad_y) returns one gradient per input x, or None.
   Skip it if it is None or if x.requires_grad is False. If x is a leaf, _add_to_leaf(x, grad_x) adds it; otherwise it
   is part of the gradient of the output of x.creator. What if another part has arrived there before? (In the package,
   backward is a method of Tensor; self is the loss.)
"""

PLACES = {  # by why a function has no entry: the function where the mistake is
    "KeyError": "_in_reverse_order",
    "visited twice": "_in_reverse_order",
    "left out": "_in_reverse_order",
    "no first entry": "backward",
}
DOUBLINGS, MANY = 12, 1000  # a visit of every path looks at the inputs more than 4,000 times
FORMULAS = {
    "backward": "for each function, latest first: grad_y = grad_of_output.pop(function); for each input x with its "
    "grad_x: skip None; _add_to_leaf(x, grad_x) if x.creator is None; else add grad_x to grad_of_output[x.creator], or "
    "store it if nothing is there; last, function.free()",
    "_in_reverse_order": "found = {last} and to_visit = [last]; while there is something to visit, pop it, and add the "
    "creators of its inputs that are not in found to both; return found, sorted by _order, the greatest first",
}
HINTS = {
    "overwritten": (
        "a second gradient for the same thing replaces the first; both count.",
        "Is something stored already, in leaf.grad or in grad_of_output[x.creator]? Then store the sum.",
    ),
    "KeyError": (
        "a function is visited before all of its users, so the gradient of its output is not complete yet.",
        "function._order counts the calls. A result is always created after what it was made from.",
    ),
    "visited twice": (
        "a function is visited twice: the first visit takes its entry out, and the second finds none.",
        "Add a function to the list only if it is not there yet: keep a set of those found.",
    ),
    "left out": (
        "the walk has to begin with `last`, and go on with the creators of its inputs until there are none.",
        "Start with found = {last} and to_visit = [last], and return all that was found, the latest first.",
    ),
    "no first entry": (
        "the first gradient that arrives has nothing to be added to.",
        "Is x.creator in grad_of_output already? If so, add grad_x to what is there; if not, store grad_x.",
    ),
    "RecursionError": (
        "the walk calls itself for each function of the chain, and Python's stack is not that deep.",
        "Keep a list of the functions still to visit and a set of those found; loop while the list is not empty.",
    ),
    "every path": (
        "functions are visited once for each path that leads to them, and each line doubles the paths.",
        "Keep a set of the functions found so far. Put on the list only those that are not in it.",
    ),
    "not freed": (
        "backward does not call function.free(), so the arrays of the graph stay in memory, and a second call works.",
        "Call function.free() at the end of each turn of the loop, when its input gradients are stored.",
    ),
    "used twice": (
        "a second backward() through the same graph has to raise AutogradError, since its arrays are gone.",
        "function.free() has emptied the functions: one without inputs is used up. _in_reverse_order raises "
        "AutogradError when it meets such a function, wherever it is.",
    ),
    "none": (
        "an input whose grad_x is None is not skipped.",
        "Skip an input whose grad_x is None or which does not require a gradient.",
    ),
    "constant": (
        "an input with requires_grad=False got a gradient.",
        "Skip an input whose grad_x is None or which does not require a gradient.",
    ),
}


def explained(backward: Callable[..., None]) -> Callable[..., None]:
    """``backward`` of the student; where it finds no entry for a function, the Mistake says why."""

    def walk(self: Tensor, grad: Any = None) -> None:
        try:
            backward(self, grad)
        except KeyError as error:
            missing, path = error.args[0], Path(student_file.get())
            found = frame_of_error(error, path)
            functions = found[0].f_locals.get("functions") if found else None
            if not isinstance(missing, Function) or not isinstance(functions, list):
                raise
            key, why = reason_of(missing, functions)
            text = f"KeyError: there is no entry for the {missing.name}: {why}"
            raise Mistake(text, symptom=key, about=PLACES[key], line=found[1] if found else None) from None

    return walk


def reason_of(missing: Function, functions: list[Function]) -> tuple[str, str]:
    """Why ``missing`` has no entry in ``grad_of_output``, and a sentence; ``functions`` is the student's order."""
    if len(set(functions)) < len(functions):
        return "visited twice", "the list of _in_reverse_order has a function twice"
    for index, function in enumerate(functions):
        later = [user for user in functions[index + 1 :] if any(x.creator is function for x in user.inputs)]
        if later:
            return "KeyError", f"the {function.name} is visited before the {later[0].name}, which uses its result"
    if missing not in functions or missing is functions[0]:
        return "left out", "the list of _in_reverse_order does not have all functions, or does not begin with `last`"
    return "no first entry", "the order is right, and this is the first gradient that arrives there"


@contextmanager
def engine(backward: Callable[..., None]) -> Iterator[None]:
    """Tensors have the method ``backward`` of the student inside the block."""
    own = Tensor.backward
    Tensor.backward = explained(backward)  # type: ignore[method-assign]
    try:
        yield
    finally:
        Tensor.backward = own  # type: ignore[method-assign]


def check(student: ModuleType) -> None:
    """What a walk back may meet."""
    with engine(student.backward):
        check_paths()
        check_leaves()
        check_long_chain()
        check_visits()
        check_second_use()


def check_paths() -> None:
    """Paths that meet and part."""
    x = {"x": normal(3)}

    def late_use(x):  # type: ignore[no-untyped-def]
        a = x * 2.0
        return (a.exp() + a * 3.0) * a

    def only_the_last(name: str, grad_y: np.ndarray) -> np.ndarray:
        a = 2 * x[name]
        return 2 * np.exp(a) * a * grad_y  # of exp, which is visited last

    with situation("in a chain of three operations"):
        check_gradients(lambda x: (x * 3.0).exp() + 1.0, x)
    with situation("when a leaf is used twice, as in x * x + x"):
        check_gradients(lambda x: x * x + x, x, suspects={"overwritten": lambda name, grad_y: grad_y * x[name]})
    with situation("when a result is used twice, as in a = x * 2; (a.exp() + a * 3) * a"):
        check_gradients(late_use, x, suspects={"overwritten": only_the_last})
    with situation("when two leaves meet several times"):
        check_gradients(lambda x, w: (x * w).exp() + x * w + w, x | {"w": normal(3, seed=1)})


def check_leaves() -> None:
    """Gradients of a leaf add up; a leaf that requires none gets none."""
    with situation("when backward() is called for two losses"):
        leaf = Tensor(np.ones(2), requires_grad=True)
        (leaf * 2.0).sum().backward()
        (leaf * 3.0).sum().backward()
        expected, last = np.array([5.0, 5.0]), {"overwritten": lambda: np.array([3.0, 3.0])}
        compare("the gradient of the leaf", expected, leaf.grad, "2 + 3", suspects=last, place="backward")
    with situation("when an input needs no gradient"):
        constant = Tensor(np.ones(2))
        (constant * Tensor(np.ones(2), requires_grad=True)).sum().backward()
        if constant.grad is not None:
            raise Mistake("it received one", symptom="constant", place="backward")


def check_long_chain() -> None:
    """Longer than Python's stack is deep."""
    with situation("in a chain of 2,000 operations"):
        end = start = Tensor(np.ones(1), requires_grad=True)
        for _ in range(2000):
            end = end + 1.0
        end.backward()
        compare("the gradient of its start", np.ones(1), start.grad)


class Twice(Function):
    """y = a + b; counts how often its inputs are read, and raises Mistake when that is more than visits need."""

    looks = 0

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        Twice.looks += 1
        if Twice.looks > MANY:
            text = f"the inputs of {DOUBLINGS} functions have been read more than {MANY:,} times"
            raise Mistake(text, symptom="every path", about="_in_reverse_order", place="_in_reverse_order")
        return self.__dict__.get("_inputs", ())

    @inputs.setter
    def inputs(self, tensors: tuple[Tensor, ...]) -> None:
        self._inputs = tensors

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + b

    def backward(self, grad_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return grad_y, grad_y


class Partial(Function):
    """y = x + c, without a gradient for c."""

    def forward(self, x: np.ndarray, c: np.ndarray) -> np.ndarray:
        return x + c

    def backward(self, grad_y: np.ndarray) -> tuple[np.ndarray, None]:
        return grad_y, None


def check_visits() -> None:
    """Each function once; an input without a gradient is skipped."""
    with situation(f"in {DOUBLINGS} doublings, y = y * 1 + y * 1"):
        end = start = Tensor(np.ones(1), requires_grad=True)
        for _ in range(DOUBLINGS):
            end = Twice()(end * 1.0, end * 1.0)
        Twice.looks = 0
        end.backward()
        compare("the gradient of its start", np.array([2.0**DOUBLINGS]), start.grad, "2 each time")
    with situation("when a function returns None for an input"):
        x, c = Tensor(np.ones(2), requires_grad=True), Tensor(np.ones(2))
        y = Partial()(x, c)
        c.requires_grad = True  # too late for y
        try:
            y.sum().backward()
        except (AttributeError, TypeError) as error:
            raise Mistake(f"{type(error).__name__}: {error}", symptom="none", place="backward") from None


def check_second_use() -> None:
    """A graph whose arrays are gone is not used again, neither the whole nor a part of it."""
    for what in ("on the same loss again", "on another loss that shares a part of the graph"):
        with situation(f"when backward() is called {what}"):
            shared = (Tensor(np.ones(2), requires_grad=True) * 2.0).exp()
            first, other = shared.sum(), (shared * 3.0).sum()
            to_free = functions_behind(first)
            first.backward()
            if any(function.inputs for function in to_free):
                text = "no error: the functions still hold their inputs; function.free() was not called for each"
                raise Mistake(text, symptom="not freed", about="backward", place="backward")
            try:
                (first if "same" in what else other).backward()
            except AutogradError:
                continue
            except Exception as error:  # whatever its loop meets in a function that is empty
                text = f"{type(error).__name__} in place of AutogradError"
            else:
                text = "no error"
            raise Mistake(text, symptom="used twice", about="_in_reverse_order", place="_in_reverse_order")


EXERCISE = Exercise(
    name="02_engine",
    formulas=FORMULAS,
    hints=HINTS,
    keeps=("Tensor.backward", "_in_reverse_order"),
    title="The engine: backward(), and the order in which it visits.",
    source="tinycnn.tensor",
    chapter="docs/path/02_engine.md",
    task=TASK,
    hint="grad_y of a function is complete only when all users of y have been visited; function._order counts up in "
    "the order of the calls. A second gradient for the same thing is added to the first.",
    holes=(
        Hole("backward", "Visit every function once. grad_of_output.pop(function) is its complete grad_y; call\n"
             "function.free() when it is done.", starts="for function in functions:\n        grad_y"),
        Hole("_in_reverse_order", "Return a list of functions, `last` first. If a function has no inputs, free()\n"
             "has emptied it in an earlier backward(): raise AutogradError."),
    ),
    check=check,
)  # fmt: skip
