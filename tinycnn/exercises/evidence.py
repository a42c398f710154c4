"""The outcomes of all situations of a check: what makes one mistake different from another."""

import io
from collections.abc import Callable, Iterable
from contextlib import nullcontext, redirect_stdout
from typing import Any

import numpy as np

UNKNOWN, RIGHT = "not written yet", "right"  # outcomes of a situation
Evidence = tuple[Any, ...]  # by situation: the wrong numbers, or words


def check_each(situations: Iterable[Callable[[], None]], then: Iterable[Callable[[], None]] = ()) -> None:
    """Run all, and raise the first error, which has the outcomes of all as its ``evidence``.

    ``then``: situations that take longer, which are run only if no other has raised an error.

    After the first error nothing is printed any more: what a student prints belongs to the situation that is reported.
    """
    first: Exception | None = None
    evidence: list[Any] = []
    for situation in situations:
        try:
            with nullcontext() if first is None else redirect_stdout(io.StringIO()):
                situation()
            evidence.append(RIGHT)
        except Exception as error:  # a student's code may raise anything
            first = first or error
            evidence.append(outcome_of(error))
    if first is None and then:
        check_each(then)
    if first is not None:
        first.evidence = tuple(evidence)  # type: ignore[attr-defined]
        raise first


def outcome_of(error: Exception) -> Any:
    """What is wrong, and the wrong numbers; or the words of the error."""
    if isinstance(error, NotImplementedError):
        return UNKNOWN
    came, outcome = getattr(error, "came", None), getattr(error, "outcome", None)
    numbers = came if outcome is None else outcome
    if numbers is None:
        return f"{type(error).__name__}: {error}"
    what = str(error).partition(" is wrong at index")[0] if came is not None else getattr(error, "symptom", "")
    return what, np.asarray(numbers, dtype=float)


def evidence_of(error: Exception) -> Evidence:
    """The outcomes of all situations; of a check without ``check_each``, that of the one that raised the error."""
    return getattr(error, "evidence", (outcome_of(error),))


def is_same(ours: Evidence, theirs: Evidence) -> bool:
    """Whether all outcomes are the same; what is not written yet can be anything."""
    return len(ours) == len(theirs) and all(map(is_same_outcome, ours, theirs))


def is_same_outcome(one: Any, other: Any) -> bool:
    """Whether both are the same words, or numbers of the same that agree."""
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and (one == UNKNOWN or (isinstance(other, str) and one == other))
    (what, numbers), (other_what, others) = one, other
    is_like = what == other_what and numbers.shape == others.shape
    return is_like and bool(np.allclose(numbers, others, rtol=1e-6, atol=1e-10, equal_nan=True))
