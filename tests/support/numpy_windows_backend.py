"""A third-party backend in one file: its kernels use NumPy's view of all windows.

It stands for a backend that a user writes. Its only base class is the contract in ``tinycnn/backends/base.py``, and
``tinycnn.register_backend("windows", WindowsBackend)`` is the only call needed to use it.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinycnn.backends.base import Backend, window_grid
from tinycnn.backends.numpy_backend import NumpyBackend


class WindowsBackend(Backend):
    name = "windows"
    xp = np

    def __init__(self):
        self.numpy = NumpyBackend()  # for dropout masks and gathering images, which have no windows

    def owns(self, array):
        return isinstance(array, np.ndarray)

    def asarray(self, array):
        return np.asarray(array)

    def to_host(self, array):
        return array

    def im2col(self, x, kernel_size, stride, padding):
        OH, OW = window_grid(x.shape, kernel_size, stride, padding)
        cols = windows(x, kernel_size, stride, padding, 0)[:, :OH, :OW]  # (N, OH, OW, KH, KW, C)
        cols = cols.reshape(len(x) * OH * OW, np.prod(cols.shape[3:]))  # (N*OH*OW, KH*KW*C)
        return np.ascontiguousarray(cols)  # a window of one pixel is still a view

    def col2im(self, cols, x_shape, kernel_size, stride, padding):
        numbers = np.arange(1, np.prod(x_shape, dtype=int) + 1).reshape(x_shape)  # one per pixel; 0 is the padding
        pixels = self.im2col(numbers, kernel_size, stride, padding)  # the number of the pixel in each entry of cols
        sums = np.bincount(pixels.ravel(), weights=cols.ravel(), minlength=numbers.size + 1)
        return sums[1:].reshape(x_shape).astype(cols.dtype)  # (N, H, W, C)

    def max_pool2d(self, x, kernel_size, stride, padding):
        inside = windows(np.ones(x.shape, bool), kernel_size, stride, padding, False)
        values = windows(x, kernel_size, stride, padding, -np.inf)  # (N, OH, OW, KH, KW, C)
        shape = (*values.shape[:3], np.prod(kernel_size), x.shape[3])
        values, inside = values.reshape(shape), inside.reshape(shape)  # (N, OH, OW, KH*KW, C)
        best = values.max(axis=3, keepdims=True)  # NaN, if there is one
        wins = ((values == best) | (np.isnan(values) & np.isnan(best))) & inside
        return best[:, :, :, 0], wins.argmax(axis=3)  # the first that wins

    def max_pool2d_backward(self, grad_y, winner, x_shape, kernel_size, stride, padding):
        places = np.arange(np.prod(kernel_size))[:, None]  # (KH*KW, 1)
        cols = np.where(places == winner[:, :, :, None], grad_y[:, :, :, None], 0)  # (N, OH, OW, KH*KW, C)
        return self.col2im(cols, x_shape, kernel_size, stride, padding)

    def gather_images(self, images, indices, scale, dtype):
        return self.numpy.gather_images(images, indices, scale, dtype)

    def gather_warped(self, images, indices, maps, scale, dtype, reflect=False):
        return self.numpy.gather_warped(images, indices, maps, scale, dtype, reflect)

    def dropout_mask(self, shape, p, dtype, key):
        return self.numpy.dropout_mask(shape, p, dtype, key)


def windows(x, kernel_size, stride, padding, value):
    """All windows, ``(N, OH, OW, KH, KW, C)``, with ``value`` in the padding."""
    (PH, PW), (SH, SW) = padding, stride
    x = np.pad(x, ((0, 0), (PH, PH), (PW, PW), (0, 0)), constant_values=value)
    return sliding_window_view(x, kernel_size, axis=(1, 2))[:, ::SH, ::SW].transpose(0, 1, 2, 4, 5, 3)
