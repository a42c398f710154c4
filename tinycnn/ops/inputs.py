"""What operations accept beside tensors: arrays, numbers and lists, which become constants."""

from typing import Any

from tinycnn.tensor import Tensor


def tensors(*inputs: Any) -> tuple[Tensor, ...]:
    """Each input as a tensor; raises DtypeError for what is no array of numbers."""
    return tuple(x if isinstance(x, Tensor) else Tensor(x) for x in inputs)
