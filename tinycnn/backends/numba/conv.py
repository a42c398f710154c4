"""Convolution, ReLU, max-pool in one pass.

This file packs weights, splits the images among threads, and adds partial sums in a fixed order. The arithmetic is in
``kernels/``.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinycnn.backends.array_types import Array, Pair, Pool
from tinycnn.backends.base import window_grid
from tinycnn.backends.fused_kernels import Gradients
from tinycnn.backends.numba.kernels import packing, plain
from tinycnn.backends.numba.kernels.arrays import contiguous, empty
from tinycnn.backends.numba.kernels.conv_plan import ConvPlan, PackedWeight, conv_plan
from tinycnn.backends.threads import MEMORY_ACCESS, in_parallel, pieces, ranges

Sums = tuple[Array, Array]  # gradients of weight and bias
MOST_PARTIAL_SUMS = 8  # of a weight gradient: each is as large as the weights, and is set to zero and added
SCRATCH_BYTES = 512 << 10  # memory of a thread for results passed from one kernel to the next: it fits the L2 cache
LANES_USED = 16  # fewer filters than lanes in a SIMD register take as long as a full register


def padded_images(x: Array, padding: Pair) -> Array:
    """``x (N, H, W, C)`` with zeros around the edge, C-contiguous as the kernels require."""
    PH, PW = padding
    if not (PH or PW):
        return contiguous(x)
    N, H, W, C = x.shape
    y = empty((N, H + 2 * PH, W + 2 * PW, C), x.dtype)
    parts = pieces(N, MEMORY_ACCESS * y[:1].size)
    in_parallel(lambda part: packing.pad_images(x, padding, y, *parts[part]), len(parts))
    return y


class Conv(NamedTuple):
    """A convolution, its optional ReLU and max-pool: the arrays, and the plan that computes them."""

    plan: ConvPlan
    packed: PackedWeight
    padding: Pair
    x: Array  # padded
    y: Array
    winner: Array | None
    relu: bool
    pooled: bool
    flops: int  # per image

    def compute(self, some: slice) -> Array:
        """Compute some images of ``y`` and ``winner``; returns those of ``y``."""
        self.plan.forward(self.x, self.packed, self.y, self.winner, some.start, some.stop, self.relu)
        return self.y[some]

    def compute_all(self) -> Array:
        """Compute all images; returns ``y``."""
        parts = pieces(len(self.x), self.flops)
        in_parallel(lambda part: self.compute(slice(*parts[part])), len(parts))
        return self.y

    def add_gradients(self, some: slice, grad: Array, sums: Sums | None, grad_x: Array | None) -> None:
        """Add the gradients of weight and bias for some images to ``sums``, and fill their ``grad_x``, unless None."""
        assert self.winner is not None
        winner = self.winner[some]
        if sums is not None:
            self.plan.grad_weight(self.x[some], grad, winner, *sums, 0, len(grad))
        if grad_x is not None:
            self.plan.grad_x(self.packed, grad, winner, grad_x[some], 0, len(grad))

    def gradients(
        self, grad_of: Callable[[slice], Array], need_grad_x: bool, need_grad_weight: bool
    ) -> tuple[Array | None, Array | None, Array | None]:
        """``grad_x (N, H, W, C)``, ``grad_weight (KH, KW, C, F)``, ``grad_bias (F,)``; None where not needed.

        ``grad_of(some)`` returns the gradient of the block's output for some images. It is called for a few images at a
        time, so that its result is used while it is in the cache.
        """
        plan, x = self.plan, self.x
        grad_x = empty(x.shape) if need_grad_x else None
        parts = pieces(len(x), self.flops, MOST_PARTIAL_SUMS, added=True)
        weight_parts, bias_parts = plan.new_parts(len(parts) if need_grad_weight else 0)
        block = max(plan.least_images, SCRATCH_BYTES // (4 * math.prod(plan.output_shape)))

        def work(part: int) -> None:
            sums: Sums | None = None
            if need_grad_weight:
                sums = weight_parts[part], bias_parts[part]
                packing.clear(sums[0].reshape(-1), sums[1])
            for some in blocks(*parts[part], block):
                self.add_gradients(some, grad_of(some), sums, grad_x)

        in_parallel(work, len(parts))
        gradients = added_parts(plan, weight_parts, bias_parts) if need_grad_weight else (None, None)
        return (None if grad_x is None else cropped(grad_x, self.padding)), *gradients


def blocks(start: int, stop: int, size: int) -> list[slice]:
    """``range(start, stop)`` as the fewest slices of at most ``size`` images, equal but for one image."""
    images = stop - start
    return [slice(start + first, start + end) for first, end in ranges(images, -(-images // size))]


def cropped(x: Array, padding: Pair) -> Array:
    """``x`` without the edge that ``padded_images`` added."""
    PH, PW = padding
    if not (PH or PW):
        return x
    N, H, W, C = x.shape
    y = empty((N, H - 2 * PH, W - 2 * PW, C), x.dtype)
    parts = pieces(N, MEMORY_ACCESS * y[:1].size)
    in_parallel(lambda part: packing.crop_images(x, padding, y, *parts[part]), len(parts))
    return y


def added_parts(plan: ConvPlan, weight_parts: Array, bias_parts: Array) -> Sums:
    """The sums of all parts: ``grad_weight (KH, KW, C, F)`` and ``grad_bias (F,)``."""
    g, rows = plan.geometry, plan.rows_to_add
    grad_weight, grad_bias = empty((*g.kernel, g.image[2], g.filters)), empty((g.filters,))
    some = pieces(rows, MEMORY_ACCESS * len(weight_parts) * (g.depth * g.filters // rows))
    in_parallel(
        lambda part: plan.add_parts(weight_parts, bias_parts, grad_weight, grad_bias, slice(*some[part])), len(some)
    )
    return grad_weight, grad_bias


def make_conv(
    x: Array,
    weight: Array,
    bias: Array,
    stride: Pair,
    padding: Pair,
    *,
    relu: bool,
    pool: Pool | None,
    need_grad_x: bool,
    need_winner: bool = True,
) -> Conv:
    """A convolution with packed weights; ``y`` and ``winner`` are not computed yet."""
    KH, KW, C, F = weight.shape
    x = padded_images(x, padding)
    plan = conv_plan(x.shape[1:], (KH, KW), F, stride, *(pool or ()))
    packed = plan.new_packed(need_grad_x)
    plan.pack(contiguous(weight), bias, packed)
    y = empty((len(x), *plan.output_shape))
    noted = need_winner or not plan.skips_winners
    winner = empty(y.shape if pool else (len(x), 0), np.uint8) if noted else None
    OH, OW = window_grid(x.shape, (KH, KW), stride, (0, 0))
    flops = 2 * OH * OW * KH * KW * C * max(F, LANES_USED)
    return Conv(plan, packed, padding, x, y, winner, relu, pool is not None, flops)


def conv_forward(
    x: Array,
    weight: Array,
    bias: Array,
    *,
    stride: Pair,
    padding: Pair,
    relu: bool,
    pool: Pool | None,
    need_grad_x: bool,
) -> tuple[Array, Conv]:
    """Convolve, ReLU if ``relu``, max-pool if ``pool (window, stride)``: ``x (N, H, W, C)`` → ``(N, OH, OW, F)``."""
    conv = make_conv(x, weight, bias, stride, padding, relu=relu, pool=pool, need_grad_x=need_grad_x)
    return conv.compute_all(), conv


def conv_inference(
    x: Array, weight: Array, bias: Array, *, stride: Pair, padding: Pair, relu: bool, pool: Pool | None
) -> Array:
    """``conv_forward`` where no gradient will be needed: winners that take time to find are not noted."""
    needs = {"need_grad_x": False, "need_winner": False}
    return make_conv(x, weight, bias, stride, padding, relu=relu, pool=pool, **needs).compute_all()


def conv_backward(saved: Conv, grad_y: Array, *, need_grad_x: bool, need_grad_weight: bool) -> Gradients:
    """``grad_y (N, OH, OW, F)`` → ``grad_x (N, H, W, C)``, ``grad_weight (KH, KW, C, F)``, ``grad_bias``, or None."""
    conv, grad_y = saved, contiguous(grad_y)
    if conv.pooled or not conv.relu:  # a pooled block's winners record where ReLU was off
        return conv.gradients(grad_y.__getitem__, need_grad_x, need_grad_weight)

    def masked(some: slice) -> Array:
        grad = empty(grad_y[some].shape)
        plain.relu_backward(grad_y[some].reshape(-1), conv.y[some].reshape(-1), grad.reshape(-1))
        return grad

    return conv.gradients(masked, need_grad_x, need_grad_weight)
