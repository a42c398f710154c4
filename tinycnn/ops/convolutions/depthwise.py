"""Depthwise convolution: each filter sees one channel. It is the grouped convolution with ``C`` groups.

Channel ``c`` has ``M = F / C`` filters, ``f = c*M + m``, and often ``M = 1``:

    y[n, oh, ow, c*M + m] = Σ_{kh, kw}  x[n, oh*SH + kh - PH, ow*SW + kw - PW, c] · weight[kh, kw, 0, c*M + m]  +  bias

Without a sum over channels, this is no matrix product. For each of the few places ``(kh, kw)`` of a filter, the pixels
that all windows read there are a slice of the image, and one multiplication of arrays handles them all. The gradients
follow from the product rule, place by place:

    grad_x[the slice]    += grad_y · weight[kh, kw]
    grad_weight[kh, kw]   = Σ_{n, oh, ow}  grad_y · x[the slice]

A pointwise (1 x 1) convolution behind it mixes the channels; together they cost a fraction of an ordinary convolution.
Source: Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision applications", 2017.
"""

from collections.abc import Iterator

from tinycnn.backends.base import Array, Pair, window_grid
from tinycnn.tensor import Function

Slices = tuple[slice, ...]


class DepthwiseConv2dFunction(Function):
    def __init__(self, stride: Pair, padding: Pair) -> None:
        self.stride, self.padding = stride, padding

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        (N, H, W, C), (KH, KW, _, F), (PH, PW) = x.shape, weight.shape, self.padding
        self.grid = window_grid(x.shape, (KH, KW), self.stride, self.padding)
        self.inside = slice(None), slice(PH, PH + H), slice(PW, PW + W)
        self.pixels = self.backend.xp.zeros((N, H + 2 * PH, W + 2 * PW, C, 1), x.dtype)
        self.pixels[self.inside] = x[..., None]
        self.weight = weight.reshape(KH, KW, C, F // C)  # (KH, KW, C, M)
        y = self.backend.xp.zeros((N, *self.grid, C, F // C), x.dtype)  # (N, OH, OW, C, M)
        for place, window in self.places():
            y += self.pixels[window] * self.weight[place]
        y = y.reshape(N, *self.grid, F)  # (N, OH, OW, F)
        return y if bias is None else y + bias

    def backward(self, grad_y: Array) -> tuple[Array | None, ...]:
        N, OH, OW, F = grad_y.shape
        KH, KW, C, M = self.weight.shape
        grad = grad_y.reshape(N, OH, OW, C, M)  # (N, OH, OW, C, M)
        grad_x = grad_weight = None
        if self.needs_grad[0]:
            grad_pixels = self.backend.xp.zeros(self.pixels.shape[:4], grad.dtype)  # (N, H + 2*PH, W + 2*PW, C)
            for place, window in self.places():
                grad_pixels[window] += (grad * self.weight[place]).sum(axis=4)
            grad_x = self.backend.xp.ascontiguousarray(grad_pixels[self.inside])  # (N, H, W, C)
        if self.needs_grad[1]:
            sums = [self.backend.sum(grad * self.pixels[window], axis=(0, 1, 2)) for _, window in self.places()]
            grad_weight = self.backend.xp.stack(sums).reshape(KH, KW, 1, F)  # (KH, KW, 1, F)
        if len(self.inputs) == 2:
            return grad_x, grad_weight
        return grad_x, grad_weight, self.backend.sum(grad_y, axis=(0, 1, 2)) if self.needs_grad[2] else None  # (F,)

    def places(self) -> Iterator[tuple[Pair, Slices]]:
        """Each place ``(kh, kw)`` of a filter, and the slices of the padded image that all windows read there."""
        (SH, SW), (OH, OW) = self.stride, self.grid
        for kh in range(self.weight.shape[0]):
            for kw in range(self.weight.shape[1]):
                yield (kh, kw), (slice(None), slice(kh, kh + SH * OH, SH), slice(kw, kw + SW * OW, SW))
