"""Layers, and ``Sequential``, which chains them into a network."""

from tinycnn.layers.activations import LogSoftmax, ReLU, Softmax
from tinycnn.layers.base import Layer, Shape, register_layer
from tinycnn.layers.convolution import Conv2d
from tinycnn.layers.dense import Dense
from tinycnn.layers.dropout import Dropout
from tinycnn.layers.normalization import BatchNorm
from tinycnn.layers.pixels import pixel_scale
from tinycnn.layers.pooling import AvgPool2d, MaxPool2d
from tinycnn.layers.rescaling import Rescaling
from tinycnn.layers.reshaping import Flatten
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
