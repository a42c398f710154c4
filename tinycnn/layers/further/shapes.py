"""Layers that change height and width without computing: edges added or cut off, larger pixels, exchanged axes."""

import numpy as np

from tinycnn import ops
from tinycnn.backends.base import Pair
from tinycnn.errors import SettingError, ShapeError
from tinycnn.layers.base import Layer, Shape, register_layer
from tinycnn.ops.windows.checks import as_pair
from tinycnn.ops.windows.padding import Pads, as_pads, checked_padding
from tinycnn.tensor import Tensor


@register_layer
class Pad2d(Layer):
    """Zeros around the image: ``(H, W, C)`` → ``(top + H + bottom, left + W + right, C)``. See ``ops/shapes/pad.py``.

    ``padding``: pixels on every side, or ``(down, across)``, or ``((top, bottom), (left, right))``. Raises SettingError
    for anything else, ShapeError for an input that is no image.
    """

    def __init__(self, padding: int | Pair | Pads = 1) -> None:
        super().__init__()
        checked = checked_padding(padding)
        if checked == "same":
            raise SettingError("Pad2d: padding='same' needs a window; expected numbers of pixels")
        self.padding = as_pads(checked)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        H, W, C = image_shape("Pad2d", input_shape)
        (top, bottom), (left, right) = self.padding
        return top + H + bottom, left + W + right, C

    def forward(self, x: Tensor) -> Tensor:
        return ops.pad(x, ((0, 0), *self.padding, (0, 0)))


@register_layer
class Crop2d(Layer):
    """The image without its edges: ``(H, W, C)`` → ``(H - top - bottom, W - left - right, C)``.

    ``cropping``: pixels on every side, or ``(down, across)``, or ``((top, bottom), (left, right))``. Raises
    SettingError for anything else, ShapeError where no pixel is left.
    """

    def __init__(self, cropping: int | Pair | Pads = 1) -> None:
        super().__init__()
        checked = checked_padding(cropping)
        if checked == "same":
            raise SettingError("Crop2d: cropping='same' needs a window; expected numbers of pixels")
        self.cropping = as_pads(checked)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        H, W, C = image_shape("Crop2d", input_shape)
        OH, OW = (size - sum(sides) for size, sides in zip((H, W), self.cropping, strict=True))
        if min(OH, OW) < 1:
            raise ShapeError(f"Crop2d: `cropping` {self.cropping} leaves no pixel of a {H}x{W} image: cut off less")
        return OH, OW, C

    def forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = self.cropping
        return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


@register_layer
class Transpose2d(Layer):
    """The image with rows as columns: ``(H, W, C)`` → ``(W, H, C)``; raises ShapeError if the input is no image."""

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        H, W, C = image_shape("Transpose2d", input_shape)
        return W, H, C

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(0, 2, 1, 3)


@register_layer
class Upsample(Layer):
    """Every pixel as a block of equal pixels: ``(H, W, C)`` → ``(H*SH, W*SW, C)``. See ``ops/shapes/upsample2d.py``.

    Raises SettingError for a ``scale`` below 1, ShapeError for an input that is no image.
    """

    def __init__(self, scale: int | Pair = 2) -> None:
        super().__init__()
        self.scale = as_pair(scale, "scale", minimum=1)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        H, W, C = image_shape("Upsample", input_shape)
        return H * self.scale[0], W * self.scale[1], C

    def forward(self, x: Tensor) -> Tensor:
        return ops.upsample2d(x, scale=self.scale)


def image_shape(layer: str, shape: Shape) -> tuple[int, int, int]:
    """``(H, W, C)``; raises ShapeError for another number of axes."""
    if len(shape) != 3:
        raise ShapeError(f"{layer} got shape {shape}, expected images (H, W, C)")
    return shape[0], shape[1], shape[2]
