"""Grouped convolution: the channels are divided into ``G`` groups, and each filter sees the channels of one group.

It is ``G`` convolutions side by side, the first ``F/G`` filters on the first ``C/G`` channels, and so on. The matrices
``cols`` and ``W`` of ``ops/conv2d.py`` become stacks of ``G`` matrices, which are multiplied pair by pair:

    Y = cols W + bias        grad_W = colsᵀ grad_Y        grad_cols = grad_Y Wᵀ

A filter has ``KH*KW*C/G`` weights, so the weights and the arithmetic are divided by ``G``. With one channel per group,
the matrices are too thin to be fast: see ``depthwise.py``. Source: Krizhevsky, Sutskever, Hinton, "ImageNet
classification with deep convolutional neural networks", 2012.
"""

from tinycnn.backends.base import Array, Pair, window_grid
from tinycnn.tensor import Function


class GroupedConv2dFunction(Function):
    def __init__(self, stride: Pair, padding: Pair, groups: int) -> None:
        self.stride, self.padding, self.groups = stride, padding, groups

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        self.x_shape, self.weight_shape, G = x.shape, weight.shape, self.groups
        KH, KW, channels, F = weight.shape  # channels of a group: C/G
        OH, OW = window_grid(x.shape, (KH, KW), self.stride, self.padding)
        cols = self.backend.im2col(x, (KH, KW), self.stride, self.padding)  # (N*OH*OW, KH*KW*C)
        cols = cols.reshape(-1, KH * KW, G, channels).transpose(2, 0, 1, 3)  # (G, N*OH*OW, KH*KW, C/G)
        self.cols = cols.reshape(G, -1, KH * KW * channels)  # (G, N*OH*OW, KH*KW*C/G)
        self.W = weight.reshape(KH * KW * channels, G, F // G).transpose(1, 0, 2)  # (G, KH*KW*C/G, F/G)
        y = (self.cols @ self.W).transpose(1, 0, 2).reshape(-1, F)  # (N*OH*OW, F)
        if bias is not None:
            y = y + bias
        return y.reshape(x.shape[0], OH, OW, F)  # (N, OH, OW, F)

    def backward(self, grad_y: Array) -> tuple[Array | None, ...]:
        KH, KW, channels, F = self.weight_shape
        G = self.groups
        grad_y = grad_y.reshape(-1, F)  # (N*OH*OW, F)
        grad = grad_y.reshape(-1, G, F // G).transpose(1, 0, 2)  # (G, N*OH*OW, F/G)
        grad_x = grad_weight = None
        if self.needs_grad[0]:
            grad_cols = (grad @ self.W.transpose(0, 2, 1)).reshape(G, -1, KH * KW, channels)
            grad_cols = grad_cols.transpose(1, 2, 0, 3).reshape(-1, KH * KW * G * channels)  # (N*OH*OW, KH*KW*C)
            grad_x = self.backend.col2im(grad_cols, self.x_shape, (KH, KW), self.stride, self.padding)  # (N, H, W, C)
        if self.needs_grad[1]:
            grad_weight = self.cols.transpose(0, 2, 1) @ grad  # (G, KH*KW*C/G, F/G)
            grad_weight = grad_weight.transpose(1, 0, 2).reshape(self.weight_shape)  # (KH, KW, C/G, F)
        if len(self.inputs) == 2:
            return grad_x, grad_weight
        return grad_x, grad_weight, self.backend.sum(grad_y, axis=0) if self.needs_grad[2] else None  # (F,)
