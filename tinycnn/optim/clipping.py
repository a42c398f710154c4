"""Clipping: the gradients of a step are scaled down together when they are unusually large."""

import math
from collections.abc import Iterable

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.errors import in_range
from tinycnn.optim.optimizer import check_gradients, checked_parameters
from tinycnn.tensor import Tensor


def gradient_norm(parameters: Iterable[Tensor]) -> Array:
    """The length √(Σ g²) of all gradients as one vector: an array ``()`` of the backend, without waiting for a GPU."""
    backend = get_backend()
    parameters = checked_parameters(parameters)
    check_gradients(parameters)
    gradients = [p.grad for p in parameters if p.grad is not None]
    if backend.fused.gradient_norm and gradients:
        return backend.fused.gradient_norm(gradients)
    return backend.xp.sqrt(sum(backend.sum(g * g) for g in gradients))


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> Array:
    """Scale all gradients together, in place, to a norm of at most ``max_norm``; returns the norm before.

        g ← g · min(1, max_norm / (norm + 1e-6))

    The direction stays the same, so a single unusual batch cannot move the weights far. Raises SettingError unless
    ``max_norm`` is above 0. Source: Pascanu et al., "On the difficulty of training recurrent neural networks", 2013;
    the 1e-6 is PyTorch's.
    """
    if not (isinstance(max_norm, float) and max_norm == math.inf):
        max_norm = in_range("max_norm", max_norm, above=0)
    parameters = checked_parameters(parameters)
    norm = gradient_norm(parameters)
    factor = get_backend().xp.minimum(1.0, max_norm / (norm + 1e-6))
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad *= factor
    return norm
