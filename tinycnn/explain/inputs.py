"""What all explanations begin with: byte images as the input of a network, and copies of networks to compute on."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinycnn.backends import get_backend, use_backend
from tinycnn.data.stored import StoredImages
from tinycnn.errors import DataError, SettingError, ShapeError, shortened
from tinycnn.layers import Layer, LogSoftmax, Sequential, Sigmoid, Softmax, pixel_scale
from tinycnn.layers.heads import last_layer
from tinycnn.layers.metadata import CLASSES, described_outputs
from tinycnn.tensor import Tensor

HEADS = Softmax | LogSoftmax | Sigmoid


def as_input(model: Sequential, images: np.ndarray) -> Tensor:
    """Byte images ``(N, H, W, C)`` → the input of ``model``, ``(N, H, W, C)``: divided by 255 as in training.

    Raises ShapeError when the images do not have the input shape of the network.
    """
    images = checked_images(model, images)
    if images.shape[1:] != model.input_shape:
        raise ShapeError(f"images have shape {images.shape}, the network takes (N, {str(model.input_shape)[1:]}")
    backend = get_backend()
    pixels = backend.asarray(np.ascontiguousarray(images))
    scale = pixel_scale(model, images.dtype)
    return Tensor(backend.gather_images(pixels, backend.xp.arange(len(images)), scale, model.dtype))


def before_softmax(model: Sequential) -> dict[str, Layer]:
    """The layers up to the scores: without a final Softmax, LogSoftmax or Sigmoid, which the loss includes."""
    layers = dict(model.layers)
    name, last = list(layers.items())[-1]
    if isinstance(last_layer(model.layers), HEADS):
        del layers[name]
        if isinstance(last, Sequential):
            layers |= {f"{name}.{inner}": layer for inner, layer in before_softmax(last).items()}
    return layers


def check_classes(function: str, model: Sequential) -> None:
    """Raise SettingError unless ``model`` returns scores of classes, of which softmax_cross_entropy is the loss."""
    if model.outputs != CLASSES:
        found = described_outputs(model.outputs, model.output_shape)
        raise SettingError(f"{function} explains softmax_cross_entropy, the loss of a choice between classes; {found}")


def plain_logits(model: Sequential, x: Tensor) -> Tensor:
    """The scores before a final softmax or sigmoid, ``(N, H, W, C)`` → ``(N, K)``, computed layer by layer."""
    for layer in before_softmax(model).values():
        x = layer(x)
    return x


def checked_images(model: Any, images: Any) -> np.ndarray:
    """``images`` as an array; raises SettingError unless ``model`` is a network, DataError unless they are numbers."""
    if not isinstance(model, Sequential):
        raise SettingError(f"`model` is {shortened(model)}: expected a network, such as Sequential(...)")
    if isinstance(images, StoredImages):
        images = np.asarray(images)
    if not isinstance(images, np.ndarray) or images.dtype.kind not in "biuf":
        raise DataError(f"images are {shortened(images)}: expected an array of bytes (N, H, W, C)")
    return images


@contextmanager
def evaluating(model: Sequential) -> Iterator[None]:
    """Evaluation mode, with no gradients for parameters, until the block ends."""
    before: list[Any] = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    was_training = model.training
    model.eval()
    for parameter, _ in before:
        parameter.requires_grad = False
    try:
        yield
    finally:
        model.train(was_training)
        for parameter, requires_grad in before:
            parameter.requires_grad = requires_grad


@contextmanager
def plain_copy(model: Sequential, *, training: bool, dtype: np.dtype | None = None) -> Iterator[Sequential]:
    """A copy of ``model`` on the NumPy backend, which is active until the block ends.

    NumPy runs the plain operations of ``ops/``, none of them fused, so what is computed is what is written there.
    ``dtype``: that of the copy; None keeps it.
    """
    dtype = model.dtype if dtype is None else np.dtype(dtype)
    to_host = get_backend().to_host
    copied = copy.deepcopy(model).train(training)
    copied.zero_grad()
    for layer in layers_within(copied):
        for parameter in layer.parameters_by_name.values():
            parameter._array = to_host(parameter.data).astype(dtype)
        layer.buffers_by_name.update({name: to_host(one).astype(dtype) for name, one in layer.buffers_by_name.items()})
        if isinstance(layer, Sequential):
            vars(layer)["dtype"], layer.fuse = dtype, False  # the parameters have it, too
    with use_backend("numpy"):
        yield copied


def layers_within(layer: Any) -> Iterator[Layer]:
    """``layer`` and all layers inside it, at any depth."""
    if isinstance(layer, Layer):
        yield layer
        layer = list(vars(layer).values())
    if isinstance(layer, dict):
        layer = list(layer.values())
    if isinstance(layer, list | tuple):
        for inner in layer:
            yield from layers_within(inner)
