"""What ``fit`` states in the metadata of a network: what its outputs mean, and how pictures become its inputs.

A model file then says so to the commands. The loss decides what the outputs mean, and the training images decide how a
picture of any size is prepared.
"""

from typing import Any

import numpy as np

from tinycnn.data.drawn import are_drawings
from tinycnn.layers import LogSoftmax, Sequential, Sigmoid, Softmax
from tinycnn.layers.heads import last_layer
from tinycnn.layers.metadata import CLASSES, DRAWING, LABELS, NUMBERS, WHOLE
from tinycnn.train import objective as losses
from tinycnn.train.identity import Examples
from tinycnn.train.objective import Objective, are_classes

OF_LOSS = {losses.CLASSES: CLASSES, losses.SEVERAL: LABELS, losses.NUMBERS: NUMBERS}


def state_metadata(model: Sequential, purpose: Objective, examples: Examples | None) -> None:
    """Set ``model.outputs`` and ``model.pictures`` by the images and labels of a run; None if these are not known."""
    images, labels = examples or (None, None)
    state_outputs(model, purpose, labels)
    state_pictures(model, images)


def state_outputs(model: Sequential, purpose: Objective, labels: np.ndarray | None) -> None:
    """Set ``model.outputs`` by the loss and the ``labels`` of training; what the last layer says already is not set."""
    is_own = purpose.labels == losses.OWN and _states(model, "outputs")
    if isinstance(last_layer(model.layers), Softmax | LogSoftmax) or is_own:
        return
    model.outputs = None
    by_loss = _by_loss(model, purpose, labels)
    if by_loss != model.outputs and (by_loss != CLASSES or model.output_shape != (1,)):
        model.outputs = by_loss


def _by_loss(model: Sequential, purpose: Objective, labels: np.ndarray | None) -> str:
    """The meaning of the outputs; with a loss of your own, numbers unless labels or last layer show another one."""
    has_sigmoid = isinstance(last_layer(model.layers), Sigmoid)
    if purpose.labels == losses.OWN:
        return LABELS if has_sigmoid else CLASSES if labels is not None and are_classes(labels) else NUMBERS
    are_labels = has_sigmoid and labels is not None and bool(((labels == 0) | (labels == 1)).all())
    return LABELS if are_labels and purpose.labels == losses.NUMBERS else OF_LOSS[purpose.labels]


def state_pictures(model: Sequential, images: Any) -> None:
    """Set ``model.pictures`` of a network for grey images, unless it is set: are the training ``images`` drawings?"""
    if _states(model, "pictures") or images is None or model.input_shape[2:] != (1,):
        return
    model.pictures = DRAWING if are_drawings(images) else WHOLE


def _states(model: Sequential, name: str) -> bool:
    return name in model.metadata()
