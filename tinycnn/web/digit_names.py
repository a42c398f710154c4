"""Which digits the names of classes mean, so that the pages can offer digits to a network whose classes are words."""

import re
from collections.abc import Sequence

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def class_of_each_digit(names: Sequence[str]) -> dict[int, int]:
    """Digit → number of its class, for names such as ``7``, ``7.0`` and ``seven``, or ``even`` and ``odd``.

    Empty if another name is among them, or the same digit twice. The names 0 to K-1 of fewer than ten classes are those
    of a network without names, and mean no digits.
    """
    lower = [name.strip().lower() for name in names]
    if sorted(lower) == ["even", "odd"]:
        return {digit: lower.index(("even", "odd")[digit % 2]) for digit in range(10)}
    digits = [digit_of(name) for name in lower]
    if (
        None in digits
        or len(set(digits)) < len(digits)
        or (len(names) < 10 and lower == [*map(str, range(len(names)))])
    ):
        return {}
    return {digit: k for k, digit in enumerate(digits) if digit is not None}


def digit_of(name: str) -> int | None:
    """The digit that a name in lower case means, or None."""
    if re.fullmatch(r"[0-9](\.0)?", name):
        return int(name[0])
    return WORDS.index(name) if name in WORDS else None
