"""Reshaping: layers that change the shape of their input, but not its values."""

import math

import numpy as np

from tinycnn import ops
from tinycnn.layers.base import Layer, Shape, register_layer
from tinycnn.tensor import Tensor


@register_layer
class Flatten(Layer):
    """Flatten images to rows: ``(H, W, C)`` → ``(H*W*C,)``. See ``ops/flatten.py``."""

    allocates_output = False

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        return (math.prod(input_shape),)

    def forward(self, x: Tensor) -> Tensor:
        return ops.flatten(x)
