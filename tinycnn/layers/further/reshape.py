"""A layer that gives each image or row another shape."""

import math
from numbers import Integral

import numpy as np

from tinycnn.errors import SettingError, ShapeError, shortened
from tinycnn.layers.base import Layer, Shape, register_layer
from tinycnn.tensor import Tensor


@register_layer
class Reshape(Layer):
    """The same numbers in another shape: ``(...)`` → ``shape``, such as a row as an image ``(H, W, C)``.

    Numbers keep their order: rows, columns, channels. Raises SettingError unless ``shape`` consists of positive
    integers, ShapeError for another number of elements.
    """

    allocates_output = False

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        sizes = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
        if not sizes or not all(isinstance(size, Integral) and size > 0 for size in sizes):
            raise SettingError(f"Reshape({shortened(shape)}): expected positive integers, such as (4, 4, 8)")
        self.shape = tuple(map(int, sizes))

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        if math.prod(input_shape) != math.prod(self.shape):
            raise ShapeError(
                f"Reshape: {input_shape} has {math.prod(input_shape)} numbers, which do not fill {self.shape}"
            )
        return self.shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.shape)

    def flops(self, input_shape: Shape) -> int:
        return 0
