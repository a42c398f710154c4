"""What the numbers stand for that go into a network and come out of it: nothing computes with it, people read it."""

from collections.abc import Iterable

from tinycnn.errors import SettingError

MOST_LETTERS = 100  # of a class name; a line of text holds it
DRAWING, WHOLE = "drawing", "whole"  # how a picture of any size becomes an input: see data/drawing.py, data/picture.py


def checked_class_names(names: Iterable[str], output_shape: tuple[int, ...]) -> tuple[str, ...]:
    """One name for each of the ``(K,)`` answers; SettingError unless they are K different words that can be printed."""
    listed = [] if isinstance(names, str) else list(names)
    if len(output_shape) != 1 or len(listed) != output_shape[0]:
        raise SettingError(
            f"class_names: got {len(listed)} names for answers of shape {output_shape}; expected as many"
        )
    for name in listed:
        if (
            not isinstance(name, str)
            or not name.isprintable()
            or not 1 <= len(name.strip()) <= len(name) <= MOST_LETTERS
        ):
            raise SettingError(f"class_names: {name!r:.120} is no name; expected 1 to {MOST_LETTERS} printable letters")
    if len(set(listed)) < len(listed):
        raise SettingError("class_names: a name appears twice; name every class differently")
    return tuple(listed)


def checked_pictures(pictures: str, input_shape: tuple[int, ...]) -> str:
    """``drawing``, which takes images ``(H, W, 1)``, or ``whole``; SettingError for anything else."""
    if pictures not in (DRAWING, WHOLE):
        raise SettingError(f"pictures: {pictures!r:.120}; expected {DRAWING!r} or {WHOLE!r}")
    if pictures == DRAWING and (len(input_shape) != 3 or input_shape[2] != 1):
        raise SettingError(
            f"pictures: drawings are grey, (H, W, 1), this network takes {input_shape}; expected {WHOLE!r}"
        )
    return pictures
