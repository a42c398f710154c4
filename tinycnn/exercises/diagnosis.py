"""From wrong numbers to the likely mistake: a symptom, and a sentence about the numbers."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product

import numpy as np

from tinycnn.exercises.symptoms import BOTH, FORM, Symptom, close
from tinycnn.exercises.wrong_shapes import wrong_shape

Count = tuple[int, str]  # a number by which a mean divides, and what it counts: (4, "rows")
OF_A_BATCH = "rows", "images", "windows"  # by which a mean over the batch divides
Suspects = Mapping[str, Callable[[], np.ndarray | None]]  # by symptom: the numbers to which a typical mistake leads


def diagnosed(
    expected: np.ndarray,
    came: np.ndarray,
    *,
    suspects: Suspects | None = None,
    counts: Iterable[Count] = (),
    has_mean: bool = True,
) -> Symptom:
    """The likely mistake behind ``came``, or the two or three at once. ``counts``: by what a mean may have divided.

    ``has_mean``: whether forward takes a mean, so that backward may lack the division by the count.
    """
    if came.shape != expected.shape:
        return wrong_shape(expected.shape, came.shape)
    if not np.isfinite(came).all():
        return Symptom("not finite", "Some of the numbers are not finite.")
    typical = of_shape(came.shape, suspects or {})
    key = next((key for key, suspect in typical.items() if close(came, suspect)), "")
    if key:
        symptom, _, form = key.partition(FORM)
        return Symptom(symptom, f"It is what {form} alone contributes." if form.startswith("grad") else "")
    if not came.any():
        return Symptom("zero", "All of them are 0.")
    if close(came, -expected):
        return Symptom("sign", "The sign is wrong everywhere.")
    known = list(known_factors(list(dict.fromkeys(counts)), has_mean))
    for factor, key, sentence in known:
        if close(came, factor * expected):
            return Symptom(key, f"Everything is {factor:.4g} times what it should be{sentence}")
    for (factor, key, sentence), (typical_key, suspect) in product(known, typical.items()):
        if suspect.any() and close(came, factor * suspect):
            text = f"Several mistakes meet here. When one is corrected, all is {factor:.4g} times what it should be"
            return Symptom(f"{typical_key.partition(FORM)[0]}{BOTH}{key}", text + sentence)
    factor = float((came * expected).sum() / max((expected * expected).sum(), 1e-300))
    if factor and np.count_nonzero(expected) > 1 and close(came, factor * expected):
        key = "factor" if factor > 0 else f"sign{BOTH}factor"
        return Symptom(key, f"Everything is {factor:.4g} times what it should be.")
    if came.ndim == 2 and came.shape[0] == came.shape[1] and close(came, expected.T):
        return Symptom("transposed", "It is the transpose of what it should be.")
    if is_turned(expected, came):
        return Symptom("turned", "The numbers are right, but in the order of the transpose.")
    if close(np.sort(came.ravel()), np.sort(expected.ravel())):
        return Symptom("places", "The numbers are right, but in the wrong places.")
    return Symptom("")


def of_shape(shape: tuple[int, ...], suspects: Suspects) -> dict[str, np.ndarray]:
    """The numbers of the suspects that have this shape."""
    numbers = {key: suspect() for key, suspect in suspects.items()}
    return {key: one for key, one in numbers.items() if one is not None and one.shape == shape}


def typical_key(came: np.ndarray, suspects: Suspects) -> str:
    """The symptom of the suspect whose numbers came; empty if there is none."""
    found = [key for key, suspect in of_shape(came.shape, suspects).items() if close(came, suspect)]
    return found[0].partition(FORM)[0] if found else ""


def is_turned(expected: np.ndarray, came: np.ndarray) -> bool:
    """Whether ``came`` is the transpose of ``expected`` as a matrix, reshaped; the last or first axis is one side."""
    if expected.ndim < 2:
        return False
    matrices = expected.reshape(-1, expected.shape[-1]), expected.reshape(expected.shape[0], -1)
    return any(close(came.ravel(), matrix.T.ravel()) for matrix in matrices)


def known_factors(counts: Sequence[Count], has_mean: bool) -> Iterator[tuple[float, str, str]]:
    """Factors that a wrong mean or sign leaves, each with its key and the end of a sentence about it."""
    for sign in (1, -1):
        before, minus = ("sign" + BOTH, "the sign is wrong, and ") if sign < 0 else ("", "")
        if sign < 0:
            yield -1.0, "sign", ": the sign is wrong."
        for count, what in counts:
            if count > 1:
                key = "averaged" if what in OF_A_BATCH or not has_mean else "other count"
                there = f": {minus}there are {count} {what}."
                yield sign / count, before + key, f", which is {'-' * (sign < 0)}1/{count}{there}"
                if has_mean:
                    yield float(sign * count), before + ("not averaged" if what in OF_A_BATCH else "other count"), there
        for (rows, what), (others, other) in product(counts, counts):
            if rows > 1 and others > 1 and what == "rows" and other not in OF_A_BATCH:
                there = f": {minus}there are {rows} rows and {others} {other}."
                fraction = f"{'-' * (sign < 0)}{rows}/{others}"
                yield sign * rows / others, f"{before}other count", f", which is {fraction}{there}"
