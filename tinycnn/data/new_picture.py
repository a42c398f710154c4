"""A new picture for a trained network: prepared as the pictures that the network was trained on."""

import contextlib
import io
import logging
import os
import weakref
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tinycnn.data.picture import MAX_FILE, read_picture
from tinycnn.data.pixel_range import parse_range
from tinycnn.data.several import read_digits
from tinycnn.errors import DataError, SettingError, requires, shortened

if TYPE_CHECKING:
    from tinycnn.data.picture import Source

LOGGER = logging.getLogger("tinycnn.data")
SOURCES = "a path, the bytes of a picture file, an open file, a Pillow image, or an array (H, W) or (H, W, C)"
_noted: weakref.WeakSet[Any] = weakref.WeakSet()  # networks that do not state how pictures are prepared


class TakesPictures(Protocol):
    """What a network states about its inputs: their shape, and how a picture becomes one."""

    @property
    def input_shape(self) -> tuple[int, ...]: ...

    @property
    def pictures(self) -> str: ...


def load_picture(source: Any, model: TakesPictures, *, pixels: str | None = None) -> np.ndarray:
    """A picture → ``(N, H, W, C)`` uint8, ready for ``model.predict``.

    ``source``: a picture file, by path, as its bytes or as an open file; a Pillow image; or an array ``(H, W)`` or
    ``(H, W, C)`` of bytes, or of floats from 0 to 1, with one channel, three, or four with opacity. If
    ``model.pictures`` is "whole", N is 1: the middle of the picture, scaled as by `load_pictures`. If it is "drawing",
    each digit in the picture is cut out, scaled and centred as in MNIST, and N is their number. ``pixels``: the numbers
    for black and white in a picture of more than 8 bits, see `read_picture`. Raises DataError for a picture that cannot
    be read, and SettingError for a network that takes no pictures, and for what is no picture.
    """
    parse_range(pixels)
    H, W, C = model.input_shape if len(model.input_shape) == 3 else (0, 0, 0)
    if C not in (1, 3):
        raise SettingError(f"the model takes inputs {model.input_shape}, expected pictures: (H, W, 1) or (H, W, 3)")
    _note_guess(model)
    source = picture_source(source)
    if model.pictures == "drawing":
        return read_digits(source, (H, W)).pictures
    return read_picture(source, (H, W, C), pixels=pixels)[np.newaxis]  # (1, H, W, C)


def picture_source(given: Any) -> "Source":
    """A path, bytes or a Pillow image for what `load_picture` takes; raises SettingError for anything else."""
    if isinstance(given, str | os.PathLike | bytes):
        return given
    if isinstance(given, bytearray | memoryview):
        return bytes(given)
    if hasattr(given, "read"):
        return _content(given)
    with requires("pillow", "reading pictures"):
        from PIL import Image

    if isinstance(given, Image.Image):
        return given
    if not hasattr(given, "__array__"):
        raise SettingError(f"load_picture: `source` is {shortened(given)}: expected {SOURCES}")
    return Image.fromarray(_levels(np.asarray(given)))


def _content(file: Any) -> bytes:
    """The whole content of an open file, from its start, as Pillow reads it."""
    if hasattr(file, "seek"):
        with contextlib.suppress(OSError, io.UnsupportedOperation):  # a pipe
            file.seek(0)
    content = file.read(MAX_FILE + 1)
    if not isinstance(content, bytes):
        raise SettingError('load_picture: `source` is a file of text: open it with mode "rb"')
    if len(content) > MAX_FILE:
        raise DataError(f"the picture: larger than {MAX_FILE:,} bytes; expected a picture.")
    return content


def _levels(array: np.ndarray) -> np.ndarray:
    """An array as Pillow takes one: bytes, or other numbers of one channel, whose black and white `pixels` states."""
    found = f"load_picture: `source` is an array {array.dtype} {array.shape}"
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]  # (H, W)
    if (
        not array.size
        or array.dtype.kind not in "biuf"
        or array.ndim not in (2, 3)
        or array.shape[2:] not in ((), (3,), (4,))
    ):
        raise SettingError(f"{found}: expected one picture, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of numbers")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind == "f" and 0 <= low <= high <= 1:
        return np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint16 and 0 <= low <= high <= 255 and (array == np.rint(array)).all():
        return array.astype(np.uint8)
    if array.ndim == 2 and np.isfinite(low + high):
        return array if array.dtype == np.uint16 else array.astype(np.float32)
    raise SettingError(f"{found}, from {low:.6g} to {high:.6g}: expected bytes, 0 to 255, or floats from 0 to 1")


def _note_guess(model: Any) -> None:
    """Log a sentence, once for a network, if it takes grey pictures and does not state how these are prepared."""
    metadata = getattr(model, "metadata", None)
    if metadata is None or "pictures" in metadata() or model.input_shape[2:] != (1,) or model in _noted:
        return
    _noted.add(model)
    LOGGER.warning(
        'note: the network does not state how pictures are prepared, so model.pictures is "%s"; set it to "drawing" '
        '(digits, cut out and centred as in MNIST) or to "whole"',
        model.pictures,
    )
