"""What happens inside a network: the output of every layer, the gradient at the pixels, the gradients of one step.

Everything here computes layer by layer (without fused kernels), so that each layer can be seen, and leaves the network
as it was: its mode, its gradients, its running statistics. Results are NumPy arrays on the host.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinycnn import ops
from tinycnn.backends import get_backend
from tinycnn.errors import SettingError, ShapeError
from tinycnn.layers import LogSoftmax, Sequential, Softmax, pixel_scale
from tinycnn.tensor import Tensor, no_grad


def as_input(model: Sequential, images: np.ndarray) -> Tensor:
    """Byte images ``(N, H, W, C)`` → the numbers ``model`` takes, ``(N, H, W, C)``: divided by 255 as in training.

    Raises ShapeError when the images are not those that the network was built for.
    """
    if images.shape[1:] != model.input_shape:
        raise ShapeError(f"images have shape {images.shape}, the network takes (N, {str(model.input_shape)[1:]}")
    backend = get_backend()
    here = backend.asarray(np.ascontiguousarray(images))
    return Tensor(backend.gather_images(here, backend.xp.arange(len(images)), pixel_scale(model), model.dtype))


def activations(model: Sequential, image: np.ndarray) -> dict[str, np.ndarray]:
    """One byte image ``(H, W, C)`` → the output of every layer, by its name: ``(OH, OW, F)`` or ``(units,)``."""
    outputs = {}
    with _only_looking(model), no_grad():
        x = as_input(model, image[np.newaxis])
        for name, layer in model.layers.items():
            x = layer(x)
            outputs[name] = x.numpy()[0].copy()
    return outputs


def saliency(model: Sequential, image: np.ndarray, label: int | None = None) -> np.ndarray:
    """d(score of ``label``) / d(pixel) for one byte image ``(H, W, C)`` → ``(H, W, C)``; None: the class it answers.

    Positive: a brighter pixel speaks for the class; negative: against it. The score is the one before softmax, per
    unit of what the network takes in. Source: Simonyan, Vedaldi, Zisserman, "Deep inside convolutional networks", 2013.
    Raises SettingError for a label that is no class.
    """
    with _only_looking(model):
        x = as_input(model, image[np.newaxis])
        x.requires_grad = True
        scores = plain_logits(model, x)  # (1, K)
        label = int(scores.numpy().argmax()) if label is None else label
        if not 0 <= label < scores.shape[1]:
            raise SettingError(f"saliency: label {label}, expected 0 to {scores.shape[1] - 1}")
        scores.backward(np.eye(scores.shape[1], dtype=model.dtype)[[label]])
        return get_backend().to_host(x.grad)[0].copy()  # (H, W, C)


def step_loss(model: Sequential, images: np.ndarray, labels: np.ndarray) -> tuple[Sequential, Tensor]:
    """One training step up to the loss, on a copy: ``(copy, loss)``, with the autograd graph still attached."""
    copied = copy.deepcopy(model).train()
    copied.zero_grad()
    return copied, ops.softmax_cross_entropy(plain_logits(copied, as_input(copied, images)), labels)


def step_gradients(model: Sequential, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The gradient of every parameter that is not frozen, by name, in one step on byte ``images (N, H, W, C)``."""
    copied, loss = step_loss(model, images, labels)
    loss.backward()
    to_host = get_backend().to_host
    named = copied.named_parameters()
    return {name: to_host(parameter.grad) for name, parameter in named if parameter.requires_grad}


def plain_logits(model: Sequential, x: Tensor) -> Tensor:
    """The scores before a final softmax, ``(N, H, W, C)`` → ``(N, K)``, every layer by itself."""
    layers = list(model.layers.values())
    for layer in layers[:-1] if isinstance(layers[-1], Softmax | LogSoftmax) else layers:
        x = layer(x)
    return x


@contextmanager
def _only_looking(model: Sequential) -> Iterator[None]:
    """Evaluation mode, and parameters that collect no gradient, until the block ends."""
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
