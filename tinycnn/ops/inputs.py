"""Conversion of the inputs of operations: arrays, numbers and lists become constant tensors."""

from typing import Any

from tinycnn.tensor import Tensor


def tensors(*inputs: Any) -> tuple[Tensor, ...]:
    """Each input as a tensor; raises DtypeError for a value that is not numeric."""
    return tuple(x if isinstance(x, Tensor) else Tensor(x) for x in inputs)
