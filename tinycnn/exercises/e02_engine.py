"""Exercise 2: the engine, backward() and the order in which it visits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinycnn.errors import AutogradError
from tinycnn.exercises.checking import Mistake, check_gradients, compare, functions_behind, normal, returned, situation
from tinycnn.exercises.cutting import Exercise, Hole, Planted
from tinycnn.exercises.evidence import check_each
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
   is part of the gradient of the output of x.creator. What if another part has arrived there before? Then store
   the sum as a new array, a + b: the array that arrived first may be read-only, a view, or needed elsewhere. (In the
   package, backward is a method of Tensor; self is the loss.)
"""

DOUBLINGS, MANY = 12, 3000  # a visit of every path looks at the inputs more than 4,000 times
FORMULAS = {
    "backward": "for each function, latest first: grad_y = grad_of_output.pop(function); for each input x with its "
    "grad_x: skip None; _add_to_leaf(x, grad_x) if x.creator is None; else add grad_x to grad_of_output[x.creator], or "
    "store it if nothing is there; last, function.free()",
    "_in_reverse_order": "found = {last} and to_visit = [last]; while there is something to visit, pop it, and add the "
    "creators of its inputs that are not in found to both; return found, sorted by _order, the greatest first",
}
WHERE_TO_STORE = (
    "A leaf: _add_to_leaf(x, grad_x). Any other x: grad_of_output[x.creator], as the sum of what is there and grad_x."
)
EACH_INPUT = (
    "zip(function.inputs, function.input_gradients(grad_y)) gives each input with its gradient: visit all of them."
)
HINTS = {
    "overwritten": (
        "a second gradient for the output of a function replaces the first; both count.",
        "Is something stored already in grad_of_output[x.creator]? Then store the sum.",
    ),
    "leaf overwritten": (
        "a second gradient for a leaf replaces the first; both count.",
        "_add_to_leaf(x, grad_x) adds to what is there.",
    ),
    "added in place": (
        "a gradient that arrived before is changed in place. It may be read-only, or needed elsewhere.",
        "`a = a + b` makes a new array; `a += b` changes the array that a function returned. That of a sum, for "
        "instance, is one number, shown as an array by broadcasting: it cannot be written to.",
    ),
    "others skipped": (
        "after an input that is skipped, the inputs behind it are not visited.",
        "`break` leaves the loop over the inputs; `continue` goes on with the next of them.",
    ),
    "first input only": ("of the inputs of a function, only the first is visited.", EACH_INPUT),
    "ends too early": (
        "the loop ends after one function: those behind it are not visited.",
        "Does a `return` or a `break` stand inside the loop over the functions?",
    ),
    "leaf left out": ("no leaf gets its gradient.", WHERE_TO_STORE),
    "leaf without grad": (
        "x.grad is None until the first gradient arrives, and nothing can be added to None.",
        "_add_to_leaf(x, grad_x) stores the first gradient, and adds each further one.",
    ),
    "another key": (
        "gradients are stored under x; where the loop reads them, they have to be under the function that computed x.",
        "grad_of_output[x.creator], not grad_of_output[x].",
    ),
    "no first entry": (
        "a gradient is added to an entry that is not there yet.",
        "Is x.creator in grad_of_output already? If so, add grad_x to what is there; if not, store grad_x.",
    ),
    "nothing stored": (
        "no function that uses this result has stored a gradient for it.",
        f"Which inputs does your loop skip, and under which key does it store the others? {WHERE_TO_STORE}",
    ),
    "not asked": (
        "the gradients of its inputs are never computed.",
        EACH_INPUT,
    ),
    "loop order": (
        "the list has the right order; the loop visits the functions in another one.",
        "The list has `last` first. Go through it from its beginning.",
    ),
    "freed first": (
        "function.free() is called before the gradients of its inputs are computed, and drops what these need.",
        "Call function.free() at the end of each turn of the loop, when its input gradients are stored.",
    ),
    "visited before its users": (
        "a function stands before one that uses its result, so the gradient of its output is not complete yet.",
        "function._order counts the calls. A result is always created after what it was made from.",
    ),
    "visited twice": (
        "a function stands in the list twice; each is to be visited once.",
        "Add a function to the list only if it is not there yet: keep a set of those found.",
    ),
    "left out": (
        "the walk has to begin with `last`, and go on with the creators of its inputs until there are none.",
        "Start with found = {last} and to_visit = [last], and return all that was found, the latest first.",
    ),
    "no list": (
        "_in_reverse_order has to return a list: a set, for instance, has no order.",
        "Sort what was found by _order, the greatest first: sorted() returns a list.",
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
        "function.free() was not called for each function, so their arrays stay in memory.",
        "Call function.free() at the end of each turn of the loop, when its input gradients are stored.",
    ),
    "used twice": (
        "a second backward() through the same graph has to raise AutogradError, since its arrays are gone.",
        "function.free() has emptied the functions: one without inputs is used up. _in_reverse_order raises "
        "AutogradError when it meets such a function, wherever it is.",
    ),
    "None not skipped": (
        "an input whose grad_x is None is not skipped.",
        "Skip an input whose grad_x is None or which does not require a gradient.",
    ),
    "none": (
        "no gradient arrived at a leaf.",
        f"Print which functions the loop visits, and what it does with each of their inputs. {WHERE_TO_STORE}",
    ),
    "constant": (
        "an input with requires_grad=False got a gradient.",
        "Skip an input whose grad_x is None or which does not require a gradient.",
    ),
    "of backward": (
        "each x gets the sum of all grad_x that belong to it, and its creator is visited when that sum is complete.",
        WHERE_TO_STORE,
    ),
}
LAST_BRANCH = "                grad_of_output[x.creator] = grad_x\n"
PLANTED: Planted = {
    "overwritten": [("backward", {"grad_of_output[x.creator] + grad_x": "grad_x"})],
    "leaf overwritten": [("backward", {"_add_to_leaf(x, grad_x)": "x.grad = grad_x"})],
    "added in place": [("backward", {"= grad_of_output[x.creator] + grad_x": "+= grad_x"})],
    "others skipped": [("backward", {"continue": "break"})],
    "first input only": [
        ("backward", {"zip(function.inputs,": "zip(function.inputs[:1],", "strict=True": "strict=False"}),
        ("backward", {LAST_BRANCH: f"{LAST_BRANCH}            break\n"}),
    ],
    "ends too early": [("backward", {"function.free()": "function.free()\n        break"})],
    "leaf left out": [("backward", {"_add_to_leaf(x, grad_x)": "pass"})],
    "leaf without grad": [("backward", {"_add_to_leaf(x, grad_x)": "x.grad += grad_x"})],
    "no first entry": [("backward", {"if x.creator in grad_of_output:": "if True:"})],
    "freed first": [
        (
            "backward",
            {"grad_y = grad_of": "inputs = function.inputs\n        function.free()\n        grad_y = grad_of"},
        )
    ],
    "None not skipped": [("backward", {"grad_x is None or not x.requires_grad": "not x.requires_grad"})],
    "constant": [("backward", {"grad_x is None or not x.requires_grad": "grad_x is None"})],
}


