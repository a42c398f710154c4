"""Average-pooling: each window of the image is replaced by its mean.

    y[n, oh, ow, c] = 1/(KH*KW) · Σ_{kh, kw}  x[n, oh*SH + kh - PH, ow*SW + kw - PW, c]

The mean is linear and every pixel of a window has the same weight, so each pixel receives ``grad_y / (KH*KW)``.
``col2im`` adds the gradients of a pixel that lies in several windows. Padding is zero and is included in the mean. With
``count_include_pad=False`` it is not: the mean is multiplied by ``KH*KW / (pixels of the image in the window)``.
"""

from tinycnn.backends.base import Array, Pair, window_grid
from tinycnn.errors import checked_bool
from tinycnn.ops.inputs import tensors
from tinycnn.ops.windows.checks import check_window, pool_window
from tinycnn.ops.windows.counts import without_padding
from tinycnn.ops.windows.edges import even_padding
from tinycnn.ops.windows.padding import NO_PADS, Padding, pads_for
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
    x: Tensor,
    *,
    kernel_size: int | Pair = 2,
    stride: int | Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window: ``x (N, H, W, C)`` → ``(N, OH, OW, C)``; ``stride`` defaults to ``kernel_size``.

    ``OH``, ``padding`` and ``ceil_mode`` as in ``max_pool2d``. The mean includes the padding, as in PyTorch, unless
    ``count_include_pad=False`` or, as in Keras, ``padding="same"``. What ``ceil_mode`` adds is never included.
    Raises ShapeError when no window fits, SettingError for settings out of range.
    """
    kernel_size, stride, given = pool_window("avg_pool2d", kernel_size, stride, padding)
    (x,) = tensors(x)
    pads = check_window("avg_pool2d", x.shape, kernel_size, stride, given, checked_bool("ceil_mode", ceil_mode))
    shape, (x, padding_of_kernel) = x.shape, even_padding(x, pads)
    y = AvgPool2dFunction(kernel_size, stride, padding_of_kernel)(x)  # (N, OH, OW, C)
    includes_padding = checked_bool("count_include_pad", count_include_pad) and given != "same"
    included = pads_for(given, shape, kernel_size, stride) if includes_padding else NO_PADS
    return y if included == pads else without_padding(y, shape, kernel_size, stride, pads, included)  # (N, OH, OW, C)
