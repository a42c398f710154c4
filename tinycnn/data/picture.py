"""Picture files of any format and size → uint8 images ``(H, W, C)`` of one size. Files are treated as untrusted.

A picture is rotated by its EXIF orientation, laid on white where it is transparent, cropped at its longer sides to the
requested proportions, and scaled. Nothing is stretched, and training and prediction treat pictures in the same way.
"""

import os
import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinycnn.data.bands import Box, bands, scaled
from tinycnn.data.picture_cost import check_cost, silent
from tinycnn.data.pixel_range import BYTES, UNIT, PixelRange, parse_range
from tinycnn.errors import DataError, printable, requires, shortened
from tinycnn.files import open_regular

if TYPE_CHECKING:
    from PIL import Image

    Source = str | os.PathLike[str] | bytes | Image.Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # EPS is excluded: reading it starts another program
JPEG_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp"}
NETPBM_SUFFIXES = {".ppm", ".pgm", ".pbm", ".pnm"}
SUFFIXES = frozenset({".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff"} | JPEG_SUFFIXES | NETPBM_SUFFIXES)
MAX_FILE = 1 << 26  # bytes
MAX_PIXELS = 64_000_000  # a large photograph
SIXTEEN_BITS = PixelRange(0, 65535)
LUMA = np.array([19595, 38470, 7471], np.uint32)  # of red, green, blue: ITU-R 601 in 65536ths, as in Pillow


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its name; hidden files are not. The content decides how it is read."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_picture(
    source: "Source", shape: tuple[int, ...], *, pixels: str | None = None, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """An image file, by path or as its bytes, or a Pillow image → ``(H, W, C)`` uint8; C of ``shape`` is 1 or 3.

    ``pixels``: the numbers for black and white in a picture of more than 8 bits, as in ``"0..4095"``; None: 0 and 65535
    for 16 bits; for other formats, the usual range that fits the picture. Raises DataError for a file that is too
    large, damaged or not an image.
    """
    H, W, C = shape
    given = parse_range(pixels)
    try:
        rgb = fitted(open_picture(source, max(H, W), max_pixels), H, W, given)
    except DataError as error:
        raise DataError(f"{name_of(source)}: {error}") from None
    return rgb if C == 3 else grey(rgb)


def name_of(source: "Source", other: str = "the picture") -> str:
    """What messages call a picture: its path, or ``other`` if it has none."""
    return printable(os.fspath(source)) if isinstance(source, str | os.PathLike) else other


def fitted(image: "Image.Image", H: int, W: int, pixels: PixelRange | None = None) -> np.ndarray:
    """The middle of an image of any mode, in the requested proportions → ``(H, W, 3)`` uint8, red, green, blue."""
    from PIL import Image

    levels = deep_levels(image, pixels)

    def on_white(part: "Image.Image") -> "Image.Image":
        part = eight_bits(part, levels)
        if part.has_transparency_data:
            part = Image.alpha_composite(Image.new("RGBA", part.size, "white"), part.convert("RGBA"))
        return part.convert("RGB")

    method = Image.Resampling.BILINEAR  # averages when it shrinks
    return np.asarray(scaled(image, (W, H), _middle(image.size, W / H), method, on_white))


def _middle(size: tuple[int, int], proportion: float) -> Box:
    """The largest box of this proportion, width by height, in the middle of a picture."""
    width, height = min(size[0], proportion * size[1]), min(size[1], size[0] / proportion)
    left, top = (size[0] - width) * 0.5, (size[1] - height) * 0.5
    return left, top, left + width, top + height


def grey(rgb: np.ndarray) -> np.ndarray:
    """uint8 colours ``(..., 3)`` → uint8 luma ``(..., 1)``, with the weights of ITU-R 601."""
    return ((rgb @ LUMA + 0x8000) >> 16).astype(np.uint8)[..., np.newaxis]


# ------------------------------------------------------------------------------------------------- more than eight bits


