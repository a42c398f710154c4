"""Five published MNIST networks, each with its author's training recipe, and four networks of our own.

All convolutions are 3x3 and all pools 2x2; the five published networks use no padding. ``create("lenet")`` builds a
network; ``lenet()`` and the other functions return the list of its layers. ``MODELS`` holds the five published networks
with their recipes, ``NETWORKS`` all nine. ``trained()`` is the packaged network, which reads digits.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinycnn.backends import use_backend
from tinycnn.errors import SettingError, shortened
from tinycnn.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    LogSoftmax,
    MaxPool2d,
    ReLU,
    Rescaling,
    Sequential,
    Shape,
    Softmax,
)
from tinycnn.layers.initial_values import arrays_without_memory
from tinycnn.layers.interface.layer_list import layer_list
from tinycnn.layers.pixels import pixel_scale as pixel_scale
from tinycnn.other_names.arguments import named_arguments
from tinycnn.other_names.modules import missing_name, public_names


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    ``augment``: one of ``data.augment.NAMES``, or None.
    ``elastic``: how far "affine" augmentation also bends an image, in pixels (``data.augment.Elastic``).
    ``fade_epochs``: how many epochs before the end augmentation begins to fade (``data.augment.Fade``); 0: never.
    ``average_weights``: the decay of a moving average of the weights (``optim.WeightAverage``), or None.
    """

    epochs: int
    batch_size: int
    optimizer: str = "adam"  # a name in optim.OPTIMIZERS; SGD has a momentum of 0.9
    momentum: float | None = None  # None: the optimizer's default
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "constant"
    validation_split: float = 0.0
    augment: str | None = None
    elastic: float = 0.0
    fade_epochs: float = 0.0
    label_smoothing: float = 0.0
    average_weights: float | None = None


OPTIMIZER_DEFAULTS = {  # for an optimizer other than the recipe's
    "sgd": {"lr": 0.05, "weight_decay": 0.0},
    "adam": {"lr": 1e-3, "weight_decay": 0.0},
    "adamw": {"lr": 1e-3, "weight_decay": 0.01},
    "rmsprop": {"lr": 1e-3, "weight_decay": 0.0},
    "muon": {"lr": 0.02, "weight_decay": 0.0},
    "filter_muon": {"lr": 0.2, "weight_decay": 0.0},
}


@dataclass(frozen=True)
class Model:
    """A network, the recipe of its author, and the best recipe that we found for the same architecture."""

    layers: Callable[[int], list[Layer]]  # number of classes → layers
    description: str
    author: Recipe
    best: Recipe
    input_shape: Shape = (28, 28, 1)  # the default; other shapes work too
    whitened: bool = False  # whether the first layer is computed from the training images (``train/whitening.py``)

    def recipe(self, name: str) -> Recipe:
        """A name in RECIPES; raises SettingError for another one."""
        if name not in RECIPES:
            raise SettingError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
        return {"author": self.author, "best": self.best, "digits": FEW_DIGITS}[name]


@layer_list
def lenet(classes: int = 10) -> list[Layer]:
    """PyTorch LeNet: 60,074 parameters for 10 classes, 28x28 pixels."""
    return [  # one line per block; * unpacks its layers into the list
        *(Conv2d(6), ReLU(), MaxPool2d()),
        *(Conv2d(16), ReLU(), MaxPool2d()),
        Flatten(),
        *(Dense(120), ReLU()),
        *(Dense(84), ReLU()),
        *(Dense(classes), LogSoftmax()),
    ]


@layer_list
def keras_cnn(classes: int = 10) -> list[Layer]:
    """Keras, two convolutions: 225,034 parameters."""
    return [
        *(Conv2d(32), ReLU(), MaxPool2d()),
        *(Conv2d(64), ReLU(), MaxPool2d()),
        Flatten(),
        *(Dense(128), ReLU()),
        *(Dense(classes), Softmax()),
    ]


@layer_list
def batchnorm_cnn(classes: int = 10) -> list[Layer]:
    """Keras, batch norm and dropout: 249,610 parameters (its author writes "~1.2 M", which does not match).

    Uses Keras' initial weights: with batch norm, the larger weights of He only make the first epochs noisier.
    """
    glorot = "glorot_uniform"
    return [
        *(Conv2d(32, initializer=glorot), ReLU(), BatchNorm(), MaxPool2d()),
        *(Conv2d(64, initializer=glorot), ReLU(), BatchNorm(), MaxPool2d()),
        *(Conv2d(128, initializer=glorot), ReLU(), BatchNorm()),
        Flatten(),
        *(Dense(128, initializer=glorot), ReLU(), Dropout(0.5)),
        *(Dense(64, initializer=glorot), ReLU(), Dropout(0.3)),
        *(Dense(classes, initializer=glorot), Softmax()),
    ]


