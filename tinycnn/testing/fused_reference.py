"""What each fused kernel must compute: the plain operations one after the other, in float64, on the loop oracle."""

from dataclasses import dataclass

import numpy as np

from tinycnn.backends.array_types import Pair, Pool
from tinycnn.backends.base import window_grid
from tinycnn.testing.kernel_checks import LOOPS

AXES = (0, 1, 2)  # of an image batch, all but the channels
NO_PADDING = (0, 0)


@dataclass
class Conv:
    """``relu(conv2d(x, weight, bias))``, ReLU if ``relu``."""

    x: np.ndarray  # (N, H, W, C)
    weight: np.ndarray  # (KH, KW, C, F)
    bias: np.ndarray  # (F,)
    stride: Pair
    padding: Pair
    relu: bool = True

    def forward(self) -> np.ndarray:
        """``y (N, OH, OW, F)``."""
        KH, KW, C, F = self.weight.shape
        self.settings = (KH, KW), self.stride, self.padding
        self.cols = LOOPS.im2col(self.x, *self.settings)  # (N*OH*OW, KH*KW*C)
        self.matrix = self.weight.reshape(KH * KW * C, F)  # (KH*KW*C, F)
        OH, OW = window_grid(self.x.shape, *self.settings)
        y = (self.cols @ self.matrix + self.bias).reshape(len(self.x), OH, OW, F)  # (N, OH, OW, F)
        self.y = np.maximum(y, 0) if self.relu else y  # NaN stays NaN
        return self.y

    def backward(self, grad_y: np.ndarray) -> list[np.ndarray]:
        """``grad_y (N, OH, OW, F)`` → gradients of ``x``, ``weight`` and ``bias``."""
        if self.relu:
            grad_y = grad_y * (self.y > 0)
        rows = grad_y.reshape(-1, grad_y.shape[3])  # (N*OH*OW, F)
        grad_x = LOOPS.col2im(rows @ self.matrix.T, self.x.shape, *self.settings)  # (N, H, W, C)
        return [grad_x, (self.cols.T @ rows).reshape(self.weight.shape), rows.sum(axis=0)]


@dataclass
class Norm:
    """``batch_norm(x, gamma, beta)``, by the statistics of the batch where ``mean`` and ``var`` are None."""

    x: np.ndarray  # (N, H, W, C)
    gamma: np.ndarray  # (C,)
    beta: np.ndarray  # (C,)
    mean: np.ndarray | None
    var: np.ndarray | None
    eps: float

    def forward(self) -> np.ndarray:
        """``y (N, H, W, C)``; afterwards ``used`` is the mean and the variance."""
        self.fixed = self.mean is not None and self.var is not None
        mean = self.x.mean(axis=AXES) if self.mean is None else self.mean
        var = self.x.var(axis=AXES) if self.var is None else self.var
        self.used, self.scale = (mean, var), 1 / np.sqrt(var + self.eps)  # (C,)
        self.x_hat = (self.x - mean) * self.scale  # (N, H, W, C)
        return self.x_hat * self.gamma + self.beta

    def backward(self, grad_y: np.ndarray) -> list[np.ndarray]:
        """``grad_y (N, H, W, C)`` → gradients of ``x``, ``gamma`` and ``beta``."""
        grad_gamma, grad_beta = (grad_y * self.x_hat).sum(axis=AXES), grad_y.sum(axis=AXES)
        count = self.x.size // self.x.shape[3]
        centred = grad_y if self.fixed else grad_y - (grad_beta + self.x_hat * grad_gamma) / count
        return [self.gamma * self.scale * centred, grad_gamma, grad_beta]


@dataclass
class MaxPool:
    """``max_pool2d`` without padding; the image itself where ``pool`` is None."""

    x: np.ndarray
    pool: Pool | None

    def forward(self) -> np.ndarray:
        """``y (N, OH, OW, C)``."""
        if self.pool is None:
            return self.x
        y, self.winner = LOOPS.max_pool2d(self.x, *self.pool, NO_PADDING)
        return y

    def backward(self, grad_y: np.ndarray) -> np.ndarray:
        """``grad_y (N, OH, OW, C)`` → ``grad_x (N, H, W, C)``."""
        if self.pool is None:
            return grad_y
        return LOOPS.max_pool2d_backward(grad_y, self.winner, self.x.shape, *self.pool, NO_PADDING)


def dense(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, relu: bool) -> np.ndarray:
    """``x (N, in)`` → ``y (N, out)``, ReLU if ``relu``."""
    y = x @ weight + bias  # (N, out)
    return np.maximum(y, 0) if relu else y


def dense_backward(
    x: np.ndarray, weight: np.ndarray, y: np.ndarray, grad_y: np.ndarray, relu: bool
) -> list[np.ndarray]:
    """``grad_y (N, out)`` → gradients of ``x``, ``weight`` and ``bias``."""
    if relu:
        grad_y = grad_y * (y > 0)
    return [grad_y @ weight.T, x.T @ grad_y, grad_y.sum(axis=0)]


def softmax_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``logits (N, K)``, ``labels (N,)`` or ``(N, K)`` → mean loss ``()`` and its gradient ``(N, K)``."""
    N, K = logits.shape
    target = np.eye(K)[labels] if labels.ndim == 1 else labels  # (N, K)
    shifted = logits - logits.max(axis=1, keepdims=True)  # (N, K)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))  # (N, K)
    return -(target * log_p).sum() / N, (np.exp(log_p) - target) / N  # (), (N, K)


def adam(
    arrays: list[np.ndarray], rates: tuple[float, ...], beta1: float, beta2: float, eps: float, weight_decay: float
) -> list[np.ndarray]:
    """One parameter, its gradient and its slots, ``p, g, m, v``, after a step of Adam; see ``optim.Adam``."""
    p, g, m, v = arrays
    step_size, v_scale, kept = (*rates, 1.0)[:3]
    decayed = g + weight_decay * p
    m, v = beta1 * m + (1 - beta1) * decayed, beta2 * v + (1 - beta2) * decayed * decayed
    return [kept * p - step_size * m / (np.sqrt(v * v_scale) + eps), g, m, v]
