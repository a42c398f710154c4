"""Where NaN or infinity first appeared: the layers one by one, forward, then the gradients, last layer first."""

from collections.abc import Iterable
from functools import reduce
from operator import and_

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.layers import Sequential
from tinycnn.tensor import Tensor, no_grad


def is_finite(array: Array) -> bool:
    """Whether all numbers are finite; waits for a GPU."""
    return bool(np.isfinite(get_backend().to_host(array)).all())


def in_activations(model: Sequential, x: Array) -> str | None:
    """The first layer whose output for ``x`` is not finite, in words; None when there is none.

    Runs every layer by itself, in the mode the network is in: running statistics and counters move.
    """
    y = Tensor(x)
    with no_grad():
        for name, layer in model.layers.items():
            y = layer(y)
            if not is_finite(y.data):
                return f"the activations of {name}"
    return None


def in_gradients(model: Sequential) -> str | None:
    """The first parameter, seen from the loss, whose gradient is not finite, in words; None when there is none."""
    for name, parameter in reversed(list(model.named_parameters())):
        if parameter.grad is not None and not is_finite(parameter.grad):
            return f"the gradient of {name}"
    return None


def in_parameters(model: Sequential) -> str | None:
    """The first parameter that is not finite, in words; None when there is none."""
    return next((name for name, parameter in model.named_parameters() if not is_finite(parameter.data)), None)


def all_finite(arrays: Iterable[Array]) -> bool:
    """Whether all numbers of all arrays are finite; waits for a GPU once, not once for each."""
    xp = get_backend().xp
    return bool(reduce(and_, (xp.isfinite(array).all() for array in arrays)))
