"""Dilated ("à trous") convolution: the pixels that a filter sees are ``DH`` rows and ``DW`` columns apart.

    y[n, oh, ow, f] = Σ_{kh, kw, c}  x[n, oh + kh*DH, ow + kw*DW, c] · weight[kh, kw, c, f]

Write ``oh = i*DH + r`` with ``0 <= r < DH``. Then the row read is ``(i + kh)*DH + r``: all output rows with remainder
``r`` see only every ``DH``-th row of the image, beginning at row ``r``, and among these rows the ones that they see are
neighbours. So take the image apart into ``DH x DW`` sub-images, convolve each as usual, and put the results together
again. Only pixels are moved, so there is no new derivative. A stride keeps some of the outputs.

Source: Holschneider et al., "A real-time algorithm for signal analysis with the help of the wavelet transform", 1989.
"""

from collections.abc import Callable

from tinycnn.backends.base import Pair
from tinycnn.ops.windows.edges import add_edges, cut_edges
from tinycnn.tensor import Tensor


def dilated(x: Tensor, convolve: Callable[[Tensor], Tensor], grid: Pair, stride: Pair, dilation: Pair) -> Tensor:
    """``x (N, H, W, C)``, padding included → ``(N, OH, OW, F)``; ``convolve`` has stride 1 and no padding."""
    (N, H, W, C), (DH, DW) = x.shape, dilation
    rows, columns = -(-H // DH), -(-W // DW)  # of a sub-image
    x = add_edges(x, ((0, rows * DH - H), (0, columns * DW - W)))  # (N, rows*DH, columns*DW, C)
    x = x.reshape(N, rows, DH, columns, DW, C).transpose(2, 4, 0, 1, 3, 5)  # (DH, DW, N, rows, columns, C)
    y = convolve(x.reshape(DH * DW * N, rows, columns, C))
    _, rows, columns, F = y.shape
    y = y.reshape(DH, DW, N, rows, columns, F).transpose(2, 3, 0, 4, 1, 5)  # (N, rows, DH, columns, DW, F)
    return cut_edges(y.reshape(N, rows * DH, columns * DW, F), grid, stride)  # (N, OH, OW, F)
