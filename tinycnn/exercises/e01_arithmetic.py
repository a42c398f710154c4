"""Exercise 1: products, quotients, broadcasting, matrix products."""

from types import ModuleType

from tinycnn.exercises.checking import check_gradients, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole

TASK = """
The chain rule, one operation at a time. grad_y is d loss / d y, and has the shape of y; every backward returns
d loss / d input, one array per input, each in the shape of its input. For a product y = a b of numbers:

    d loss / d a  =  d loss / d y · dy/da

1. Multiply.backward and Divide.backward: dy/da and dy/db on paper first, then in code. Which inputs of forward does
   each need? They are attributes of self.
2. unbroadcast: in `matrix + row` the row was added to every row of the matrix. What is its gradient?
3. MatMul.backward: y[i, k] = Σ_j a[i, j] b[j, k]. Which y does a[i, j] act on, and how strongly? Write the sum: it
   is a matrix product. The shapes leave only one way to write it: a (n, m), b (m, k), grad_y (n, k).
"""

SPOILERS = (
    (", so dy/da = b and dy/db = a.", "."),
    (", so dy/da = 1/b and dy/db = -a/b².", "."),
    (": dA = dY Bᵀ and dB = Aᵀ dY, the only products whose shapes match.", "."),
)


def check(student: ModuleType) -> None:
    """Each operation against finite differences, with and without broadcasting."""
    positive = abs(normal(2, 3, seed=1)) + 0.5
    pairs = {"a": normal(2, 3), "b": positive}
    rows = {"a": normal(2, 3), "b": positive[0]}
    columns = {"a": normal(2, 3), "b": positive[:, :1]}
    for broadcast, inputs in {"": pairs, ", b a row": rows, ", b a column": columns}.items():
        with situation(f"in a * b{broadcast}"):
            check_gradients(lambda a, b: a * b, inputs, kind=student.Tensor)
        with situation(f"in a / b{broadcast}"):
            check_gradients(lambda a, b: a / b, inputs, kind=student.Tensor)
    with situation("in a @ b"):
        check_gradients(lambda a, b: a @ b, {"a": normal(2, 3), "b": normal(3, 4, seed=1)}, kind=student.Tensor)
    with situation("in a @ b, a batch of matrices times one matrix"):
        check_gradients(lambda a, b: a @ b, {"a": normal(2, 2, 3), "b": normal(3, 4, seed=1)}, kind=student.Tensor)


EXERCISE = Exercise(
    name="01_arithmetic",
    title="Products, quotients, broadcasting, matrix products.",
    source="tinycnn.tensor",
    chapter="docs/path/01_chain_rule.md",
    task=TASK,
    hint="in a product, keep all numbers fixed but one: its factor is the slope. The gradient of an element that was "
    "used several times is the sum over all its uses.",
    holes=(
        Hole("unbroadcast", "grad: as the broadcast result, shape: as the input was. Sum over what was repeated."),
        Hole("Multiply.backward", "Two gradients in the shape of y; self.unbroadcast(grad_a, grad_b) does the rest."),
        Hole("Divide.backward", "As in Multiply."),
        Hole("MatMul.backward", "Two gradients; stacks of matrices have leading axes, so swap the last two axes only,\n"
             "and let unbroadcast(grad, shape) sum over stacks that were repeated."),
    ),
    check=check,
    lent=("Tensor.backward", "_in_reverse_order"),
    spoilers=SPOILERS,
)  # fmt: skip
