"""Transposed convolution: every pixel paints a window of the output, and overlapping windows are added.

Pixel ``(h, w)`` paints the window that begins at row ``h*SH`` and column ``w*SW``:

    y[n, h*SH + kh - top, w*SW + kw - left, f]  +=  Σ_c  x[n, h, w, c] · weight[kh, kw, f, c]

It is the map from ``grad_y`` to ``grad_x`` of an ordinary convolution with the same windows (``ops/conv2d.py``), so it
uses the same two kernels in exchanged roles. With the pixels as rows ``X (N*H*W, C)`` and the filters as the matrix
``W = weight.reshape(KH*KW*F, C)``,

    y         = col2im(X Wᵀ)                the windows are the rows of X Wᵀ; col2im adds what overlaps
    grad_cols = im2col(grad_y)              each pixel receives the gradients of the window that it painted
    grad_x    = grad_cols W
    grad_W    = grad_colsᵀ X
    grad_bias = Σ_rows grad_Y               the bias was added to every pixel of the output

``padding`` removes rows and columns of ``y`` that an ordinary convolution would have padded, so that both functions
undo each other's change of shape. ``output_padding`` adds rows at the bottom and columns at the right: a convolution
with a stride maps images of several sizes to the same size, and this number selects one of them. Source: Dumoulin,
Visin, "A guide to convolution arithmetic for deep learning", 2016.
"""

from tinycnn.backends.base import Array, Pair
from tinycnn.errors import SettingError, ShapeError, shortened
from tinycnn.ops.inputs import tensors
from tinycnn.ops.windows.checks import as_pair
from tinycnn.ops.windows.padding import CheckedPadding, Padding, Pads, as_pads, checked_padding
from tinycnn.tensor import Function, Tensor


class ConvTranspose2dFunction(Function):
    def __init__(self, stride: Pair, size: Pair) -> None:
        self.stride, self.size = stride, size

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        (N, H, W, C), (KH, KW, F, _) = x.shape, weight.shape
        self.rows, self.filters, self.x_shape = x.reshape(N * H * W, C), weight.reshape(KH * KW * F, C), x.shape
        self.weight_shape = weight.shape
        cols = self.rows @ self.filters.T  # (N*H*W, KH*KW*F)
        y = self.backend.col2im(cols, (N, *self.size, F), (KH, KW), self.stride, (0, 0))  # (N, OH, OW, F)
        return y if bias is None else y + bias

    def backward(self, grad_y: Array) -> tuple[Array | None, ...]:
        KH, KW, F, _ = self.weight_shape
        grad_x = grad_weight = None
        if self.needs_grad[0] or self.needs_grad[1]:
            grad_cols = self.backend.im2col(grad_y, (KH, KW), self.stride, (0, 0))  # (N*H*W, KH*KW*F)
        if self.needs_grad[0]:
            grad_x = (grad_cols @ self.filters).reshape(self.x_shape)  # (N, H, W, C)
        if self.needs_grad[1]:
            grad_weight = (grad_cols.T @ self.rows).reshape(self.weight_shape)  # (KH, KW, F, C)
        if len(self.inputs) == 2:
            return grad_x, grad_weight
        grad_bias = self.backend.sum(grad_y.reshape(-1, F), axis=0) if self.needs_grad[2] else None  # (F,)
        return grad_x, grad_weight, grad_bias


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | Pair = 1,
    padding: Padding = 0,
    output_padding: int | Pair = 0,
) -> Tensor:
    """Paint a window for each pixel: ``x (N, H, W, C)``, ``weight (KH, KW, F, C)``, ``bias (F,)`` → ``(N, OH, OW, F)``.

    ``OH = (H - 1)*SH + KH - 2*PH + output_padding``; ``"same"``, as in Keras, is ``OH = H*SH``. Raises ShapeError when
    the shapes are incompatible, SettingError for settings out of range.
    """
    stride = as_pair(stride, "stride", minimum=1)
    x, weight, *biases = tensors(x, weight) if bias is None else tensors(x, weight, bias)
    check_shapes(x.shape, weight.shape, biases[0].shape if biases else None)
    kernel_size = (weight.shape[0], weight.shape[1])
    added = checked_output_padding(output_padding, stride)
    pads, added = transposed_pads(checked_padding(padding), kernel_size, stride, added)
    OH, OW = transposed_grid("conv_transpose2d", x.shape[1:3], kernel_size, stride, pads, added)
    (top, _), (left, _) = pads
    painted = [(size - 1) * S + K for size, K, S in zip(x.shape[1:3], kernel_size, stride, strict=True)]
    y = ConvTranspose2dFunction(stride, (max(painted[0], top + OH), max(painted[1], left + OW)))(x, weight, *biases)
    return y if y.shape[1:3] == (OH, OW) else y[:, top : top + OH, left : left + OW]


def transposed_pads(padding: CheckedPadding, kernel_size: Pair, stride: Pair, added: Pair) -> tuple[Pads, Pair]:
    """The rows and columns that are removed at each side, and those that are added at the bottom and right."""
    if padding != "same":
        return as_pads(padding), added
    missing = [K - S for K, S in zip(kernel_size, stride, strict=True)]  # of (H - 1)*S + K, so that H*S are left
    down, across = ((max(count, 0) // 2, max(count, 0) - max(count, 0) // 2) for count in missing)
    return (down, across), (max(-missing[0], 0), max(-missing[1], 0))


def transposed_grid(op: str, sizes: tuple[int, ...], kernel_size: Pair, stride: Pair, pads: Pads, added: Pair) -> Pair:
    """``(OH, OW)`` for images of ``sizes (H, W)``; raises ShapeError where nothing is left."""
    each = zip(sizes, kernel_size, stride, pads, added, strict=True)
    OH, OW = ((size - 1) * S + K - sum(sides) + more for size, K, S, sides, more in each)
    if min(OH, OW) < 1:
        raise ShapeError(f"{op}: the padding {pads} leaves {OH}x{OW} pixels; use less `padding`, or a larger window")
    return OH, OW


def checked_output_padding(output_padding: int | Pair, stride: Pair) -> Pair:
    """``output_padding`` as a pair; raises SettingError unless it is below the stride."""
    added = as_pair(output_padding, "output_padding", minimum=0)
    if added[0] >= stride[0] or added[1] >= stride[1]:
        raise SettingError(f"`output_padding={shortened(output_padding)}`: expected less than the stride {stride}")
    return added


def check_shapes(x: tuple[int, ...], weight: tuple[int, ...], bias: tuple[int, ...] | None) -> None:
    """Raise ShapeError unless the shapes of images, filters and bias are compatible."""
    if len(x) != 4 or len(weight) != 4 or x[3] != weight[3] or 0 in (*weight, *x[1:3]):
        raise ShapeError(
            f"conv_transpose2d: x has shape {x} and weight {weight}, expected x (N, H, W, C) and weight (KH, KW, F, C) "
            "with the same number of channels C; images use the channels-last layout"
        )
    if bias is not None and bias != (weight[2],):
        raise ShapeError(f"conv_transpose2d: bias has shape {bias}, expected {(weight[2],)}, one number per filter")
