"""Max-pooling: each window of the image is replaced by its largest value.

    y[n, oh, ow, c] = max_{kh, kw}  x[n, oh*SH + kh - PH, ow*SW + kw - PW, c]

A small change in the largest pixel, the winner, changes ``y`` by the same amount; a small change in any other pixel has
no effect. So each ``grad_y`` is passed unchanged to the winner of its window, and a pixel that is the winner of several
overlapping windows receives the sum of their gradients.

Conventions: in a tie, the first maximum in row-major order is the winner and receives all of ``grad_y``. NaN is treated
as larger than any number. Padding is minus infinity. Rows and columns that do not fill a whole window are ignored.
"""

from tinycnn.backends.base import Array, Pair
from tinycnn.ops.inputs import tensors
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
    """The maximum of each window: ``x (N, H, W, C)`` → ``(N, OH, OW, C)``; ``stride`` defaults to ``kernel_size``.

    ``OH = (H + 2*PH - KH) // SH + 1``. Raises ShapeError when no window fits, SettingError for settings out of range.
    """
    window = pool_window("max_pool2d", kernel_size, stride, padding)
    (x,) = tensors(x)
    check_window("max_pool2d", x.shape, *window)
    return MaxPool2dFunction(*window)(x)
