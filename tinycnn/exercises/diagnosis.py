"""From wrong numbers to the likely mistake: a symptom, the sentence that states it, and hints in three levels."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

RTOL, ATOL = 1e-4, 1e-6
LEVELS = 3  # of hints


@dataclass(frozen=True)
class Symptom:
    """What is wrong with a gradient: the key of its hints, and a sentence about the numbers, possibly empty."""

    key: str
    sentence: str = ""


# The first level says which mistake it is, the second where to look. Exercises replace those that they know better.
HINTS: Mapping[str, tuple[str, str]] = {
    "averaged": (
        "an average stands where a sum belongs, or something is divided by the batch a second time.",
        "A number that is used in N places collects the gradients of all N: a sum. Backward divides by N only where "
        "forward takes a mean.",
    ),
    "not averaged": (
        "a factor 1/N is missing: forward takes a mean, so each of its N terms has only 1/N of the effect.",
        "Look for the mean in forward, and divide by the same number in backward, once.",
    ),
    "factor": (
        "a constant factor is missing or stands there twice.",
        "Compare forward and backward: a constant that forward multiplies or divides by appears in the derivative.",
    ),
    "sign": (
        "a minus is missing, or there is one too many.",
        "Write the derivative on paper with its sign. What happens to the output if the input grows a little?",
    ),
    "transposed": (
        "rows and columns are exchanged: a transpose is missing, or stands on the wrong matrix.",
        "Write the shapes below each factor. In a matrix product the inner two must be equal and disappear; the outer "
        "two must be those of the input.",
    ),
    "not summed": (
        "the input was used several times (for each row, or wherever it was repeated), and the uses are not added up.",
        "Sum over the axes that the input does not have. Its gradient has the shape of the input, always.",
    ),
    "upstream": (
        "the gradient that arrives, grad_y, is not used, as if it were all ones.",
        "backward returns d loss / d input, not d y / d input: every term is multiplied by grad_y.",
    ),
    "upstream alone": (
        "grad_y is passed on unchanged: the derivative of this operation is missing.",
        "Multiply grad_y by how much y changes when the input changes.",
    ),
    "overwritten": (
        "where several gradients meet, only one of them is left.",
        "Add them (+=, or the sum of both) instead of storing the last one.",
    ),
    "zero": (
        "nothing arrives: a gradient stays at its initial zeros, or everything is masked out.",
        "Print grad_y and what you multiply it with, at the index above.",
    ),
    "places": (
        "every number is right, but they stand in the wrong places.",
        "Look for a reversed or missing index, a reshape in place of a transpose, or an axis in the wrong order.",
    ),
    "not finite": (
        "a number is divided by 0, or the logarithm of 0 is taken.",
        "Print the values before the division or the logarithm, at the index above.",
    ),
    "none": (
        "no gradient was returned for this input.",
        "backward returns one gradient per input of forward, in the same order.",
    ),
    "shape": (
        "the gradient of an input always has the shape of that input.",
        "Print the shapes of grad_y and of what you combine it with.",
    ),
    "ValueError": (
        "the shapes do not fit together: a transpose is missing, or an axis is in the wrong place.",
        "Write the shapes below each factor. In a matrix product the inner two must be equal and disappear; the outer "
        "two must be those of the input.",
    ),
    "dtype": (
        "a function such as np.zeros, np.where with numbers, or a Python list makes float64.",
        "Give the new array the dtype of the input: dtype=x.dtype, or .astype(x.dtype).",
    ),
    "in place": (
        "an array that others still need is changed.",
        "Write `a = a + b`, which makes a new array, instead of `a += b`, wherever `a` came from outside.",
    ),
}


def diagnosed(
    expected: np.ndarray,
    came: np.ndarray,
    *,
    suspects: Mapping[str, Callable[[], np.ndarray | None]] | None = None,
    counts: Iterable[int] = (),
) -> Symptom:
    """The likely mistake behind ``came``. ``suspects``: by symptom, the numbers to which a typical mistake leads.

    ``counts``: the numbers of rows over which a mean may have been taken.
    """
    if came.shape != expected.shape:
        return wrong_shape(expected.shape, came.shape)
    if not np.isfinite(came).all():
        return Symptom("not finite", "Some of the numbers are not finite.")
    for key, suspect in (suspects or {}).items():
        numbers = suspect()
        if numbers is not None and numbers.shape == came.shape and close(came, numbers):
            return Symptom(key)
    if not came.any():
        return Symptom("zero", "All of them are 0.")
    if close(came, -expected):
        return Symptom("sign", "The sign is wrong everywhere.")
    factor = float((came * expected).sum() / max((expected * expected).sum(), 1e-300))
    if factor and close(came, factor * expected):
        return of_factor(factor, counts)
    if came.ndim == 2 and came.shape[0] == came.shape[1] and close(came, expected.T):
        return Symptom("transposed", "It is the transpose of what it should be.")
    if close(np.sort(came.ravel()), np.sort(expected.ravel())):
        return Symptom("places", "The numbers are right, but in the wrong places.")
    return Symptom("")


def of_factor(factor: float, counts: Iterable[int]) -> Symptom:
    """The symptom of numbers that all are ``factor`` times what they should be."""
    sentence = f"Everything is {factor:.4g} times what it should be"
    for count in sorted(set(counts) - {0, 1}):
        if close(np.array(factor), np.array(1 / count)):
            return Symptom("averaged", f"{sentence}, which is 1/{count}: there are {count} rows.")
        if close(np.array(factor), np.array(float(count))):
            return Symptom("not averaged", f"{sentence}, and there are {count} rows.")
    return Symptom("factor", f"{sentence}.")


def wrong_shape(expected: tuple[int, ...], came: tuple[int, ...]) -> Symptom:
    """The symptom of a gradient of the wrong shape."""
    if len(came) > 1 and came == expected[::-1]:
        return Symptom("transposed")
    if len(came) > len(expected) or (len(came) == len(expected) and np.prod(came) > np.prod(expected)):
        return Symptom("not summed")
    return Symptom("shape")


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether all numbers agree."""
    return bool(np.allclose(a, b, rtol=RTOL, atol=ATOL))


def hint(key: str, level: int, special: Mapping[str, tuple[str, str]], formula: str) -> str:
    """The hint for a symptom at ``level``, 1 to 3; the third is the formula.

    ``special``: the hints of the exercise by symptom; those of the symptom "" are for all others.
    """
    return (*(special.get(key) or HINTS.get(key) or special[""]), formula)[level - 1]
