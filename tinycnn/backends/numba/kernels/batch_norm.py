"""Batch normalisation followed by a max-pool (a 1x1 pool stands for none), with few passes over memory.

Forward reads the activations twice: for the statistics, and to normalise, pool, and note each winner. The normalised
activations are never stored; backward computes them again from mean and variance. Formulas: ``ops/batch_norm.py``.

Sums over the rows of a channel are float64. Eight rows are first added in float32, pairwise, which takes less time than
adding each to the sum, loses three roundings at most, and nothing where all eight are equal.

``window`` is ``((KH, KW), (SH, SW))``: the kernel size and the stride of the pool. Passes over all pixels are written
with SIMD vectors, because the compiler uses none in loops with a condition.
"""

import numpy as np

from . import simd
from .conv_block import remaining
from .geometry import tile_shape
from .jit import inlined, kernel
from .lanes import LANES

ROW = tile_shape(1, 1)  # one vector
AHEAD = 1024  # floats: the processor itself looks ahead to the end of a page of 4 KiB


@inlined
def pairwise(a, b, c, d, e, f, g, h):
    """The sum of eight numbers."""
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@inlined
def column_of_eight(x, i, c):
    """The sum of column ``c`` of rows ``i`` to ``i + 7``."""
    return pairwise(
        x[i, c], x[i + 1, c], x[i + 2, c], x[i + 3, c], x[i + 4, c], x[i + 5, c], x[i + 6, c], x[i + 7, c]
    )  # fmt: skip


@inlined
def square(distance):
    """The square of a distance."""
    return distance * distance


@inlined
def squares_of_eight(x, i, c, centre):
    """The sum of the squared distances of column ``c`` of rows ``i`` to ``i + 7`` from ``centre``."""
    return pairwise(
        square(x[i, c] - centre), square(x[i + 1, c] - centre), square(x[i + 2, c] - centre),
        square(x[i + 3, c] - centre), square(x[i + 4, c] - centre), square(x[i + 5, c] - centre),
        square(x[i + 6, c] - centre), square(x[i + 7, c] - centre),
    )  # fmt: skip


@inlined
def products_of_eight(a, b, i, c, zero):
    """The sum of ``a · (b - zero)`` over column ``c`` of rows ``i`` to ``i + 7``."""
    return pairwise(
        a[i, c] * (b[i, c] - zero), a[i + 1, c] * (b[i + 1, c] - zero), a[i + 2, c] * (b[i + 2, c] - zero),
        a[i + 3, c] * (b[i + 3, c] - zero), a[i + 4, c] * (b[i + 4, c] - zero), a[i + 5, c] * (b[i + 5, c] - zero),
        a[i + 6, c] * (b[i + 6, c] - zero), a[i + 7, c] * (b[i + 7, c] - zero),
    )  # fmt: skip


@kernel
def channel_moments(x, mean, squares):
    """``x (rows, C)`` → each channel's ``mean``, and the sum of its squared distances from it; both ``(C,)``, float64.

    Distances are taken from the mean rounded to float32, so that they are float32, and the sum is corrected for it.
    """
    rows, C = x.shape
    eights = rows - rows % 8
    centre = np.empty(C, np.float32)
    mean[:] = 0
    squares[:] = 0
    for i in range(0, eights, 8):
        for c in range(C):
            mean[c] += column_of_eight(x, i, c)
    for i in range(eights, rows):
        for c in range(C):
            mean[c] += x[i, c]
    for c in range(C):
        mean[c] /= max(rows, 1)
        centre[c] = mean[c]
    for i in range(0, eights, 8):
        for c in range(C):
            squares[c] += squares_of_eight(x, i, c, centre[c])
    for i in range(eights, rows):
        for c in range(C):
            squares[c] += square(x[i, c] - centre[c])
    for c in range(C):
        squares[c] -= rows * square(mean[c] - centre[c])


@kernel
def normalise_pool(x, mean, scale, shift, sizes, window, count, y, winner):
    """``y (N, OH, OW, C)`` = max over the window of ``(x - mean) · scale + shift``, and the index of the winning pixel.

    The mean is subtracted first: where it is large, ``scale · x`` would be rounded at its size. Images are flat,
    ``sizes`` is ``(N, H, W, C, OH, OW)``, and ``count`` as in simd.py.
    """
    N, H, W, C, OH, OW = sizes
    (KH, KW), (SH, SW) = window
    for n in range(N):
        for oh in range(OH):
            for column in range(0, C, LANES):
                left = remaining(count, column)
                m, s = simd.load(ROW, mean, (0,), column, left), simd.load(ROW, scale, (0,), column, left)
                t = simd.load(ROW, shift, (0,), column, left)
                for ow in range(OW):
                    first = ((n * H + oh * SH) * W + ow * SW) * C + column
                    best = simd.fma(simd.subtract(simd.load(ROW, x, (0,), first, left), m), s, t)
                    index = simd.full(ROW, 0.0)
                    for kh in range(KH):
                        for kw in range(kh == 0, KW):
                            pixel = first + (kh * W + kw) * C
                            value = simd.fma(simd.subtract(simd.load(ROW, x, (0,), pixel, left), m), s, t)
                            best, index = simd.update_max(best, index, value, kh * KW + kw)
                    target = ((n * OH + oh) * OW + ow) * C + column
                    simd.store(y, (0,), target, left, best)
                    simd.store(winner, (0,), target, left, index)


