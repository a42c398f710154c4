"""Metadata about the inputs and outputs of a network. Commands and pages use it; the computations do not."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinycnn.errors import SettingError, shortened
from tinycnn.layers.activations import LogSoftmax, Softmax
from tinycnn.layers.base import Layer
from tinycnn.layers.further.activations import Sigmoid
from tinycnn.layers.further.normalization import Normalization
from tinycnn.layers.rescaling import Rescaling

MAX_CLASS_NAME_LENGTH = 100  # characters, so that a class name fits on one line
DRAWING, WHOLE = "drawing", "whole"  # how an image of any size becomes an input: see data/drawing.py, data/picture.py
DIGITS = tuple("0123456789")
PIXELS = FRACTIONS, BYTES = "0..1", "0..255"  # the usual numbers for black and white
CLASSES, LABELS, NUMBERS = "classes", "labels", "numbers"  # what the outputs mean: see `Sequential.outputs`


class Metadata:
    """What the outputs of a network mean, and how images become its inputs; None for values that are not set."""

    def __init__(self) -> None:
        self.class_names: tuple[str, ...] | None = None
        self.outputs: str | None = None
        self.pictures: str | None = None
        self.pixels: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The values that are set, by name, as stored in model files."""
        return {name: value for name, value in vars(self).items() if value is not None}


def default_class_names(output_shape: tuple[int, ...], outputs: str) -> tuple[str, ...]:
    """The numbers of the classes as text, "0" to "K-1"; empty if the output is not ``(K,)``.

    A single output that is a label decides between two classes, "0" and "1".
    """
    if output_shape == (1,) and outputs == LABELS:
        return "0", "1"
    return tuple(map(str, range(output_shape[0] if len(output_shape) == 1 else 0)))


def default_outputs(last: Layer, output_shape: tuple[int, ...], names: tuple[str, ...] | None) -> str:
    """``labels`` after a final Sigmoid; ``numbers`` for a single output without one; otherwise ``classes``.

    A single output with two names is a label, too.
    """
    if isinstance(last, Sigmoid) or (output_shape == (1,) and len(names or ()) == 2):
        return LABELS
    return NUMBERS if output_shape == (1,) and not isinstance(last, Softmax | LogSoftmax) else CLASSES


def checked_outputs(outputs: str, last: Layer, output_shape: tuple[int, ...]) -> str:
    """``outputs``; raises SettingError unless it is ``classes``, ``labels`` or ``numbers``, and fits the last layer."""
    if not isinstance(outputs, str) or outputs not in (CLASSES, LABELS, NUMBERS):
        raise SettingError(f"`outputs`: got {outputs!r:.120}; expected {CLASSES!r}, {LABELS!r} or {NUMBERS!r}")
    if outputs != CLASSES and isinstance(last, Softmax | LogSoftmax):
        raise SettingError(f"`outputs`: got {outputs!r}; the outputs of {type(last).__name__} are {CLASSES!r}")
    if outputs == CLASSES and output_shape == (1,) and not isinstance(last, Softmax | LogSoftmax):
        raise SettingError(f"`outputs`: got {CLASSES!r}; a single output is one of the {LABELS!r} or {NUMBERS!r}")
    return outputs


def default_pictures(input_shape: tuple[int, ...], class_names: tuple[str, ...]) -> str:
    """``drawing`` for the ten digits in grey ``(H, W, 1)``, as in MNIST; ``whole`` for all others."""
    return DRAWING if input_shape[2:] == (1,) and class_names == DIGITS else WHOLE


def described_outputs(outputs: str, output_shape: tuple[int, ...]) -> str:
    """What a network returns, as the end of an error."""
    count = " x ".join(map(str, output_shape))
    if outputs == NUMBERS:
        words = "a number" if output_shape == (1,) else f"{count} numbers"
    elif outputs == LABELS:
        words = "one probability" if output_shape == (1,) else f"a probability for each of {count} labels by itself"
    else:
        words = f"scores of {count} classes"
    return f'the network returns {words} (model.outputs is "{outputs}")'


def advice_for_rows(input_shape: tuple[int, ...]) -> str:
    """A sentence to append to the error about a network that takes rows instead of pictures; else empty."""
    if len(input_shape) != 1:
        return ""
    return " It was trained on rows: train one on pictures (n, H, W); TinyCNNClassifier also takes `image_shape`."


def checked_class_names(names: Iterable[str], output_shape: tuple[int, ...]) -> tuple[str, ...]:
    """``names`` as a tuple; raises SettingError unless they are K distinct printable names for an output ``(K,)``.

    A single output may have two names, that of the class 0 and that of the class 1.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise SettingError(f"`class_names`: got {shortened(names)}; expected a list of names, one per class")
    listed = list(names)
    if len(output_shape) != 1 or len(listed) not in ((1, 2) if output_shape == (1,) else output_shape):
        expected = "one name, or those of the classes 0 and 1" if output_shape == (1,) else "one name per class"
        raise SettingError(
            f"`class_names`: got {len(listed)} names for outputs of shape {output_shape}; expected {expected}"
        )
    for name in listed:
        if (
            not isinstance(name, str)
            or not name.isprintable()
            or not 1 <= len(name.strip()) <= len(name) <= MAX_CLASS_NAME_LENGTH
        ):
            raise SettingError(
                f"`class_names`: got {name!r:.120}; expected 1 to {MAX_CLASS_NAME_LENGTH} printable characters"
            )
    if len(set(listed)) < len(listed):
        raise SettingError("`class_names`: got a duplicate name; expected unique names")
    return tuple(listed)


def checked_pictures(pictures: str, input_shape: tuple[int, ...]) -> str:
    """``pictures``; raises SettingError unless it is ``whole``, or ``drawing`` for a network with greyscale input."""
    if not isinstance(pictures, str) or pictures not in (DRAWING, WHOLE):
        raise SettingError(f"`pictures`: got {pictures!r:.120}; expected {DRAWING!r} or {WHOLE!r}")
    if pictures == DRAWING and (len(input_shape) != 3 or input_shape[2] != 1):
        raise SettingError(
            f"`pictures`: drawings are greyscale, (H, W, 1), but this network takes {input_shape}; expected {WHOLE!r}"
        )
    return pictures


def default_pixels(first: Layer) -> str:
    """``0..255`` for a network whose first layer scales bytes, ``0..1`` for all others.

    A layer that only adds an offset does not determine the range; ``0..1`` is then assumed, as for most networks.
    """
    if isinstance(first, Normalization):  # fractions have a deviation of at most 0.5
        return BYTES if np.max(first.std) > 1 else FRACTIONS
    return BYTES if isinstance(first, Rescaling) and first.scale != 1 else FRACTIONS


def checked_pixels(pixels: str) -> str:
    """``pixels``; raises SettingError unless it is ``0..1``, ``0..255``, or 0 to another number, such as ``0..16``."""
    if not isinstance(pixels, str) or not re.fullmatch(r"0\.\.\d{1,9}(\.\d{1,9})?", pixels) or not white_of(pixels):
        wanted = f"{FRACTIONS!r} or {BYTES!r}, or another number for white, such as '0..16'"
        raise SettingError(f"`pixels`: got {pixels!r:.120}; expected {wanted}")
    return pixels


def white_of(pixels: str) -> float:
    """The number that a network takes for white, such as 255 for ``0..255``; black is 0."""
    return float(pixels.removeprefix("0.."))


def scale_of_bytes(pixels: str) -> float:
    """The factor that brings bytes into the range ``pixels``."""
    return white_of(pixels) / 255