@layer_list
def single_conv(classes: int = 10) -> list[Layer]:
    """Keras, one convolution: 693,962 parameters."""
    return [
        *(Conv2d(32), ReLU(), MaxPool2d()),
        Flatten(),
        *(Dense(128), ReLU()),
        *(Dense(classes), Softmax()),
    ]


@layer_list
def three_conv(classes: int = 10) -> list[Layer]:
    """Keras, three convolutions, takes raw pixels: 101,578 parameters (the filters 32, 64, 128 are our choice)."""
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


@layer_list
def digit_cnn(classes: int = 10) -> list[Layer]:
    """Our own, for digits: 102,874 parameters for 10 classes, 28x28 pixels.

    `batchnorm_cnn` without its two large dense layers: a further convolution is in their place.
    """
    return [
        *(Conv2d(24), ReLU(), BatchNorm(), MaxPool2d()),
        *(Conv2d(48), ReLU(), BatchNorm(), MaxPool2d()),
        *(Conv2d(64, padding=1), ReLU(), BatchNorm()),
        *(Conv2d(96), ReLU(), BatchNorm()),
        Flatten(),
        *(Dense(classes), LogSoftmax()),
    ]


@layer_list
def cifar_cnn(classes: int = 10) -> list[Layer]:
    """Our own, for colour images as in CIFAR-10: 308,394 parameters for 10 classes, 32x32 pixels.

    A smaller VGG (Simonyan, Zisserman, 2014) with batch norm. Convolutions come in pairs, with zero padding that keeps
    the size of the image; each pool halves the image, and the number of filters doubles.
    """
    return [
        *(Conv2d(32, padding=1), ReLU(), BatchNorm()),
        *(Conv2d(32, padding=1), ReLU(), BatchNorm(), MaxPool2d()),
        *(Conv2d(64, padding=1), ReLU(), BatchNorm()),
        *(Conv2d(64, padding=1), ReLU(), BatchNorm(), MaxPool2d()),
        *(Conv2d(128, padding=1), ReLU(), BatchNorm()),
        *(Conv2d(128, padding=1), ReLU(), BatchNorm(), MaxPool2d()),
        *(Flatten(), Dropout(0.5)),
        *(Dense(classes), LogSoftmax()),
    ]


@layer_list
def whitened_cnn(classes: int = 10, filters: tuple[int, int, int] = (48, 96, 192)) -> list[Layer]:
    """Our own, for photographs and clothes: 657,442 parameters for 10 classes, 32x32 pixels in colour.

    After the network of Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, with fewer filters and ReLU.
    The first layer is computed from the training images instead of trained (``train/whitening.py``). In each of three
    blocks, the first convolution is followed by the pool, so that the second one costs little.
    """

    def block(filters: int) -> list[Layer]:
        first = [Conv2d(filters, padding=1), ReLU(), BatchNorm(), MaxPool2d()]
        return [*first, Conv2d(filters, padding=1), ReLU(), BatchNorm()]

    return [
        *(Conv2d(24, 2), ReLU()),
        *(layer for count in filters for layer in block(count)),
        GlobalAvgPool2d(),
        *(Dense(classes), LogSoftmax()),
    ]


@layer_list
def wide_whitened_cnn(classes: int = 10) -> list[Layer]:
    """`whitened_cnn` with the numbers of filters of its source: 1,973,954 parameters, three times the operations."""
    return whitened_cnn(classes, filters=(64, 256, 256))


BEST = Recipe(epochs=20, batch_size=128, lr=3e-3, schedule="one_cycle", augment="affine")
BEST_SGD = replace(BEST, optimizer="sgd", lr=0.1, weight_decay=5e-4, fade_epochs=5)
FEW_DIGITS = replace(BEST, batch_size=32)  # 900 steps with the 1,437 digits of data/digits.py
RECIPES = ("author", "best", "digits")

