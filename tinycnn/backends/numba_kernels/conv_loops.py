"""The convolution block as plain loops: the portable path, and the clearest statement of what the SIMD kernels compute.

Without a pool, the pool is 1x1. `winner` says which output of each window has the gradient, in row-major order from 0;
the number of outputs in a window stands for none (ReLU was off).
"""

import numpy as np

from .jit import inlined, kernel


@inlined
def patch_of(ph, pw, pixel, stride, pool, pool_stride):
    """Where the patch of one of a pool window's outputs begins."""
    oh, ow = ph * pool_stride[0] + pixel // pool[1], pw * pool_stride[1] + pixel % pool[1]
    return oh * stride[0], ow * stride[1]


@inlined
def convolve(image, weight, h, w, total):
    """One patch times all filters."""
    total[:] = 0
    for kh in range(weight.shape[0]):
        for kw in range(weight.shape[1]):
            for c in range(weight.shape[2]):
                for f in range(total.size):
                    total[f] += image[h + kh, w + kw, c] * weight[kh, kw, c, f]


@kernel
def forward(x, weight, bias, stride, pool, pool_stride, relu, y, winner, start, stop):
    """Images [start, stop): y (N, PH, PW, F) and winner (bytes, the same shape)."""
    total, off = np.empty(bias.size, np.float32), pool[0] * pool[1]
    for n, ph, pw in np.ndindex(stop - start, y.shape[1], y.shape[2]):
        values, names = y[start + n, ph, pw], winner[start + n, ph, pw]
        values[:], names[:] = -np.inf, 0
        for pixel in range(off):
            h, w = patch_of(ph, pw, pixel, stride, pool, pool_stride)
            convolve(x[start + n], weight, h, w, total)
            for f in range(bias.size):
                if total[f] > values[f] or (np.isnan(total[f]) and not np.isnan(values[f])):
                    values[f], names[f] = total[f], pixel
        for f in range(bias.size):
            values[f] += bias[f]
            if relu and values[f] <= 0:
                values[f], names[f] = 0, off


@kernel
def grad_weight(x, grad_y, winner, stride, pool, pool_stride, grad_weight, grad_bias, start, stop):
    """Images [start, stop): adds to grad_weight (KH, KW, C, F) and grad_bias (F,)."""
    for n, ph, pw in np.ndindex(stop - start, grad_y.shape[1], grad_y.shape[2]):
        for f in range(grad_y.shape[3]):
            pixel, grad = winner[start + n, ph, pw, f], grad_y[start + n, ph, pw, f]
            if pixel < pool[0] * pool[1]:
                h, w = patch_of(ph, pw, pixel, stride, pool, pool_stride)
                grad_bias[f] += grad
                for kh, kw, c in np.ndindex(grad_weight.shape[:3]):
                    grad_weight[kh, kw, c, f] += grad * x[start + n, h + kh, w + kw, c]


@kernel
def grad_x(weight, grad_y, winner, stride, pool, pool_stride, grad_x, start, stop):
    """Images [start, stop) of grad_x, overwritten."""
    grad_x[start:stop] = 0
    for n, ph, pw in np.ndindex(stop - start, grad_y.shape[1], grad_y.shape[2]):
        for f in range(grad_y.shape[3]):
            pixel, grad = winner[start + n, ph, pw, f], grad_y[start + n, ph, pw, f]
            if pixel < pool[0] * pool[1]:
                h, w = patch_of(ph, pw, pixel, stride, pool, pool_stride)
                for kh, kw, c in np.ndindex(weight.shape[:3]):
                    grad_x[start + n, h + kh, w + kw, c] += grad * weight[kh, kw, c, f]