def explained(backward: Callable[..., None]) -> Callable[..., None]:
    """``backward`` of the student; where it finds no entry for a function, the Mistake says why."""

    def walk(self: Tensor, grad: Any = None) -> None:
        users: dict[Function, list[Function]] = {}  # of the result of each function
        visited: set[Function] = set()
        for function in functions_behind(self.creator):
            function.input_gradients = partial(noted, visited, function, function.input_gradients)  # type: ignore[method-assign]
            for creator in {x.creator for x in function.inputs if x.creator is not None}:
                users.setdefault(creator, []).append(function)
        try:
            backward(self, grad)
        except KeyError as error:
            missing, found = error.args[0], frame_of_error(error, Path(student_file.get()))
            if not isinstance(missing, Function):
                raise
            left = [user for user in users.get(missing, []) if user not in visited]
            names = found[0].f_locals if found else {}
            keys = [key for key in names.get("grad_of_output", ()) if not isinstance(key, Function)]
            if left and not left[0].inputs:  # it has been freed
                symptom, why = "not asked", f"input_gradients of the {left[0].name}, which uses it, was not called"
            elif left:
                symptom, why = "loop order", f"the {left[0].name} uses its result, and has not been visited"
            elif keys:
                symptom, why = "another key", f"its keys are not functions; one is a {type(keys[0]).__name__}"
            elif names.get("function") in users.get(missing, []):
                symptom, why = "no first entry", "this is the first gradient that arrives there"
            else:
                symptom, why = "nothing stored", "all functions that use its result have been visited"
            text = f"KeyError: there is no entry for the {missing.name} in grad_of_output: {why}"
            raise Mistake(text, symptom=symptom, line=found[1] if found else None, place="backward") from None

    return walk


