"""Looks inside a network: the output of every layer, the gradient at the pixels, the gradients of one step.

All functions compute layer by layer, without fused kernels, so that every output is available. They leave the mode,
the gradients and the running statistics of the network unchanged. Results are NumPy arrays on the host.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np

from tinycnn import ops
from tinycnn.backends import get_backend
from tinycnn.data.stored import StoredImages
from tinycnn.errors import DataError, SettingError, ShapeError, shortened
from tinycnn.layers import LogSoftmax, Sequential, Softmax, pixel_scale
from tinycnn.tensor import Tensor, no_grad


def as_input(model: Sequential, images: np.ndarray) -> Tensor:
    """Byte images ``(N, H, W, C)`` → the input of ``model``, ``(N, H, W, C)``: divided by 255 as in training.

    Raises ShapeError when the images do not have the input shape of the network.
    """
    images = _checked(model, images)
    if images.shape[1:] != model.input_shape:
        raise ShapeError(f"images have shape {images.shape}, the network takes (N, {str(model.input_shape)[1:]}")
    backend = get_backend()
    pixels = backend.asarray(np.ascontiguousarray(images))
    return Tensor(backend.gather_images(pixels, backend.xp.arange(len(images)), pixel_scale(model), model.dtype))


def activations(model: Sequential, image: np.ndarray) -> dict[str, np.ndarray]:
    """One byte image ``(H, W, C)`` → the output of every layer by name: ``(OH, OW, F)`` or ``(units,)``."""
    outputs, image = {}, _checked(model, image)
    with _evaluating(model), no_grad():
        x = as_input(model, image[np.newaxis])
        for name, layer in model.layers.items():
            x = layer(x)
            outputs[name] = x.numpy()[0].copy()
    return outputs


def saliency(model: Sequential, image: np.ndarray, label: int | None = None) -> np.ndarray:
    """d(score of ``label``) / d(pixel) for one byte image, ``(H, W, C)`` → ``(H, W, C)``.

    ``label`` None: the predicted class. Positive: a brighter pixel raises the score; negative: it lowers the score. The
    score is the one before softmax; the pixel is measured in units of the network's input. Source: Simonyan, Vedaldi,
    Zisserman, "Deep inside convolutional networks", 2013. Raises SettingError unless ``label`` is one of the classes.
    """
    image = _checked(model, image)
    with _evaluating(model):
        x = as_input(model, image[np.newaxis])
        x.requires_grad = True
        scores = plain_logits(model, x)  # (1, K)
        label = int(scores.numpy().argmax()) if label is None else label
        if not (isinstance(label, Integral) and 0 <= label < scores.shape[1]):
            raise SettingError(f"saliency: label {shortened(label)}, expected 0 to {scores.shape[1] - 1}")
        scores.backward(np.eye(scores.shape[1], dtype=model.dtype)[[int(label)]])
        return get_backend().to_host(x.grad)[0].copy()  # (H, W, C)


def step_loss(model: Sequential, images: np.ndarray, labels: np.ndarray) -> tuple[Sequential, Tensor]:
    """Compute one training step up to the loss on a copy of ``model``: ``(copy, loss)`` with the autograd graph."""
    images = _checked(model, images)
    copied = copy.deepcopy(model).train()
    copied.zero_grad()
    return copied, ops.softmax_cross_entropy(plain_logits(copied, as_input(copied, images)), labels)


def step_gradients(model: Sequential, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The gradient of every trainable parameter, by name, in one step on byte ``images (N, H, W, C)``."""
    copied, loss = step_loss(model, images, labels)
    loss.backward()
    to_host = get_backend().to_host
    named = copied.named_parameters()
    return {name: to_host(parameter.grad) for name, parameter in named if parameter.requires_grad}


def plain_logits(model: Sequential, x: Tensor) -> Tensor:
    """The scores before a final softmax, ``(N, H, W, C)`` → ``(N, K)``, computed layer by layer."""
    layers = list(model.layers.values())
    for layer in layers[:-1] if isinstance(layers[-1], Softmax | LogSoftmax) else layers:
        x = layer(x)
    return x


def _checked(model: Any, images: Any) -> np.ndarray:
    """``images`` as an array; raises SettingError unless ``model`` is a network, DataError unless they are numbers."""
    if not isinstance(model, Sequential):
        raise SettingError(f"`model` is {shortened(model)}: expected a network, such as Sequential(...)")
    if isinstance(images, StoredImages):
        images = np.asarray(images)
    if not isinstance(images, np.ndarray) or images.dtype.kind not in "biuf":
        raise DataError(f"images are {shortened(images)}: expected an array of bytes (N, H, W, C)")
    return images


@contextmanager
def _evaluating(model: Sequential) -> Iterator[None]:
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
