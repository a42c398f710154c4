"""Detect arrays that change between the forward and the backward pass: the gradient would silently be wrong.

Functions compute gradients from the arrays of the forward pass, of which the graph holds no copies. Each tensor of a
graph therefore has a `Guard`, which lives as long as a function of the graph. The engine marks the guard when it
changes the array itself (``optimizer.step()``). An array that is handed out (``tensor.data``) may be changed by the
caller, so the guard copies it at that moment, and ``backward()`` compares. Arrays that are never handed out are not
copied.

Not detected: changes through an array that was handed out before the forward pass, and through another view of it.
"""

import weakref
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.array_types import Array
from tinycnn.backends.foreign_arrays import in_place_of


class Guard:
    """Whether ``array`` still has the values that it had when the guard was made."""

    __slots__ = ("__weakref__", "array", "copy", "in_doubt")

    def __init__(self, array: Array) -> None:
        self.array = array
        self.in_doubt = False  # whether the array was handed out or changed
        self.copy: Array | None = None  # made when the array was handed out

    def is_intact(self) -> bool:
        if self.copy is None:
            return not self.in_doubt
        to_host = get_backend().to_host
        return np.array_equal(to_host(self.array), to_host(self.copy), equal_nan=True)


class GuardedArray:
    """The attribute ``data`` of a tensor: an array that graphs may need unchanged."""

    __slots__ = ("_array", "_guard")
    _array: Array
    _guard: weakref.ref[Guard] | None  # of the newest graph; the functions of the graph keep it alive

    @property
    def data(self) -> Array:
        """The array itself. If it is changed between forward and backward, ``backward()`` raises AutogradError."""
        guard = self._guard and self._guard()
        if guard and not guard.in_doubt:
            guard.copy, guard.in_doubt = self._array.copy(), True
        return self._array

    @data.setter
    def data(self, array: Any) -> None:
        """Put ``array`` in the place of the old one; the tensor keeps its shape and its dtype."""
        array = in_place_of("data", self._array, array)
        self.data_to_change()
        self._array = array

    def data_to_change(self) -> Array:
        """The array, for a caller that changes it in place; older graphs can then no longer run backward."""
        guard = self._guard and self._guard()
        if guard:
            guard.copy, guard.in_doubt = None, True
        self._guard = None  # functions that are called from now on see the new values
        return self._array

    def guard(self) -> Guard:
        """The guard of the values that a function sees now."""
        guard = self._guard and self._guard()
        if not guard or guard.in_doubt:  # the array may have changed since
            guard = Guard(self._array)
            self._guard = weakref.ref(guard)
        return guard
