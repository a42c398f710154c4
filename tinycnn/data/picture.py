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

from tinycnn.errors import DataError, printable, requires

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # EPS is excluded: reading it starts another program
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
MAX_FILE = 1 << 26  # bytes
MAX_PIXELS = 64_000_000  # a large photograph
LUMA = np.array([19595, 38470, 7471], np.uint32)  # of red, green, blue: ITU-R 601 in 65536ths, as in Pillow


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its name; hidden files are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_picture(source: str | os.PathLike[str] | bytes, shape: tuple[int, ...]) -> np.ndarray:
    """An image file, by path or as its bytes → ``(H, W, C)`` uint8, ``shape`` with one channel (grey) or three.

    Raises DataError for a file that is too large, damaged or not an image.
    """
    H, W, C = shape
    name = "the picture" if isinstance(source, bytes) else printable(os.fspath(source))
    try:
        rgb = fitted(open_picture(source, max(H, W)), H, W)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    return rgb if C == 3 else grey(rgb)


def fitted(image: "Image.Image", H: int, W: int) -> np.ndarray:
    """The middle of an image of any mode, in the requested proportions → ``(H, W, 3)`` uint8, red, green, blue."""
    from PIL import Image, ImageOps

    image = eight_bits(image)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(ImageOps.fit(image.convert("RGB"), (W, H), Image.Resampling.BILINEAR))  # averages when it shrinks


def grey(rgb: np.ndarray) -> np.ndarray:
    """uint8 colours ``(..., 3)`` → uint8 luma ``(..., 1)``, with the weights of ITU-R 601."""
    return ((rgb @ LUMA + 0x8000) >> 16).astype(np.uint8)[..., np.newaxis]


def eight_bits(image: "Image.Image") -> "Image.Image":
    """An image of more than eight bits per pixel, scaled from its minimum to its maximum: white is not defined."""
    from PIL import Image

    if image.mode[0] not in "IF":
        return image
    levels = np.nan_to_num(np.asarray(image, np.float64), posinf=0, neginf=0)
    low, high = levels.min(), levels.max()
    return Image.fromarray(np.rint((levels - low) * (255 / max(high - low, 1e-30))).astype(np.uint8))


def open_picture(source: str | os.PathLike[str] | bytes, side: int, max_pixels: int = MAX_PIXELS) -> "Image.Image":
    """The decoded image, rotated by its EXIF orientation, at least ``2 * side`` pixels a side if the file has as many.

    Raises DataError if it is too large, damaged or not an image.
    """
    with requires("pillow", "reading pictures"):
        from PIL import Image, ImageOps

    content = source if isinstance(source, bytes) else _read(Path(source))
    try:
        with warnings.catch_warnings(action="ignore"):  # warnings about wrong metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError(f"it declares more than {max_pixels:,} pixels; make it smaller.") from None
    except Exception:  # decoders raise many kinds of errors
        raise DataError(f"not an image that can be read; expected one of {', '.join(FORMATS)}.") from None
    if image.width * image.height > max_pixels:
        raise DataError(f"it has {image.width:,} x {image.height:,} pixels, above {max_pixels:,}; make it smaller.")
    try:
        with warnings.catch_warnings(action="ignore"):
            image.draft("RGB", (2 * side, 2 * side))  # decodes a large JPEG at a fraction of its size
            image.load()
            return ImageOps.exif_transpose(image)
    except Exception as error:
        raise DataError(f"the image in it is damaged ({error}); save it again.") from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size or MAX_FILE  # the size of a pipe is 0
            content = file.read(min(size, MAX_FILE) + 1)  # limited: read() allocates first
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror}).") from None
    if len(content) > MAX_FILE:
        raise DataError(f"larger than {MAX_FILE:,} bytes; expected a picture.")
    return content
