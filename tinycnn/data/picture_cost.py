"""Bounds on the memory and the time that decoding a picture may take: a file of 5 KB can need gigabytes, or minutes.

The number of pixels does not bound them. Decoders hold more than the picture: a WebP decoder four copies, that of a
progressive JPEG all coefficients, that of a TIFF file a whole tile, which may be larger than the picture.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from tinycnn.errors import DataError

MAX_MEMORY = 400_000_000  # bytes: 57 million pixels in colour in the worst kind of TIFF file, 25 million in WebP
MAX_SCANNED = 1 << 32  # pixels times passes over them: a few seconds
MAX_SLOW = 1 << 24  # bytes, for formats whose decoder is written in Python
SLOW = {"ppm_plain": "PPM as text", "bmp_rle": "compressed BMP"}
START_OF_SCAN = b"\xff\xda"  # a marker that cannot occur within the data of a scan
SMALL_MODES = {"1": 1, "L": 1, "P": 1, "I;16": 2}  # bytes for each pixel; others have 4
TILE_WIDTH, TILE_HEIGHT, ROWS_PER_STRIP, BITS, SAMPLES = 322, 323, 278, 258, 277  # tags of a TIFF file
STDERR = 2

_redirecting = Lock()
if hasattr(os, "register_at_fork"):  # otherwise a child that is forked while another thread holds it would wait forever
    os.register_at_fork(
        before=_redirecting.acquire, after_in_parent=_redirecting.release, after_in_child=_redirecting.release
    )


def check_cost(image: Any, pixels: int, content: bytes) -> None:
    """Raise DataError if decoding ``image``, opened from ``content``, takes too much memory or time.

    ``pixels`` is the number of pixels in the file; the drafted image of a JPEG file has fewer.
    """
    needed = math.prod(image.size) * SMALL_MODES.get(image.mode, 4) + _beside(image, pixels)
    if needed > MAX_MEMORY:
        raise DataError(f"decoding it takes {needed:,} bytes, above {MAX_MEMORY:,}; make it smaller.")
    scanned = content.count(START_OF_SCAN) * pixels if image.format in ("JPEG", "MPO") else 0
    if scanned > MAX_SCANNED:
        raise DataError(f"its {content.count(START_OF_SCAN):,} scans take too long to decode; save it again.")
    codec = SLOW.get(image.tile[0][0]) if image.tile else None
    if codec and len(content) > MAX_SLOW:
        raise DataError(f"{codec}, larger than {MAX_SLOW:,} bytes, takes too long to decode; save it as PNG.")


def _beside(image: Any, pixels: int) -> int:
    """The bytes that the decoder holds besides the picture."""
    if image.format == "WEBP":
        return pixels * 12
    if image.format in ("JPEG", "MPO"):
        return pixels * 2 * image.layers if image.info.get("progressive") else 0
    return _tile_bytes(image) if image.format == "TIFF" else 0


def _tile_bytes(image: Any) -> int:
    """The size of a tile or strip of a TIFF file, which is decoded at once."""
    tags = image.tag_v2
    bits = tags.get(BITS, (8,))
    pixel = math.ceil(max(bits if isinstance(bits, tuple) else (bits,)) * int(tags.get(SAMPLES, 1)) / 8)
    if TILE_WIDTH in tags:
        return int(tags[TILE_WIDTH]) * int(tags.get(TILE_HEIGHT, image.height)) * pixel
    return image.width * min(int(tags.get(ROWS_PER_STRIP, image.height)), image.height) * pixel


@contextmanager
def silent(image: Any) -> Iterator[None]:
    """Discard what libtiff, which Pillow uses for TIFF files, writes to standard error about damaged files."""
    if image.format != "TIFF":
        yield
        return
    with _redirecting:
        try:
            kept = os.dup(STDERR)
        except OSError:  # it is closed
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, STDERR)
            yield
        finally:
            os.dup2(kept, STDERR)
            os.close(kept)
            os.close(nowhere)
