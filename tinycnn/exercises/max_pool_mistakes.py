"""What mistakes in max-pooling lead to: ``y`` of forward, and the gradient of ``x``, by symptom."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinycnn.backends.base import Pair, window_grid
from tinycnn.backends.numpy_backend import NumpyBackend, padded, window_positions
from tinycnn.exercises.symptoms import FORM

LARGE = 100.0  # stands for NaN, and -LARGE for minus infinity, where differences are taken
Window = tuple[Pair, Pair, Pair]  # kernel_size, stride, padding
Share = Callable[[int, np.ndarray, np.ndarray], Any]
SHARES: dict[str, Share] = {  # by symptom: what of grad_y goes to place i; pixels (KH*KW, N, OH, OW, C); first: winners
    "all winners": lambda i, pixels, first: pixels[i] == pixels.max(axis=0),
    "last wins": lambda i, pixels, first: len(pixels) - 1 - pixels[::-1].argmax(axis=0) == i,
    "last NaN wins": lambda i, pixels, first: last_nan(pixels, first) == i,
    "smallest": lambda i, pixels, first: pixels.argmin(axis=0) == i,
    "without sign": lambda i, pixels, first: abs(pixels).argmax(axis=0) == i,
    "never stored": lambda i, pixels, first: i == 0,
    "stored everywhere": lambda i, pixels, first: np.where(first == len(pixels) - 1, first, 0) == i,
    "everywhere": lambda i, pixels, first: 1,
    "shared": lambda i, pixels, first: 1 / len(pixels),
    "losers": lambda i, pixels, first: first != i,
    "number as factor": lambda i, pixels, first: first,
    "first place alone": lambda i, pixels, first: first == 0,
    "another number": lambda i, pixels, first: first == i + 1,
    f"another number{FORM}the one before": lambda i, pixels, first: first == i - 1,
    "one place alone": lambda i, pixels, first: (first == i) * (i == 0),
    "one image alone": lambda i, pixels, first: (first == i) * (np.arange(len(first)) == 0)[:, None, None, None],
}
MISTAKES = (
    *SHARES,
    "overwritten",
    f"overwritten{FORM}where it wins",
    "cut elsewhere",
    "stride left out",
    "not from zeros",
)
YS: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # by symptom: what y is in place of the maximum of pixels
    "smallest": lambda pixels: pixels.min(axis=0),
    "without sign": lambda pixels: abs(pixels).max(axis=0),
    "mean for maximum": lambda pixels: pixels.mean(axis=0),
    f"mean for maximum{FORM}sum": lambda pixels: pixels.sum(axis=0),
    "one pixel": lambda pixels: pixels[0],
    f"one pixel{FORM}last": lambda pixels: pixels[-1],
    "last left out": lambda pixels: pixels[:-1].max(axis=0),
    "from zero": lambda pixels: np.maximum(pixels.max(axis=0), 0),
    "padded by 0": lambda pixels: np.where(np.isinf(pixels), 0, pixels).max(axis=0),
    "pair exchanged": lambda pixels: pixels.argmax(axis=0),
}


def pixels_of(x: np.ndarray, window: Window, step: Pair | None = None) -> tuple[np.ndarray, list[tuple[slice, ...]]]:
    """The pixels ``(KH*KW, N, OH, OW, C)`` of all windows, by place, and the slices; ``step``: another stride."""
    kernel_size, stride, padding = window
    grid = window_grid(x.shape, *window)
    places = [place for _, place in window_positions(kernel_size, step or stride, grid)]
    x = padded(x, padding, value=-np.inf)
    return np.stack([x[place] for place in places]), places


def last_nan(pixels: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The last place with NaN where there is one, else ``first``."""
    is_nan = np.isnan(pixels)
    return np.where(is_nan.any(axis=0), len(pixels) - 1 - is_nan[::-1].argmax(axis=0), first)


def mistaken_y(
    wrong: Callable[[np.ndarray], np.ndarray], x: np.ndarray, window: Window, step: Pair | None = None
) -> np.ndarray:
    """``y`` with a mistake."""
    return finite(wrong(pixels_of(x, window, step)[0]).astype(x.dtype))


def mistaken(key: str, x: np.ndarray, window: Window, grad_y: np.ndarray) -> np.ndarray:
    """The gradient of ``x`` with a mistake, one of ``MISTAKES``."""
    (_, H, W, _), (PH, PW) = x.shape, (0, 0) if key == "cut elsewhere" else window[2]
    pixels, first = pixels_of(x, window)[0], NumpyBackend().max_pool2d(x, *window)[1]
    grad_x = np.full_like(padded(x, window[2]), 1 if key == "not from zeros" else 0)
    for i, place in enumerate(pixels_of(x, window, (1, 1) if key == "stride left out" else None)[1]):
        part = grad_y * (SHARES[key](i, pixels, first) if key in SHARES else first == i)
        if key == "overwritten":
            grad_x[place] = part
        elif key.startswith("overwritten"):
            grad_x[place] = np.where(first == i, grad_y, grad_x[place])
        else:
            grad_x[place] += part
    return grad_x[:, PH : PH + H, PW : PW + W]


def maximum_of_numbers(x: np.ndarray, window: Window) -> np.ndarray:
    """``y`` where NaN never wins, as in a loop that asks for a larger one."""
    return finite(NumpyBackend().max_pool2d(np.where(np.isnan(x), -np.inf, x), *window)[0])


def finite(x: np.ndarray) -> np.ndarray:
    """``x`` with a large number for NaN, and its negative for minus infinity."""
    return np.nan_to_num(x, nan=LARGE, neginf=-LARGE)
