"""Batch normalisation followed by a max-pool (a 1x1 pool stands for none), with few passes over memory.

Forward reads the activations twice: for the statistics, and to normalise, pool, and note each winner. The normalised
activations are never stored; backward computes them again from mean and variance. Formulas: ``ops/batch_norm.py``.

``window`` is ``((KH, KW), (SH, SW))``: the kernel size and the stride of the pool.
"""

import numpy as np

from .jit import kernel


@kernel
def channel_moments(x, mean, squares):
    """``x (rows, C)`` → each channel's ``mean``, and the sum of its squared distances from it; both ``(C,)``."""
    rows, C = x.shape
    mean[:] = 0
    squares[:] = 0
    for i in range(rows):
        for c in range(C):
            mean[c] += x[i, c]
    for c in range(C):
        mean[c] /= max(rows, 1)
    for i in range(rows):
        for c in range(C):
            distance = x[i, c] - mean[c]
            squares[c] += distance * distance


@kernel
def normalise_pool(x, scale, shift, window, y, winner):
    """``y (N, OH, OW, C) = max over the window of scale · x + shift``, and the index of the winning pixel."""
    N, OH, OW, C = y.shape
    kernel_size, stride = window
    for n in range(N):
        for oh in range(OH):
            for ow in range(OW):
                h, w = oh * stride[0], ow * stride[1]
                for c in range(C):
                    y[n, oh, ow, c] = scale[c] * x[n, h, w, c] + shift[c]
                    winner[n, oh, ow, c] = 0
                for place in range(1, kernel_size[0] * kernel_size[1]):
                    kh, kw = place // kernel_size[1], place % kernel_size[1]
                    for c in range(C):
                        value, best = scale[c] * x[n, h + kh, w + kw, c] + shift[c], y[n, oh, ow, c]
                        wins = value > best or (value != value and best == best)
                        y[n, oh, ow, c] = value if wins else best
                        winner[n, oh, ow, c] = place if wins else winner[n, oh, ow, c]


@kernel
def grad_gamma_beta(x, grad_y, winner, mean, inverse_std, window, grad_gamma, grad_beta):
    """Sums over all images: only winners carry a gradient. Overwrites ``grad_gamma`` and ``grad_beta (C,)``."""
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
    grad_gamma[:] = 0
    grad_beta[:] = 0
    for i in range(rows):
        for c in range(C):
            grad_gamma[c] += grad_y[i, c] * (y[i, c] - beta[c])
            grad_beta[c] += grad_y[i, c]


@kernel
def grad_x(x, grad_y, winner, mean, factors, window, relu, grad_x):
    """``grad_x = slope · grad - offset - stretch · (x - mean)``, where ``grad`` is 0 outside the winners.

    ``factors`` is ``(slope, offset, stretch)``, each ``(C,)``. ``relu``: ``x`` is the output of a ReLU, and ``grad_x``
    the gradient of that ReLU's input, 0 where ``x`` is 0.
    """
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
