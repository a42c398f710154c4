"""The initial values of a layer: random ones, or given ones, such as those of a model file.

Each given value is removed from its dictionary when a layer uses it, so what is left at the end is an unknown name.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.backends.host_memory import free_host_memory
from tinycnn.errors import OutOfMemoryError, ShapeError
from tinycnn.initializers import Initializer

State = dict[str, np.ndarray]
LARGE = 1 << 28  # bytes; the free memory is checked before larger arrays are created
_without_memory: ContextVar[bool] = ContextVar("without_memory", default=False)


@contextmanager
def arrays_without_memory() -> Iterator[None]:
    """Inside the block, the parameters and buffers of new layers are zeros that take no memory, for their sizes."""
    token = _without_memory.set(True)
    try:
        yield
    finally:
        _without_memory.reset(token)


def initial_array(
    layer: Any, name: str, shape: tuple[int, ...], initialize: Initializer, rng: np.random.Generator, dtype: np.dtype
) -> Array:
    """The array ``name`` of ``layer``: ``initialize(shape, rng)``, or the value given in ``layer.initial_values``.

    A given array of the wrong shape raises ShapeError, and one that does not fit into memory OutOfMemoryError, both
    before memory is allocated.
    """
    if _without_memory.get():
        return np.broadcast_to(np.zeros((), dtype), shape)
    given = layer.initial_values
    needed = math.prod(shape) * (dtype.itemsize + 8)  # initializers draw in float64
    if given is None and needed > LARGE and needed > (free_host_memory() or needed):
        raise OutOfMemoryError(
            f"{type(layer).__name__}: the {name} {shape} takes {needed / 2**30:.1f} GiB while it is made, and less "
            "is free: use smaller images, or layers with fewer outputs"
        )
    values = initialize(shape, rng) if given is None else pop_value(given, name, shape, dtype)
    return get_backend().asarray(np.array(values, dtype, order="C"))


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
