"""Convolution as one matrix product (im2col).

An output pixel is the sum of the element-wise product of a ``KH x KW x C`` window and a filter of the same size:

    y[n, oh, ow, f] = Σ_{kh, kw, c}  x[n, oh*SH + kh - PH, ow*SW + kw - PW, c] · weight[kh, kw, c, f]  +  bias[f]

Write each window as a row of ``cols = im2col(x)`` and each filter as a column of ``W = weight.reshape(KH*KW*C, F)``.
Then all the sums are one matrix product, ``Y = cols W + bias``, and the gradients are those of any matrix product:

    grad_W    = colsᵀ grad_Y      every window that was multiplied by a filter contributes to its gradient
    grad_bias = Σ_rows grad_Y     the bias was added to every row
    grad_cols = grad_Y Wᵀ
    grad_x    = col2im(grad_cols) im2col copies a pixel into several rows; its gradient is the sum over these copies

As in every deep-learning library, this is a cross-correlation: the filter is not flipped. With the channels-last
layout, the axes of the images are never permuted, and ``.T`` of a matrix is a view. Source: Chellapilla, Puri, Simard,
"High performance convolutional neural networks for document processing", 2006.
"""

from tinycnn.backends.base import Array, Pair, window_grid
from tinycnn.ops.convolutions.checks import check_conv2d, checked_groups
from tinycnn.ops.convolutions.depthwise import DepthwiseConv2dFunction
from tinycnn.ops.convolutions.dilated import dilated
from tinycnn.ops.convolutions.fused import fused_function
from tinycnn.ops.convolutions.grouped import GroupedConv2dFunction
from tinycnn.ops.inputs import tensors
from tinycnn.ops.windows.checks import as_pair, check_window, grid_of, window_extent
from tinycnn.ops.windows.edges import add_edges, even_padding
from tinycnn.ops.windows.padding import Padding, checked_padding
from tinycnn.tensor import Function, Tensor


class Conv2dFunction(Function):
    def __init__(self, stride: Pair, padding: Pair) -> None:
        self.stride, self.padding = stride, padding

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        KH, KW, C, F = weight.shape
        OH, OW = window_grid(x.shape, (KH, KW), self.stride, self.padding)
        cols = self.backend.im2col(x, (KH, KW), self.stride, self.padding)  # (N*OH*OW, KH*KW*C)
        y = cols @ weight.reshape(KH * KW * C, F)  # (N*OH*OW, F)
        if bias is not None:
            y += bias
        self.x_shape, self.weight, self.cols = x.shape, weight, cols
        return y.reshape(x.shape[0], OH, OW, F)  # (N, OH, OW, F)

    def backward(self, grad_y: Array) -> tuple[Array | None, ...]:
        KH, KW, C, F = self.weight.shape
        grad_y = grad_y.reshape(-1, F)  # (N*OH*OW, F)
        grad_x = grad_weight = None
        if self.needs_grad[0]:
            grad_cols = grad_y @ self.weight.reshape(KH * KW * C, F).T  # (N*OH*OW, KH*KW*C)
            grad_x = self.backend.col2im(grad_cols, self.x_shape, (KH, KW), self.stride, self.padding)  # (N, H, W, C)
        if self.needs_grad[1]:
            grad_weight = (self.cols.T @ grad_y).reshape(KH, KW, C, F)  # (KH, KW, C, F)
        if len(self.inputs) == 2:
            return grad_x, grad_weight
        return grad_x, grad_weight, self.backend.sum(grad_y, axis=0) if self.needs_grad[2] else None  # (F,)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve images with filters: ``x (N, H, W, C)``, ``weight (KH, KW, C, F)``, ``bias (F,)`` → ``(N, OH, OW, F)``.

    ``OH = (H + 2*PH - KH) // SH + 1``; ``padding`` adds zeros around the image, in one of the forms that
    ``ops/windows/padding.py`` lists. ``dilation``: the distance between the pixels that a filter sees. ``groups``: the
    filters are divided among as many equal parts of the channels, so that ``weight`` is ``(KH, KW, C/groups, F)``.
    Raises ShapeError when the shapes are incompatible, SettingError for settings out of range.
    """
    stride, dilation = as_pair(stride, "stride", minimum=1), as_pair(dilation, "dilation", minimum=1)
    groups = checked_groups("conv2d", groups)
    x, weight, *biases = tensors(x, weight) if bias is None else tensors(x, weight, bias)
    check_conv2d(x.shape, weight.shape, biases[0].shape if biases else None, groups)
    extent = window_extent(weight.shape[:2], dilation)
    pads = check_window("conv2d", x.shape, extent, stride, checked_padding(padding))
    if dilation == (1, 1):
        x, even = even_padding(x, pads)
        function = Conv2dFunction(stride, even) if groups == 1 else conv2d_function(x, stride, even, groups)
        return function(x, weight, *biases)
    convolve = conv2d_function(x, (1, 1), (0, 0), groups)
    grid = grid_of(x.shape, extent, stride, pads)
    return dilated(add_edges(x, pads), lambda x: convolve(x, weight, *biases), grid, stride, dilation)


def conv2d_function(x: Tensor, stride: Pair, padding: Pair, groups: int) -> Function:
    """The function for ``groups`` groups of channels; the one with fused kernels where the backend has them."""
    if fused := fused_function(x, stride, padding, groups):
        return fused
    if groups == 1:
        return Conv2dFunction(stride, padding)
    if groups == x.shape[3]:
        return DepthwiseConv2dFunction(stride, padding)
    return GroupedConv2dFunction(stride, padding, groups)
