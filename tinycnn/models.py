"""The five published MNIST networks that tinycnn reproduces, each with the training its author used.

All convolutions are 3x3 without padding, all pools 2x2. ``create(name)`` makes one; ``MODELS[name]`` holds its recipe.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycnn.errors import SettingError
from tinycnn.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LogSoftmax,
    MaxPool2d,
    ReLU,
    Rescaling,
    Sequential,
    Shape,
    Softmax,
)


@dataclass(frozen=True)
class Recipe:
    """A network and the training its author used; the optimizer is Adam."""

    layers: Callable[[int], list[Layer]]  # number of classes → layers
    epochs: int
    batch_size: int
    lr: float = 1e-3
    validation_split: float = 0.0
    description: str = ""


def lenet(classes: int = 10) -> list[Layer]:
    """PyTorch LeNet: 60,074 parameters for 10 classes, 28x28 pixels."""
    return [
        *(Conv2d(6), ReLU(), MaxPool2d()),
        *(Conv2d(16), ReLU(), MaxPool2d()),
        Flatten(),
        *(Dense(120), ReLU()),
        *(Dense(84), ReLU()),
        *(Dense(classes), LogSoftmax()),
    ]


def keras_cnn(classes: int = 10) -> list[Layer]:
    """Keras, two convolutions: 225,034 parameters."""
    return [
        *(Conv2d(32), ReLU(), MaxPool2d()),
        *(Conv2d(64), ReLU(), MaxPool2d()),
        Flatten(),
        *(Dense(128), ReLU()),
        *(Dense(classes), Softmax()),
    ]


def batchnorm_cnn(classes: int = 10) -> list[Layer]:
    """Keras, batch norm and dropout: 249,610 parameters (its author writes "~1.2 M", which this architecture has not)."""
    return [
        *(Conv2d(32), ReLU(), BatchNorm(), MaxPool2d()),
        *(Conv2d(64), ReLU(), BatchNorm(), MaxPool2d()),
        *(Conv2d(128), ReLU(), BatchNorm()),
        Flatten(),
        *(Dense(128), ReLU(), Dropout(0.5)),
        *(Dense(64), ReLU(), Dropout(0.3)),
        *(Dense(classes), Softmax()),
    ]


def single_conv(classes: int = 10) -> list[Layer]:
    """Keras, one convolution: 693,962 parameters."""
    return [
        *(Conv2d(32), ReLU(), MaxPool2d()),
        Flatten(),
        *(Dense(128), ReLU()),
        *(Dense(classes), Softmax()),
    ]


def three_conv(classes: int = 10) -> list[Layer]:
    """Keras, three convolutions, raw pixels in: 101,578 parameters (32, 64, 128 filters are our choice, not stated)."""
    return [
        Rescaling(1 / 255),
        *(Conv2d(32), ReLU(), MaxPool2d()),
        *(Conv2d(64), ReLU(), MaxPool2d()),
        *(Conv2d(128), ReLU(), MaxPool2d()),
        Flatten(),
        Dropout(0.5),
        *(Dense(64), ReLU()),
        Dense(classes),
    ]


MODELS = {
    "lenet": Recipe(lenet, epochs=5, batch_size=64, description="PyTorch LeNet"),
    "keras_cnn": Recipe(keras_cnn, epochs=5, batch_size=128, description="Keras, two convolutions"),
    "batchnorm_cnn": Recipe(batchnorm_cnn, epochs=10, batch_size=128, description="Keras, batch norm and dropout"),
    "single_conv": Recipe(single_conv, epochs=5, batch_size=32, validation_split=0.2, description="Keras, one convolution"),
    "three_conv": Recipe(three_conv, epochs=10, batch_size=128, description="Keras, raw pixels in, dropout"),
}


def create(
    name: str,
    *,
    seed: int = 0,
    input_shape: Shape = (28, 28, 1),
    classes: int = 10,
    dtype: Any = np.float32,
    fuse: bool = True,
) -> Sequential:
    """The network ``name`` with fresh weights: ``(N, H, W, C)`` → ``(N, classes)``.

    Raises SettingError for an unknown name, ShapeError when the images are too small for it.
    """
    if name not in MODELS:
        raise SettingError(f"unknown model {name!r}: choose one of {', '.join(MODELS)}")
    return Sequential(*MODELS[name].layers(classes), input_shape=input_shape, seed=seed, dtype=dtype, fuse=fuse)


def pixel_scale(model: Sequential) -> float:
    """What a byte pixel is multiplied by before it enters ``model``: 1 when the network rescales by itself, else 1/255."""
    return 1.0 if isinstance(next(iter(model.layers.values())), Rescaling) else 1 / 255
