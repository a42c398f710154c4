"""Dropout: in training each value is zeroed with probability p, so that no unit can rely on another one.

    y = x · mask,      mask = 0 with probability p, else 1/(1 - p)

The kept values are scaled up so that the expected value of ``y`` is ``x``: at test time the layer does nothing. The
mask does not depend on ``x``, so ``grad_x = grad_y · mask``. Where several ranks share a batch (``sharding.py``),
each draws the mask of the whole batch and takes its rows of it: an image loses the same units wherever it is computed.
Source: Srivastava et al., "Dropout", 2014.
"""

from tinycnn.backends.base import Array, Pair
from tinycnn.distributed import sharding
from tinycnn.errors import SettingError
from tinycnn.tensor import Function, Tensor


class DropoutFunction(Function):
    def __init__(self, p: float, key: Pair) -> None:
        self.p, self.key = p, key

    def forward(self, x: Array) -> Array:
        shard = sharding.current_shard()
        self.fused = None if shard else self.backend.fused.get("dropout")  # computes the mask again instead of keeping
        if self.fused:
            return self.fused(x, self.p, self.key)
        shape = (shard.rows.stop, *x.shape[1:]) if shard else x.shape
        mask = self.backend.dropout_mask(shape, self.p, x.dtype, self.key)
        self.mask = mask[shard.rows] if shard else mask  # of the shape of x
        return x * self.mask

    def backward(self, grad_y: Array) -> Array:
        return self.fused(grad_y, self.p, self.key) if self.fused else grad_y * self.mask


def dropout(x: Tensor, *, p: float = 0.5, key: Pair, training: bool = True) -> Tensor:
    """Zero each value with probability ``p``, any shape → the same shape; ``x`` itself when not ``training``.

    ``key = (seed, step)`` are two numbers >= 0 that fix the mask: the same key, the same mask, on every backend. Raises
    SettingError for ``p`` outside [0, 1).
    """
    if not 0 <= p < 1:
        raise SettingError(f"dropout: p={p} must lie in [0, 1): at 1 nothing would be left")
    return DropoutFunction(p, key)(x) if training and p > 0 else x
