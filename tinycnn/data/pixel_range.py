"""The range of pixels: the two numbers that stand for black and for white, written as in ``0..1``.

Data sets are bytes, 0 to 255, once they are loaded. Files hold other numbers as well: fractions, signed numbers, 12 or
16 bits. All parts of a data set have the same range: the given one, or otherwise the one inferred from the values of
every part.
"""

import math
import re
from dataclasses import dataclass

import numpy as np

from tinycnn.errors import DataError, SettingError

BLOCK = 1024  # images converted at a time: a float copy of the whole set would need eight times its memory
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
NOTATION = re.compile(rf"({NUMBER})\.\.({NUMBER})")


@dataclass(frozen=True)
class PixelRange:
    """The numbers for black and white."""

    black: float
    white: float

    def __str__(self) -> str:
        return f"{self.black:.6g}..{self.white:.6g}"


UNIT, SIGNED, BYTES = PixelRange(0, 1), PixelRange(-1, 1), PixelRange(0, 255)


def parse_range(text: str | None) -> PixelRange | None:
    """``"0..255"`` → its range; None → None. Raises SettingError for another notation."""
    if text is None:
        return None
    found = NOTATION.fullmatch(text.strip()) if isinstance(text, str) else None
    if found:
        black, white = float(found[1]), float(found[2])
        if math.isfinite(black) and math.isfinite(white) and black != white:
            return PixelRange(black, white)
    raise SettingError(f"`pixels={text!r:.60}`: expected the numbers for black and white, such as 0..1 or 0..255")


# --------------------------------------------------------------------------------------------------- which range it is


@dataclass(frozen=True)
class Choice:
    """A range, the reason for it, and a notice if similar data can have another range."""

    range: PixelRange
    why: str
    notice: str | None = None
    exact: bool = True  # whether every value must be one of 256 levels


def choose_range(parts: dict[str, np.ndarray], given: PixelRange | None) -> Choice:
    """The range of all ``parts``, arrays of numbers or truth values by name: ``given``, or otherwise the one inferred
    from their values. Raises DataError if the inferred ranges differ, or are not 0..1, -1..1 or 0..255.
    """
    if given is not None:
        return Choice(given, "as given", exact=False)
    shown = {name: found for name, array in parts.items() if (found := _shown(name, array))}
    if len(set(shown.values())) > 1:
        described = ", ".join(f"{name} {_extent(parts[name])}, as in {found}" for name, found in shown.items())
        raise DataError(
            f"the parts are on different scales: {described}. Store both as bytes, 0 to 255, or pass the range of both "
            'as in `pixels="0..255"`.'
        )
    found = next(iter(shown.values()), BYTES)
    arrays = list(parts.values())
    if found == UNIT and any(array.dtype.kind in "iu" for array in arrays):
        hint = 'taken as black and white; if these are bytes that are almost black, pass `pixels="0..255"`.'
        return Choice(UNIT, "only 0 and 1", f"NOTICE: the images hold only the whole numbers 0 and 1, {hint}")
    kinds = {UNIT: "fractions", SIGNED: "signed fractions", BYTES: "bytes"}
    return Choice(found, "true and false" if all(array.dtype == bool for array in arrays) else kinds[found])


def _shown(name: str, array: np.ndarray) -> PixelRange | None:
    """The range inferred from the values; None if all are 0, which is black in every range."""
    if array.dtype == bool:
        return UNIT
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        wrong = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
        where = f"{len(wrong):,} of {len(array):,} images contain values that are not finite, the first of them"
        raise DataError(f"{name}: {where} {name}[{wrong[0]}]. Repair them, or leave them out.")
    if low >= 0 and high <= 255:
        return None if high == 0 else UNIT if high <= 1 else BYTES
    if array.dtype.kind == "f" and low >= -1 and high <= 1:
        return SIGNED
    raise DataError(
        f"{name}: {array.dtype} values {_extent(array)}; expected 0 to 255, or fractions from 0 to 1 or -1 to 1. Store "
        f'uint8, or pass the numbers for black and white: `pixels="{_likely(array)}"`.'
    )


def _extent(array: np.ndarray) -> str:
    return f"from {array.min():.6g} to {array.max():.6g}"


def _likely(array: np.ndarray) -> PixelRange:
    """The range to suggest: that of the dtype, or of the values where they are floats."""
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind == "f" or low < -32768 or high > 65535:
        return PixelRange(low, high)
    return PixelRange(
        0 if low >= 0 else -128 if low >= -128 else -32768, 65535 if low >= 0 else 127 if high < 128 else 32767
    )


# ------------------------------------------------------------------------------------------------------------ as bytes


def as_bytes(array: np.ndarray, name: str, choice: Choice) -> np.ndarray:
    """Numbers of any shape → uint8, black as 0 and white as 255; DataError for numbers outside of the range.

    ``choice.exact``: DataError unless every value is a level, as the numbers would not be those of a picture.
    """
    if array.dtype == np.uint8 and choice.range == BYTES:
        return np.ascontiguousarray(array)
    images = np.empty(array.shape, np.uint8)
    for start in range(0, len(array), BLOCK):
        images[start : start + BLOCK] = _block_as_bytes(array[start : start + BLOCK], name, choice)
    return images


def _block_as_bytes(block: np.ndarray, name: str, choice: Choice) -> np.ndarray:
    black, white = choice.range.black, choice.range.white
    with np.errstate(over="ignore", invalid="ignore"):  # infinities raise DataError below
        levels = (block.astype(np.float64) - black) * (255 / (white - black))
        rounded = np.rint(levels)
        off = np.abs(levels - rounded)
    # k/255 is not exact in binary: allow its rounding, which is far below half a grey level in every float type.
    eps = float(np.finfo(block.dtype).eps) if block.dtype.kind == "f" else 0.0
    tolerance = 0.5 if not choice.exact else 0.0 if choice.range == BYTES else max(1e-3, 255 * eps)
    if not np.all(off <= tolerance):  # False for NaN and infinity as well
        raise DataError(
            f"{name}: {block.dtype} values that are not whole grey levels (or not finite). Store uint8, 0 to 255, or "
            f'pass the range, to round them: `pixels="{choice.range}"`.'
        )
    if not np.all((rounded >= 0) & (rounded <= 255)):
        raise DataError(
            f"{name}: {_extent(block)}, outside of {choice.range} (`pixels`). Pass the range of the values."
        )
    return rounded.astype(np.uint8)
