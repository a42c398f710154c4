"""Normalisation without statistics of the batch: of the pixels, of the groups of an image, and by given numbers."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tinycnn import initializers, ops
from tinycnn.backends import get_backend
from tinycnn.errors import SettingError, ShapeError, in_range, shortened
from tinycnn.layers.base import Layer, Shape, register_layer
from tinycnn.layers.interface.settings import checked_positive_int
from tinycnn.tensor import Tensor


class _AffineNorm(Layer):
    """A normalisation with a learned scale and shift for every channel."""

    torch_arrays: ClassVar = {"gamma": ("weight", None), "beta": ("bias", None)}

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        self._add_parameter("gamma", input_shape[-1:], initializers.ones, rng, dtype)
        self._add_parameter("beta", input_shape[-1:], initializers.zeros, rng, dtype)
        return input_shape


@register_layer
class LayerNorm(_AffineNorm):
    """Normalise the channels of each pixel, scale, shift: ``(..., C)`` → ``(..., C)``. See ``layer_norm.py``.

    ``eps`` is 1e-3 as in Keras; PyTorch's is 1e-5. Raises SettingError for ``eps`` that is not positive.
    """

    def __init__(self, eps: float = 1e-3) -> None:
        super().__init__()
        self.eps = in_range("LayerNorm: eps", eps, above=0)

    def forward(self, x: Tensor) -> Tensor:
        return ops.layer_norm(x, self.parameters_by_name["gamma"], self.parameters_by_name["beta"], eps=self.eps)


@register_layer
class GroupNorm(_AffineNorm):
    """Normalise ``groups`` of channels of each image, scale, shift: ``(..., C)`` → ``(..., C)``. See ``group_norm.py``.

    ``eps`` is 1e-3 as in Keras; PyTorch's is 1e-5. Raises SettingError for settings out of range, ShapeError unless
    ``groups`` divides the number of channels.
    """

    def __init__(self, groups: int, eps: float = 1e-3) -> None:
        super().__init__()
        self.groups = checked_positive_int("GroupNorm", "groups", groups)
        self.eps = in_range("GroupNorm: eps", eps, above=0)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        if input_shape[-1] % self.groups:
            raise ShapeError(f"GroupNorm: {input_shape[-1]} channels cannot form {self.groups} groups of equal size")
        return super().build(input_shape, rng, dtype)

    def forward(self, x: Tensor) -> Tensor:
        gamma, beta = self.parameters_by_name["gamma"], self.parameters_by_name["beta"]
        return ops.group_norm(x, gamma, beta, groups=self.groups, eps=self.eps)


@register_layer
class Normalization(Layer):
    """``(x - mean) / std``: ``(..., C)`` → ``(..., C)``, with given numbers, one for all channels or one for each.

    ``Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))`` is what PyTorch's networks for ImageNet expect in
    front. Raises SettingError unless the numbers are finite and ``std`` is positive, ShapeError for another number of
    channels.
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        super().__init__()
        self.mean = _by_channel("mean", mean, above=None)
        self.std = _by_channel("std", std, above=0)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if isinstance(numbers, tuple) and len(numbers) != input_shape[-1]:
                raise ShapeError(
                    f"Normalization: `{name}` has {len(numbers)} numbers, the input {input_shape[-1]} channels: "
                    "expected one for each channel, or a single number"
                )
        self._arrays = [get_backend().asarray(np.array(numbers, dtype)) for numbers in (self.mean, self.std)]
        return input_shape

    def forward(self, x: Tensor) -> Tensor:
        mean, std = map(Tensor, self._arrays)  # (C,) or ()
        return (x - mean) / std


def _by_channel(name: str, numbers: Any, above: float | None) -> float | tuple[float, ...]:
    """A float or a tuple of floats; raises SettingError for anything else."""
    whose = f"Normalization: {name}"
    if isinstance(numbers, np.ndarray):
        numbers = numbers.tolist()
    if not isinstance(numbers, list | tuple):
        return in_range(whose, numbers, above=above)
    if not numbers:
        raise SettingError(f"Normalization: `{name}={shortened(numbers)}`: expected a number, or one for each channel")
    return tuple(in_range(whose, number, above=above) for number in numbers)
