"""Depthwise convolution on the Numba backend: how the work is divided changes no bit."""

import numpy as np
import pytest

from tinycnn.backends import threads
from tinycnn.backends.numba import depthwise
from tinycnn.backends.numba.kernels.lanes import LANES

pytestmark = pytest.mark.skipif(not LANES, reason="TINYCNN_SIMD_LANES=0: nothing is fused")


def results(count: int) -> list[bytes]:
    """Values and gradients with ``count`` threads, for work that is worth several parts."""
    rng = np.random.default_rng(0)
    x, grad_y = (rng.normal(size=(24, 20, 21, 33)).astype(np.float32) for _ in range(2))
    weight, bias = rng.normal(size=(3, 3, 1, 33)).astype(np.float32), rng.normal(size=33).astype(np.float32)
    before = threads.get_threads()
    try:
        threads.set_threads(count)
        y, saved = depthwise.depthwise_forward(x, weight, bias, stride=(1, 1), padding=(1, 1))
        grads = depthwise.depthwise_backward(saved, grad_y, need_grad_x=True, need_grad_weight=True)
    finally:
        threads.set_threads(before)
    return [array.tobytes() for array in (y, *grads)]


def test_the_number_of_threads_does_not_change_a_bit(monkeypatch):
    numbers = []
    monkeypatch.setattr(
        depthwise, "in_parallel", lambda work, parts: numbers.append(parts) or threads.in_parallel(work, parts)
    )
    assert results(1) == results(3)
    assert numbers[:3] == numbers[3:]
    assert min(numbers) > 1
