"""Scaling a large picture in bands of rows, so that only one copy of it is ever in memory.

Each band is scaled along its rows, and the joined results along their columns. Pillow scales a whole picture in this
way, unless scaling the columns first is less work; rounding between the two passes then differs by one grey level.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

BAND = 1 << 20  # pixels
WHOLE = 1 << 22  # pixels of a picture that is scaled at once: converted, it takes less than 100 MiB

Box = tuple[float, float, float, float]  # left, top, right, bottom


def scaled(
    image: "Image.Image",
    size: tuple[int, int],
    box: Box,
    method: "Image.Resampling",
    convert: "Callable[[Image.Image], Image.Image]",
) -> "Image.Image":
    """``convert(image).resize(size, method, box)``, where ``convert`` changes each pixel separately."""
    from PIL import Image

    if image.width * image.height <= WHOLE:
        return convert(image).resize(size, method, box)
    left, top, right, bottom = box
    wide = None
    for start, band in bands(image):
        narrow = convert(band).resize((size[0], band.height), method, (left, 0, right, band.height))
        if wide is None:
            wide = Image.new(narrow.mode, (size[0], image.height))
        wide.paste(narrow, (0, start))
    assert wide is not None  # pictures have at least one row
    return wide.resize(size, method, (0, top, size[0], bottom))


def bands(image: "Image.Image") -> "Iterator[tuple[int, Image.Image]]":
    """The picture in bands of about ``BAND`` pixels, each with its first row."""
    rows = max(1, BAND // image.width)
    for start in range(0, image.height, rows):
        yield start, image.crop((0, start, image.width, min(start + rows, image.height)))
