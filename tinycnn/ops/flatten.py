"""Flatten images: ``(N, H, W, C)`` → ``(N, H*W*C)``; the gradient is reshaped back (``Reshape`` in tensor.py)."""

import math

from tinycnn.errors import ShapeError
from tinycnn.ops.inputs import tensors
from tinycnn.tensor import Tensor


def flatten(x: Tensor) -> Tensor:
    """``x (N, ...)`` → ``(N, features)``; raises ShapeError for a scalar."""
    (x,) = tensors(x)
    if x.ndim == 0:
        raise ShapeError("flatten: a scalar has no batch axis; expected x (N, ...)")
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))  # (N, features)
