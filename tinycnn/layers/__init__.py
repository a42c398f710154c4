"""Layers, and ``Sequential``, which chains them into a network."""

from tinycnn.layers.base import Layer, Shape, register_layer
from tinycnn.layers.kinds import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    LogSoftmax,
    MaxPool2d,
    ReLU,
    Rescaling,
    Softmax,
)
from tinycnn.layers.pixels import pixel_scale
from tinycnn.layers.sequential import Sequential

__all__ = [
    "AvgPool2d",
    "BatchNorm",
    "Conv2d",
    "Dense",
    "Dropout",
    "Flatten",
    "Layer",
    "LogSoftmax",
    "MaxPool2d",
    "ReLU",
    "Rescaling",
    "Sequential",
    "Shape",
    "Softmax",
    "pixel_scale",
    "register_layer",
]
