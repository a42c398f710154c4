"""Picture files of any kind and size → images ``(H, W, C)`` of one size, in bytes. Strangers' files are not believed.

A picture is turned as the camera was held, laid on white where it is transparent, cut at its longer sides to the shape
that is wanted, and scaled; so nothing is stretched, and a picture to be answered is treated as those trained on.
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

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # none of which starts another program, as EPS would
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
MAX_FILE = 1 << 26  # bytes
MAX_PIXELS = 64_000_000  # a large photograph
LUMA = np.array([19595, 38470, 7471], np.uint32)  # of red, green, blue: ITU-R 601 in 65536ths, as Pillow has it


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its name; hidden files are none."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_picture(source: str | os.PathLike[str] | bytes, shape: tuple[int, ...]) -> np.ndarray:
    """An image file, by path or as its bytes → ``(H, W, C)`` uint8, ``shape`` with one channel (grey) or three.

    Raises DataError for a file that is too large, damaged or no image.
    """
    H, W, C = shape
    name = "the picture" if isinstance(source, bytes) else printable(os.fspath(source))
    try:
        rgb = fitted(open_picture(source, max(H, W)), H, W)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    return rgb if C == 3 else grey(rgb)


def fitted(image: "Image.Image", H: int, W: int) -> np.ndarray:
    """The middle of an image of any mode, in the proportions asked for → ``(H, W, 3)`` bytes, red, green, blue."""
    from PIL import Image, ImageOps

    image = eight_bits(image)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(ImageOps.fit(image.convert("RGB"), (W, H), Image.Resampling.BILINEAR))  # averages as it shrinks


def grey(rgb: np.ndarray) -> np.ndarray:
    """The brightness of bytes ``(..., 3)``, as television weighs the colours → bytes ``(..., 1)``."""
    return ((rgb @ LUMA + 0x8000) >> 16).astype(np.uint8)[..., np.newaxis]


def eight_bits(image: "Image.Image") -> "Image.Image":
    """An image of more than eight bits a pixel from its darkest to its brightest; nothing tells what white is."""
    from PIL import Image

    if image.mode[0] not in "IF":
        return image
    levels = np.nan_to_num(np.asarray(image, np.float64), posinf=0, neginf=0)
    low, high = levels.min(), levels.max()
    return Image.fromarray(np.rint((levels - low) * (255 / max(high - low, 1e-30))).astype(np.uint8))


def open_picture(source: str | os.PathLike[str] | bytes, side: int, max_pixels: int = MAX_PIXELS) -> "Image.Image":
    """The decoded image, turned as the camera was held, at least ``2 * side`` pixels a side if the file has as many.

    Raises DataError when it is too large, damaged or no image.
    """
    with requires("pillow", "reading pictures"):
        from PIL import Image, ImageOps

    content = source if isinstance(source, bytes) else _read(Path(source))
    try:
        with warnings.catch_warnings(action="ignore"):  # of what else a file tells, and tells wrongly
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError(f"it declares more than {max_pixels:,} pixels; make it smaller.") from None
    except Exception:  # decoders raise whatever they stumble over
        raise DataError(f"not an image that can be read; expected one of {', '.join(FORMATS)}.") from None
    if image.width * image.height > max_pixels:
        raise DataError(f"it has {image.width:,} x {image.height:,} pixels, above {max_pixels:,}; make it smaller.")
    try:
        with warnings.catch_warnings(action="ignore"):
            image.draft("RGB", (2 * side, 2 * side))  # a large JPEG is decoded at a fraction of its size
            image.load()
            return ImageOps.exif_transpose(image)
    except Exception as error:
        raise DataError(f"the image in it is damaged ({error}); save it again.") from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size or MAX_FILE  # a pipe has none
            content = file.read(min(size, MAX_FILE) + 1)  # no more: read() takes the memory first
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror}).") from None
    if len(content) > MAX_FILE:
        raise DataError(f"larger than {MAX_FILE:,} bytes; expected a picture.")
    return content
