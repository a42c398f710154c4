"""Stacking: n tensors of one shape along a new axis, n times ``(A, B)`` → ``(n, A, B)``.

Each tensor gets an axis of length 1, and these are concatenated, so ``concatenate`` has the derivative.
"""

from collections.abc import Sequence

from tinycnn.errors import SettingError, ShapeError, shortened
from tinycnn.ops.inputs import tensors
from tinycnn.ops.shapes.axes import checked_axis
from tinycnn.ops.shapes.concatenate import concatenate
from tinycnn.tensor import Tensor


def stack(inputs: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Join tensors of one shape along a new axis, which is ``axis`` of the result.

    Raises ShapeError for unequal shapes or an axis that does not exist, SettingError unless ``inputs`` is a list of at
    least one tensor.
    """
    if not isinstance(inputs, list | tuple) or not inputs:
        raise SettingError(f"stack: got {shortened(inputs)}, expected a list of at least one tensor")
    parts = tensors(*inputs)
    shape = parts[0].shape
    if any(part.shape != shape for part in parts):
        raise ShapeError(f"stack: shapes {shortened([part.shape for part in parts])} differ, expected equal shapes")
    axis = checked_axis("stack", axis, len(shape) + 1)
    return concatenate([part.reshape(*shape[:axis], 1, *shape[axis:]) for part in parts], axis)