def noted(visited: set[Function], function: Function, input_gradients: Callable[..., Any], grad_y: Any) -> Any:
    """``input_gradients(grad_y)``, after a note that the function is visited."""
    visited.add(function)
    return input_gradients(grad_y)


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
    """What a walk back may meet: the order first, then the gradients."""
    situations: list[Callable[[], None]] = [
        *(partial(check_order, student, what) for what in GRAPHS),
        *(partial(check_sums, *case) for case in SUMS.items()),
        check_two_losses,
        check_constants,
        *(partial(check_without_gradient, position) for position in (0, 1)),
        partial(check_second_use, "on the same loss again"),
        partial(check_second_use, "on another loss that shares a part of the graph"),
    ]
    with engine(student.backward):
        check_each(situations, then=[check_long_chain, check_doublings])


def late_use(x: Tensor) -> Tensor:
    """A result that is used early and late."""
    a = x * 2.0
    return (a.exp() + a * 3.0) * a


def two_sums(x: Tensor) -> Tensor:
    """The gradient of a sum, which cannot be written to, arrives before another one."""
    a = x * 2.0
    return (a * 3.0).sum() + a.sum()


LATE_USE = "when a result is used twice, as in a = x * 2; (a.exp() + a * 3) * a"
SUMS: dict[str, tuple[Callable[..., Tensor], int]] = {  # a function, and the number of its inputs
    "in a chain of three operations": (lambda x: (x * 3.0).exp() + 1.0, 1),
    "when a leaf is used twice, as in x * x + x": (lambda x: x * x + x, 1),
    "when the first input needs no gradient, as in c * x": (lambda x: Tensor(np.full(3, 2.0, x.dtype)) * x, 1),
    LATE_USE: (late_use, 1),
    "when two leaves meet several times": (lambda x, w: (x * w).exp() + x * w + w, 2),
    "when the first gradient to arrive is that of a sum, as in a = x * 2; (a * 3).sum() + a.sum()": (two_sums, 1),
}
GRAPHS: dict[str, Callable[[Tensor], Tensor]] = {
    "in a chain of three operations": lambda x: (x * 3.0).exp() + 1.0,
    LATE_USE: late_use,
}


def check_order(student: ModuleType, what: str) -> None:
    """_in_reverse_order alone, so that its mistakes are not shown as wrong gradients."""
    place = "_in_reverse_order"
    last = GRAPHS[what](Tensor(normal(3), requires_grad=True)).creator
    assert last is not None
    everything = functions_behind(last)
    with situation(what):
        functions = returned(student._in_reverse_order(last), place)
        text, symptom = order_of(functions, everything, last)
        if symptom:
            raise Mistake(f"in its list {text}", symptom=symptom, about=place, place=place)


def order_of(functions: Any, everything: set[Function], last: Function) -> tuple[str, str]:
    """What is wrong with the order ``functions``, and the symptom; both empty if it is right."""
    if not isinstance(functions, list | tuple):
        return f"the functions have no order: it is a {type(functions).__name__}", "no list"
    calls = sorted(everything, key=lambda function: function._order)

    def named(function: Function) -> str:
        return f"{function.name} (operation {calls.index(function) + 1} of {len(calls)})"

    twice = next((function for function in functions if functions.count(function) > 1), None)
    if twice is not None:
        return f"{named(twice)} stands twice", "visited twice"
    missing = [function for function in calls if function not in functions]
    if missing:
        return f"{named(missing[-1])} is missing", "left out"
    for index, function in enumerate(functions):
        later = [user for user in functions[index + 1 :] if any(x.creator is function for x in user.inputs)]
        if later:
            text = f"{named(function)} stands before {named(later[0])}, which uses its result"
            return text, "visited before its users"
    return "", ""


