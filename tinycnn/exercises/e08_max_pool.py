"""Exercise 8: max-pooling, winners and ties."""

from types import ModuleType, SimpleNamespace

import numpy as np

from tinycnn.backends.base import Pair
from tinycnn.exercises.checking import compare, normal, numeric_gradients, situation
from tinycnn.exercises.cutting import Exercise, Hole

TASK = """
    y[n, oh, ow, c] = max_{kh, kw}  x[n, oh*SH + kh - PH, ow*SW + kw - PW, c]

A small change of the largest pixel changes y by the same amount; a small change of the others changes nothing. So each
grad_y goes undivided to the pixel that won. If windows overlap, a pixel may win several times.

At a tie, every split of grad_y among the winners is a subgradient, but the full grad_y for each of them is not. Here,
as in PyTorch on the CPU, the first of the equal maxima in row-major order wins (the one with the smallest kh*KW + kw).

Two conventions: NaN wins over every number, and padding never wins, not even over minus infinity, to which it is equal:
a gradient sent there would be lost. `inside` is True at the pixels of the image and False in the padding around it.

1. max_pool2d: compute `y`, which starts at minus infinity, and `winner`, what your backward needs to know.
2. max_pool2d_backward: send grad_y there.
"""
STEP = 1e-3  # from one pixel to the next: the first of equals is a little larger, and no other order changes
Window = tuple[Pair, Pair, Pair]  # kernel_size, stride, padding
LARGE = 100.0  # stands for NaN, and -LARGE for minus infinity, where differences are taken


def check(student: ModuleType) -> None:
    """The gradient in every case, against differences of the values that the student's own forward takes."""
    backend = student.NumpyBackend()
    for what, (x, window) in cases().items():
        y, winner = backend.max_pool2d(x.copy(), *window)
        grad_y = normal(*y.shape, seed=1)
        came = backend.max_pool2d_backward(grad_y.copy(), winner, x.shape, *window)
        with situation(f"with {what}"):
            numbers = numeric_gradients(
                lambda x, window=window: SimpleNamespace(data=backend.max_pool2d(x, *window)[0]),
                {"x": where_differences_are_taken(x)},
                grad_y,
                kind=np.asarray,
            )
            compare("the gradient of x", numbers["x"], came)


def cases() -> dict[str, tuple[np.ndarray, Window]]:
    """``x (N, H, W, C)`` and a window: distinct values, overlapping windows, padding, ties, NaN, minus infinity."""
    distinct, tied = normal(2, 5, 4, 2), np.round(normal(2, 5, 4, 2))
    with_nan, with_infinity = (np.where(tied > 0.5, bad, tied) for bad in (np.nan, -np.inf))
    with_infinity[0, :2, :2] = -np.inf  # a corner whose window has nothing else
    overlapping, apart = ((2, 2), (1, 1), (0, 0)), ((2, 2), (2, 2), (0, 0))
    with_padding = ((3, 3), (2, 2), (1, 1))
    return {
        "2x2 windows": (distinct, apart),
        "overlapping windows": (distinct, overlapping),
        "padding (it never wins)": (distinct - 5, with_padding),
        "ties, where the first pixel is to win": (tied, apart),
        "ties in overlapping windows": (tied, overlapping),
        "NaN, which wins": (with_nan, overlapping),
        "minus infinity, which wins over padding": (with_infinity, with_padding),
    }


def where_differences_are_taken(x: np.ndarray) -> np.ndarray:
    """``x`` itself if it is finite and distinct; else numbers in the same order, the first of equals the largest."""
    finite = np.nan_to_num(x, nan=LARGE, neginf=-LARGE)
    has_ties = np.unique(finite).size < finite.size
    return finite - STEP * np.arange(20).reshape(5, 4, 1) if has_ties else finite


EXERCISE = Exercise(
    name="08_max_pool",
    title="Max-pooling: winners and ties.",
    source="tinycnn.backends.numpy_backend",
    chapter="docs/path/06_max_pool.md",
    task=TASK,
    hint="Go through windows: where x[window] is larger than y so far, or the first NaN, this position wins so far; "
    " np.maximum keeps NaN. If all pixels are minus infinity, the first that is inside[window] wins. In backward, "
    "each position adds grad_y where it is the winner, and 0 elsewhere.",
    holes=(
        Hole("NumpyBackend.max_pool2d", "windows: (position, slices) pairs; x[slices] and y have the same shape.\n"
             "Return y, winner, which is always `inside`.", starts="winner ="),
        Hole("NumpyBackend.max_pool2d_backward", "grad_y (N, OH, OW, C), winner as you made it → grad_x (N, H, W, C)",
             starts="grad_x ="),
    ),
    check=check,
    lent=("NumpyBackend.im2col", "NumpyBackend.col2im"),
)  # fmt: skip
