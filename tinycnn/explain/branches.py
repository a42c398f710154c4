"""What the branches of a layer returned and passed back, for Residual, Add, Multiply and Concatenate.

Such a layer gives its input to several branches and joins their outputs. The gradient that arrives goes into each
branch, and what the branches pass back is added, because the input went into all of them.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from tinycnn.backends.base import Array
from tinycnn.layers import Add, Concatenate, Layer, Multiply, Residual
from tinycnn.tensor import Function, Tensor

KINDS = (Residual, Add, Multiply, Concatenate)
Use = tuple[Function, int]  # a call, and which of its inputs


class Branches:
    """The branches of one call of a layer, from ``x`` to ``y``; notes their gradients during ``backward()``."""

    def __init__(self, layer: Layer, x: Tensor, y: Tensor) -> None:
        self.names, self.x = list(layer.sublayers()), x
        self.ends = list(_ends(y, len(self.names), isinstance(layer, Concatenate)))
        self.outputs = [function.inputs[i] for function, i in self.ends]
        ways = zip(self.ends, self.outputs, strict=True)
        self.starts = [[end] if output is x else list(_uses(x, output)) for end, output in ways]
        self.grads: dict[Function, tuple[Array | None, ...]] = {}
        for function, _ in [*self.ends, *(use for uses in self.starts for use in uses)]:
            if function not in self.grads:
                self.grads[function] = ()
                function.input_gradients = partial(self._noting, function, function.input_gradients)  # type: ignore[method-assign]

    def kept(self) -> dict[str, np.ndarray]:
        """For each branch, without the batch axis: ``NAME.out``, ``NAME.out.grad``, and ``NAME.in.grad``.

        These are its output, the gradient of it, and the part of the layer's ``grad_x`` that the branch passes back.
        """
        found = {}
        for name, output, end, starts in zip(self.names, self.outputs, self.ends, self.starts, strict=True):
            found[f"{name}.out"] = output.numpy()[0].copy()
            found[f"{name}.out.grad"] = self._gradient(end)
            passed = [self._gradient(use) for use in starts]
            found[f"{name}.in.grad"] = sum(passed, start=np.zeros_like(self.x.numpy()[0]))
        return found

    def _gradient(self, use: Use) -> np.ndarray:
        function, position = use
        grad = self.grads[function][position]
        assert grad is not None
        return grad[0].copy()

    def _noting(self, function: Function, original: Any, grad_y: Array) -> Any:
        self.grads[function] = original(grad_y)
        return self.grads[function]


def _uses(x: Tensor, output: Tensor) -> Iterator[Use]:
    """Where the calls between ``x`` and ``output`` use ``x``."""
    seen, to_visit = set(), [output.creator]
    while to_visit:
        function = to_visit.pop()
        if function is not None and function is not x.creator and function not in seen:
            seen.add(function)
            yield from ((function, i) for i, one in enumerate(function.inputs) if one is x)
            to_visit += [one.creator for one in function.inputs if one is not x]


def _ends(y: Tensor, count: int, is_row: bool) -> Iterator[Use]:
    """Where the outputs of the branches enter the calls that join them: one concatenation, or count - 1 sums."""
    assert y.creator is not None
    if is_row:
        yield from ((y.creator, i) for i in range(count))
        return
    joins = [y.creator]
    while len(joins) < count - 1:
        creator = joins[0].inputs[0].creator
        assert creator is not None
        joins.insert(0, creator)
    yield joins[0], 0
    yield from ((join, 1) for join in joins)
