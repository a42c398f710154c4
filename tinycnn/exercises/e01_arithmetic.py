"""Exercise 1: products, quotients, broadcasting, matrix products."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType

import numpy as np

from tinycnn import tensor
from tinycnn.exercises.checking import (
    Arrays,
    after,
    check_gradients,
    compare,
    made_at,
    normal,
    returned,
    shown_at,
    single_uses,
    situation,
)
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.exercises.symptoms import FORM
from tinycnn.exercises.tracing import Returns

TASK = """
The chain rule, one operation at a time. grad_y is d loss / d y, and has the shape of y; every backward returns
d loss / d input, one array per input, each in the shape of its input. For a product y = a b of numbers:

    d loss / d a  =  d loss / d y · dy/da

1. Multiply.backward and Divide.backward: dy/da and dy/db on paper first, then in code. Which inputs of forward does
   each need? They are attributes of self.
2. unbroadcast: in `matrix + row` the row was added to every row of the matrix. What is its gradient? `grad` has the
   shape of the result. `shape`, that of the input, may lack leading axes, such as (3,) for a result of (2, 3), or have
   length 1 where the result is longer, such as (2, 1).
3. MatMul.backward: y[i, k] = Σ_j a[i, j] b[j, k]. Which y does a[i, j] act on, and how strongly? Write the sum: it
   is a matrix product. The shapes leave only one way to write it: a (n, m), b (m, k), grad_y (n, k).
