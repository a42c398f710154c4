"""Max-pooling: each window of the image is replaced by its largest value.

    y[n, oh, ow, c] = max_{kh, kw}  x[n, oh*SH + kh - PH, ow*SW + kw - PW, c]

A small change in the largest pixel, the winner, changes ``y`` by the same amount; a small change in any other pixel has
no effect. So each ``grad_y`` is passed unchanged to the winner of its window, and a pixel that is the winner of several
overlapping windows receives the sum of their gradients.

Conventions: in a tie, the first maximum in row-major order is the winner and receives all of ``grad_y``. NaN is treated
as larger than any number. Padding is minus infinity and never the winner. Rows and columns that do not fill a whole
window are ignored, unless ``ceil_mode`` completes the last window with padding.
"""

import math

from tinycnn.backends.base import Array, Pair
from tinycnn.errors import checked_bool
from tinycnn.ops.inputs import tensors
from tinycnn.ops.windows.checks import check_window, grid_of, pool_window
from tinycnn.ops.windows.edges import add_edges, cut_edges
from tinycnn.ops.windows.padding import Padding
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
    x: Tensor,
    *,
    kernel_size: int | Pair = 2,
    stride: int | Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
) -> Tensor:
    """The maximum of each window: ``x (N, H, W, C)`` → ``(N, OH, OW, C)``; ``stride`` defaults to ``kernel_size``.

    ``OH = (H + 2*PH - KH) // SH + 1``, rounded up instead of down with ``ceil_mode``; ``padding`` as in ``conv2d``.
    Raises ShapeError when no window fits, SettingError for settings out of range.
    """
    kernel_size, stride, given = pool_window("max_pool2d", kernel_size, stride, padding)
    (x,) = tensors(x)
    pads = check_window("max_pool2d", x.shape, kernel_size, stride, given, checked_bool("ceil_mode", ceil_mode))
    grid = grid_of(x.shape, kernel_size, stride, pads)
    # The kernel pads the bottom as much as the top, and the right as much as the left. If they need more, -inf is added
    # to the image first; if they need less, the last windows are cut off.
    (top, bottom), (left, right) = pads
    x = add_edges(x, ((0, max(0, bottom - top)), (0, max(0, right - left))), -math.inf)
    return cut_edges(MaxPool2dFunction(kernel_size, stride, (top, left))(x), grid)  # (N, OH, OW, C)
