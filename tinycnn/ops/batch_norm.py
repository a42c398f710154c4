"""Batch normalisation: normalise each channel to mean 0 and variance 1, then apply a learned scale and shift.

With the mean and variance of each channel over its ``M`` values x_1 … x_M (all images and pixels of the batch),

    mean = 1/M Σ_i x_i     var = 1/M Σ_i (x_i - mean)²     s = 1/√(var + eps)     x̂_i = (x_i - mean) s
    y_i = gamma x̂_i + beta

``gamma`` and ``beta`` apply to every value of their channel, so their gradients are sums: ``grad_gamma = Σ_i grad_y_i
x̂_i`` and ``grad_beta = Σ_i grad_y_i``. Write h_i = d loss/d x̂_i = gamma grad_y_i.

A single ``x_i`` affects the loss in three ways. Directly, x̂_i has the slope s. Through the mean and the variance it
affects all M values x̂_j, so there the chain rule is a sum over j:

    d x̂_j/d mean = -s              so   d loss/d mean = -s Σ_j h_j
    d x̂_j/d var  = -x̂_j s²/2       so   d loss/d var  = -s²/2 Σ_j h_j x̂_j

(s = (var + eps)^(-1/2) has the derivative -s³/2, and (x_j - mean) s = x̂_j.) The variance also contains the mean, but
that path is zero: d var/d mean = -2/M Σ_j (x_j - mean), and deviations from a mean sum to 0. With d mean/dx_i = 1/M and
d var/dx_i = 2 (x_i - mean)/M = 2 x̂_i/(M s), the three contributions are

    direct                  h_i s                                     = gamma s · grad_y_i
    through the mean        -s Σ_j h_j · 1/M                          = -gamma s · grad_beta / M
    through the variance    -s²/2 Σ_j h_j x̂_j · 2 x̂_i/(M s)           = -gamma s · x̂_i grad_gamma / M

and their sum is

    grad_x_i = gamma s · (grad_y_i - grad_beta / M - x̂_i grad_gamma / M)

Besides grad_y, the three gradients contain only x̂, s, gamma and M. So forward stores these for backward, and the mean
and the variance for the running statistics.

Up to the factor ``gamma s``, this is grad_y without its mean and without its component along x̂: the normalisation
undoes any shift or scaling of the channel, so the gradient has no component in these directions.

At test time the layer uses fixed running statistics, so it is only a scale and a shift. They are initialised to 0 and 1
and updated after each batch, ``running += momentum · (batch - running)``, so an evaluation within about the first fifty
steps still depends on these initial values. As in Keras, the running variance is biased (divided by M, not by M - 1).
Source: Ioffe, Szegedy, "Batch normalization", 2015.
"""

import math
from numbers import Real
from typing import Any

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.distributed import sharding
from tinycnn.errors import DtypeError, SettingError, ShapeError
from tinycnn.ops.inputs import tensors
from tinycnn.ops.running_statistics import update_statistics
from tinycnn.tensor import Function, Tensor


class BatchNormFunction(Function):
    """Normalises with the batch statistics and stores them in ``mean`` and ``var``, both ``(C,)``."""

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def forward(self, x: Array, gamma: Array, beta: Array) -> Array:
        self.axes = tuple(range(x.ndim - 1))  # all but the channels
        self.M, self.mean, self.var = self.moments(x)  # (), (C,), (C,)
        self.inverse_std = 1 / self.backend.xp.sqrt(self.var + self.eps)  # (C,)
        self.x_hat, self.gamma = (x - self.mean) * self.inverse_std, gamma
        return gamma * self.x_hat + beta

    def moments(self, x: Array) -> tuple[int, Array, Array]:
        """``x (..., C)`` → the number of values per channel, their mean and their variance, both ``(C,)``."""
        mean = self.backend.mean(x, axis=self.axes)  # (C,)
        return math.prod(x.shape[:-1]), mean, self.backend.mean((x - mean) ** 2, axis=self.axes)

    def backward(self, grad_y: Array) -> tuple[Array | None, Array, Array]:
        grad_beta = self.backend.sum(grad_y, axis=self.axes)  # (C,)
        grad_gamma = self.backend.sum(grad_y * self.x_hat, axis=self.axes)  # (C,)
        grad_x = self.grad_x(grad_y, grad_gamma, grad_beta) if self.needs_grad[0] else None
        return grad_x, grad_gamma, grad_beta

    def grad_x(self, grad_y: Array, grad_gamma: Array, grad_beta: Array) -> Array:
        """The gradient with respect to ``x``, from the gradients of ``y``, gamma and beta."""
        return self.gamma * self.inverse_std * (grad_y - grad_beta / self.M - self.x_hat * (grad_gamma / self.M))


