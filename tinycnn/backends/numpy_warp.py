"""Images seen through maps, in NumPy: the kernel ``gather_warped`` of the reference backend."""

import numpy as np

from tinycnn.backends.base import warp_terms


def gather_warped(
    images: np.ndarray, indices: np.ndarray, maps: np.ndarray, scale: float, dtype: np.dtype, reflect: bool
) -> np.ndarray:
    """``images (M, H, W, C)`` bytes, ``indices (N,)``, ``maps (N, 2, T)`` → ``x (N, H, W, C)``, see ``Backend``."""
    N, H, W = len(indices), *images.shape[1:3]
    centre = np.array([(H - 1) / 2, (W - 1) / 2], dtype=dtype)
    terms = warp_terms(H, W, maps.shape[2]).astype(dtype)  # (T, H, W)
    place = np.einsum("nij,jhw->inhw", maps.astype(dtype), terms) + centre[:, None, None, None]  # (2, N, H, W)
    if reflect:
        place = np.stack([reflected(place[0], H - 1), reflected(place[1], W - 1)])
    below, right = (place - np.floor(place))[..., None]  # (N, H, W, 1) each: how far past the upper left pixel
    corner = np.floor(place).astype(np.int64)  # (2, N, H, W)
    framed = np.pad(images[indices], ((0, 0), (1, 1), (1, 1), (0, 0)))  # (N, H + 2, W + 2, C)

    def pixel(dh: int, dw: int) -> np.ndarray:
        h, w = np.clip(corner[0] + 1 + dh, 0, H + 1), np.clip(corner[1] + 1 + dw, 0, W + 1)  # the frame is zero
        return framed[np.arange(N)[:, None, None], h, w].astype(dtype)  # (N, H, W, C)

    upper = pixel(0, 0) * (1 - right) + pixel(0, 1) * right
    lower = pixel(1, 0) * (1 - right) + pixel(1, 1) * right
    return (upper * (1 - below) + lower * below) * dtype.type(scale)  # (N, H, W, C)


def reflected(place: np.ndarray, last: int) -> np.ndarray:
    """Positions along an axis with the pixels 0 to ``last``: those outside are mirrored at 0 and at ``last``."""
    if not last:
        return np.zeros_like(place)
    return last - np.abs(np.abs(place) % (2 * last) - last)
