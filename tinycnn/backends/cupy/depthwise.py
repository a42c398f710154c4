"""Fused kernels of the GPU backend: depthwise convolution.

This file computes shapes and grids; ``cuda/depthwise.cu`` holds the mathematics.
"""

import math
from typing import NamedTuple

from tinycnn.backends.array_types import Array, Pair
from tinycnn.backends.base import window_grid
from tinycnn.backends.cupy.launch import Launcher, blocks_for, windows_of
from tinycnn.backends.cupy.norm import CHANNELS, SUM, pixel_ranges
from tinycnn.backends.fused_kernels import Gradients

FILE = "depthwise.cu"


class Depthwise(NamedTuple):
    """What backward needs of a depthwise convolution."""

    x: Array
    weight: Array
    stride: Pair
    padding: Pair


class DepthwiseKernels:
    """Forward, and the gradients."""

    def __init__(self, launch: Launcher) -> None:
        self.launch, self.xp = launch, launch.cupy

    def depthwise_forward(
        self, x: Array, weight: Array, bias: Array, *, stride: Pair, padding: Pair
    ) -> tuple[Array, Depthwise]:
        """``x (N, H, W, C)``, ``weight (KH, KW, 1, F)``, ``bias (F,)`` → ``(N, OH, OW, F)``."""
        x, weight, bias = (self.launch.contiguous(array) for array in (x, weight, bias))
        (KH, KW, _, F), C = weight.shape, x.shape[3]
        y = self.xp.empty((len(x), *window_grid(x.shape, (KH, KW), stride, padding), F), x.dtype)
        windows = windows_of(x.shape, (KH, KW), stride, padding)
        self.launch.elementwise(FILE, "depthwise", y, x, weight, bias, y, windows, F // C)
        return y, Depthwise(x, weight, stride, padding)

    def depthwise_backward(
        self, saved: Depthwise, grad_y: Array, *, need_grad_x: bool, need_grad_weight: bool
    ) -> Gradients:
        """``grad_y (N, OH, OW, F)`` → the gradients of ``x``, ``weight`` and ``bias``; None for what is not needed."""
        (x, weight, *window), grad_y = saved, self.launch.contiguous(grad_y)
        windows, M = windows_of(x.shape, weight.shape[:2], *window), weight.shape[3] // x.shape[3]
        grad_x = self.xp.empty(x.shape, x.dtype) if need_grad_x else None
        if grad_x is not None:
            self.launch.elementwise(FILE, "depthwise_grad_x", grad_x, grad_y, weight, grad_x, windows, M)
        if not need_grad_weight:
            return grad_x, None, None
        F, count = weight.shape[3], math.prod(grad_y.shape[:3])
        ranges, size = pixel_ranges(count)
        parts = self.xp.empty((ranges, weight.size + F), SUM)
        grid = -(-F // CHANNELS), ranges, weight.size // F + 1
        self.launch(FILE, "depthwise_range_grad_weight", x.dtype, grid, x, grad_y, parts, windows, M, size, count)
        grad_weight, grad_bias = self.xp.empty(weight.shape, x.dtype), self.xp.empty(F, x.dtype)
        arguments = parts, grad_weight, grad_bias, ranges, weight.size, F
        self.launch(FILE, "depthwise_merge_grad_weight", x.dtype, blocks_for(weight.size + F), *arguments)
        return grad_x, grad_weight, grad_bias
