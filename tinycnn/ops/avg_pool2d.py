"""Average-pooling: each window of the image is replaced by its mean.

    y[n, oh, ow, c] = 1/(KH*KW) · Σ_{kh, kw}  x[n, oh*SH + kh - PH, ow*SW + kw - PW, c]

The mean is linear and every pixel of a window has the same weight, so each pixel receives ``grad_y / (KH*KW)``.
``col2im`` adds the gradients of a pixel that lies in several windows. Padding is zero and is included in the mean.
"""

from tinycnn.backends.base import Array, Pair, window_grid
from tinycnn.ops.inputs import tensors
from tinycnn.ops.windows import check_window, pool_window
from tinycnn.tensor import Function, Tensor


class AvgPool2dFunction(Function):
    def __init__(self, kernel_size: Pair, stride: Pair, padding: Pair) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Array) -> Array:
        self.x_shape = N, _, _, C = x.shape
        KH, KW = self.kernel_size
        OH, OW = window_grid(x.shape, self.kernel_size, self.stride, self.padding)
        cols = self.backend.im2col(x, self.kernel_size, self.stride, self.padding)  # (N*OH*OW, KH*KW*C)
        return self.backend.mean(cols.reshape(N, OH, OW, KH * KW, C), axis=3)  # (N, OH, OW, C)

    def backward(self, grad_y: Array) -> Array:
        KH, KW = self.kernel_size
        C = grad_y.shape[3]
        share = (grad_y / (KH * KW)).reshape(-1, 1, C)  # (N*OH*OW, 1, C)
        grad_cols = self.backend.xp.repeat(share, KH * KW, axis=1).reshape(-1, KH * KW * C)  # (N*OH*OW, KH*KW*C)
        return self.backend.col2im(grad_cols, self.x_shape, self.kernel_size, self.stride, self.padding)  # (N, H, W, C)


def avg_pool2d(
    x: Tensor, *, kernel_size: int | Pair = 2, stride: int | Pair | None = None, padding: int | Pair = 0
) -> Tensor:
    """The mean of each window: ``x (N, H, W, C)`` → ``(N, OH, OW, C)``; ``stride`` defaults to ``kernel_size``.

    ``OH = (H + 2*PH - KH) // SH + 1``. Raises ShapeError when no window fits, SettingError for settings out of range.
    """
    window = pool_window("avg_pool2d", kernel_size, stride, padding)
    (x,) = tensors(x)
    check_window("avg_pool2d", x.shape, *window)
    return AvgPool2dFunction(*window)(x)
