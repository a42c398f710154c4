"""Decodes the body of a request into the picture that the network takes; any other body raises DataError."""

import json
import re
from typing import Any

import numpy as np

from tinycnn.data.drawing import normalise
from tinycnn.data.new_picture import picture_source
from tinycnn.data.picture import read_picture
from tinycnn.data.several import digits_in, read_digits
from tinycnn.errors import DataError, shortened

MAX_BODY = 1 << 20  # bytes; the page sends about 5,000
MAX_PIXELS = 4_000_000
MAX_SIDE = 1024  # of an array of pixels

SIGNATURES = {  # how a file of each type begins
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/webp": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/bmp": re.compile(rb"BM"),
}
JSON_TYPE = "application/json"


class UnsupportedTypeError(DataError):
    """The Content-Type is neither an image type nor JSON."""


def picture_type(content_type: str) -> str:
    """``Image/PNG; q=1`` → ``image/png``; UnsupportedTypeError for a type that is not read."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in SIGNATURES or kind == JSON_TYPE:
        return kind
    raise UnsupportedTypeError(f"Content-Type {shortened(kind)}: expected {', '.join(SIGNATURES)} or {JSON_TYPE}.")


def decode_picture(kind: str, body: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """An image file, or JSON ``{"pixels": rows of numbers, 0 to 255}`` → bytes as the network takes them.

    ``shape`` (H, W): a drawing → ``(D, H, W, 1)``; D is 1, or the number of digits from left to right. ``shape``
    (H, W, C): a whole picture → ``(1, H, W, C)``. ``kind`` is a type that `picture_type` returned. Raises
    EmptyDrawingError when nothing is drawn, DataError for any other body that cannot be read, or that is of another
    type.
    """
    if kind != JSON_TYPE and not SIGNATURES[kind].match(body):
        raise DataError(f"the body is not an image of its Content-Type, {kind}.")
    if len(shape) == 3:
        source = picture_source(decode_pixels(body)) if kind == JSON_TYPE else body
        return read_picture(source, shape, max_pixels=MAX_PIXELS)[np.newaxis]  # (1, H, W, C)
    H, W = shape
    if kind == JSON_TYPE:
        grey = decode_pixels(body)
        whole, digits = normalise(grey, (H, W)), digits_in(grey, (H, W))
        return digits.pictures if digits else whole
    return read_digits(body, (H, W), max_pixels=MAX_PIXELS).pictures


def decode_pixels(body: bytes) -> np.ndarray:
    """``{"pixels": [[0, 255, …], …]}`` → float64 ``(rows, columns)`` from 0 to 1; raises DataError otherwise."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise DataError('the body is not JSON; expected {"pixels": [[0, 255, …], …]}.') from None
    if not isinstance(request, dict) or set(request) != {"pixels"}:
        raise DataError('expected one object with the key "pixels" and no other.')
    return np.array(checked_rows(request["pixels"]), np.float64) / 255


def checked_rows(rows: Any) -> list[list[float]]:
    """``rows``, unchanged; raises DataError unless all rows have one length and hold numbers from 0 to 255."""
    if not has_valid_length(rows) or not all(has_valid_length(row) and len(row) == len(rows[0]) for row in rows):
        raise DataError(f'"pixels": expected a list of 1 to {MAX_SIDE} rows, all of one length from 1 to {MAX_SIDE}.')
    for row in rows:
        for value in row:
            if type(value) not in (int, float) or not 0 <= value <= 255:  # a comparison with NaN is false
                raise DataError('"pixels": expected numbers from 0 to 255 only.')
    return rows


def has_valid_length(value: Any) -> bool:
    """Whether ``value`` is a list of 1 to ``MAX_SIDE`` items."""
    return isinstance(value, list) and 1 <= len(value) <= MAX_SIDE
