"""Rows and columns around an image: added, or cut off.

    added:    y[n, top + h, left + w, c] = x[n, h, w, c], and a constant in the other rows and columns
    cut off:  y[n, h, w, c] = x[n, h*SH, w*SW, c], for the first OH rows and OW columns

Both copy pixels, so each gradient goes back to the pixel that was copied, and the pixels that were not copied receive
zero: one is the gradient of the other.

The window kernels of the backends know one number for opposite sides. ``even_padding`` adds what one side has in excess
of the other to the image itself.
"""

from tinycnn.backends.base import Array, Pair
from tinycnn.ops.windows.padding import Pads
from tinycnn.tensor import Function, Tensor


class AddEdgesFunction(Function):
    def __init__(self, pads: Pads, value: float) -> None:
        self.pads, self.value = pads, value

    def forward(self, x: Array) -> Array:
        (N, H, W, C), ((top, bottom), (left, right)) = x.shape, self.pads
        y = self.backend.xp.full((N, top + H + bottom, left + W + right, C), self.value, x.dtype)
        self.inside = slice(None), slice(top, top + H), slice(left, left + W)
        y[self.inside] = x
        return y  # (N, top + H + bottom, left + W + right, C)

    def backward(self, grad_y: Array) -> Array:
        return grad_y[self.inside]  # (N, H, W, C)


class CutEdgesFunction(Function):
    def __init__(self, grid: Pair, stride: Pair) -> None:
        (OH, OW), (SH, SW) = grid, stride
        self.kept = slice(None), slice(0, OH * SH, SH), slice(0, OW * SW, SW)

    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        return self.backend.xp.ascontiguousarray(x[self.kept])  # (N, OH, OW, C)

    def backward(self, grad_y: Array) -> Array:
        grad_x = self.backend.xp.zeros(self.x_shape, grad_y.dtype)  # (N, H, W, C)
        grad_x[self.kept] = grad_y
        return grad_x


def add_edges(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    """``x (N, H, W, C)`` → ``(N, top + H + bottom, left + W + right, C)``; ``x`` itself where nothing is added."""
    return AddEdgesFunction(pads, value)(x) if any(map(any, pads)) else x


def cut_edges(x: Tensor, grid: Pair, stride: Pair = (1, 1)) -> Tensor:
    """``x (N, H, W, C)`` → ``(N, *grid, C)``, from the top left; ``x`` itself where nothing is cut off."""
    return CutEdgesFunction(grid, stride)(x) if (*grid, *stride) != (*x.shape[1:3], 1, 1) else x


def even_padding(x: Tensor, pads: Pads) -> tuple[Tensor, Pair]:
    """``x``, to which zeros are added where opposite sides differ, and the padding ``(PH, PW)`` that remains."""
    PH, PW = min(pads[0]), min(pads[1])
    (top, bottom), (left, right) = pads
    return add_edges(x, ((top - PH, bottom - PH), (left - PW, right - PW))), (PH, PW)
