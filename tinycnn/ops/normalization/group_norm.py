"""Group normalisation: the channels form groups of neighbours; standardise each group of an image, then scale and
shift.

    y = gamma x̂ + beta          with the mean and variance of x̂ over all pixels of an image and the channels of a group

One group is layer norm over a whole image, and one group per channel is instance norm. Each image is normalised by
itself, so training and evaluation do the same. ``gamma`` and ``beta`` have one number per channel. Source: Wu, He,
"Group normalization", 2018.
"""

import math
from numbers import Integral

from tinycnn.errors import SettingError, ShapeError, in_range, shortened
from tinycnn.ops.inputs import tensors
from tinycnn.ops.normalization.standardize import StandardizeFunction
from tinycnn.tensor import Tensor


def group_norm(x: Tensor, gamma: Tensor, beta: Tensor, *, groups: int, eps: float = 1e-3) -> Tensor:
    """``x (N, ..., C)``, ``gamma`` and ``beta (C,)`` → the same shape as ``x``; ``groups`` divides C.

    Raises ShapeError for other shapes, SettingError for ``groups`` below 1 and ``eps`` that is not positive.
    """
    x, gamma, beta = tensors(x, gamma, beta)
    if not isinstance(groups, Integral) or isinstance(groups, bool) or int(groups) < 1:
        raise SettingError(f"group_norm: `groups={shortened(groups)}`, expected a positive integer")
    if x.ndim < 2 or 0 in x.shape[1:] or not gamma.shape == beta.shape == x.shape[-1:]:
        raise ShapeError(
            f"group_norm: x has shape {x.shape}, gamma {gamma.shape} and beta {beta.shape}, expected x (N, ..., C) and "
            "gamma and beta (C,)"
        )
    groups, channels = int(groups), x.shape[-1]
    if channels % groups:
        raise ShapeError(f"group_norm: {channels} channels cannot form {groups} groups of equal size")
    grouped = x.reshape(len(x), math.prod(x.shape[1:-1]), groups, channels // groups)  # (N, H*W, G, C/G)
    x_hat = StandardizeFunction((1, 3), in_range("group_norm: eps", eps, above=0))(grouped)
    return x_hat.reshape(x.shape) * gamma + beta
