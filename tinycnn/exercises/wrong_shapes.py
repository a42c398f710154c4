"""From a gradient of the wrong shape to the likely mistake: by its shape, and by its numbers."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from tinycnn.exercises.symptoms import BOTH, Symptom, close


def wrong_gradient(expected: tuple[int, ...], came: np.ndarray, grad_y: np.ndarray) -> Symptom:
    """The symptom of the gradient ``came`` of the wrong shape, and a sentence if its numbers show how it was made."""
    by_shape = wrong_shape(expected, came.shape, grad_y.shape)
    if came.dtype.kind not in "biuf" or not came.size or not np.isfinite(came).all():
        return by_shape
    if came.flat[0] and (came == int(came.flat[0])).all():  # of grad_y, which is random, no sum is a whole number
        key = by_shape.key if by_shape.key in ("not summed", "axis of length 1") else "shape"
        return Symptom(f"upstream{BOTH}{key}", f"All of its numbers are {came.flat[0]:.6g}, whatever grad_y is.")
    if by_shape.key == "wrong axis" and not came.any():  # these zeros are no sum of grad_y
        return Symptom("shape")
    for words, axes in sums_over(grad_y.ndim):
        total = grad_y.sum(axis=axes)
        count = grad_y.size / total.size  # of the numbers in each sum
        if without_ones(total.shape) == without_ones(came.shape):
            if close(came.ravel(), total.ravel()):
                return Symptom(by_shape.key, f"It is the sum of grad_y over {words}.")
            if count > 1 and close(came.ravel(), total.ravel() / count):
                return Symptom(f"averaged{BOTH}{by_shape.key}", f"It is the mean of grad_y over {words}.")
    return by_shape


def sums_over(ndim: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The axes over which an array with ``ndim`` axes can be summed, with words for them."""
    for count in range(1, ndim + 1):
        for axes in combinations(range(ndim), count):
            numbers = " and ".join([", ".join(map(str, axes[:-1])), str(axes[-1])]) if count > 1 else str(axes[0])
            yield "all axes" if count == ndim else f"ax{'es' if count > 1 else 'is'} {numbers}", axes


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
