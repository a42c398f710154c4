"""A loss of one's own: the labels that it receives, and the checks of what it takes and returns.

Floating-point labels arrive in the dtype of the outputs, which is that of the network, also when it is evaluated. Their
shape is that which was passed to ``fit``. Labels ``(N,)`` minus outputs ``(N, 1)`` would be ``(N, N)`` differences,
which train a network to one constant, so an operation that combines the two is an error.
"""

import inspect
from collections.abc import Callable
from typing import Any

from tinycnn.backends.base import Array
from tinycnn.errors import SettingError, ShapeError, shortened
from tinycnn.tensor import Function, Tensor

SIGNATURE = "a loss is a function (outputs, labels) → Tensor ()"
IN_TENSORS = "compute it with tinycnn.ops and the operators of Tensor; .numpy() and .item() end the graph"


def check_arguments(name: str, loss: Callable[..., Any]) -> None:
    """Raise SettingError unless ``loss`` can be called with outputs and labels."""
    try:
        signature = inspect.signature(loss)
    except (TypeError, ValueError):  # a function without one, such as those in C
        return
    try:
        signature.bind(None, None)
    except TypeError:
        raise SettingError(f"`loss` is {name}{signature}: {SIGNATURE}") from None


def labels_for(outputs: Tensor, labels: Array) -> Array:
    """Floating-point ``labels`` in the dtype of ``outputs``; others unchanged."""
    return labels.astype(outputs.dtype) if labels.dtype.kind == "f" and labels.dtype != outputs.dtype else labels


def check_result(name: str, loss: Any, outputs: Tensor) -> None:
    """Raise SettingError or ShapeError unless ``loss`` is one number that was computed from ``outputs``."""
    if not isinstance(loss, Tensor):
        raise SettingError(f"the loss {name} returned {shortened(loss)}: expected a Tensor (); {IN_TENSORS}")
    crossed = crossed_shapes(loss, outputs)
    if crossed:
        combined, (column, row) = crossed
        raise ShapeError(
            f"the loss {name} combines {column} with {row}, which gives {combined}, all pairs: give both one shape, as "
            "in labels[:, None] or outputs[:, 0]"
        )
    if loss.shape != ():
        raise ShapeError(f"the loss {name} returned shape {loss.shape}: expected the mean over the batch, .mean()")
    if outputs.requires_grad and not loss.requires_grad:
        raise SettingError(f"the loss {name} does not depend on the outputs, so nothing is learned: {IN_TENSORS}")


def crossed_shapes(loss: Tensor, outputs: Tensor) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]] | None:
    """The shapes of the first operation that combines ``(..., N, 1)`` with constants ``(..., N)``, or vice versa.

    → the shape of its result, and those of its inputs; None if there is none.
    """
    to_visit: list[Tensor] = [loss]
    visited = set[Function]()
    while to_visit:
        y = to_visit.pop()
        if y is outputs or y.creator is None or y.creator in visited:
            continue
        visited.add(y.creator)
        inputs = y.creator.inputs
        if len(inputs) == 2 and not all(x.requires_grad for x in inputs):
            column, row = sorted((x.shape for x in inputs), key=len, reverse=True)
            if column == (*row, 1) and max(row, default=1) > 1:
                return y.shape, (column, row)
        to_visit += inputs
    return None
