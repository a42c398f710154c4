"""What the inputs and outputs of a network stand for. No computation uses it; commands and pages display it."""

from collections.abc import Iterable
from typing import Any

from tinycnn.errors import SettingError

MOST_LETTERS = 100  # of a class name, so that it fits on one line
DRAWING, WHOLE = "drawing", "whole"  # how a picture of any size becomes an input: see data/drawing.py, data/picture.py


class Metadata:
    """The class names of a network, and how pictures become its inputs; None where they were not set."""

    def __init__(self) -> None:
        self.class_names: tuple[str, ...] | None = None
        self.pictures: str | None = None

    def given(self) -> dict[str, Any]:
        """What was set, by name; this is what a model file stores."""
        return {name: value for name, value in vars(self).items() if value is not None}


def default_class_names(output_shape: tuple[int, ...]) -> tuple[str, ...]:
    """The numbers of the classes as text, "0" to "K-1"; empty where the output is not ``(K,)``."""
    return tuple(map(str, range(output_shape[0] if len(output_shape) == 1 else 0)))


def default_pictures(input_shape: tuple[int, ...]) -> str:
    """``drawing`` for grey images ``(H, W, 1)``, ``whole`` for all others."""
    return DRAWING if input_shape[2:] == (1,) else WHOLE


def checked_class_names(names: Iterable[str], output_shape: tuple[int, ...]) -> tuple[str, ...]:
    """``names`` as a tuple; raises SettingError unless they are K different printable names for an output ``(K,)``."""
    listed = [] if isinstance(names, str) else list(names)
    if len(output_shape) != 1 or len(listed) != output_shape[0]:
        raise SettingError(
            f"`class_names`: got {len(listed)} names for outputs of shape {output_shape}; expected one name per class"
        )
    for name in listed:
        if (
            not isinstance(name, str)
            or not name.isprintable()
            or not 1 <= len(name.strip()) <= len(name) <= MOST_LETTERS
        ):
            raise SettingError(f"`class_names`: got {name!r:.120}; expected 1 to {MOST_LETTERS} printable letters")
    if len(set(listed)) < len(listed):
        raise SettingError("class_names: a name appears twice; name every class differently")
    return tuple(listed)


def checked_pictures(pictures: str, input_shape: tuple[int, ...]) -> str:
    """``pictures``; raises SettingError unless it is ``whole``, or ``drawing`` for a network of grey images."""
    if pictures not in (DRAWING, WHOLE):
        raise SettingError(f"pictures: got {pictures!r:.120}; expected {DRAWING!r} or {WHOLE!r}")
    if pictures == DRAWING and (len(input_shape) != 3 or input_shape[2] != 1):
        raise SettingError(
            f"pictures: drawings are grey, (H, W, 1), but this network takes {input_shape}; expected {WHOLE!r}"
        )
    return pictures