MODELS = {
    "lenet": Model(lenet, "PyTorch LeNet", Recipe(epochs=5, batch_size=64), BEST_SGD),
    "keras_cnn": Model(keras_cnn, "Keras, two convolutions", Recipe(epochs=5, batch_size=128), BEST_SGD),
    "batchnorm_cnn": Model(
        batchnorm_cnn,
        "Keras, batch norm and dropout",
        Recipe(epochs=10, batch_size=128),
        BEST_SGD,
    ),
    "single_conv": Model(
        single_conv,
        "Keras, one convolution",
        Recipe(epochs=5, batch_size=32, validation_split=0.2),
        replace(BEST, fade_epochs=5),
    ),
    "three_conv": Model(
        three_conv,
        "Keras, raw pixels in, dropout",
        Recipe(epochs=10, batch_size=32),
        replace(BEST_SGD, batch_size=64, lr=0.05),
    ),
}

DIGITS = replace(BEST_SGD, average_weights=0.999, elastic=1.0)
PHOTOGRAPHS = Recipe(
    epochs=16,
    batch_size=256,
    optimizer="muon",
    momentum=0.6,
    lr=0.1,
    schedule="one_cycle",
    augment="alternating_flip",
    label_smoothing=0.2,
)
WIDE = replace(PHOTOGRAPHS, epochs=20, batch_size=500, optimizer="filter_muon", lr=0.15, schedule="linear")

NETWORKS = MODELS | {
    "digit_cnn": Model(digit_cnn, "ours, for digits", Recipe(epochs=10, batch_size=128), DIGITS),
    "cifar_cnn": Model(
        cifar_cnn, "ours, for small colour images", Recipe(epochs=20, batch_size=128), PHOTOGRAPHS, (32, 32, 3)
    ),
    "whitened_cnn": Model(
        whitened_cnn,
        "ours, for photographs, with a whitened first layer",
        Recipe(epochs=20, batch_size=128),
        PHOTOGRAPHS,
        (32, 32, 3),
        whitened=True,
    ),
    "wide_whitened_cnn": Model(
        wide_whitened_cnn,
        "ours, as whitened_cnn with more filters",
        Recipe(epochs=20, batch_size=128),
        WIDE,
        (32, 32, 3),
        whitened=True,
    ),
}

DEFAULT, OWN = "keras_cnn", "own_network"
TRAINED = Path(__file__).with_name("digit_cnn.safetensors")  # made by examples/train_for_drawings.py


def network_or_default(name: str) -> Model:
    """``NETWORKS[name]``; for any other name, a network of your own, with recipes that suit most networks."""
    return NETWORKS.get(name) or replace(MODELS[DEFAULT], description="a network of your own", best=BEST)


@named_arguments
def create(
    name: str,
    *,
    seed: int = 0,
    input_shape: Shape | None = None,
    classes: int = 10,
    dtype: Any = np.float32,
    fuse: bool = True,
) -> Sequential:
    """The network ``name`` with initial weights: ``(N, H, W, C)`` → ``(N, classes)``.

    ``input_shape`` None: its default. Raises SettingError for an unknown name, ShapeError for too small images.
    """
    if not isinstance(name, str) or name not in NETWORKS:
        named = getattr(name, "__name__", getattr(name, "made_by", ""))
        hint = f"pass its name, {named!r}" if named in NETWORKS else f"choose one of {', '.join(NETWORKS)}"
        raise SettingError(f"unknown model {shortened(name)}: {hint}")
    model = NETWORKS[name]
    shape = model.input_shape if input_shape is None else input_shape
    return Sequential(*model.layers(classes), input_shape=shape, seed=seed, dtype=dtype, fuse=fuse)


def trained() -> Sequential:
    """The trained network that comes with the package, which reads drawn digits, in evaluation mode."""
    from tinycnn.saving.model_file import load  # here, so that importing a training step loads no files

    return load(TRAINED)


def size_of(name: str, *, input_shape: Shape, classes: int, dtype: Any = np.float32) -> int:
    """The bytes of the parameters and buffers of the network ``name``, without the memory that they take.

    Raises ShapeError for too small images.
    """
    with use_backend("numpy"), arrays_without_memory():
        model = create(name, input_shape=input_shape, classes=classes, dtype=dtype)
    arrays = [*(parameter.data for parameter in model.parameters()), *(buffer for _, buffer in model.named_buffers())]
    return sum(array.nbytes for array in arrays)


def name_of(model: Sequential) -> str:
    """The name in ``NETWORKS`` of the network with the layers of ``model``, for any number of classes; else ``OWN``."""
    layers = [repr(layer) for layer in model.layers.values()]
    for name, network in NETWORKS.items():
        if layers == [repr(layer) for layer in network.layers(model.output_shape[-1])]:
            return name
    return OWN


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing_name(__name__, name, public_names(sys.modules[__name__]))
