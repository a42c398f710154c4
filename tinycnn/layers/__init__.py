"""Layers, and ``Sequential``, which chains them into a network."""

from typing import TYPE_CHECKING, Any

from tinycnn.layers.activations import LogSoftmax, ReLU, Softmax
from tinycnn.layers.base import Layer, Shape, register_layer
from tinycnn.layers.building import building
from tinycnn.layers.convolution import Conv2d
from tinycnn.layers.dense import Dense
from tinycnn.layers.dropout import Dropout
from tinycnn.layers.further.activations import (
    ELU,
    GELU,
    Abs,
    Clip,
    HardSwish,
    LeakyReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
)
from tinycnn.layers.further.branches import Add, Concatenate, Identity, Maximum, Minimum, Multiply, Residual
from tinycnn.layers.further.convolution import ConvTranspose2d
from tinycnn.layers.further.normalization import GroupNorm, LayerNorm, Normalization
from tinycnn.layers.further.reshape import Reshape
from tinycnn.layers.further.shapes import Crop2d, Pad2d, Transpose2d, Upsample
from tinycnn.layers.normalization import BatchNorm
from tinycnn.layers.pixels import pixel_scale
from tinycnn.layers.pooling import AvgPool2d, GlobalAvgPool2d, GlobalMaxPool2d, MaxPool2d
from tinycnn.layers.rescaling import Rescaling
from tinycnn.layers.reshaping import Flatten
from tinycnn.layers.sequential import Sequential
from tinycnn.other_names.modules import missing_name

__all__ = [
    "ELU",
    "GELU",
    "Abs",
    "Add",
    "AvgPool2d",
    "BatchNorm",
    "Clip",
    "Concatenate",
    "Conv2d",
    "ConvTranspose2d",
    "Crop2d",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
    "GroupNorm",
    "HardSwish",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "LogSoftmax",
    "MaxPool2d",
    "Maximum",
    "Minimum",
    "Multiply",
    "Normalization",
    "Pad2d",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Residual",
    "Sequential",
    "Shape",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Tanh",
    "Transpose2d",
    "Upsample",
    "building",
    "pixel_scale",
    "register_layer",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing_name(__name__, name, __all__)
