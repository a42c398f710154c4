"""Digits as other people draw them: MNIST's, turned, with thinner and thicker pens, and prepared like a drawing.

`drawing.normalise` gives each digit its size and place, but a digit keeps its angle and its pen. In MNIST, few digits
lean by more than 15 degrees, and few strokes fill the holes of an 8. A network that is trained on its digits *and* on
these reads more drawings (``docs/page.md``). An augmentation could turn the digits, too, but it only moves pixels: it
cannot change a pen.
"""

import numpy as np

from tinycnn.data.drawing import centred, cut_out
from tinycnn.errors import in_range, requires

LARGER = 5  # pixels for one of MNIST's while a digit is changed
THINNEST, THICKEST = -2, 8  # how far a stroke grows on each side, in these pixels; one of a pixel keeps its middle


def redrawn(images: np.ndarray, seed: int = 0, *, turn: float = 35.0) -> np.ndarray:
    """``images (M, 28, 28, 1)``, uint8 and light on dark, each with a new pen and turned by up to ``turn`` degrees."""
    turn = in_range("redrawn: turn", turn, at_least=0, at_most=180)
    angles = np.random.default_rng([seed, 0]).uniform(-turn, turn, len(images))
    steps = np.random.default_rng([seed, 1]).integers(THINNEST, THICKEST, len(images), endpoint=True)
    return np.concatenate([_redraw(*one) for one in zip(images[..., 0], angles, steps, strict=True)])  # (M, 28, 28, 1)


def _redraw(image: np.ndarray, angle: float, steps: int) -> np.ndarray:
    """One image ``(H, W)`` → ``(1, H, W, 1)``."""
    with requires("pillow", "redrawing digits"):
        from PIL import Image

    H, W = image.shape
    large = Image.fromarray(image).resize((W * LARGER, H * LARGER), Image.Resampling.BICUBIC)
    turned = np.asarray(large.rotate(angle, Image.Resampling.BICUBIC, expand=True))
    ink = with_pen(turned, steps).astype(np.float32) / 255
    return centred(cut_out(ink), (H, W))


def with_pen(ink: np.ndarray, steps: int) -> np.ndarray:
    """``ink (H, W)``, uint8 and light on dark, with strokes thicker by ``steps`` pixels on each side; below 0: thinner.

    Every step takes the maximum over a cross, every second one over a square: together they draw a round pen.
    """
    if steps < 0:
        return 255 - with_pen(255 - ink, -steps)
    ink = np.pad(ink, steps, mode="edge")
    for step in range(steps):
        rows = _with_neighbours(ink, 0)
        ink = _with_neighbours(rows, 1) if step % 2 else np.maximum(rows, _with_neighbours(ink, 1))
    return ink  # (H + 2 steps, W + 2 steps)


def _with_neighbours(ink: np.ndarray, axis: int) -> np.ndarray:
    """The maximum of each pixel and its two neighbours along ``axis``."""
    return np.maximum(np.maximum(np.roll(ink, 1, axis), np.roll(ink, -1, axis)), ink)
