"""Fused kernels of the GPU backend for the rest of a training step: dropout, loss, scores, Adam for all parameters."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinycnn.backends.array_types import Array, RandomKey, StepInMemory
from tinycnn.backends.cupy.launch import Launcher, blocks_for
from tinycnn.backends.philox import keep_threshold

MOST_PARAMETERS = 32  # of one launch of Adam
PARAMETERS = np.dtype([(name, "u8", MOST_PARAMETERS) for name in "pgmv"] + [("ends", "i4", MOST_PARAMETERS)])


class StepKernels:
    """The kernels that belong to no layer with weights."""

    def __init__(self, launch: Launcher) -> None:
        self.launch, self.xp = launch, launch.cupy

    def dropout(self, x: Array, p: float, key: RandomKey) -> Array:
        """``x · mask`` of any shape, for a value or its gradient; the mask of ``key`` is computed, never stored."""
        x = self.launch.contiguous(x)
        y = self.xp.empty(x.shape, x.dtype)
        arguments = *mask_key(key), np.uint32(keep_threshold(p)), 1 / (1 - p)
        self.launch.elementwise("dropout.cu", "dropout", y, x, y, *arguments)
        return y

    def softmax_cross_entropy(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        """``logits (N, K)``, ``labels (N,)`` or ``(N, K)`` → mean loss ``()`` and its gradient ``(N, K)``."""
        logits, loss = self.launch.contiguous(logits), self.xp.empty((), logits.dtype)
        grad, kind = self.xp.empty(logits.shape, logits.dtype), np.dtype(np.int64) if labels.ndim == 1 else logits.dtype
        labels = self.xp.ascontiguousarray(labels, kind)
        both = (labels, None) if labels.ndim == 1 else (None, labels)
        arguments = logits, *both, loss, grad, *logits.shape
        self.launch("softmax_cross_entropy.cu", "softmax_cross_entropy", logits.dtype, (1,), *arguments)
        return loss, grad

    def count_correct(self, logits: Array, labels: Array) -> Array:
        """``logits (N, K)``, ``labels (N,)`` → how many are largest where the label says, ``()`` int64."""
        logits, labels = self.launch.contiguous(logits), self.xp.ascontiguousarray(labels, np.int64)
        correct = self.xp.empty((), np.int64)
        self.launch("scores.cu", "count_correct", logits.dtype, (1,), logits, labels, correct, *logits.shape)
        return correct

    def end_step(
        self,
        loss: Array,
        logits: Array,
        labels: Array,
        sums: tuple[Array, Array],
        row: Array,
        table: Array,
        here: Array,
    ) -> None:
        """Add ``loss`` of all images and correct answers to ``sums``; row number ``row + 1`` of ``table`` → ``here``.

        ``row (1,)`` int64, ``table (rows, bytes)`` and ``here (bytes,)`` of whole words; changed in place.
        """
        arguments = loss, self.launch.contiguous(logits), labels, *sums, row, table.view(np.int64), here.view(np.int64)
        sizes = *logits.shape, len(table), here.size // 8
        self.launch("scores.cu", "end_step", loss.dtype, (1,), *arguments, *sizes)

    def adam_all(
        self,
        arrays: list[tuple[Array, Array, Array, Array]],
        rates: Sequence[Any],
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
    ) -> None:
        """One step in place for all ``(p, g, m, v)``; ``rates``: step size, scale of v, what is left of p (or not)."""
        places = [rate if isinstance(rate, self.xp.ndarray) else None for rate in (*rates, 1.0)[:3]]
        values = [0.0 if isinstance(rate, self.xp.ndarray) else float(rate) for rate in (*rates, 1.0)[:3]]
        for start in range(0, len(arrays), MOST_PARAMETERS):
            some = arrays[start : start + MOST_PARAMETERS]
            count, dtype = sum(p.size for p, *_ in some), some[0][0].dtype
            arguments = float(beta1), 1 - beta1, float(beta2), 1 - beta2, eps, float(weight_decay), count
            self.launch("adam.cu", "adam", dtype, blocks_for(count), addresses(some), *places, *values, *arguments)


def mask_key(key: RandomKey) -> tuple[np.uint64, np.uint64, Array | None]:
    """Seed, step, and where a number is to be read that is added to it, or None."""
    seed, step = key
    if isinstance(step, StepInMemory):
        return np.uint64(seed), np.uint64(step.more), step.base.view(np.uint64)
    return np.uint64(seed), np.uint64(step), None


def addresses(arrays: list[tuple[Array, Array, Array, Array]]) -> np.ndarray:
    """``struct Parameters`` of ``cuda/adam.cu``: where the arrays lie, and where each parameter ends."""
    struct = np.zeros(1, PARAMETERS)
    for name, column in zip("pgmv", zip(*arrays, strict=True), strict=True):
        struct[name][0, : len(arrays)] = [array.data.ptr for array in column]
    struct["ends"][0, : len(arrays)] = np.cumsum([p.size for p, *_ in arrays])
    return struct