"""

SPOILERS = (
    (", so dy/da = b and dy/db = a.", "."),
    (", so dy/da = 1/b and dy/db = -a/b².", "."),
    (
        '''

    a[i, j] is used once for each k, in the term a[i, j] b[j, k] of y[i, k], so there its slope is b[j, k]. Its gradient
    is the sum over these uses: grad_a[i, j] = Σ_k grad_y[i, k] b[j, k], the matrix product of grad_y and bᵀ. Likewise
    b[j, k] is used once for each i, with the slope a[i, j]: grad_b[j, k] = Σ_i a[i, j] grad_y[i, k], the product of aᵀ
    and grad_y.
    """''',
        '"""',
    ),
)


PLACES = "unbroadcast", "_Elementwise", "Multiply", "Divide", "MatMul"
GRAD_A = "unbroadcast(grad_y @ self.b.swapaxes(-1, -2), self.a.shape)"
GRAD_B = "unbroadcast(self.a.swapaxes(-1, -2) @ grad_y, self.b.shape)"
STACKS = "swapaxes exchanges the last two axes alone, and unbroadcast sums over the stack where it was repeated"
SUMMED = "self.unbroadcast(grad_a, grad_b), which sums over what was repeated"
FORMULAS = {
    "Multiply.a": f"grad_a = grad_y * self.b, then return {SUMMED}",
    "Multiply.b": f"grad_b = grad_y * self.a, then return {SUMMED}",
    "Divide.a": f"grad_a = grad_y / self.b, then return {SUMMED}",
    "Divide.b": f"grad_b = -grad_y * self.a / self.b**2, then return {SUMMED}",
    "MatMul.a": f"grad_a = {GRAD_A}: grad_y bᵀ, (n, k) (k, m) → (n, m). {STACKS}",
    "MatMul.b": f"grad_b = {GRAD_B}: aᵀ grad_y, (m, n) (n, k) → (m, k). {STACKS}",
    "unbroadcast": "grad = grad.sum(axis=tuple(range(grad.ndim - len(shape)))) for the leading axes that the input "
    "does not have; then, for each axis where shape has a 1, grad = grad.sum(axis=axis, keepdims=True); return grad",
    "Multiply.backward": "return self.unbroadcast(grad_y * self.b, grad_y * self.a): the gradient of a, then that of b",
    "Divide.backward": "return self.unbroadcast(grad_y / self.b, -grad_y * self.a / self.b**2): the gradient of a, "
    "then that of b",
    "MatMul.backward": f"return {GRAD_A}, {GRAD_B}",
}
Both = tuple[np.ndarray | None, np.ndarray]  # the gradients of a and b
Wrong = Callable[[np.ndarray, np.ndarray, np.ndarray], Both]  # of grad_y, a and b
MULTIPLY: dict[str, Wrong] = {
    "factors exchanged": lambda grad_y, a, b: (grad_y * a, grad_y * b),
    "both factors": lambda grad_y, a, b: (grad_y * a * b, grad_y * a * b),
    "added": lambda grad_y, a, b: (grad_y + b, grad_y + a),
    "factors added": lambda grad_y, a, b: (grad_y * (a + b), grad_y * (a + b)),
    "divided": lambda grad_y, a, b: (grad_y / b, grad_y / a),
}
DIVIDE: dict[str, Wrong] = {
    "denominator": lambda grad_y, a, b: (None, -grad_y * a / b),
    "as a product": lambda grad_y, a, b: (grad_y * b, grad_y * a),
    "no brackets": lambda grad_y, a, b: (None, -grad_y * a / b * b),
    "denominator twice": lambda grad_y, a, b: (grad_y / b**2, -grad_y * a / b**3),
    "twice b": lambda grad_y, a, b: (grad_y / (2 * b), -grad_y * a / (2 * b)),
    "a left out": lambda grad_y, a, b: (None, -grad_y / b**2),
    "as for a": lambda grad_y, a, b: (None, -grad_y / b),
    "y itself": lambda grad_y, a, b: (grad_y * a / b, -grad_y * a**2 / b**2),
    "divided by a": lambda grad_y, a, b: (grad_y / a, -grad_y * b / a**2),
    "whole numbers": lambda grad_y, a, b: (grad_y // b, -grad_y * a // b**2),
}
HINTS = {
    "factors exchanged": (
        "each factor got its own value as slope, or the two gradients are returned in each other's place; the slope of "
        "a product is the other factor.",
        "Keep all numbers of y = a b fixed but a. By how much does y grow when a grows by 1?",
    ),
    "both factors": (
        "it contains both factors; the slope of a product is the other factor alone.",
        "grad_a is grad_y times one number. It must not contain a, and grad_b must not contain grad_a.",
    ),
    "added": (
        "grad_y and the slope are added; the chain rule multiplies them.",
        "d loss / d a = d loss / d y · dy/da, where d loss / d y is grad_y.",
    ),
    "factors added": (
        "the slope is a + b here; the slope of a product with respect to a is b alone.",
        "d(a b)/da = b and d(a b)/db = a: two gradients, one for each input, which are not added.",
    ),
    "divided": (
        "grad_y is divided by the other factor; it has to be multiplied by it.",
        "Keep all numbers of y = a b fixed but a. By how much does y grow when a grows by 1?",
    ),
    "denominator": (
        "the denominator is not squared: y = a b⁻¹, and the derivative of b⁻¹ is -b⁻².",
        "Differentiate a / b with respect to b on paper, with a fixed.",
    ),
    "as a product": (
        "it is the gradient of a product, a b; here y is a / b.",
        "Differentiate a · b⁻¹ on paper, with respect to a, and then with respect to b.",
    ),
    "no brackets": (
        "it is a / b · b: without brackets, Python divides by the first b and multiplies by the second.",
        "a / b * b is (a / b) * b. The denominator b² is b**2, or (b * b) in brackets.",
    ),
    "denominator twice": (
        "it is divided by b once too often.",
        "y = a · b⁻¹: dy/da = b⁻¹ and dy/db = -a b⁻², by the power rule.",
    ),
    "twice b": (
        "the denominator is 2 b here: that is the derivative of b², which does not appear.",
        "y = a · b⁻¹: dy/da = b⁻¹ and dy/db = -a b⁻², by the power rule.",
    ),
    "as for a": (
        "it is the gradient of a, grad_y / b, with a minus; that of b has a second factor, and another power of b.",
        "Differentiate a · b⁻¹ with respect to b: a stays as it is, and the power rule is for b⁻¹.",
    ),
    "a left out": (
        "a is missing: it is the gradient of 1 / b.",
        "y = a · b⁻¹. A constant factor stays in the derivative: it is a times the derivative of b⁻¹.",
    ),
    "y itself": (
        "it contains the factor a once too often.",
        "y = a · b⁻¹: dy/da does not contain a, and dy/db contains it once.",
    ),
    "divided by a": (
        "a and b are exchanged: it is divided by a, as if y were b / a.",
        "y = a · b⁻¹: dy/da = b⁻¹ and dy/db = -a b⁻².",
    ),
    "whole numbers": ("// rounds down to a whole number.", "A division of numbers with fractions is /."),
    "of Multiply": (
        "y = a b: keep all numbers fixed but one; the other factor is the slope.",
        "Compute the number at the index above on paper: grad_y there, times the other factor there.",
    ),
    "of Divide": (
        "y = a b⁻¹: keep b fixed for the slope of a, and a for that of b. The power rule gives the derivative of b⁻¹.",
        "Compute the number at the index above on paper, from grad_y, a and b there.",
    ),
    "of unbroadcast": (
        "an element that was used in several places gets the sum of the gradients of all these places.",
        "Which places of grad did the element at the index above go to? Add up their numbers.",
    ),
    "of MatMul": (
        "a[i, j] is used once for each k, multiplied by b[j, k], and b[j, k] once for each i, multiplied by a[i, j].",
        "Compute the number at the index above on paper, from a row of grad_y and a row or column of the other matrix.",
    ),
}


REPEATED: dict[tuple[int, ...], list[tuple[int, ...]]] = {
    (2, 3): [(2, 3), (3,), (2, 1), (1, 3), (1, 1), (1,), ()],
    (4, 2, 3): [(3,), (2, 1), (4, 1, 1), ()],
    (1, 2, 3): [(3,)],
}
FIRST_TASK = "Multiply and Divide, for arrays of one shape"


def check(student: ModuleType) -> None:
    """Each operation against finite differences: without broadcasting first, for which unbroadcast does nothing."""
    a, b = normal(2, 3), abs(normal(2, 3, seed=1)) + 0.5
    with own_unbroadcast(student):
        check_elementwise(student, {"a": a, "b": b})
    with after(FIRST_TASK):
        check_unbroadcast(student)
        check_elementwise(student, {"a": a, "b": b[0]}, ", b a row")
        check_elementwise(student, {"a": a, "b": b[:, :1]}, ", b a column")
        check_elementwise(student, {"a": a[0], "b": b[:, :1]}, ", a a row and b a column")
        for shapes, what in {
            ((2, 3), (3, 4)): "",
            ((2, 2, 3), (3, 4)): ", a batch of matrices times one matrix",
            ((2, 3), (2, 3, 4)): ", one matrix times a batch of matrices",
            ((2, 2, 3), (2, 3, 4)): ", two batches of matrices",
            ((5, 1, 2, 3), (2, 3, 4)): ", two batches that are both repeated",
        }.items():
            with situation(f"in a @ b{what}"):
                matrices = {"a": normal(*shapes[0]), "b": normal(*shapes[1], seed=1)}
                reshaped = {"not transposed": partial(with_reshapes, matrices)}
                check_gradients(lambda a, b: student.MatMul()(a, b), matrices, of="MatMul", suspects=reshaped)


def check_elementwise(student: ModuleType, inputs: Arrays, broadcast: str = "") -> None:
    """Products and quotients of ``a`` and ``b``."""
    with situation(f"in a * b{broadcast}"):
        mistakes = {key: partial(mistaken, wrong, inputs) for key, wrong in MULTIPLY.items()}
        check_gradients(lambda a, b: student.Multiply()(a, b), inputs, of="Multiply", suspects=mistakes)
    with situation(f"in a / b{broadcast}"):
        mistakes = {key: partial(mistaken, wrong, inputs) for key, wrong in DIVIDE.items()}
        check_gradients(lambda a, b: student.Divide()(a, b), inputs, of="Divide", suspects=mistakes)


def mistaken(wrong: Wrong, inputs: Arrays, name: str, grad_y: np.ndarray) -> np.ndarray | None:
    """The gradient of ``a`` or ``b`` with a mistake; None if the mistake is not made there."""
    grad = wrong(grad_y, inputs["a"], inputs["b"])["ab".index(name)]
    return None if grad is None else summed(grad, inputs[name].shape)


@contextmanager
def own_unbroadcast(student: ModuleType) -> Iterator[None]:
    """The student's file calls tinycnn's ``unbroadcast`` inside the block: that of the student may be empty."""
    theirs = vars(student)["unbroadcast"]
    vars(student)["unbroadcast"] = tensor.unbroadcast
    try:
        yield
    finally:
        vars(student)["unbroadcast"] = theirs


def check_unbroadcast(student: ModuleType) -> None:
    """Alone, so that its mistakes are not shown at the line of a product."""
    place = "unbroadcast"
    for grad_shape, shapes in REPEATED.items():
        grad = normal(*grad_shape, seed=99)
        for shape in shapes:
            expected, lines = summed(grad, shape), Returns()
            with situation(f"in unbroadcast of a gradient {grad_shape} to {shape}"):
                with lines.watched():
                    came = returned(student.unbroadcast(grad.copy(), shape), place)
                uses = {
                    f"overwritten{FORM}{name}": summed(part, shape) for name, part in single_uses(grad, "grad").items()
                }
                with shown_at(None, ("not summed",)):  # a sum that is missing has no line
                    compare(
                        "its result", expected, came, "the sum over what was repeated", about=place, place=place,
                        line=made_at(lines.last), suspects={key: partial(np.array, part) for key, part in uses.items()},
                        counts=[(grad.size // expected.size, "copies")], has_mean=False, grad_y=grad_shape,
                        given={"grad": grad},
                    )  # fmt: skip


def summed(grad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``grad`` summed over what was repeated, in ``shape``."""
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    return grad.sum(axis=tuple(i for i, size in enumerate(shape) if size == 1), keepdims=True)


def with_reshapes(inputs: Arrays, name: str, grad_y: np.ndarray) -> np.ndarray | None:
    """The gradient of a matrix product with a reshape in place of the transpose; None for a batch of matrices."""
    a, b = inputs["a"], inputs["b"]
    if a.ndim > 2 or b.ndim > 2:
        return None
    return grad_y @ b.reshape(b.shape[::-1]) if name == "a" else a.reshape(a.shape[::-1]) @ grad_y


EXERCISE = Exercise(
    name="01_arithmetic",
    title="Products, quotients, broadcasting, matrix products.",
    source="tinycnn.tensor",
    chapter="docs/path/01_chain_rule.md",
    chapters=dict.fromkeys(("unbroadcast", "MatMul"), "docs/path/03_dense_and_relu.md"),
    task=TASK,
    hint="in a product, keep all numbers fixed but one: its factor is the slope. The gradient of an element that was "
    "used several times is the sum over all its uses.",
    formulas=FORMULAS,
    hints=HINTS,
    keeps=PLACES,
    holes=(
        Hole("unbroadcast", "grad: as the broadcast result, shape: as the input was. Sum over what was repeated."),
        Hole("Multiply.backward", "Two gradients in the shape of y; self.unbroadcast(grad_a, grad_b) does the rest."),
        Hole("Divide.backward", "As in Multiply."),
        Hole("MatMul.backward", "Two gradients; stacks of matrices have leading axes, so swap the last two axes only,\n"
             "and let unbroadcast(grad, shape) sum over stacks that were repeated."),
    ),
    check=check,
    spoilers=SPOILERS,
)  # fmt: skip
