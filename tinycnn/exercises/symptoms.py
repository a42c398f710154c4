"""What a check finds: the key of a mistake, and how the keys of several are joined."""

from dataclasses import dataclass

import numpy as np

RTOL, ATOL = 1e-4, 1e-6
BOTH = " + "  # between the keys of two mistakes in one gradient
EITHER = " / "  # between the keys of mistakes of which one is there
FORM = "|"  # between the key of a mistake and one of the forms that it has, such as what of grad_y is left


@dataclass(frozen=True)
class Symptom:
    """What is wrong with a gradient: the key of its hints, and a sentence about the numbers, possibly empty.

    The keys of several mistakes at once are joined by ``BOTH``.
    """

    key: str
    sentence: str = ""


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether all numbers agree."""
    return bool(np.allclose(a, b, rtol=RTOL, atol=ATOL))
