"""Several digits in one picture, and digits on lined paper: each digit by itself, from left to right.

`read_digits` is `read_drawing` for such pictures. A picture of one digit on plain paper is read exactly as before.

Ruled lines are thin and cross most of the sheet. They are removed where no stroke crosses them. Columns without ink
separate digits; a piece that is much lower than its neighbour, such as the bar of a five, belongs to it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinycnn.data.drawing import (
    FULL,
    WORKING_SIZE,
    EmptyDrawingError,
    grey_levels,
    ink,
    normalise,
    read_drawing,
)
from tinycnn.data.picture import MAX_PIXELS, open_picture

if TYPE_CHECKING:
    from tinycnn.data.picture import Source

INKED = 0.15  # of the darkest ink: from there on a pixel belongs to a stroke or a line
ACROSS, DROP = 0.7, 0.3  # of the width or height: what a ruled line crosses, and by how much less is inked beside it
THIN = 40  # a ruled line is thinner than the sheet divided by this
GAP = 0.06  # of the height of the tallest digit: columns without ink between two digits
TALL = 0.6  # of the tallest digit: lower pieces are no digits
MOST = 20  # digits


@dataclass(frozen=True)
class Digits:
    """``pictures (D, H, W, 1)`` bytes, from left to right; ``lined``: whether ruled lines were removed."""

    pictures: np.ndarray
    lined: bool = False


def read_digits(source: "Source", shape: tuple[int, int] = (FULL, FULL), *, max_pixels: int = MAX_PIXELS) -> Digits:
    """Every digit on a picture, which is given and prepared as for `read_drawing`, with its errors."""
    whole = read_drawing(source, shape, max_pixels=max_pixels)
    found = digits_in(grey_levels(open_picture(source, WORKING_SIZE, max_pixels)), shape)
    return found or Digits(whole)


def digits_in(grey: np.ndarray, shape: tuple[int, int] = (FULL, FULL)) -> Digits | None:
    """The digits in grey levels ``(any, any)``; None for one digit on plain paper, which `normalise` reads."""
    plain, lined = without_lines(ink(grey))
    pieces = pieces_of(plain)
    if not pieces or (len(pieces) == 1 and not lined) or len(pieces) > MOST:
        return None
    try:
        pictures = [normalise(1 - np.pad(plain[:, piece], 4).astype(np.float64), shape) for piece in pieces]
    except EmptyDrawingError:
        return None
    return Digits(np.concatenate(pictures), lined)


def without_lines(amount: np.ndarray) -> tuple[np.ndarray, bool]:
    """Ink ``(H, W)`` without ruled lines, across and down, and whether there were any."""
    across, found_across = _without_rows(amount)
    down, found_down = _without_rows(across.T)
    return down.T, found_across or found_down


def _without_rows(amount: np.ndarray) -> tuple[np.ndarray, bool]:
    """Ink without the thin horizontal lines that cross most of the sheet; strokes that cross them stay."""
    H, inked = len(amount), (amount > INKED).mean(axis=1)  # (H,)
    lines = [
        line
        for line in _runs(np.asarray(inked > ACROSS))
        if line.stop - line.start <= max(1, H // THIN)
        and inked[line.start] - inked[max(0, line.start - 2)] > DROP
        and inked[line.stop - 1] - inked[min(H - 1, line.stop + 1)] > DROP
    ]
    plain = amount.copy()
    for line in lines:
        above, below = plain[max(0, line.start - 2)], plain[min(H - 1, line.stop + 1)]
        plain[line, np.maximum(above, below) <= INKED] = 0
    return plain, bool(lines)


def pieces_of(amount: np.ndarray) -> list[slice]:
    """The columns of each digit in ink ``(H, W)``."""
    runs = _runs(np.asarray((amount > INKED).any(axis=0)))
    heights = [_height(amount[:, run]) for run in runs]
    tallest = max(heights, default=0)
    pieces: list[tuple[slice, float]] = []
    for run, height in zip(runs, heights, strict=True):
        gap = run.start - pieces[-1][0].stop if pieces else 0
        is_low = bool(pieces) and min(height, pieces[-1][1]) < TALL * tallest
        near = bool(pieces) and gap < (TALL / 2 if is_low else GAP) * tallest
        if near:
            last, before = pieces.pop()
            pieces.append((slice(last.start, run.stop), max(height, before)))
        else:
            pieces.append((run, height))
    return [piece for piece, height in pieces if height >= TALL * tallest]


def _height(amount: np.ndarray) -> int:
    """The height of the ink, from its first row to its last."""
    rows = np.flatnonzero((amount > INKED).any(axis=1))
    return int(rows[-1] - rows[0] + 1)


def _runs(marked: np.ndarray) -> list[slice]:
    """The runs of true values in ``marked (n,)``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(np.int8), [0]])))
    return [slice(start, stop) for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]
