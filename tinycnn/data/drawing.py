"""Your own picture of a digit, made into what MNIST would hold: the same size, in the same place, in the same colours.

MNIST's makers scaled every digit so that its longer side fills 20 pixels, smoothly, and put its centre of mass into the
middle of 28x28 (LeCun et al., "Gradient-based learning applied to document recognition", 1998). A network trained on
that knows nothing else: a digit that is half as large, or dark on light, is no digit to it.
"""

import os
from typing import TYPE_CHECKING

import numpy as np

from tinycnn.data.picture import MAX_PIXELS, eight_bits, open_picture
from tinycnn.errors import DataError, requires

if TYPE_CHECKING:
    from PIL import Image

WORKING_SIZE, COARSE = 1024, 128  # the longer side while looking for the digit, exactly and roughly
BOX, FULL = 20, 28  # sides: the digit, the picture
FAINTEST = 0.05  # contrast (1: black against white) below which there is nothing to see
DARKEST = 0.2  # paper darker than this is taken for this dark, or its noise would grow without bounds
IN_THE_BOX = 0.1  # ink that counts when the digit's edges are found; less is a smudge
NOTHING = "nothing is drawn on it, or too faintly; draw one digit with a dark pen on light paper."


class EmptyDrawingError(DataError):
    """A picture on which nothing is drawn."""


def read_drawing(
    source: str | os.PathLike[str] | bytes, shape: tuple[int, int] = (FULL, FULL), *, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """An image file, by path or as its bytes → ``(1, H, W, 1)`` uint8, as `normalise` makes it; ``shape`` is (H, W).

    Raises DataError for a file that is too large, damaged or no image, EmptyDrawingError when nothing is drawn on it.
    """
    name = "the image" if isinstance(source, bytes) else os.fspath(source)
    try:
        return normalise(grey_levels(open_picture(source, WORKING_SIZE, max_pixels)), shape)
    except EmptyDrawingError as error:
        raise EmptyDrawingError(f"{name}: {error}") from None
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def normalise(grey: np.ndarray, shape: tuple[int, int] = (FULL, FULL)) -> np.ndarray:
    """Grey levels ``(any, any)`` from 0 to 1, dark on light or light on dark → ``(1, H, W, 1)`` uint8, light on dark.

    The digit is cut out, scaled so that its longer side fills 20 of 28 pixels, and placed by its centre of mass. Raises
    EmptyDrawingError when nothing is drawn.
    """
    with requires("pillow", "reading drawings"):
        from PIL import Image

    digit = Image.fromarray(cut_out(ink(grey)))
    box = [max(1, round(size * BOX / FULL)) for size in shape]
    scale = min(box[0] / digit.height, box[1] / digit.width)
    size = max(1, round(digit.width * scale)), max(1, round(digit.height * scale))
    small = np.asarray(digit.resize(size, Image.Resampling.BILINEAR))  # averages where it shrinks
    picture = np.zeros(shape, np.uint8)
    top, left = (_offset(mass, full) for mass, full in zip((small.sum(1), small.sum(0)), shape, strict=True))
    picture[top : top + small.shape[0], left : left + small.shape[1]] = np.rint(255 * np.clip(small, 0, 1))
    return picture[np.newaxis, :, :, np.newaxis]  # (1, H, W, 1)


def _offset(mass: np.ndarray, full: int) -> int:
    """Where to put the first of ``mass (size,)``: its centre of mass comes to ``full / 2``, as in MNIST."""
    centre = np.arange(len(mass)) @ mass / mass.sum()
    return int(np.clip(np.rint(full / 2 - centre), 0, full - len(mass)))


def cut_out(ink: np.ndarray) -> np.ndarray:
    """The part of ``ink (any, any)`` that holds the digit, from the first row and column with ink to the last.

    It is sought on a coarse copy, on which a speck of one pixel fades, and then cut exactly.
    """
    from PIL import Image

    factor = max(1, max(ink.shape) // COARSE)
    rows, columns = _extent(np.asarray(Image.fromarray(ink).reduce(factor)) * factor)  # a line one pixel wide stays
    part = ink[rows.start * factor : rows.stop * factor, columns.start * factor : columns.stop * factor]
    return part[_extent(part)]


def _extent(ink: np.ndarray) -> tuple[slice, slice]:
    """The rows and the columns from the first to the last with ink."""
    rows, columns = (np.flatnonzero((ink > IN_THE_BOX).any(axis)) for axis in (1, 0))
    if not rows.size:
        raise EmptyDrawingError(NOTHING)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def ink(grey: np.ndarray) -> np.ndarray:
    """How much ink is on each pixel, float32 from 0 to 1, whatever the paper's colour.

    Paper of one grey level is subtracted exactly. On a photograph, ink is compared with the paper around it, since both
    get the same light, and what the camera's noise explains is no ink.
    """
    paper: np.ndarray | float = paper_level(grey)
    if _spread(grey - paper) > 0:
        paper = shading(grey)
    contrast = grey - paper
    contrast *= np.sign(np.sum(contrast**3)) or 1  # few pixels far from the paper outweigh many near it
    contrast = np.maximum(contrast - 3 * _spread(contrast), 0)
    if np.ndim(paper):
        contrast /= np.maximum(paper, DARKEST)
    drawn = contrast[contrast > FAINTEST]
    if not drawn.size:
        raise EmptyDrawingError(NOTHING)
    return np.minimum(contrast / np.quantile(drawn, 0.9), 1).astype(np.float32)


def paper_level(grey: np.ndarray) -> float:
    """The grey level along the edges, if a fifth of ``grey (H, W)`` has it; else the edges are a frame.

    Not simply the most frequent level: a fat digit that fills its picture covers more of it than the paper does.
    """
    edge = float(np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])))
    return edge if np.mean(np.abs(grey - edge) < 0.1) > 0.2 else float(np.median(grey))


