"""Fused kernels of the Numba backend: several layers in one pass.

``fused_kernels.py`` in the folder above is their contract. Convolution and batch normalisation are in ``conv.py``,
``norm.py`` and ``conv_norm.py``, the dense layer in ``dense.py``. This file contains the rest of a training step, and
the list of all.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinycnn.backends.array_types import Array, RandomKey, StepInMemory
from tinycnn.backends.fused_kernels import FusedKernels
from tinycnn.backends.numba.conv import MOST_PARTIAL_SUMS, conv_backward, conv_forward, conv_inference
from tinycnn.backends.numba.conv_norm import conv_norm_backward, conv_norm_forward
from tinycnn.backends.numba.dense import dense_backward, dense_forward, dense_inference
from tinycnn.backends.numba.depthwise import depthwise_backward, depthwise_forward
from tinycnn.backends.numba.kernels import plain, step
from tinycnn.backends.numba.kernels.arrays import contiguous, empty
from tinycnn.backends.numba.kernels.lanes import LANES
from tinycnn.backends.numba.norm import norm_backward, norm_forward, update_statistics
from tinycnn.backends.philox import keep_threshold
from tinycnn.backends.threads import MEMORY_ACCESS, in_parallel, pieces


def adam_all(
    arrays: list[tuple[Array, Array, Array, Array]],
    rates: Sequence[Any],
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
) -> None:
    """One step in place for all ``(p, g, m, v)``, see ``optim.Adam``; a third rate is AdamW's factor for ``p``."""
    kind = arrays[0][0].dtype
    in_memory = [rate if isinstance(rate, np.ndarray) else np.array(rate, kind) for rate in (*rates, 1.0)[:3]]
    settings = (*in_memory, beta1, beta2, eps, weight_decay)
    flat = [[array.reshape(-1) for array in some] for some in arrays]
    starts = [0, *itertools.accumulate(p.size for p, *_ in flat)]  # of each parameter, if they lay one after the other
    parts = pieces(starts[-1], MEMORY_ACCESS)

    def work(part: int) -> None:
        start, stop = parts[part]
        for some, begin, end in zip(flat, starts, starts[1:], strict=False):
            own = slice(max(start, begin) - begin, min(stop, end) - begin)
            if own.start < own.stop:
                plain.adam(*(array[own] for array in some), *settings)

    in_parallel(work, len(parts))


def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """``logits (N, K)``, ``labels (N,)`` or ``(N, K)`` → mean loss ``()`` and its gradient ``(N, K)``."""
    target = targets(labels, logits)
    losses, loss, grad = empty((len(logits),), np.float64), empty((), logits.dtype), empty(logits.shape, logits.dtype)
    plain.softmax_cross_entropy(logits, target, losses, grad)
    step.mean_of(losses, loss)
    return loss, grad


def targets(labels: Array, logits: Array) -> Array:
    """``labels (N,)`` or ``(N, K)`` → ``(N, K)`` in the type of ``logits (N, K)``."""
    if labels.ndim == 2:
        return labels.astype(logits.dtype, copy=False)
    target = empty(logits.shape, logits.dtype)
    step.one_hot(contiguous(labels.astype(np.int64, copy=False)), target)
    return target


def dropout(x: Array, p: float, key: RandomKey) -> Array:
    """``x · mask`` of any shape, for a value or its gradient; the mask of ``key`` is computed, never stored."""
    x = contiguous(x)
    y = empty(x.shape, x.dtype)
    seed, number = key
    number = number if isinstance(number, StepInMemory) else StepInMemory(np.array(number, np.uint64))
    base, more = number.base.view(np.uint64), number.more
    draw = np.uint64(seed), base, np.uint64(more), np.uint64(keep_threshold(p)), x.dtype.type(1 / (1 - p))
    parts = pieces(-(-x.size // 4), 16 * MEMORY_ACCESS)
    flat = x.reshape(-1), y.reshape(-1)
    in_parallel(lambda part: step.dropout(flat[0], *draw, flat[1], *parts[part]), len(parts))
    return y


def gradient_norm(gradients: list[Array]) -> Array:
    """The length of all gradients as one vector, ``()``; the squares are added in float64."""
    kind = gradients[0].dtype
    pieces_of = [pieces(gradient.size, MEMORY_ACCESS, MOST_PARTIAL_SUMS, added=True) for gradient in gradients]
    parts = [(gradient, piece) for gradient, some in zip(gradients, pieces_of, strict=True) for piece in some]
    squares, norm = empty((len(parts),), np.float64), empty((), kind)

    def work(part: int) -> None:
        gradient, piece = parts[part]
        step.sum_of_squares(contiguous(gradient).reshape(-1), *piece, squares[part : part + 1])

    if sum(map(len, pieces_of)) == len(gradients):  # small: not worth handing out
        for part in range(len(parts)):
            work(part)
    else:
        in_parallel(work, len(parts))
    step.root_of_sum(squares, norm)
    return norm


def count_correct(logits: Array, labels: Array) -> Array:
    """``logits (N, K)``, ``labels (N,)`` → how many are largest where the label says, ``()`` int64."""
    correct = empty((), np.int64)
    step.count_correct(contiguous(logits), contiguous(labels.astype(np.int64, copy=False)), correct)
    return correct


def end_step(
    loss: Array, logits: Array, labels: Array, sums: tuple[Array, Array], row: Array, table: Array, here: Array
) -> None:
    """Add ``loss`` of all images and correct answers to ``sums``; row number ``row + 1`` of ``table`` → ``here``."""
    step.end_step(loss, count_correct(logits, labels), len(labels), *sums, row, table, here)


# Without SIMD registers, im2col and the matrix product of BLAS are faster than compiled loops.
WITHOUT_SIMD = FusedKernels(
    update_statistics=update_statistics,
    dropout=dropout,
    softmax_cross_entropy=softmax_cross_entropy,
    adam_all=adam_all,
    gradient_norm=gradient_norm,
    count_correct=count_correct,
    end_step=end_step,
)
WITH_SIMD = dataclasses.replace(
    WITHOUT_SIMD,
    conv_forward=conv_forward,
    conv_inference=conv_inference,
    conv_backward=conv_backward,
    conv_norm_forward=conv_norm_forward,
    conv_norm_backward=conv_norm_backward,
    norm_forward=norm_forward,
    norm_backward=norm_backward,
    dense_forward=dense_forward,
    dense_inference=dense_inference,
    dense_backward=dense_backward,
    depthwise_forward=depthwise_forward,
    depthwise_backward=depthwise_backward,
)
FUSED = WITH_SIMD if LANES else WITHOUT_SIMD
