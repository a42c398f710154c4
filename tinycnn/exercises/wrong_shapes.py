"""From a gradient of the wrong shape to the likely mistake."""

from itertools import combinations

import numpy as np

from tinycnn.exercises.symptoms import Symptom


def wrong_shape(expected: tuple[int, ...], came: tuple[int, ...], grad_y: tuple[int, ...] = ()) -> Symptom:
    """The symptom of a gradient of the wrong shape; ``grad_y``: the shape of what arrived, if that is known."""
    if 0 in came and 0 not in expected:
        return Symptom("empty")
    if len(came) > 1 and came == expected[::-1]:
        return Symptom("transposed")
    squeezed, target = without_ones(came), without_ones(expected)
    if squeezed == target:
        return Symptom("axis of length 1")
    fewer = {kept for n in range(len(grad_y)) for kept in combinations(without_ones(grad_y), n)}
    if squeezed in fewer and target in fewer and len(squeezed) <= len(target):
        return Symptom("wrong axis")
    if target == grad_y[-1:] and came == (int(np.prod(grad_y[:-1])),):  # of grad_y as rows
        return Symptom("wrong axis")
    if len(came) > len(expected) or (len(came) == len(expected) and np.prod(came) > np.prod(expected)):
        return Symptom("not summed")
    return Symptom("shape")


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` without its axes of length 1."""
    return tuple(length for length in shape if length != 1)
