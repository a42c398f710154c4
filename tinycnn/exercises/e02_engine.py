"""Exercise 2: the engine, backward() and the order in which it visits."""

from types import ModuleType
from typing import Any

import numpy as np

from tinycnn.exercises.checking import Mistake, check_gradients, compare, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.exercises.e01_arithmetic import SPOILERS

TASK = """
The core of tinycnn. Every tensor that an operation computed has a `creator`, a Function; every Function has `inputs`.
loss.backward() goes from the loss to the leaves, the tensors without a creator.

1. _in_reverse_order: all functions that `last` depends on, with every user of a result before its creator. Why is this
   order necessary? Do not use recursion: a chain of 5,000 operations is deeper than Python's stack.
2. Tensor.backward, the loop: for each function, function.input_gradients(grad_y) returns one gradient per input (or
   None). For a leaf, add it with _add_to_leaf; otherwise it is part of the gradient of the output of x.creator. What
   if another part has arrived there before?
"""


def check(student: ModuleType) -> None:
    """What a walk back may meet."""
    check_paths(student.Tensor)
    check_leaves(student.Tensor)
    check_long_chain(student.Tensor)


def check_paths(Tensor: Any) -> None:
    """Paths that meet and part."""
    x = {"x": normal(3)}

    def late_use(x):  # type: ignore[no-untyped-def]
        a = x * 2.0
        return (a.exp() + a * 3.0) * a

    with situation("in a chain of three operations"):
        check_gradients(lambda x: (x * 3.0).exp() + 1.0, x, kind=Tensor)
    with situation("when a leaf is used twice, as in x * x + x"):
        check_gradients(lambda x: x * x + x, x, kind=Tensor)
    with situation("when a result is used twice, as in a = x * 2; (a.exp() + a * 3) * a"):
        check_gradients(late_use, x, kind=Tensor)
    with situation("when two leaves meet several times"):
        check_gradients(lambda x, w: (x * w).exp() + x * w + w, x | {"w": normal(3, seed=1)}, kind=Tensor)


def check_leaves(Tensor: Any) -> None:
    """Gradients of a leaf add up; a leaf that requires none gets none."""
    with situation("when backward() is called for two losses"):
        leaf = Tensor(np.ones(2), requires_grad=True)
        (leaf * 2.0).sum().backward()
        (leaf * 3.0).sum().backward()
        compare("the gradient of the leaf", np.array([5.0, 5.0]), leaf.grad, "2 + 3")
    with situation("when an input needs no gradient"):
        constant = Tensor(np.ones(2))
        (constant * Tensor(np.ones(2), requires_grad=True)).sum().backward()
        if constant.grad is not None:
            raise Mistake("it received one")


def check_long_chain(Tensor: Any) -> None:
    """Longer than Python's stack is deep."""
    with situation("in a chain of 5,000 operations"):
        end = start = Tensor(np.ones(1), requires_grad=True)
        for _ in range(5000):
            end = end + 1.0
        end.backward()
        compare("the gradient of its start", np.ones(1), start.grad)


EXERCISE = Exercise(
    name="02_engine",
    title="The engine: backward(), and the order in which it visits.",
    source="tinycnn.tensor",
    chapter="docs/path/02_engine.md",
    task=TASK,
    hint="grad_y of a function is complete only when all users of y have been visited; function._order counts up in "
    "the order of the calls. A second gradient for the same thing is added to the first.",
    holes=(
        Hole("Tensor.backward", "Visit every function once. grad_of_output.pop(function) is its complete grad_y; call\n"
             "function.free() when it is done.", starts="for function in"),
        Hole("_in_reverse_order", "A list of functions, `last` first. A function without inputs has been used\n"
             "already: raise AutogradError for it."),
    ),
    check=check,
    lent=("unbroadcast", "Multiply.backward", "Divide.backward", "MatMul.backward"),
    spoilers=SPOILERS,
)  # fmt: skip
