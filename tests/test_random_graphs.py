"""The gradient of any composition of ops is right: hypothesis draws small graphs, ``gradcheck`` judges them.

A graph is a list of steps, each of which takes one or two of the tensors made so far, so that tensors are used several
times, broadcast against each other, and left unused. Values are kept within a range by a smooth bound, because what a
long product of products makes of the sixth digit is nobody's fault.
"""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tinycnn import Function, Tensor, gradcheck, ops
from tinycnn.errors import GradientError
from tinycnn.tensor import Add

SHAPES = [(2, 4, 4, 2), (2, 2, 2, 2), (2, 16), (2, 3), (3,), (1, 3), (2, 1), (4, 1, 2), ()]
WINDOW = {"kernel_size": (2, 2), "stride": (1, 1), "padding": (1, 1)}


def bounded(x: Tensor) -> Tensor:
    """Smoothly into (-2, 2): ``x / √(1 + x²/4)``."""
    return x / (x * x * 0.25 + 1) ** 0.5


def pieces(x: Tensor) -> Tensor:
    return ops.flatten(x) if x.ndim else x.reshape(1)


UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": lambda x: bounded(x).exp(),
    "log": lambda x: (x * x + 1).log(),
    "relu": ops.relu,
    "square": lambda x: x**2,
    "root": lambda x: (x * x + 0.5) ** 0.5,
    "power of two": lambda x: 2 ** bounded(x),
    "negative": lambda x: -x,
    "transposed": lambda x: x.T,
    "sum": lambda x: x.sum(),
    "sum of last": lambda x: x.sum(axis=-1, keepdims=True) if x.ndim else x,
    "mean of first": lambda x: x.mean(axis=0) if x.ndim else x,
    "max of last": lambda x: x.max(axis=-1) if x.ndim else x,
    "max": lambda x: x.max(),
    "flatten": pieces,
    "softmax": lambda x: ops.softmax(x) if x.ndim else x,
    "log_softmax": lambda x: ops.log_softmax(x) if x.ndim else x,
    "max_pool2d": lambda x: ops.max_pool2d(x, **WINDOW) if x.ndim == 4 else x,
    "avg_pool2d": lambda x: ops.avg_pool2d(x, **WINDOW) if x.ndim == 4 else x,
    "conv2d with itself": lambda x: ops.conv2d(x, x, padding=2) if x.shape == (2, 2, 2, 2) else x,
    "batch_norm": lambda x: ops.batch_norm(x, Tensor(np.ones(x.shape[-1])), Tensor(np.zeros(x.shape[-1])), eps=0.5)
    if x.ndim > 1
    else x,
    "dropout": lambda x: ops.dropout(x, p=0.3, key=(1, 2)),
    "dense": lambda x: ops.dense(x, Tensor(np.cos(np.arange(2.0 * x.shape[1])).reshape(-1, 2))) if x.ndim == 2 else x,
}  # fmt: skip
BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / (b * b + 1),
    "**": lambda a, b: (a * a + 0.5) ** bounded(b),
    "@": lambda a, b: a @ b,
}
MOST_ELEMENTS = 300
Step = tuple[str, int, int]  # an op, and the numbers of the tensors it takes
steps = st.lists(
    st.tuples(st.sampled_from([*UNARY, *BINARY]), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8
)


def compose(leaves: tuple[Tensor, ...], graph: list[Step], plus: type[Function] = Add) -> Tensor:
    """Run the steps, without those that their shapes forbid; the result is a sum over all tensors that were made."""
    made = list(leaves)
    for name, first, second in graph:
        a, b = made[first % len(made)], made[second % len(made)]
        if name in UNARY:
            y = UNARY[name](a)
        elif fits(name, a.shape, b.shape):
            y = plus()(a, b) if name == "+" else BINARY[name](a, b)
        else:
            continue
        if y.data.size <= MOST_ELEMENTS:
            made.append(bounded(y))
    total = made[0].sum() * 0.5
    for i, x in enumerate(made[1:]):
        total = total + x.sum() * (i + 1) + (x * x).sum()
    return total


def fits(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether the shapes broadcast, or multiply as matrices."""
    try:
        np.matmul(np.empty(a), np.empty(b)) if name == "@" else np.broadcast_shapes(a, b)
    except ValueError:
        return False
    return True


def leaves_of(shapes: list[tuple[int, ...]], seed: int) -> list[Tensor]:
    rng = np.random.default_rng(seed)
    return [Tensor(np.asarray(rng.normal(size=shape)), requires_grad=True) for shape in shapes]


EXAMPLES = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))


@EXAMPLES
@given(shapes=st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3), graph=steps, seed=st.integers(0, 99))
def test_the_gradient_of_a_random_graph_is_right(backend, shapes, graph, seed):
    inputs = leaves_of(shapes, seed)
    assert gradcheck(lambda *x: compose(x, graph), inputs, fast_mode=True)


class AddForgetsTheSecond(Add):
    """Its second input is taken for a constant: a bug that shows only where both sides lead to a leaf."""

    def backward(self, grad_y):
        grad_a, grad_b = super().backward(grad_y)
        return grad_a, 0 * grad_b  # without a gradient, None, backward() itself raises


class AddDoesNotUnbroadcastRight(Add):
    """The mean over the stretched axes, where the sum belongs: right as long as nothing broadcasts."""

    def backward(self, grad_y):
        a, b = super().backward(grad_y)
        return a * (a.size / grad_y.size if grad_y.size else 1), b * (b.size / grad_y.size if grad_y.size else 1)


@pytest.mark.parametrize("bug", [AddForgetsTheSecond, AddDoesNotUnbroadcastRight])
def test_a_planted_bug_is_found(bug):
    """Among the graphs that hypothesis draws there is one that shows it."""

    @settings(EXAMPLES, database=None, derandomize=True, max_examples=500, phases=[Phase.generate])
    @given(shapes=st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3), graph=steps)
    def search(shapes, graph):
        gradcheck(lambda *x: compose(x, graph, bug), leaves_of(shapes, 0), fast_mode=True)

    with pytest.raises(GradientError):
        search()
