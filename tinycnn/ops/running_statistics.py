"""The running statistics of batch norm: after each batch, ``running += momentum · (batch - running)``."""

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array


def update_statistics(running_mean: Array, running_var: Array, mean: Array, var: Array, momentum: float) -> None:
    """Move the running statistics, in place, towards those of a batch by the fraction ``momentum``; all ``(C,)``."""
    fused = get_backend().fused.update_statistics
    if fused and running_mean.flags.c_contiguous and running_var.flags.c_contiguous:
        fused(running_mean, running_var, mean, var, momentum)
        return
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (var - running_var)