def _spread(contrast: np.ndarray) -> float:
    """The standard deviation of the paper's grey level, found from the seventh of the pixels that vary least."""
    return float(np.quantile(np.abs(contrast), 0.15) / 0.1891)  # so much of normal noise lies within 0.1891 of it


def shading(grey: np.ndarray) -> np.ndarray:
    """The paper's grey level at every pixel ``(H, W)``: the smooth surface of second degree that fits most of them."""
    H, W = grey.shape
    y, x = np.linspace(-1, 1, H)[:, None], np.linspace(-1, 1, W)[None, :]
    terms = np.stack([np.broadcast_to(term, (H, W)) for term in (1, x, y, x * x, x * y, y * y)], axis=2)  # (H, W, 6)
    step = max(1, max(H, W) // 64)  # a few thousand pixels tell as much
    rows, levels = terms[::step, ::step].reshape(-1, 6), grey[::step, ::step].ravel()
    away = levels - paper_level(grey)
    for _ in range(5):
        paper = np.abs(away) <= max(2 * _spread(away), 0.02)
        surface = np.linalg.lstsq(rows[paper], levels[paper], rcond=None)[0]  # (6,)
        away = levels - rows @ surface
    return terms @ surface


def grey_levels(image: "Image.Image") -> np.ndarray:
    """An image of any mode → brightness ``(H, W)`` from 0 to 1, at most 1024 a side, transparent parts as paper."""
    image = eight_bits(image).convert("RGBA")
    image.thumbnail((WORKING_SIZE, WORKING_SIZE))
    alpha = np.asarray(image.getchannel("A"), np.float32) / 255
    grey = np.asarray(image.convert("RGB").convert("L"), np.float32) / 255
    return alpha * grey + (1 - alpha) * _paper(grey, alpha)


def _paper(grey: np.ndarray, alpha: np.ndarray) -> float:
    """What lies below transparent pixels: more of the paper if that is visible, else the opposite of the strokes."""
    visible = grey[alpha > 0.5]
    if not visible.size:
        return 0.0
    middle = float(np.median(visible))
    return middle if 2 * visible.size > grey.size else float(middle < 0.5)
