"""Batch normalisation: give every channel mean 0 and variance 1 over the batch, then a learned scale and shift.

With the mean and variance of each channel over its ``M`` values (all images and pixels of the batch),

    mean = Σ x / M      var = Σ (x - mean)² / M      x̂ = (x - mean) / √(var + eps)      y = gamma x̂ + beta

``gamma`` and ``beta`` act on every value of their channel: ``grad_gamma = Σ grad_y x̂`` and ``grad_beta = Σ grad_y``. A
single ``x`` acts in three ways: directly, through the mean (``d mean/dx = 1/M``) and through the variance
(``d var/dx = 2 (x - mean)/M``). With ``s = 1/√(var + eps)``, ``d x̂/d mean = -s``, ``d x̂/d var = -x̂ s²/2`` they give

    directly            gamma s · grad_y
    through the mean    1/M · Σ gamma grad_y (-s)                       = -gamma s · grad_beta / M
    through the var     2 (x - mean)/M · Σ gamma grad_y (-x̂ s²/2)       = -gamma s · x̂ grad_gamma / M
    grad_x            = gamma s · (grad_y - grad_beta / M - x̂ grad_gamma / M)

that is, grad_y without its mean and without its part along x̂: what would only shift or stretch the channel is undone
by the normalisation, so it cannot matter. At test time fixed running statistics are used, and the layer is just a scale
and a shift. They start at 0 and 1 and follow each batch, ``running += momentum · (batch - running)``, so an evaluation
before some fifty steps still sees their start. As in Keras, the running variance is the biased one (divided by M, not
by M - 1). Where several ranks share a batch (``sharding.py``), every sum above is over the images of all of them.
Source: Ioffe, Szegedy, "Batch normalization", 2015.
"""

import math

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.distributed import sharding
from tinycnn.errors import SettingError, ShapeError
from tinycnn.tensor import Function, Tensor


class BatchNormFunction(Function):
    """Normalises by the statistics of the batch, which it leaves in ``mean`` and ``var``, both ``(C,)``."""

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def forward(self, x: Array, gamma: Array, beta: Array) -> Array:
        self.axes = tuple(range(x.ndim - 1))  # all but the channels
        self.M, self.mean, self.var = batch_moments(x, self.axes)  # (), (C,), (C,)
        self.inverse_std = 1 / self.backend.xp.sqrt(self.var + self.eps)  # (C,)
        self.x_hat, self.gamma = (x - self.mean) * self.inverse_std, gamma
        return gamma * self.x_hat + beta

    def backward(self, grad_y: Array) -> tuple[Array | None, Array, Array]:
        grad_beta = grad_y.sum(axis=self.axes)  # (C,)
        grad_gamma = (grad_y * self.x_hat).sum(axis=self.axes)  # (C,)
        if not self.needs_grad[0]:
            return None, grad_gamma, grad_beta
        mean_gamma, mean_beta = (whole / self.M for whole in sharding.global_sums(grad_gamma, grad_beta))
        grad_x = self.gamma * self.inverse_std * (grad_y - mean_beta - self.x_hat * mean_gamma)
        return grad_x, grad_gamma, grad_beta


def batch_moments(x: Array, axes: tuple[int, ...]) -> tuple[int, Array, Array]:
    """``x (..., C)`` → how many values each channel has in the batch, their mean and variance, ``(C,)`` both."""
    own = (x.mean(axis=axes), x.var(axis=axes)) if len(x) else (x.sum(axis=axes), x.sum(axis=axes))  # zeros
    whole, mean, var = sharding.global_moments(len(x), math.prod(x.shape[1:-1]), *own)
    return whole, mean.astype(x.dtype, copy=False), var.astype(x.dtype, copy=False)


class FixedBatchNormFunction(Function):
    """Normalises by given statistics: y = gamma (x - mean) / √(var + eps) + beta."""

    def __init__(self, mean: Array, var: Array, eps: float) -> None:
        self.mean, self.var, self.eps = mean, var, eps

    def forward(self, x: Array, gamma: Array, beta: Array) -> Array:
        self.inverse_std = 1 / self.backend.xp.sqrt(self.var + self.eps)  # (C,)
        self.x_hat, self.gamma = (x - self.mean) * self.inverse_std, gamma
        return gamma * self.x_hat + beta

    def backward(self, grad_y: Array) -> tuple[Array | None, ...]:
        axes = tuple(range(grad_y.ndim - 1))
        grad_x = grad_y * (self.gamma * self.inverse_std) if self.needs_grad[0] else None
        if not any(self.needs_grad[1:]):
            return grad_x, None, None
        return grad_x, (grad_y * self.x_hat).sum(axis=axes), grad_y.sum(axis=axes)  # …, (C,), (C,)


def batch_norm(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    *,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-3,
) -> Tensor:
    """``x (..., C)``, ``gamma`` and ``beta (C,)`` → the same shape as ``x``.

    ``training``: normalise by the batch, and move ``running_mean`` and ``running_var`` (arrays ``(C,)``, changed in
    place, or None) towards its statistics by the fraction ``momentum``. Otherwise normalise by the running statistics.
    Raises ShapeError for shapes that do not fit or an empty batch in training, SettingError when statistics are
    missing.
    """
    _check(x, gamma, beta, training)
    if not training:
        if running_mean is None or running_var is None:
            raise SettingError("batch_norm: training=False needs running_mean and running_var")
        return FixedBatchNormFunction(running_mean, running_var, eps)(x, gamma, beta)
    normalise = BatchNormFunction(eps)
    y = normalise(x, gamma, beta)
    if running_mean is not None and running_var is not None:
        update_statistics(running_mean, running_var, normalise.mean, normalise.var, momentum)
    return y


def update_statistics(running_mean: Array, running_var: Array, mean: Array, var: Array, momentum: float) -> None:
    """Move the running statistics, in place, towards those of a batch by the fraction ``momentum``; all ``(C,)``."""
    fused = get_backend().fused.get("update_statistics")
    if fused:
        fused(running_mean, running_var, mean, var, momentum)
        return
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (var - running_var)


def _check(x: Tensor, gamma: Tensor, beta: Tensor, training: bool) -> None:
    if x.ndim < 2 or not gamma.shape == beta.shape == x.shape[-1:]:
        raise ShapeError(
            f"batch_norm: x has shape {x.shape}, gamma {gamma.shape} and beta {beta.shape}, expected x (N, ..., C) and "
            "gamma and beta (C,)"
        )
    if training:
        check_not_empty(x)


def check_not_empty(x: Tensor) -> None:
    """Raise ShapeError for a batch without images: it has no mean and no variance. A part of a batch may be empty."""
    if 0 in x.shape and sharding.current_shard() is None:
        raise ShapeError(f"batch_norm: a batch of shape {x.shape} has no mean; give it at least one image")
