"""Fused kernels of the GPU backend: a dense layer with its ReLU; ``cuda/dense.cu`` holds the mathematics."""

import math

from tinycnn.backends.array_types import Array
from tinycnn.backends.cupy.launch import Launcher
from tinycnn.backends.cupy.tiles import ROWS, multiply, ranges_for, tiles_for
from tinycnn.backends.fused_kernels import Gradients


class DenseKernels:
    """The kernels of a dense layer."""

    def __init__(self, launch: Launcher) -> None:
        self.launch, self.xp = launch, launch.cupy

    def dense_forward(self, x: Array, weight: Array, bias: Array, *, relu: bool) -> Array:
        """``x (N, in)`` → ``y (N, out)``, ReLU if ``relu``."""
        x, weight, bias = (self.launch.contiguous(array) for array in (x, weight, bias))
        (N, inputs), units = x.shape, weight.shape[1]
        tiles = tiles_for(N, units)
        ranges, size = ranges_for(inputs, math.prod(tiles))
        y = self.xp.empty((N, units), x.dtype)
        parts = y if ranges == 1 else self.xp.empty((ranges, N, units), x.dtype)
        arguments = x, weight, bias, parts, int(relu), size, N, inputs, units
        multiply(self.launch, "dense.cu", "dense_forward", units, x.dtype, (*tiles, ranges), *arguments)
        if ranges > 1:
            self.launch.elementwise("dense.cu", "dense_sum", y, parts, bias, y, int(relu), ranges, units)
        return y

    def dense_backward(
        self,
        x: Array,
        weight: Array,
        y: Array,
        grad_y: Array,
        *,
        relu: bool,
        need_grad_x: bool,
        need_grad_weight: bool,
    ) -> Gradients:
        """``grad_y (N, out)`` → ``grad_x (N, in)``, ``grad_weight (in, out)``, ``grad_bias (out,)``, or None."""
        x, weight, grad_y = (self.launch.contiguous(array) for array in (x, weight, grad_y))
        (N, inputs), units, mask = x.shape, weight.shape[1], self.launch.contiguous(y) if relu else None
        grad_x = self.xp.empty(x.shape, x.dtype) if need_grad_x else None
        grad_weight = self.xp.empty(weight.shape, x.dtype) if need_grad_weight else None
        grad_bias = self.xp.empty(units, x.dtype) if need_grad_weight else None
        x_tiles = -(-N // ROWS) * -(-inputs // 64) if need_grad_x else 0
        rows, columns = tiles_for(inputs, units) if need_grad_weight else (0, 0)
        weight_tiles, blocks = rows * columns, (x_tiles + rows * columns + columns,)  # the last ones are for the bias
        if blocks[0]:
            tiles = x_tiles, weight_tiles
            arguments = x, grad_y, mask, weight, grad_x, grad_weight, grad_bias, *tiles, N, inputs, units
            multiply(self.launch, "dense.cu", "dense_backward", units, x.dtype, blocks, *arguments)
        return grad_x, grad_weight, grad_bias
