"""Batch normalisation between the passes over the images: what is computed once per channel.

Written as NumPy computes it, with each rounding. Formulas: ``ops/batch_norm.py``. All arrays without a shape are
``(C,)``.
"""

import numpy as np

from . import batch_norm
from .jit import exact_kernel, inlined, kernel

SAFE_GAMMA = 0.1  # if gamma exceeds it, and this share of beta, x̂ = (y - beta) / gamma loses at most about one digit


@exact_kernel
def merge_moments(counts, means, squares, mean, var):
    """``counts (parts,)``, ``means`` and ``squares (parts, C)`` → mean and variance, float64; see ``sharding.py``."""
    total = 0.0
    for part in range(counts.size):
        total += counts[part]
    total = max(total, 1.0)
    for c in range(mean.size):
        centre, inside, between = 0.0, 0.0, 0.0
        for part in range(counts.size):
            centre += counts[part] / total * means[part, c]
            inside += squares[part, c]
        for part in range(counts.size):
            between += counts[part] / total * (means[part, c] - centre) ** 2
        mean[c], var[c] = centre, inside / total + between


@exact_kernel
def round_moments(exact_mean, exact_var, mean, var, rest):
    """Mean and variance in float32, and the rounding error of the mean."""
    for c in range(mean.size):
        mean[c], var[c] = exact_mean[c], exact_var[c]
        rest[c] = exact_mean[c] - mean[c]


@exact_kernel
def scales(var, rest, gamma, beta, eps, inverse_std, slope, shift):
    """``y = (x - mean) · slope + shift``, where the mean lacks its rounding error ``rest``."""
    for c in range(var.size):
        inverse_std[c] = np.float32(1) / np.sqrt(var[c] + eps)
        slope[c] = gamma[c] * inverse_std[c]
        shift[c] = beta[c] - rest[c] * slope[c]


@exact_kernel
def update_statistics(running_mean, running_var, mean, var, momentum):
    """``running += momentum · (batch - running)``."""
    for c in range(mean.size):
        running_mean[c] += momentum * (mean[c] - running_mean[c])
        running_var[c] += momentum * (var[c] - running_var[c])


@inlined
def recoverable(gamma, beta):
    """Whether ``x̂`` can be computed from ``y`` for every channel."""
    for c in range(gamma.size):  # noqa: SIM110  (Numba does not compile a generator)
        if not abs(gamma[c]) > np.float32(SAFE_GAMMA) * max(np.float32(1), abs(beta[c])):
            return False
    return True


@kernel
def grad_gamma_beta(rows, x, grad_y, winner, gamma, beta, mean, inverse_std, window, grad_gamma, grad_beta):
    """Sums over some images, ``grad_y (N, OH, OW, C)`` and ``x (N, H, W, C)``; overwrites float64 sums.

    ``rows``: the output ``y`` and its gradient, both ``(N·OH·OW, C)``.

    The winners' ``x̂`` are computed from ``y``, which takes a quarter of the memory of ``x``. Where a gamma is small, or
    small compared with its beta, rounding has lost them; then they are computed from ``x``.
    """
    if recoverable(gamma, beta):
        batch_norm.grad_gamma_beta_from_y(rows[0], beta, rows[1], grad_gamma, grad_beta)
    else:
        batch_norm.grad_gamma_beta(x, grad_y, winner, mean, inverse_std, window, grad_gamma, grad_beta)


@exact_kernel
def merge_sums(gamma_parts, beta_parts, gamma, beta, rest, inverse_std, grad_gamma, grad_beta):
    """The results of ``grad_gamma_beta`` for all parts, ``(parts, C)`` float64 → their sums in float32."""
    from_y = recoverable(gamma, beta)
    for c in range(gamma.size):
        gamma_sum, beta_sum = 0.0, 0.0
        for part in range(gamma_parts.shape[0]):
            gamma_sum += gamma_parts[part, c]
            beta_sum += beta_parts[part, c]
        grad_gamma[c] = gamma_sum / gamma[c] if from_y else gamma_sum - (rest[c] * inverse_std[c]) * beta_sum
        grad_beta[c] = beta_sum


@exact_kernel
def grad_factors(slope, inverse_std, rest, grad_gamma, grad_beta, values, offset, stretch):
    """``grad_x = slope · grad - offset - stretch · (x - mean)`` for a mean over ``values`` numbers."""
    M = np.float32(values)
    for c in range(slope.size):
        stretch[c] = slope[c] * inverse_std[c] * grad_gamma[c] / M
        offset[c] = slope[c] * grad_beta[c] / M - stretch[c] * rest[c]
