"""Max-pooling: each window of the image is replaced by its largest value.

    y[n, oh, ow, c] = max_{kh, kw}  x[n, oh*SH + kh - PH, ow*SW + kw - PW, c]

A small change of the largest pixel changes ``y`` by the same amount; a small change of the others changes nothing. So
each ``grad_y`` goes undivided to the pixel that won, and a pixel that won several overlapping windows sums their
gradients.

Conventions: at a tie the first of the equal maxima, in row-major order, wins and receives all of ``grad_y``; NaN wins
over every number, padding is minus infinity, and rows and columns that fill no whole window are ignored.
"""

from tinycnn.backends.base import Array, Pair
from tinycnn.ops.windows import check_window, pool_window
from tinycnn.tensor import Function, Tensor


class MaxPool2dFunction(Function):
    def __init__(self, kernel_size: Pair, stride: Pair, padding: Pair) -> None:
        self.window = kernel_size, stride, padding

    def forward(self, x: Array) -> Array:
        y, self.winner = self.backend.max_pool2d(x, *self.window)  # both (N, OH, OW, C)
        self.x_shape = x.shape
        return y

    def backward(self, grad_y: Array) -> Array:
        return self.backend.max_pool2d_backward(grad_y, self.winner, self.x_shape, *self.window)  # (N, H, W, C)


def max_pool2d(
    x: Tensor, *, kernel_size: int | Pair = 2, stride: int | Pair | None = None, padding: int | Pair = 0
) -> Tensor:
    """The largest value of each window: ``x (N, H, W, C)`` → ``(N, OH, OW, C)``; ``stride`` is ``kernel_size`` if None.

    ``OH = (H + 2*PH - KH) // SH + 1``. Raises ShapeError when no window fits, SettingError for settings out of range.
    """
    window = pool_window("max_pool2d", kernel_size, stride, padding)
    check_window("max_pool2d", x.shape, *window)
    return MaxPool2dFunction(*window)(x)
