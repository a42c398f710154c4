"""A new picture for a trained network: prepared as the pictures that the network was trained on."""

import os
from typing import Protocol

import numpy as np

from tinycnn.data.picture import read_picture
from tinycnn.data.pixel_range import parse_range
from tinycnn.data.several import read_digits
from tinycnn.errors import SettingError


class TakesPictures(Protocol):
    """What a network states about its inputs: their shape, and how a picture becomes one."""

    @property
    def input_shape(self) -> tuple[int, ...]: ...

    @property
    def pictures(self) -> str: ...


def load_picture(
    source: str | os.PathLike[str] | bytes, model: TakesPictures, *, pixels: str | None = None
) -> np.ndarray:
    """A picture file, by path or as its bytes → ``(N, H, W, C)`` uint8, ready for ``model.predict``.

    If ``model.pictures`` is "whole", N is 1: the middle of the picture, scaled as by `load_pictures`. If it is
    "drawing", each digit in the picture is cut out, scaled and centred as in MNIST, and N is their number. ``pixels``:
    the numbers for black and white in a picture of more than 8 bits, see `read_picture`. Raises DataError for a picture
    that cannot be read, and SettingError for a network that takes no pictures.
    """
    parse_range(pixels)
    H, W, C = model.input_shape if len(model.input_shape) == 3 else (0, 0, 0)
    if C not in (1, 3):
        raise SettingError(f"the model takes inputs {model.input_shape}, expected pictures: (H, W, 1) or (H, W, 3)")
    if model.pictures == "drawing":
        return read_digits(source, (H, W)).pictures
    return read_picture(source, (H, W, C), pixels=pixels)[np.newaxis]  # (1, H, W, C)
