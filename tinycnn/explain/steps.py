"""One training step up to its gradients, without changing the network."""

import copy

import numpy as np

from tinycnn import ops
from tinycnn.backends import get_backend
from tinycnn.explain.inputs import as_input, check_classes, checked_images, plain_logits
from tinycnn.layers import Sequential
from tinycnn.tensor import Tensor


def step_loss(model: Sequential, images: np.ndarray, labels: np.ndarray) -> tuple[Sequential, Tensor]:
    """Compute one training step up to the loss on a copy of ``model``: ``(copy, loss)`` with the autograd graph."""
    images = checked_images(model, images)
    check_classes("step_loss", model)
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
