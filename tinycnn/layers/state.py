"""The state of a network: all parameters and buffers by name, on the host."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.errors import SettingError, ShapeError, checked_bool, shortened
from tinycnn.layers.base import Layer
from tinycnn.layers.initial_values import State

FROM_TORCH = "a state of PyTorch is loaded with tinycnn.load_torch_state_dict(model, state)"


def arrays_by_name(layer: Layer) -> dict[str, Array]:
    """The parameters and buffers themselves, on the backend, by name."""
    return {name: parameter.data for name, parameter in layer.named_parameters()} | dict(layer.named_buffers())


def copied_state(layer: Layer) -> State:
    """Copies of all parameters and buffers on the host, by name."""
    backend = get_backend()
    return {name: np.array(backend.to_host(array)) for name, array in arrays_by_name(layer).items()}


def load_state(layer: Layer, state: State, strict: bool) -> None:
    """Copy the values of ``state`` into the parameters and buffers of the same names.

    ``strict``: raise ShapeError for a missing or unknown name instead of skipping it. Always raises ShapeError for
    a different shape or dtype, and if no name is known. Nothing is changed when an error is raised.
    """
    targets, state, strict = arrays_by_name(layer), checked_state(state), checked_bool("strict", strict)
    missing, unknown = targets.keys() - state.keys(), state.keys() - targets.keys()
    hint = f"; {FROM_TORCH}" if missing and any(is_of_torch(name) for name in unknown) else ""
    if unknown == state.keys() and unknown:
        raise ShapeError(f"load_state_dict: no name is known, expected {sorted(targets)}, got {sorted(unknown)}{hint}")
    if strict and (missing or unknown):
        raise ShapeError(f"load_state_dict: missing {sorted(missing)}, unknown {sorted(unknown)}{hint}")
    common = [name for name in targets if name in state]
    for name in common:
        _check_same(name, state[name], targets[name])
    for name in common:
        targets[name][...] = get_backend().asarray(state[name])


def is_of_torch(name: str) -> bool:
    """Whether ``name`` looks like ``0.weight``, ``features.0.weight`` or ``fc.weight``, not like ``dense_1.weight``."""
    layer, *inner = name.split(".")
    return "_" not in layer or any(part.isdecimal() for part in inner)


def checked_state(state: Any) -> State:
    """``state`` with its values as arrays; raises SettingError unless it is a dictionary of arrays by name."""
    if not (isinstance(state, Mapping) and all(isinstance(name, str) for name in state)):
        raise SettingError(f"expected arrays by name, as state_dict() returns them, got {shortened(state)}")
    try:
        return {name: np.asarray(value) for name, value in state.items()}
    except ValueError:
        raise ShapeError("load_state_dict: lists of unequal lengths do not form an array") from None


def _check_same(name: str, value: np.ndarray, target: Array) -> None:
    if value.shape != target.shape or value.dtype != target.dtype:
        raise ShapeError(
            f"load_state_dict: {name} is {value.dtype} {value.shape}, the network has {target.dtype} {target.shape}"
        )