@kernel
def grad_gamma_beta(x, grad_y, winner, mean, inverse_std, window, grad_gamma, grad_beta):
    """Sums over all images: only winners carry a gradient. Overwrites float64 ``grad_gamma`` and ``grad_beta (C,)``."""
    N, OH, OW, C = grad_y.shape
    kernel_size, stride = window
    grad_gamma[:] = 0
    grad_beta[:] = 0
    for n in range(N):
        for oh in range(OH):
            for ow in range(OW):
                h, w = oh * stride[0], ow * stride[1]
                for place in range(kernel_size[0] * kernel_size[1]):
                    kh, kw = place // kernel_size[1], place % kernel_size[1]
                    for c in range(C):
                        grad = grad_y[n, oh, ow, c] if winner[n, oh, ow, c] == place else np.float32(0)
                        grad_gamma[c] += grad * ((x[n, h + kh, w + kw, c] - mean[c]) * inverse_std[c])
                        grad_beta[c] += grad


@kernel
def grad_gamma_beta_from_y(y, beta, grad_y, grad_gamma, grad_beta):
    """The same sums over the rows of ``y (rows, C)``; ``grad_gamma`` is multiplied by gamma: ``gamma x̂ = y - beta``."""
    rows, C = y.shape
    eights = rows - rows % 8
    grad_gamma[:] = 0
    grad_beta[:] = 0
    for i in range(0, eights, 8):
        for c in range(C):
            grad_gamma[c] += products_of_eight(grad_y, y, i, c, beta[c])
            grad_beta[c] += column_of_eight(grad_y, i, c)
    for i in range(eights, rows):
        for c in range(C):
            grad_gamma[c] += grad_y[i, c] * (y[i, c] - beta[c])
            grad_beta[c] += grad_y[i, c]


@inlined
def without_grad(x, pixel, left, mean, factors, column):
    """One vector of ``x``, and its gradient where it won no window."""
    value, m = simd.load(ROW, x, (0,), pixel, left), simd.load(ROW, mean, (0,), column, left)
    minus_offset = simd.negative(simd.load(ROW, factors[1], (0,), column, left))
    minus_stretch = simd.negative(simd.load(ROW, factors[2], (0,), column, left))
    return value, simd.fma(minus_stretch, simd.subtract(value, m), minus_offset)


@inlined
def after_relu(value, grad, zero, relu):
    """The gradient of the ReLU's input, if there is a ReLU."""
    return simd.where_greater(value, zero, grad, zero) if relu else grad


@kernel
def grad_x(x, grad_y, winner, mean, factors, sizes, window, relu, count, grad_x):
    """``grad_x = slope · grad - offset - stretch · (x - mean)``, where ``grad`` is 0 outside the winners.

    Windows lie side by side, as in most networks: the stride is the kernel size. ``factors`` is ``(slope, offset,
    stretch)``, each ``(C,)``. ``relu``: ``x`` is the output of a ReLU, and ``grad_x`` the gradient of that ReLU's
    input, 0 where ``x`` is 0. Images are flat, ``sizes`` is ``(N, H, W, C, OH, OW)``, and ``count`` as in simd.py.

    The channels are the inner loop although each factor is then loaded again for every pixel: memory is read and
    written in order, which takes a third of the time where the images do not fit the cache.
    """
    N, H, W, C, OH, OW = sizes
    (KH, KW), _ = window
    zero = simd.full(ROW, 0.0)
    for n in range(N):
        for row in range(0, H, KH):  # the last pixels may lie in no window
            outputs = OW if row < OH * KH else 0
            for kh in range(min(KH, H - row)):
                start, source = (n * H + row + kh) * W * C, (n * OH + row // KH) * OW * C
                for w in range(W):
                    for column in range(0, C, LANES):
                        left, pixel = remaining(count, column), start + w * C + column
                        simd.prefetch(x, pixel + AHEAD)
                        value, result = without_grad(x, pixel, left, mean, factors, column)
                        if w < outputs * KW:
                            target, place = source + w // KW * C + column, simd.full(ROW, kh * KW + w % KW)
                            grad = simd.load(ROW, grad_y, (0,), target, left)
                            index = simd.load(ROW, winner, (0,), target, left)
                            slope = simd.load(ROW, factors[0], (0,), column, left)
                            result = simd.fma(slope, simd.where_equal(index, place, grad, zero), result)
                        simd.store(grad_x, (0,), pixel, left, after_relu(value, result, zero, relu))


@kernel
def grad_x_of_any_windows(x, grad_y, winner, mean, factors, window, relu, grad_x):
    """The same for windows that overlap or leave gaps, ``x (N, H, W, C)`` and ``grad_y (N, OH, OW, C)``."""
    N, OH, OW, C = grad_y.shape
    kernel_size, stride = window
    slope, offset, stretch = factors
    for n in range(N):
        for h in range(x.shape[1]):
            for w in range(x.shape[2]):
                for c in range(C):
                    grad_x[n, h, w, c] = -offset[c] - stretch[c] * (x[n, h, w, c] - mean[c])
        for oh in range(OH):
            for ow in range(OW):
                h, w = oh * stride[0], ow * stride[1]
                for place in range(kernel_size[0] * kernel_size[1]):
                    kh, kw = place // kernel_size[1], place % kernel_size[1]
                    for c in range(C):
                        grad = grad_y[n, oh, ow, c] if winner[n, oh, ow, c] == place else np.float32(0)
                        grad_x[n, h + kh, w + kw, c] += slope[c] * grad
        if relu:
            for h in range(x.shape[1]):
                for w in range(x.shape[2]):
                    for c in range(C):
                        grad_x[n, h, w, c] = grad_x[n, h, w, c] if x[n, h, w, c] > 0 else np.float32(0)
