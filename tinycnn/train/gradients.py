"""The gradients of all ranks, added up: one flat buffer, so that a step waits for the network only once.

Each rank's gradient is that of its images, divided by the number of images of the whole batch. Their sum is the
gradient of the whole batch (``docs/path/12_training_at_scale.md``), and every rank takes the same step.
"""

from collections.abc import Iterable
from typing import Any

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.distributed.communicator import Communicator
from tinycnn.tensor import Tensor


def add_up(ranks: Communicator, parameters: Iterable[Tensor], *numbers: Any) -> Array:
    """Replace the gradients by their sums over all ranks; answers the sums of ``numbers``, which travel with them."""
    xp, trained = get_backend().xp, [(p, p.grad.reshape(-1)) for p in parameters if p.grad is not None]
    extra = [xp.asarray(number, trained[0][0].dtype).reshape(1) for number in numbers]
    flat = xp.concatenate([*(gradient for _, gradient in trained), *extra])
    ranks.all_reduce(flat)
    start = 0
    for parameter, gradient in trained:
        parameter.grad = flat[start : start + gradient.size].reshape(parameter.shape)
        start += gradient.size
    return flat[start:]
