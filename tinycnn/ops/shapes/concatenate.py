"""Concatenation: tensors one behind the other along an axis, ``(…, A, …), (…, B, …)`` → ``(…, A + B, …)``.

Every element of the output is one element of one input, so each input receives its part of ``grad_y``, cut out again.
"""

from collections.abc import Sequence

from tinycnn.backends.base import Array
from tinycnn.errors import SettingError, ShapeError, shortened
from tinycnn.ops.inputs import tensors
from tinycnn.ops.shapes.axes import checked_axis
from tinycnn.tensor import Function, Tensor


class ConcatenateFunction(Function):
    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, *parts: Array) -> Array:
        self.sizes = [part.shape[self.axis] for part in parts]
        return self.backend.xp.concatenate(parts, axis=self.axis)

    def backward(self, grad_y: Array) -> tuple[Array, ...]:
        grads, start = [], 0
        for size in self.sizes:
            grads.append(grad_y[(slice(None),) * self.axis + (slice(start, start + size),)])
            start += size
        return tuple(grads)


def concatenate(inputs: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Join tensors along an existing axis; their other axes are equal.

    Raises ShapeError for unequal shapes or an axis that does not exist, SettingError unless ``inputs`` is a list of at
    least one tensor.
    """
    if not isinstance(inputs, list | tuple) or not inputs:
        raise SettingError(f"concatenate: got {shortened(inputs)}, expected a list of at least one tensor")
    parts = tensors(*inputs)
    axis = checked_axis("concatenate", axis, parts[0].ndim)
    others = [(*part.shape[:axis], *part.shape[axis + 1 :]) for part in parts]
    if any(part.ndim != parts[0].ndim or other != others[0] for part, other in zip(parts, others, strict=True)):
        shapes = shortened([part.shape for part in parts])
        raise ShapeError(f"concatenate: shapes {shapes} differ in another axis than {axis}")
    return ConcatenateFunction(axis)(*parts)