def check_sums(what: str, case: tuple[Callable[..., Tensor], int]) -> None:
    """Paths that meet and part: each gradient is the sum over all of them."""
    call, count = case
    inputs = {name: normal(3, seed=seed) for seed, name in enumerate("xw"[:count])}
    with situation(what):
        try:
            check_gradients(call, inputs)
        except Mistake as mistake:
            if mistake.came is not None or mistake.symptom == "none":
                mistake.line, mistake.about = None, ""  # every line of the loop has a share in each gradient
            raise


def check_two_losses() -> None:
    """Gradients of a leaf add up."""
    with situation("when backward() is called for two losses"):
        leaf = Tensor(np.ones(2), requires_grad=True)
        (leaf * 2.0).sum().backward()
        (leaf * 3.0).sum().backward()
        compare("the gradient of the leaf", np.array([5.0, 5.0]), leaf.grad, "2 + 3")


def check_constants() -> None:
    """A leaf that requires no gradient gets none."""
    with situation("when an input needs no gradient"):
        constant = Tensor(np.ones(2))
        (constant * Tensor(np.ones(2), requires_grad=True)).sum().backward()
        if constant.grad is not None:
            raise Mistake("it received one", symptom="constant", about="backward", place="backward")


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
    """y = x + c, without a gradient for c, the input number ``position``."""

    def __init__(self, position: int) -> None:
        self.position = position

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + b

    def backward(self, grad_y: np.ndarray) -> tuple[np.ndarray | None, ...]:
        return (None, grad_y) if self.position == 0 else (grad_y, None)


def check_doublings() -> None:
    """Each function is visited once."""
    with situation(f"in {DOUBLINGS} doublings, y = y * 1 + y * 1"):
        end = start = Tensor(np.ones(1), requires_grad=True)
        for _ in range(DOUBLINGS):
            end = Twice()(end * 1.0, end * 1.0)
        Twice.looks = 0
        end.backward()
        compare("the gradient of its start", np.array([2.0**DOUBLINGS]), start.grad, "2 each time")


def check_without_gradient(position: int) -> None:
    """An input without a gradient is skipped, and the other one is not."""
    with situation(f"when a function returns None for its {('first', 'second')[position]} input"):
        x, c = Tensor(np.ones(2), requires_grad=True), Tensor(np.ones(2))
        y = Partial(position)(*((c, x) if position == 0 else (x, c)))
        c.requires_grad = True  # too late for y
        try:
            y.sum().backward()
        except (AttributeError, TypeError) as error:
            text = f"{type(error).__name__}: {error}"
            raise Mistake(text, symptom="None not skipped", about="backward", place="backward") from None
        compare("the gradient of the other input", np.ones(2), x.grad, "1 each")


def check_second_use(what: str) -> None:
    """A graph whose arrays are gone is not used again, neither the whole nor a part of it."""
    with situation(f"when backward() is called {what}"):
        shared = (Tensor(np.ones(2), requires_grad=True) * 2.0).exp()
        first, other = shared.sum(), (shared * 3.0).sum()
        to_free = sorted(functions_behind(first.creator), key=lambda function: function._order)
        first.backward()
        held = next((function for function in to_free if set(vars(function)) - {"_order"}), None)
        if held is not None:
            text = f"no error: the {held.name} still holds what it stored; function.free() was not called for each"
            raise Mistake(text, symptom="not freed", about="backward", place="backward")
        try:
            (first if "same" in what else other).backward()
        except AutogradError:
            return
        except Exception as error:  # whatever its loop meets in a function that is empty
            text = f"{type(error).__name__} in place of AutogradError"
        else:
            text = "no error"
        raise Mistake(text, symptom="used twice", about="_in_reverse_order", place="_in_reverse_order")


EXERCISE = Exercise(
    name="02_engine",
    formulas=FORMULAS,
    hints=HINTS,
    planted=PLANTED,
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
