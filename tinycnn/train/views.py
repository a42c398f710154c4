"""Test-time augmentation: a prediction from several views of an image, such as the image and its mirror image.

A view is a coordinate map ``(2, 3)``, as augmentation uses it (``data/augment.py``): for each pixel of the view, its
position in the image, relative to the centre. The prediction is the mean of the logits of all views. For a classifier,
that is the geometric mean of their probabilities, scaled to a sum of 1: a class is likely if no view rules it out. Each
view costs as much as a prediction.
"""

from typing import Any

import numpy as np

from tinycnn.errors import SettingError, shortened

SAME = np.eye(2, 3, dtype=np.float32)  # the image itself


def view(*, down: float = 0, right: float = 0, mirrored: bool = False) -> np.ndarray:
    """The view of an image that has moved by so many pixels, after it was mirrored if wanted → ``(2, 3)``."""
    step = -1 if mirrored else 1
    return np.array([[1, 0, -down], [0, step, -step * right]], np.float32)


STILL, BOTH = [(0, 0)], (False, True)
SHIFTS = [*STILL, (1, 0), (-1, 0), (0, 1), (0, -1)]  # pixels down and to the right
DIAGONAL = [(1, 1), (1, -1), (-1, 1), (-1, -1)]


def _views(shifts: list[tuple[int, int]], mirrored: tuple[bool, ...]) -> np.ndarray:
    return np.stack([view(down=down, right=right, mirrored=turn) for turn in mirrored for down, right in shifts])


VIEWS = {
    "mirror": _views(STILL, BOTH),
    "shift": _views(SHIFTS, (False,)),
    "shift_9": _views(SHIFTS + DIAGONAL, (False,)),
    "mirror_and_shift": _views(SHIFTS, BOTH),
}


def maps_of(views: Any) -> np.ndarray:
    """The maps ``(V, 2, 3)`` of views, given by their name in VIEWS or as an array; raises SettingError for others."""
    maps = VIEWS.get(views) if isinstance(views, str) else views
    if not (isinstance(maps, np.ndarray) and maps.shape[1:] == (2, 3) and len(maps) and np.isfinite(maps).all()):
        names = ", ".join(VIEWS)
        raise SettingError(f"`views` is {shortened(views)}: expected {names}, or an array (V, 2, 3) of coordinate maps")
    return maps.astype(np.float32)
