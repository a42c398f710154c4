"""Your own picture of a digit, normalised like MNIST: the same size, position and colours.

The makers of MNIST scaled every digit smoothly so that its longer side fills 20 pixels, and placed its centre of mass
in the middle of 28x28 (LeCun et al., "Gradient-based learning applied to document recognition", 1998). A network
trained on MNIST does not recognise a digit of half the size, or one that is dark on light.
"""

from typing import TYPE_CHECKING

import numpy as np

from tinycnn.data.bands import scaled
from tinycnn.data.picture import MAX_PIXELS, eight_bits, extremes, is_deep, name_of, open_picture
from tinycnn.data.pixel_range import PixelRange
from tinycnn.errors import DataError, requires

if TYPE_CHECKING:
    from PIL import Image

    from tinycnn.data.picture import Source

WORKING_SIZE, COARSE = 1024, 128  # the longer side while locating the digit, in the exact and the coarse search
BOX, FULL = 20, 28  # side lengths: the digit, the image
FAINTEST = 0.05  # contrast (1: black against white) below which a pixel holds no ink
DARKEST = 0.2  # lower bound for the grey level of paper in a division, which would amplify noise
IN_THE_BOX = 0.1  # ink that counts as part of the digit when its edges are located
LEVELS = 64  # of the histogram in which two levels are searched
TOUCHING = 0.02  # of the edges: with less ink there, the digit does not touch them
NEAR_PAPER = 0.1  # grey levels at this distance from the paper count as paper
NOTHING = "nothing is drawn on it, or too faintly; draw one digit with a dark pen on light paper."


class EmptyDrawingError(DataError):
    """A picture on which nothing is drawn."""


