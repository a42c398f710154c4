"""Fused kernels of the Numba backend: several layers in one pass.

``fused_kernels.py`` in the folder above is their contract. Convolution and batch normalisation are in ``conv.py``,
``norm.py`` and ``conv_norm.py``. This file contains the dense layer with its ReLU, the loss, Adam, and the list of all.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tinycnn.backends.array_types import Array
from tinycnn.backends.fused_kernels import FusedKernels, Gradients
from tinycnn.backends.numba.conv import MOST_PARTIAL_SUMS, added, conv_backward, conv_forward
from tinycnn.backends.numba.conv_norm import conv_norm_backward, conv_norm_forward
from tinycnn.backends.numba.depthwise import depthwise_backward, depthwise_forward
from tinycnn.backends.numba.kernels import plain
from tinycnn.backends.numba.kernels.lanes import LANES
from tinycnn.backends.numba.norm import norm_backward, norm_forward
from tinycnn.backends.threads import MEMORY_ACCESS, in_parallel, pieces


def dense_forward(x: Array, weight: Array, bias: Array, *, relu: bool) -> Array:
    """``x (N, in)`` → ``y (N, out)``, ReLU if ``relu``.

    A thread multiplies some of the inputs by their rows of the weights. It takes the rows that it changed in the last
    step, see ``dense_backward`` and ``adam_all``, which may still be in its cache.
    """
    rows = pieces(len(weight), 2 * len(x) * weight.shape[1], MOST_PARTIAL_SUMS)
    products = np.empty((len(rows), len(x), weight.shape[1]), np.float32)

    def work(part: int) -> None:
        some = slice(*rows[part])
        np.matmul(x[:, some], weight[some], out=products[part])

    in_parallel(work, len(rows))
    y = added(products) if len(rows) > 1 else products[0]  # (N, out)
    plain.add_bias_relu(y, bias, relu, y)
    return y


def dense_backward(
    x: Array, weight: Array, y: Array, grad_y: Array, *, relu: bool, need_grad_x: bool, need_grad_weight: bool
) -> Gradients:
    """``grad_y (N, out)`` → ``grad_x (N, in)`` or None, ``grad_weight (in, out)`` or None, ``grad_bias (out,)``."""
    if relu:
        grad_y = grad_y * (y > 0)
    grad_x = np.empty_like(x) if need_grad_x else None
    grad_weight = np.empty_like(weight) if need_grad_weight else None
    rows = pieces(len(weight), 2 * len(x) * weight.shape[1])  # each part has its own inputs: nothing to add

    def work(part: int) -> None:
        some = slice(*rows[part])
        if grad_weight is not None:
            np.matmul(x[:, some].T, grad_y, out=grad_weight[some])
        if grad_x is not None:
            grad_x[:, some] = grad_y @ weight[some].T

    in_parallel(work, len(rows))
    return grad_x, grad_weight, grad_y.sum(axis=0, dtype=np.float64).astype(np.float32)


def adam_all(
    arrays: list[tuple[Array, Array, Array, Array]],
    rates: Sequence[float],
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
) -> None:
    """One step in place for all ``(p, g, m, v)``, see ``optim.Adam``; a third rate is AdamW's factor for ``p``."""
    kept = rates[2] if len(rates) == 3 else 1.0
    settings = (*rates[:2], kept, beta1, beta2, eps, weight_decay)
    for flat in ([array.reshape(-1) for array in some] for some in arrays):
        parts = pieces(flat[0].size, MEMORY_ACCESS)
        if len(parts) == 1:
            plain.adam(*flat, *settings)
        else:
            step_in_parts(flat, settings, [slice(*part) for part in parts])


def step_in_parts(flat: list[Array], settings: tuple[float, ...], parts: list[slice]) -> None:
    """One Adam step of one large parameter, computed by all threads."""
    in_parallel(lambda part: plain.adam(*(array[parts[part]] for array in flat), *settings), len(parts))


def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """``logits (N, K)``, ``labels (N,)`` or ``(N, K)`` → mean loss ``()`` and its gradient ``(N, K)``."""
    if labels.ndim == 1:
        labels = labels[:, None] == np.arange(logits.shape[1])  # (N, K)
    losses, grad = np.empty(len(logits), np.float64), np.empty(logits.shape, logits.dtype)
    plain.softmax_cross_entropy(logits, labels.astype(logits.dtype), losses, grad)
    return losses.mean().astype(logits.dtype), grad


# Without SIMD registers, im2col and the matrix product of BLAS are faster than compiled loops.
WITHOUT_SIMD = FusedKernels(softmax_cross_entropy=softmax_cross_entropy, adam_all=adam_all)
WITH_SIMD = dataclasses.replace(
    WITHOUT_SIMD,
    conv_forward=conv_forward,
    conv_backward=conv_backward,
    conv_norm_forward=conv_norm_forward,
    conv_norm_backward=conv_norm_backward,
    norm_forward=norm_forward,
    norm_backward=norm_backward,
    dense_forward=dense_forward,
    dense_backward=dense_backward,
    depthwise_forward=depthwise_forward,
    depthwise_backward=depthwise_backward,
)
FUSED = WITH_SIMD if LANES else WITHOUT_SIMD
