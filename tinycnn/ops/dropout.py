"""Dropout: in training, each value is zeroed with probability p, so that units do not rely on each other.

    y = x · mask,      mask = 0 with probability p, else 1/(1 - p)

The kept values are scaled up so that the expected value of ``y`` is ``x``: p · 0 + (1 - p) · x/(1 - p) = x. The next
layer therefore sees sums of the same size in training, with some values missing, and at test time, with all of them;
at test time the layer is the identity.

The mask does not depend on ``x``, so it is a constant factor: dy/dx = mask, and ``grad_x = grad_y · mask``. It must be
the mask of forward, so forward keeps it: what was dropped did not affect the loss and gets no gradient; what was
scaled up gets its gradient scaled up. Source: Srivastava et al., "Dropout", 2014.
"""

from numbers import Integral, Real
from typing import Any

from tinycnn.backends import get_backend
from tinycnn.backends.array_types import StepInMemory
from tinycnn.backends.base import Array, Pair
from tinycnn.distributed import sharding
from tinycnn.errors import SettingError
from tinycnn.ops.fused import FusedDropoutFunction
from tinycnn.ops.inputs import tensors
from tinycnn.tensor import Function, Tensor


class DropoutFunction(Function):
    def __init__(self, p: float, key: Pair) -> None:
        self.p, self.key = p, key

    def forward(self, x: Array) -> Array:
        self.mask = self.backend.dropout_mask(x.shape, self.p, x.dtype, self.key)  # shape of x
        return x * self.mask

    def backward(self, grad_y: Array) -> Array:
        return grad_y * self.mask


def dropout(x: Tensor, *, p: float = 0.5, key: Pair, training: bool = True) -> Tensor:
    """Zero each value with probability ``p``, any shape → the same shape; returns ``x`` unless ``training``.

    ``key = (seed, step)`` is a pair of non-negative integers that determines the mask: the same key gives the same mask
    on every backend. Raises SettingError for ``p`` outside [0, 1).
    """
    if not (isinstance(p, Real) and 0 <= p < 1):
        raise SettingError(f"dropout: `p={p!r}`, expected a number in [0, 1); p = 1 would drop every value")
    _check_key(key)
    (x,) = tensors(x)
    if not training or p == 0:
        return x
    shard = sharding.current_shard()
    if shard:
        return ShardedDropoutFunction(p, key, shard.rows)(x)
    if get_backend().fused.dropout:
        return FusedDropoutFunction(p, key)(x)
    return DropoutFunction(p, key)(x)


def _check_key(key: Any) -> None:
    """Raise SettingError unless ``key`` is a pair of non-negative integers; the step may be a ``StepInMemory``."""
    pair = tuple(key) if isinstance(key, tuple | list) else ()
    numbers = [number for number in pair if not isinstance(number, StepInMemory)]
    if len(pair) != 2 or not all(isinstance(number, Integral) and int(number) >= 0 for number in numbers):
        raise SettingError(f"dropout: `key={key!r}`, expected a pair of non-negative integers (seed, step)")


class ShardedDropoutFunction(DropoutFunction):
    """Dropout for the images ``rows`` of a batch; masks do not depend on the number of ranks."""

    def __init__(self, p: float, key: Pair, rows: slice) -> None:
        super().__init__(p, key)
        self.rows = rows

    def forward(self, x: Array) -> Array:
        shape = self.rows.stop, *x.shape[1:]
        self.mask = self.backend.dropout_mask(shape, self.p, x.dtype, self.key)[self.rows]  # shape of x
        return x * self.mask