class FixedBatchNormFunction(Function):
    """Normalises with given statistics: ``y = gamma (x - mean) / √(var + eps) + beta``."""

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
        grad_gamma, grad_beta = self.backend.sum(grad_y * self.x_hat, axis=axes), self.backend.sum(grad_y, axis=axes)
        return grad_x, grad_gamma, grad_beta  # …, (C,), (C,)


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

    ``training``: normalise with the batch statistics, and move ``running_mean`` and ``running_var`` (arrays ``(C,)``,
    updated in place, or None) towards them by the fraction ``momentum``. Otherwise normalise with the running
    statistics. Raises ShapeError for incompatible shapes and for an empty training batch, DtypeError for statistics of
    another dtype than ``x``, SettingError for ``momentum`` outside [0, 1], ``eps`` that is not positive, and when
    running statistics are required but missing.
    """
    x, gamma, beta = tensors(x, gamma, beta)
    _check(x, gamma, beta, training)
    _check_statistics(x, running_mean=running_mean, running_var=running_var)
    check_settings("batch_norm: ", momentum, eps)
    if not training:
        if running_mean is None or running_var is None:
            raise SettingError("batch_norm: `training=False` needs `running_mean` and `running_var`")
        return FixedBatchNormFunction(running_mean, running_var, eps)(x, gamma, beta)
    normalise = ShardedBatchNormFunction(eps) if sharding.current_shard() else BatchNormFunction(eps)
    y = normalise(x, gamma, beta)
    if running_mean is not None and running_var is not None:
        update_statistics(running_mean, running_var, normalise.mean, normalise.var, momentum)
    return y


def _check(x: Tensor, gamma: Tensor, beta: Tensor, training: bool) -> None:
    if x.ndim < 2 or not gamma.shape == beta.shape == x.shape[-1:]:
        raise ShapeError(
            f"batch_norm: x has shape {x.shape}, gamma {gamma.shape} and beta {beta.shape}, expected x (N, ..., C) and "
            "gamma and beta (C,)"
        )
    if training:
        check_not_empty(x)


def _check_statistics(x: Tensor, **statistics: Array | None) -> None:
    """Raise ShapeError or DtypeError unless each is an array with one number per channel, in the dtype of ``x``."""
    for name, array in statistics.items():
        if array is None:
            continue
        if not get_backend().owns(array):
            raise DtypeError(
                f"batch_norm: `{name}` is of type {type(array).__name__}, expected an array of the active backend, "
                f"{x.shape[-1:]} of {x.dtype}"
            )
        if array.shape != x.shape[-1:]:
            raise ShapeError(f"batch_norm: `{name}` has shape {array.shape}, expected {x.shape[-1:]}, one per channel")
        if array.dtype != x.dtype:
            raise DtypeError(f"batch_norm: `{name}` is {array.dtype} and x {x.dtype}; convert it with .astype first")


def check_settings(whose: str, momentum: Any, eps: Any) -> None:
    """Raise SettingError unless ``momentum`` is in [0, 1] and ``eps`` a positive number."""
    numbers = isinstance(momentum, Real) and isinstance(eps, Real)
    if not (numbers and 0 <= momentum <= 1 and 0 < eps < math.inf):
        raise SettingError(
            f"{whose}`momentum={momentum!r}`, `eps={eps!r}`: expected `momentum` in [0, 1] and `eps` above 0"
        )


def check_not_empty(x: Tensor) -> None:
    """Raise ShapeError for an empty batch, whose mean is undefined; a shard of a batch may be empty."""
    if 0 in x.shape and sharding.current_shard() is None:
        raise ShapeError(f"batch_norm: a batch of shape {x.shape} is empty; pass at least one image")


class ShardedBatchNormFunction(BatchNormFunction):
    """Batch norm of a shard (``distributed/sharding.py``): sums over the batch include the images of all ranks."""

    def moments(self, x: Array) -> tuple[int, Array, Array]:
        """The moments of the whole batch; the shard of this rank may be empty."""
        _, *local = super().moments(x)  # zeros, if the shard is empty
        M, mean, var = sharding.global_moments(len(x), math.prod(x.shape[1:-1]), *local)
        return M, mean.astype(x.dtype, copy=False), var.astype(x.dtype, copy=False)

    def grad_x(self, grad_y: Array, grad_gamma: Array, grad_beta: Array) -> Array:
        return super().grad_x(grad_y, *sharding.global_sums(grad_gamma, grad_beta))
