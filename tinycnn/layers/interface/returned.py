"""What a layer returns: a tensor with a history, so that gradients reach the layers before it."""

from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.errors import SettingError, shortened
from tinycnn.tensor import Tensor

IN_TENSORS = "compute it with tinycnn.ops and the operators of Tensor, not with NumPy"


def as_output(layer: Any, x: Tensor, y: Any) -> Tensor:
    """``y``, which ``layer.forward(x)`` returned; an array becomes a tensor where ``x`` needs no gradient.

    Raises SettingError for an array that would end the graph, and for anything else, such as a forgotten ``return``.
    """
    if isinstance(y, Tensor):
        return y
    forward = f"{type(layer).__name__}.forward returned"
    if y is None:
        raise SettingError(f"{forward} None, expected a Tensor: end it with `return` and the result")
    if not (isinstance(y, np.ndarray) or get_backend().owns(y)):
        raise SettingError(f"{forward} {shortened(y, 40)}, expected a Tensor: {IN_TENSORS}")
    if x.requires_grad:
        raise SettingError(
            f"{forward} an array, expected a Tensor, because no gradient would reach the layers before it: "
            f"{IN_TENSORS}; to end the graph on purpose, return Tensor(array)"
        )
    return Tensor(y)