def read_drawing(
    source: "Source", shape: tuple[int, int] = (FULL, FULL), *, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """An image file, by path or as its bytes, or a Pillow image → ``(1, H, W, 1)`` uint8, as `normalise` makes it.

    ``shape`` is (H, W). Raises DataError for a file that is too large, damaged or not an image, EmptyDrawingError if
    nothing is drawn on it.
    """
    name = name_of(source, "the image")
    try:
        return normalise(grey_levels(open_picture(source, WORKING_SIZE, max_pixels)), shape)
    except EmptyDrawingError as error:
        raise EmptyDrawingError(f"{name}: {error}") from None
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def normalise(grey: np.ndarray, shape: tuple[int, int] = (FULL, FULL)) -> np.ndarray:
    """Grey levels ``(any, any)`` from 0 to 1, dark on light or light on dark → ``(1, H, W, 1)`` uint8, light on dark.

    The digit is cut out, scaled so that its longer side fills 20 of 28 pixels, and placed by its centre of mass. Raises
    EmptyDrawingError if nothing is drawn.
    """
    return centred(cut_out(ink(grey)), shape)


def centred(digit: np.ndarray, shape: tuple[int, int] = (FULL, FULL)) -> np.ndarray:
    """The ink of a digit ``(any, any)``, cut out → ``(1, H, W, 1)`` uint8, in the size and the place of MNIST's."""
    from PIL import Image

    image = Image.fromarray(digit)
    box = [max(1, round(size * BOX / FULL)) for size in shape]
    scale = min(box[0] / image.height, box[1] / image.width)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    small = np.asarray(image.resize(size, Image.Resampling.BILINEAR))  # averages where it shrinks
    picture = np.zeros(shape, np.uint8)
    top, left = (_offset(mass, full) for mass, full in zip((small.sum(1), small.sum(0)), shape, strict=True))
    picture[top : top + small.shape[0], left : left + small.shape[1]] = np.rint(255 * np.clip(small, 0, 1))
    return picture[np.newaxis, :, :, np.newaxis]  # (1, H, W, 1)


def _offset(mass: np.ndarray, full: int) -> int:
    """The position of the first element of ``mass (size,)`` that puts the centre of mass at ``full / 2``."""
    centre = np.arange(len(mass)) @ mass / mass.sum()
    return int(np.clip(np.rint(full / 2 - centre), 0, full - len(mass)))


def cut_out(ink: np.ndarray) -> np.ndarray:
    """The part of ``ink (any, any)`` that holds the digit, from the first row and column with ink to the last.

    It is located on a coarse copy, on which a speck of one pixel fades, and then exactly.
    """
    with requires("pillow", "reading drawings"):
        from PIL import Image

    factor = max(1, max(ink.shape) // COARSE)
    rows, columns = _extent(np.asarray(Image.fromarray(ink).reduce(factor)) * factor)  # keeps one-pixel lines
    part = ink[rows.start * factor : rows.stop * factor, columns.start * factor : columns.stop * factor]
    return part[_extent(part)]


def _extent(ink: np.ndarray) -> tuple[slice, slice]:
    """The rows and the columns from the first to the last with ink."""
    rows, columns = (np.flatnonzero((ink > IN_THE_BOX).any(axis)) for axis in (1, 0))
    if not rows.size:
        raise EmptyDrawingError(NOTHING)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def ink(grey: np.ndarray) -> np.ndarray:
    """The amount of ink on each pixel, float32 from 0 to 1, for paper of any colour.

    Paper of one grey level is subtracted exactly. On a photograph, ink is compared with the paper around it, which has
    the same illumination, and differences within the noise of the camera are ignored.
    """
    contrast = _contrast(grey)
    drawn = contrast[contrast > FAINTEST]
    if not drawn.size:
        raise EmptyDrawingError(NOTHING)
    return np.minimum(contrast / np.quantile(drawn, 0.9), 1).astype(np.float32)


def _contrast(grey: np.ndarray) -> np.ndarray:
    """How far each pixel ``(H, W)`` is from the paper in the direction of ink, at least 0."""
    paper = np.full_like(grey, paper_level(grey))
    shaded = _spread(grey - paper) > 0
    if shaded:
        paper = shading(grey)
    threshold = two_levels(grey)
    if touches_edges(grey, paper, threshold):
        return _contrast_of_two(grey, threshold)
    contrast = grey - paper
    contrast *= np.sign(np.sum(contrast**3)) or 1  # few pixels far from the paper level outweigh many near it
    contrast = np.maximum(contrast - 3 * _spread(contrast), 0)
    return contrast / np.maximum(paper, DARKEST) if shaded else contrast


def touches_edges(grey: np.ndarray, paper: np.ndarray, threshold: float) -> bool:
    """Whether the digit touches the edges of its picture: they have two levels, which ``paper`` does not explain.

    Such a digit can cover most of its picture, so that its ink is taken for the paper.
    """
    light = float(np.mean(edges(grey) > threshold))
    explained = float(np.mean(np.abs(edges(grey) - edges(paper)) < NEAR_PAPER))
    return min(light, 1 - light) >= TOUCHING and explained < 1 - TOUCHING


def _contrast_of_two(grey: np.ndarray, threshold: float) -> np.ndarray:
    """The contrast on a picture of two levels: paper is the one that most of the edges have."""
    along = edges(grey)
    ink_is_light = np.mean(along > threshold) < 0.5
    paper = float(np.median(along[(along > threshold) != ink_is_light]))
    contrast = grey - paper if ink_is_light else paper - grey
    of_paper = (grey > threshold) != ink_is_light
    noise = min(3 * _spread(contrast[of_paper]), contrast.max() / 4)  # strokes blur into the small area of paper
    return np.maximum(contrast - noise, 0)


def two_levels(grey: np.ndarray) -> float:
    """The threshold between two levels that explains most of the variance.

    N. Otsu, "A threshold selection method from gray-level histograms", 1979.
    """
    counts, ends = np.histogram(grey, LEVELS, (0, 1))
    centres, dark = (ends[:-1] + ends[1:]) / 2, np.cumsum(counts / grey.size)  # (LEVELS,)
    sums = np.cumsum(centres * counts / grey.size)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (sums[-1] * dark - sums) ** 2 / (dark * (1 - dark))
    return float(ends[1 + np.nan_to_num(between, posinf=0).argmax()])


def edges(grey: np.ndarray) -> np.ndarray:
    """The grey levels along the four edges."""
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def paper_level(grey: np.ndarray) -> float:
    """The grey level along the edges if a fifth of ``grey (H, W)`` has it; otherwise, as with a frame, the median.

    The most frequent level would not do: a thick digit can cover more of its picture than the paper does.
    """
    edge = float(np.median(edges(grey)))
    return edge if np.mean(np.abs(grey - edge) < 0.1) > 0.2 else float(np.median(grey))


def _spread(contrast: np.ndarray) -> float:
    """The standard deviation of the paper's grey level, estimated from the 15 % of the pixels that vary least."""
    return float(np.quantile(np.abs(contrast), 0.15) / 0.1891)  # 15 % of normal noise lies within 0.1891 sigma


def shading(grey: np.ndarray) -> np.ndarray:
    """The paper's grey level at every pixel ``(H, W)``: the quadratic surface that fits most of them."""
    H, W = grey.shape
    y, x = np.linspace(-1, 1, H)[:, None], np.linspace(-1, 1, W)[None, :]
    terms = np.stack([np.broadcast_to(term, (H, W)) for term in (1, x, y, x * x, x * y, y * y)], axis=2)  # (H, W, 6)
    step = max(1, max(H, W) // 64)  # a few thousand pixels are enough
    rows, levels = terms[::step, ::step].reshape(-1, 6), grey[::step, ::step].ravel()
    away = levels - paper_level(grey)
    for _ in range(5):
        paper = np.abs(away) <= max(2 * _spread(away), 0.02)
        surface = np.linalg.lstsq(rows[paper], levels[paper], rcond=None)[0]  # (6,)
        away = levels - rows @ surface
    return terms @ surface


def grey_levels(image: "Image.Image") -> np.ndarray:
    """An image of any mode → brightness ``(H, W)`` from 0 to 1, at most 1024 a side; transparent pixels are paper."""
    from PIL import Image

    levels = None
    if is_deep(image):  # brightness is relative to the paper, so any two levels work
        low, high = extremes(image)
        levels = PixelRange(low, high if high > low else low + 1 + abs(low))
    factor = max(image.size) / WORKING_SIZE
    if factor > 1:
        size = max(1, round(image.width / factor)), max(1, round(image.height / factor))
        box = (0, 0, *image.size)
        image = scaled(
            image, size, box, Image.Resampling.BICUBIC, lambda part: _premultiplied(eight_bits(part, levels))
        )
    image = eight_bits(image, None if factor > 1 else levels).convert("RGBA")
    alpha = np.asarray(image.getchannel("A"), np.float32) / 255
    grey = np.asarray(image.convert("RGB").convert("L"), np.float32) / 255
    return alpha * grey + (1 - alpha) * _paper(grey, alpha)


def _premultiplied(image: "Image.Image") -> "Image.Image":
    """Colours times their opacity, so that those of transparent pixels do not count when the image is scaled."""
    return image.convert("RGBA").convert("RGBa")


def _paper(grey: np.ndarray, alpha: np.ndarray) -> float:
    """The grey level for transparent pixels: that of the visible paper, otherwise the opposite of the strokes."""
    visible = grey[alpha > 0.5]
    if not visible.size:
        return 0.0
    middle = float(np.median(visible))
    return middle if 2 * visible.size > grey.size else float(middle < 0.5)
