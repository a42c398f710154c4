"""A whitened first layer: filters that are computed from the training images, and then stay as they are.

Adjacent pixels of an image are nearly equal, so the few values that say where an edge is, the differences, are small
compared with the common brightness. A layer that learns from such patches first has to find the differences, which
takes many steps. Whitening computes filters whose outputs all vary equally and independently, so that the next layer
can learn from each of them at once.

A patch p of KH x KW pixels with C channels is a vector of d = KH·KW·C numbers, with mean m and covariance Σ over all
patches of the training images. Σ is symmetric: Σ = V Λ Vᵀ, with the eigenvectors as the columns of V and the variances
along them in Λ. The rows of W are the eigenvectors, divided by the standard deviation along each:

    W = Λ^(-1/2) Vᵀ,    w = W (p - m)    has the covariance    W Σ Wᵀ = Λ^(-1/2) Vᵀ (V Λ Vᵀ) V Λ^(-1/2) = I

``EPS`` is added to Λ, because the smallest variances are mostly noise. w is a convolution with the rows of W as filters
and the bias -W m. A ReLU follows, which would discard the negative half of w, so there are two filters for each
eigenvector: W and -W, with relu(w) - relu(-w) = w. Source: Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU",
2024; for whole images: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.errors import SettingError
from tinycnn.layers import Conv2d, Sequential, pixel_scale
from tinycnn.train.batches import check_images

EPS = 5e-4  # with pixels from 0 to 1
IMAGES = 5000  # of the training images, at equal distances: more change the covariance by less than a percent
BLOCK = 100  # images at a time


def whiten(model: Sequential, images: Any, *, eps: float = EPS) -> Sequential:
    """Give the first layer of ``model`` whitening filters for the training ``images``, and freeze it.

    Create the optimizer afterwards. Filters in excess of the 2·KH·KW·C whitening ones keep their values. Raises
    SettingError unless the first layer is a convolution with a bias and as many filters.
    """
    check_images(images, model)
    conv = next(iter(model.layers.values()))
    depth = conv.kernel_size[0] * conv.kernel_size[1] * model.input_shape[2] if isinstance(conv, Conv2d) else 0
    if not (isinstance(conv, Conv2d) and conv.bias and conv.groups == 1 and conv.filters >= 2 * depth):
        filters = f"{2 * depth or 24} filters"
        raise SettingError(f"whiten: the first layer is {conv}; expected Conv2d with a bias and at least {filters}")
    some = np.asarray(images[:: max(1, len(images) // IMAGES)])
    mean, covariance = patch_statistics(some, conv.kernel_size, pixel_scale(model, some.dtype))  # (d,), (d, d)
    rows = whitening_filters(covariance, eps)  # (d, d)
    weight, bias = (conv.parameters_by_name[name] for name in ("weight", "bias"))
    w, b = weight.numpy().reshape(depth, -1).copy(), bias.numpy().copy()  # (d, F), (F,)
    for first, signed in ((0, rows), (depth, -rows)):
        w[:, first : first + depth] = signed.T
        b[first : first + depth] = -signed @ mean
    backend = get_backend()
    weight.data_to_change()[...] = backend.asarray(w.reshape(weight.shape))
    bias.data_to_change()[...] = backend.asarray(b)
    conv.freeze()
    return model


def whitening_filters(covariance: np.ndarray, eps: float) -> np.ndarray:
    """W = (Λ + eps)^(-1/2) Vᵀ for a covariance ``(d, d)`` = V Λ Vᵀ → ``(d, d)``, the largest variance first."""
    variances, vectors = np.linalg.eigh(covariance)  # in ascending order; vectors are columns
    return ((vectors / np.sqrt(variances + eps)).T)[::-1]


def patch_statistics(images: np.ndarray, size: tuple[int, int], scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean ``(d,)`` and covariance ``(d, d)`` of all patches of ``images (N, H, W, C)`` times ``scale``."""
    depth = size[0] * size[1] * images.shape[3]
    total, products, count = np.zeros(depth), np.zeros((depth, depth)), 0
    for start in range(0, len(images), BLOCK):
        pixels = images[start : start + BLOCK].astype(np.float64) * scale
        windows = np.lib.stride_tricks.sliding_window_view(pixels, size, axis=(1, 2))  # (N, OH, OW, C, KH, KW)
        patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, depth)
        total += patches.sum(axis=0)
        products += patches.T @ patches
        count += len(patches)
    mean = total / count
    return mean, products / count - np.outer(mean, mean)
