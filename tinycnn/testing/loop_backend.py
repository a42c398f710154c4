"""The loop oracle: every kernel as the loops of its definition, slow and easy to verify by reading.

Other backends are compared with it. It is itself a backend in one file, which ``tinycnn.register_backend`` makes known.
It shares no code with the backends under test, except ``window_grid``, the number of windows, from the contract.
"""

from collections.abc import Iterator
from math import cos, pi

import numpy as np

from tinycnn.backends.base import Array, Backend, Pair, window_grid

WORD = 2**32


class LoopBackend(Backend):
    """Plain Python loops over NumPy arrays."""

    name = "loops"
    xp = np

    def owns(self, array: object) -> bool:
        return isinstance(array, np.ndarray)

    def asarray(self, array: Array) -> Array:
        return np.asarray(array)

    def to_host(self, array: Array) -> np.ndarray:
        return array

    def im2col(self, x: Array, kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
        N, _, _, C = x.shape
        (OH, OW), (KH, KW) = window_grid(x.shape, kernel_size, stride, padding), kernel_size
        cols = np.zeros((N, OH, OW, KH, KW, C), x.dtype)
        for (n, oh, ow, c), kh, kw, h, w in window_pixels(x.shape, kernel_size, stride, padding):
            cols[n, oh, ow, kh, kw, c] = x[n, h, w, c]
        return cols.reshape(N * OH * OW, KH * KW * C)

    def col2im(self, cols: Array, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
        N, _, _, C = x_shape
        cols = cols.reshape(N, *window_grid(x_shape, kernel_size, stride, padding), *kernel_size, C)
        x = np.zeros(x_shape, cols.dtype)
        for (n, oh, ow, c), kh, kw, h, w in window_pixels(x_shape, kernel_size, stride, padding):
            x[n, h, w, c] += cols[n, oh, ow, kh, kw, c]
        return x

    def max_pool2d(self, x: Array, kernel_size: Pair, stride: Pair, padding: Pair) -> tuple[Array, Array]:
        y_shape = (len(x), *window_grid(x.shape, kernel_size, stride, padding), x.shape[3])
        y, winner = np.zeros(y_shape, x.dtype), np.full(y_shape, -1)
        for place, kh, kw, h, w in window_pixels(x.shape, kernel_size, stride, padding):
            n, _, _, c = place
            if winner[place] == -1 or replaces(x[n, h, w, c], y[place]):
                y[place], winner[place] = x[n, h, w, c], kh * kernel_size[1] + kw
        return y, winner

    def max_pool2d_backward(
        self, grad_y: Array, winner: Array, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair
    ) -> Array:
        grad_x = np.zeros(x_shape, grad_y.dtype)
        for place, kh, kw, h, w in window_pixels(x_shape, kernel_size, stride, padding):
            n, _, _, c = place
            if winner[place] == kh * kernel_size[1] + kw:
                grad_x[n, h, w, c] += grad_y[place]
        return grad_x

    def gather_images(self, images: Array, indices: Array, scale: float, dtype: np.dtype) -> Array:
        x = np.zeros((len(indices), *images.shape[1:]), dtype)
        for n, index in enumerate(indices):
            for place in np.ndindex(images.shape[1:]):
                x[n, *place] = dtype.type(images[index, *place]) * dtype.type(scale)
        return x

    def gather_warped(
        self, images: Array, indices: Array, maps: Array, scale: float, dtype: np.dtype, reflect: bool = False
    ) -> Array:
        _, H, W, C = images.shape
        x = np.zeros((len(indices), H, W, C), dtype)
        for n, h, w, c in np.ndindex(x.shape):
            down, across = maps[n] @ warp_weights(h, w, H, W)[: maps.shape[2]] + ((H - 1) / 2, (W - 1) / 2)
            if reflect:
                down, across = bounced(down, H - 1), bounced(across, W - 1)
            x[n, h, w, c] = scale * bilinear(images[indices[n], :, :, c], down, across)
        return x

    def dropout_mask(self, shape: tuple[int, ...], p: float, dtype: np.dtype, key: Pair) -> Array:
        seed, step = key
        mask = np.zeros(shape, dtype)
        for i, place in enumerate(np.ndindex(shape)):
            counter = (i // 4 % WORD, i // 4 // WORD, step % WORD, step // WORD)
            word = philox(counter, (seed % WORD, seed // WORD))[i % 4]
            mask[place] = 1 / (1 - p) if word >= round(p * WORD) else 0
        return mask


def window_pixels(
    x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair
) -> Iterator[tuple[tuple[int, int, int, int], int, int, int, int]]:
    """All ``((n, oh, ow, c), kh, kw, h, w)``: window ``(oh, ow)`` has pixel ``(h, w)`` at its position ``(kh, kw)``."""
    N, H, W, C = x_shape
    for n, oh, ow, c in np.ndindex(N, *window_grid(x_shape, kernel_size, stride, padding), C):
        for kh, kw in np.ndindex(kernel_size):
            h, w = oh * stride[0] + kh - padding[0], ow * stride[1] + kw - padding[1]
            if 0 <= h < H and 0 <= w < W:
                yield (n, oh, ow, c), kh, kw, h, w


def replaces(value: float, best: float) -> bool:
    """Whether a later value of a window replaces the best so far: if it is larger, or the first NaN."""
    return bool(value > best or (np.isnan(value) and not np.isnan(best)))


def warp_weights(h: int, w: int, H: int, W: int) -> list[float]:
    """The factors of the 18 numbers of a map at pixel ``(h, w)``: its offset from the centre, 1, and 15 waves."""
    waves = [
        cos(pi * i * (2 * h + 1) / (2 * H)) * cos(pi * j * (2 * w + 1) / (2 * W)) for i in range(4) for j in range(4)
    ]
    return [h - (H - 1) / 2, w - (W - 1) / 2, 1, *waves[1:]]


def bounced(place: float, last: int) -> float:
    """Where a ball comes to rest that would roll to ``place``, between walls at 0 and at ``last``."""
    while not 0 <= place <= last:
        place = -place if place < 0 else 2 * last - place
        place = place if last else 0
    return place


def bilinear(image: np.ndarray, down: float, across: float) -> float:
    """``image (H, W)`` between its pixels; a pixel weighs 1 at its own position and 0 from the next one on."""
    near = ((1 - abs(h - down), 1 - abs(w - across), image[h, w]) for h, w in np.ndindex(image.shape))
    return sum(a * b * value for a, b, value in near if a > 0 and b > 0)


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 in Python integers, as in figure 2 of Salmon et al., "Parallel random numbers" (2011)."""
    c0, c1, c2, c3 = counter
    for step in range(10):
        k0, k1 = ((k + step * weyl) % WORD for k, weyl in zip(key, (0x9E3779B9, 0xBB67AE85), strict=True))
        left, right = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (right // WORD) ^ c1 ^ k0, right % WORD, (left // WORD) ^ c3 ^ k1, left % WORD
    return c0, c1, c2, c3
