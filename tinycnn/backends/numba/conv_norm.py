"""Convolution, ReLU, batch normalisation, max-pool as one block.

The convolution passes a few images at a time to the batch normalisation, and back, while they are in the cache.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from tinycnn.backends.array_types import Array, Pair, Pool
from tinycnn.backends.fused_kernels import Gradients
from tinycnn.backends.numba.conv import Conv, make_conv
from tinycnn.backends.numba.kernels.arrays import contiguous, empty
from tinycnn.backends.numba.norm import (
    NO_POOL,
    Norm,
    Source,
    inverse,
    needed_sums,
    norm_grad_x,
    normalise,
    normalise_pool,
)
from tinycnn.backends.recording import decide, values_of
from tinycnn.backends.threads import in_parallel, pieces


def conv_norm_forward(
    x: Array,
    weight: Array,
    bias: Array,
    gamma: Array,
    beta: Array,
    mean: Array | None,
    var: Array | None,
    *,
    stride: Pair,
    padding: Pair,
    eps: float,
    pool: Pool,
    need_grad_x: bool,
) -> tuple[Array, Array, Array, Callable[[], tuple[Conv, Norm]]]:
    """Convolution, ReLU, batch norm, max-pool: ``x (N, H, W, C)`` → ``y (N, OH, OW, F)``, and the statistics used.

    With fixed statistics, batch norm is ``slope · (x - mean) + beta``. With positive slopes, the largest of a window
    stays the largest, so pooling first leaves a quarter of the work. Only the backward pass then computes the unpooled
    block.
    """
    make = partial(make_conv, x, weight, bias, stride, padding, relu=True)

    def unpooled() -> tuple[Array, Array, Array, tuple[Conv, Norm]]:
        conv = make(pool=None, need_grad_x=need_grad_x)
        source = Source(conv.y.shape, conv.compute, conv.y.__getitem__)
        y, used_mean, used_var, norm = normalise(source, gamma, beta, mean, var, eps, pool)
        return y, used_mean, used_var, (conv, norm)

    gammas = values_of(gamma)
    if mean is not None and var is not None and pool != NO_POOL and decide(lambda: bool((gammas > 0).all())):
        conv = make(pool=pool, need_grad_x=False, need_winner=False)
        y = pooled_then_scaled(conv, mean, gamma * inverse(var, eps), beta)
        return y, mean, var, lambda: unpooled()[3]
    y, used_mean, used_var, saved = unpooled()
    return y, used_mean, used_var, lambda: saved


def pooled_then_scaled(conv: Conv, mean: Array, slope: Array, shift: Array) -> Array:
    """A pooled block's output ``(N, OH, OW, F)`` minus ``mean``, times ``slope``, plus ``shift``, ``(F,)`` each."""
    parts = pieces(len(conv.y), conv.flops)

    def work(part: int) -> None:
        some = slice(*parts[part])
        y = conv.compute(some)
        normalise_pool(y, mean, slope, shift, NO_POOL, y, empty(y.shape, np.uint8))  # each pixel wins alone

    in_parallel(work, len(parts))
    return conv.y


def conv_norm_backward(
    saved: Callable[[], tuple[Conv, Norm]],
    gamma: Array,
    grad_y: Array,
    *,
    need_grad_x: bool,
    need_grad_weight: bool,
    need_grad_gamma: bool,
) -> Gradients:
    """``grad_y (N, OH, OW, F)`` → the gradients of ``x, weight, bias, gamma, beta``."""
    conv, norm = saved()
    grad_y = contiguous(grad_y)
    sums = needed_sums(norm, gamma, grad_y, need_grad_gamma)
    if not (need_grad_x or need_grad_weight):
        return None, None, None, *sums
    factors = norm.factors(*sums)

    def before_relu(some: slice) -> Array:
        grad = empty(conv.y[some].shape)
        norm_grad_x(norm, grad_y, factors, some, True, grad)
        return grad

    return *conv.gradients(before_relu, need_grad_x, need_grad_weight), *sums