def is_deep(image: "Image.Image") -> bool:
    """Whether the pixels are single numbers of more than eight bits; Pillow reduces colours of 16 bits itself."""
    return image.mode[0] in "IF"


def deep_levels(image: "Image.Image", given: PixelRange | None = None) -> PixelRange | None:
    """The numbers for black and white in a deep image; None for other images. DataError if they are ambiguous.

    They depend on the format: scaling each picture by its own extremes would make a dark one as bright as any other.
    """
    if not is_deep(image):
        return None
    low, high = extremes(image)
    for known in (given,) if given else (SIXTEEN_BITS,) if _has_sixteen_bits(image) else (UNIT, BYTES, SIXTEEN_BITS):
        if min(known.black, known.white) <= low and high <= max(known.black, known.white):
            return known
    raise DataError(
        f"its pixels are numbers from {low:.6g} to {high:.6g}, not {given or '0..1, 0..255 or 0..65535'}; pass the "
        f'numbers for black and white: `pixels="{low:.6g}..{high:.6g}"`.'
    )


def _has_sixteen_bits(image: "Image.Image") -> bool:
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def extremes(image: "Image.Image") -> tuple[float, float]:
    """The smallest and the largest number in a deep image."""
    found = [(part.min(), part.max()) for part in (_numbers(band) for _, band in bands(image))]
    return float(min(low for low, _ in found)), float(max(high for _, high in found))


def eight_bits(image: "Image.Image", levels: PixelRange | None) -> "Image.Image":
    """A deep image with black and white of ``levels`` → one of eight bits; other images unchanged."""
    from PIL import Image

    if levels is None:
        return image
    bytes_ = (_numbers(image) - levels.black) / (levels.white - levels.black) * 255
    return Image.fromarray(np.rint(np.clip(bytes_, 0, 255)).astype(np.uint8))


def _numbers(image: "Image.Image") -> np.ndarray:
    with np.errstate(invalid="ignore"):  # signalling NaN
        return np.nan_to_num(np.asarray(image, np.float64), posinf=0, neginf=0)


# ---------------------------------------------------------------------------------------------------------- the decoder


def open_picture(source: "Source", side: int, max_pixels: int = MAX_PIXELS) -> "Image.Image":
    """The decoded image, rotated by its EXIF orientation, at least ``2 * side`` pixels a side if the file has as many.

    A Pillow image is only rotated. Raises DataError if it is too large, damaged or not an image.
    """
    with requires("pillow", "reading pictures"):
        from PIL import Image, ImageOps

    if isinstance(source, Image.Image):
        try:
            return ImageOps.exif_transpose(source)  # a copy
        except Exception as error:  # of a file that Pillow reads only now
            raise DataError(f"the image in it is damaged ({shortened(error)}); save it again.") from None
    content = source if isinstance(source, bytes) else _read(Path(source))
    try:
        with warnings.catch_warnings(action="ignore"):  # warnings about wrong metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError(f"it declares more than {max_pixels:,} pixels; make it smaller.") from None
    except Exception:  # decoders raise many kinds of errors
        raise DataError(f"not an image that can be read; expected one of {', '.join(FORMATS)}.") from None
    count = image.width * image.height
    if count > max_pixels:
        raise DataError(f"it has {image.width:,} x {image.height:,} pixels, above {max_pixels:,}; make it smaller.")
    try:
        with warnings.catch_warnings(action="ignore"), silent(image):
            image.draft("RGB", (2 * side, 2 * side))  # decodes a large JPEG at a fraction of its size
            check_cost(image, count, content)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return image
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"the image in it is damaged ({shortened(error)}); save it again.") from None


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            content = file.read(min(os.fstat(file.fileno()).st_size, MAX_FILE) + 1)  # limited: read() allocates first
    except (FileNotFoundError, NotADirectoryError):
        raise DataError("there is no such file" + ("; a broken link." if path.is_symlink() else ".")) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error}).") from None
    if len(content) > MAX_FILE:
        raise DataError(f"larger than {MAX_FILE:,} bytes; expected a picture.")
    return content
