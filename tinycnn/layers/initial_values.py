"""Initial values that are given, such as those of a model file, in place of random ones.

Each value is removed from its dictionary when a layer uses it, so what is left at the end is an unknown name.
"""

from typing import Any

import numpy as np

from tinycnn.errors import ShapeError

State = dict[str, np.ndarray]


def pop_value(given: State, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Remove ``name`` from ``given`` and return it; raises ShapeError unless it has ``shape`` and ``dtype``."""
    if name not in given:
        raise ShapeError(f"{name} is missing")
    values = given.pop(name)
    if (values.shape, values.dtype) != (shape, dtype):
        raise ShapeError(f"{name} is {values.dtype} {values.shape}, the settings require {dtype} {shape}")
    return values


def pop_by_layer(given: State) -> dict[str, State]:
    """Remove and return the values of inner layers: ``{"dense_1.bias": array}`` → ``{"dense_1": {"bias": array}}``."""
    parts: dict[str, State] = {}
    for name in [name for name in given if "." in name]:
        layer, _, local_name = name.partition(".")
        parts.setdefault(layer, {})[local_name] = given.pop(name)
    return parts


def check_all_used(given: dict[str, Any] | None) -> None:
    """Raise ShapeError if ``given`` is not empty."""
    if given:
        raise ShapeError(f"unknown names: {', '.join(map(repr, sorted(given)))[:200]}")
