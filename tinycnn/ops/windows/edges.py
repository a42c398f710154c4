"""Rows and columns around images: added, or cut off.

The window kernels of the backends know one number for opposite sides. What one side has in excess of the other is added
to the images before, by ``even_padding``.
"""

from tinycnn.backends.base import Pair
from tinycnn.ops.shapes.pad import PadFunction
from tinycnn.ops.windows.padding import Pads
from tinycnn.tensor import Tensor


def add_edges(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    """``x (N, H, W, C)`` → ``(N, top + H + bottom, left + W + right, C)``; ``x`` itself where nothing is added."""
    return PadFunction(((0, 0), *pads, (0, 0)), value)(x) if any(map(any, pads)) else x


def cut_edges(x: Tensor, grid: Pair, stride: Pair = (1, 1)) -> Tensor:
    """Every ``stride``-th row and column of ``x (N, H, W, C)``, the first of them → ``(N, *grid, C)``."""
    (OH, OW), (SH, SW) = grid, stride
    return x[:, : OH * SH : SH, : OW * SW : SW] if (*grid, *stride) != (*x.shape[1:3], 1, 1) else x


def even_padding(x: Tensor, pads: Pads) -> tuple[Tensor, Pair]:
    """``x``, to which zeros are added where opposite sides differ, and the padding ``(PH, PW)`` that remains."""
    PH, PW = min(pads[0]), min(pads[1])
    (top, bottom), (left, right) = pads
    return add_edges(x, ((top - PH, bottom - PH), (left - PW, right - PW))), (PH, PW)
