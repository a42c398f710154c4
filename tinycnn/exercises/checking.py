"""Helpers of the checks: gradients are compared with finite differences, and mistakes described in words."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinycnn.errors import GradientError
from tinycnn.gradcheck import watch_arrays
from tinycnn.tensor import Tensor

Arrays = Mapping[str, np.ndarray]
EPS = 1e-6


class Mistake(Exception):
    """A mistake in a student's code, described so that the student can find it."""


@contextmanager
def situation(what: str) -> Iterator[None]:
    """Prefix every ``Mistake`` raised within the block with the situation."""
    try:
        yield
    except Mistake as mistake:
        raise Mistake(f"{what}: {mistake}") from None


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Normally distributed numbers, the same on every call."""
    return np.random.default_rng(seed).normal(size=shape)


def check_gradients(
    call: Callable[..., Any],
    inputs: Arrays,
    *,
    kind: Callable[..., Any] = Tensor,
    differences_at: Arrays | None = None,
) -> None:
    """Raise Mistake unless ``call(*tensors).backward(upstream)`` gives every input the gradient of finite differences.

    ``kind`` is the tensor class, the engine's or the student's own. ``differences_at``: inputs at which to take the
    differences instead, where they are not defined at ``inputs``.
    """
    tensors = {name: kind(array.copy(), requires_grad=True) for name, array in inputs.items()}
    y = call(*tensors.values())
    upstream = normal(*y.shape, seed=99)  # random: with ones, errors that cancel in the sum would stay hidden
    try:
        watch_arrays(y)
        y.backward(upstream.copy())
    except GradientError as error:
        raise Mistake(str(error).removeprefix("gradcheck: ")) from None
    numbers = numeric_gradients(call, differences_at or inputs, upstream, kind)
    for name, tensor in tensors.items():
        compare(f"the gradient of {name}", numbers[name], tensor.grad)
        if not np.array_equal(tensor.data, inputs[name]):
            raise Mistake(f"{name} itself has changed: compute into new arrays, the old one is still needed")


def numeric_gradients(
    call: Callable[..., Any], inputs: Arrays, upstream: np.ndarray, kind: Callable[..., Any]
) -> dict[str, np.ndarray]:
    """``(v·f(x + eps) - v·f(x - eps)) / 2 eps`` for every element of every input."""

    def slope(name: str, index: tuple[int, ...]) -> float:
        sums = []
        for step in (EPS, -EPS):
            moved = {other: array.copy() for other, array in inputs.items()}
            moved[name][index] += step
            sums.append(float((upstream * call(*map(kind, moved.values())).data).sum()))
        return (sums[0] - sums[1]) / (2 * EPS)

    return {
        name: np.array([slope(name, index) for index in np.ndindex(array.shape)]).reshape(array.shape)
        for name, array in inputs.items()
    }


def compare(what: str, expected: np.ndarray, came: Any, source: str = "finite differences") -> None:
    """Raise Mistake unless the arrays agree, with the first wrong place, both numbers, and a guess at the reason."""
    if came is None:
        raise Mistake(f"{what} is None: no gradient arrived there")
    came = np.asarray(came)
    if came.shape != expected.shape:
        raise Mistake(f"{what} has shape {came.shape}, expected {expected.shape}")
    wrong = ~np.isclose(came, expected, rtol=1e-4, atol=1e-6)
    if not wrong.any():
        return
    index = tuple(map(int, np.argwhere(wrong)[0]))
    raise Mistake(
        f"{what} is wrong at index {index} ({wrong.sum()} of {wrong.size} are):\n"
        f"    expected  {expected[index]:.6g}  ({source})\n"
        f"    came      {came[index]:.6g}{guess(expected, came)}"
    )


def guess(expected: np.ndarray, came: np.ndarray) -> str:
    """The likely reason, from a pattern in the wrong numbers; empty when there is none."""
    if not np.isfinite(came).all():
        return "\n  Some of the numbers are not finite."
    if not came.any():
        return "\n  All of them are 0."
    if np.allclose(came, -expected, rtol=1e-4, atol=1e-6):
        return "\n  The sign is wrong everywhere."
    factor = float((came * expected).sum() / max((expected * expected).sum(), 1e-300))
    if factor and np.allclose(came, factor * expected, rtol=1e-4, atol=1e-6):
        return f"\n  Everything is {factor:.4g} times what it should be."
    if np.allclose(np.sort(came.ravel()), np.sort(expected.ravel()), rtol=1e-4, atol=1e-6):
        return "\n  The numbers are right, but in the wrong places."
    return ""
