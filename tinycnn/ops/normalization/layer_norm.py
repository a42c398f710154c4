"""Layer normalisation: standardise the channels of every pixel, or the numbers of every row, then scale and shift.

    y = gamma x̂ + beta          with the mean and variance of x̂ over the last axis

Each image is normalised by itself, so training and evaluation do the same. ``gamma`` and ``beta`` have one number per
channel: ``grad_gamma = Σ grad_y x̂`` and ``grad_beta = Σ grad_y``, as broadcasting gives them. Source: Ba, Kiros,
Hinton, "Layer normalization", 2016.
"""

from tinycnn.errors import ShapeError, in_range
from tinycnn.ops.inputs import tensors
from tinycnn.ops.normalization.standardize import StandardizeFunction
from tinycnn.tensor import Tensor


def layer_norm(x: Tensor, gamma: Tensor, beta: Tensor, *, eps: float = 1e-3) -> Tensor:
    """``x (..., C)``, ``gamma`` and ``beta (C,)`` → the same shape as ``x``.

    Raises ShapeError for other shapes, SettingError for ``eps`` that is not positive.
    """
    x, gamma, beta = tensors(x, gamma, beta)
    if x.ndim == 0 or x.shape[-1] == 0 or not gamma.shape == beta.shape == x.shape[-1:]:
        raise ShapeError(
            f"layer_norm: x has shape {x.shape}, gamma {gamma.shape} and beta {beta.shape}, expected x (..., C) and "
            "gamma and beta (C,)"
        )
    return StandardizeFunction((-1,), in_range("layer_norm: eps", eps, above=0))(x) * gamma + beta
