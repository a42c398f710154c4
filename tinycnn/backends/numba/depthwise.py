"""Depthwise convolution on the Numba backend: packs the filters, and divides the images among threads.

``kernels/depthwise.py`` has the arithmetic.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tinycnn.backends.array_types import Array, Pair
from tinycnn.backends.fused_kernels import Gradients
from tinycnn.backends.numba.conv import MOST_PARTIAL_SUMS
from tinycnn.backends.numba.kernels import depthwise
from tinycnn.backends.numba.kernels.arrays import contiguous, empty
from tinycnn.backends.numba.kernels.lanes import WIDTH
from tinycnn.backends.threads import MEMORY_ACCESS, in_parallel, pieces


class Depthwise(NamedTuple):
    """What the gradients need: images ``(N, H, W, F)`` and weights ``(KH, KW, F)``, one channel per filter."""

    x: Array
    weight: Array
    channels: int
    stride: Pair
    padding: Pair
    output_shape: tuple[int, int, int, int]


layout_of = lru_cache(maxsize=256)(depthwise.layout_of)


def packed(weight: Array) -> Array:
    """``weight (KH, KW, F)`` → flat ``(KH*KW, F up to whole registers)``, zeros behind the last filter."""
    KH, KW, F = weight.shape
    filled = zeros((KH * KW, -(-F // WIDTH) * WIDTH))
    filled[:, :F] = weight.reshape(KH * KW, F)
    return filled.reshape(-1)


def count_of(channels: int) -> int | None:
    """The number of channels, or None where they fill whole registers and no mask is needed."""
    return channels if channels % WIDTH else None


def convolve(x: Array, weight: Array, bias: Array, stride: Pair, pads: tuple[int, int, int, int]) -> Array:
    """``x (N, H, W, F)``, ``weight (KH, KW, F)``, ``bias (F,)`` → ``(N, OH, OW, F)``."""
    (N, H, W, F), (KH, KW, _), (SH, SW) = x.shape, weight.shape, stride
    (top, bottom, left, right) = pads
    OH, OW = (top + H + bottom - KH) // SH + 1, (left + W + right - KW) // SW + 1
    y = empty((N, OH, OW, F))
    layout, shape = tuple(layout_of((H, W, F), (KH, KW), stride, pads)), depthwise.tile_of(KH * KW)
    arrays = x.reshape(-1), packed(weight), packed(bias.reshape(1, 1, F))
    parts = pieces(N, 2 * KH * KW * OH * OW * F + MEMORY_ACCESS * H * W * F)

    def work(part: int) -> None:
        depthwise.forward(*arrays, layout, shape, count_of(F), y.reshape(-1), *parts[part])

    in_parallel(work, len(parts))
    return y


def zeros(shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """An array of zeros; while a step is recorded, one in the memory of the recording."""
    array = empty(shape, dtype)
    array[...] = 0
    return array


def in_order(sums: Array) -> Array:
    """The sum over the first axis."""
    total = sums[0]
    for part in sums[1:]:
        total = total + part
    return total


def depthwise_forward(x: Array, weight: Array, bias: Array, *, stride: Pair, padding: Pair) -> tuple[Array, Depthwise]:
    """``x (N, H, W, C)``, ``weight (KH, KW, 1, F)``, ``bias (F,)`` → ``(N, OH, OW, F)``."""
    (KH, KW, _, F), C, (PH, PW) = weight.shape, x.shape[3], padding
    x = contiguous(x if F == C else np.repeat(x, F // C, axis=3))  # (N, H, W, F)
    weight = weight.reshape(KH, KW, F)
    y = convolve(x, weight, bias, stride, (PH, PH, PW, PW))
    return y, Depthwise(x, weight, C, stride, padding, y.shape)


def depthwise_backward(saved: Depthwise, grad_y: Array, *, need_grad_x: bool, need_grad_weight: bool) -> Gradients:
    """``grad_y (N, OH, OW, F)`` → ``grad_x (N, H, W, C)``, ``grad_weight (KH, KW, 1, F)``, ``grad_bias``, or None."""
    grad_y = contiguous(grad_y)
    return (
        grad_x(saved, grad_y) if need_grad_x else None,
        *(grad_weight(saved, grad_y) if need_grad_weight else (None, None)),
    )


def grad_x(saved: Depthwise, grad_y: Array) -> Array:
    """``grad_y (N, OH, OW, F)`` → ``grad_x (N, H, W, C)``."""
    (N, H, W, F), (KH, KW, _), (PH, PW) = saved.x.shape, saved.weight.shape, saved.padding
    if saved.stride == (1, 1) and PH < KH and PW < KW:  # a convolution with the filters turned by 180 degrees
        turned, bottom, right = saved.weight[::-1, ::-1], KH - 1 - PH, KW - 1 - PW
        grad = convolve(grad_y, turned, zeros((F,)), (1, 1), (bottom, bottom, right, right))
    else:
        grad = empty(saved.x.shape)
        layout = tuple(layout_of((H, W, F), (KH, KW), saved.stride, (PH, PH, PW, PW)))
        arrays = packed(saved.weight), grad_y.reshape(-1)
        parts = pieces(N, 4 * KH * KW * math.prod(grad_y.shape[1:]) + MEMORY_ACCESS * H * W * F)
        shape = depthwise.tile_of(KH * KW)

        def work(part: int) -> None:
            depthwise.grad_x(*arrays, layout, shape, count_of(F), grad.reshape(-1), *parts[part])

        in_parallel(work, len(parts))
    if saved.channels == F:
        return grad
    of_channels = grad.reshape(N, H, W, saved.channels, F // saved.channels)
    total = of_channels[..., 0]
    for m in range(1, of_channels.shape[4]):
        total = total + of_channels[..., m]
    return total


def grad_weight(saved: Depthwise, grad_y: Array) -> tuple[Array, Array]:
    """``grad_y (N, OH, OW, F)`` → ``grad_weight (KH, KW, 1, F)``, ``grad_bias (F,)``; partial sums added in order."""
    (N, H, W, F), (KH, KW, _), (PH, PW) = saved.x.shape, saved.weight.shape, saved.padding
    layout = tuple(layout_of((H, W, F), (KH, KW), saved.stride, (PH, PH, PW, PW)))
    parts = pieces(N, 2 * KH * KW * math.prod(grad_y.shape[1:]) + MEMORY_ACCESS * H * W * F, MOST_PARTIAL_SUMS)
    width = -(-F // WIDTH) * WIDTH
    weight_sums, bias_sums = zeros((len(parts), KH * KW * width), float), zeros((len(parts), width), float)
    arrays, shape = (saved.x.reshape(-1), grad_y.reshape(-1)), depthwise.tile_of(KH * KW)

    def work(part: int) -> None:
        sums = weight_sums[part], bias_sums[part]
        depthwise.grad_weight(*arrays, layout, shape, count_of(F), *sums, *parts[part])

    in_parallel(work, len(parts))
    weight, bias = in_order(weight_sums).reshape(KH, KW, 1, width)[..., :F], in_order(bias_sums)[:F]
    return weight.astype(np.float32), bias.astype(np.float32)
