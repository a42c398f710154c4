"""Sentences about a run that are not errors: printed where a progress bar is shown, otherwise sent to ``logging``."""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tinycnn.data.notices import DARK
from tinycnn.distributed.communicator import get_communicator
from tinycnn.errors import SettingError
from tinycnn.layers import BatchNorm, Clip, Dropout, Layer, LogSoftmax, ReLU, Sequential, Sigmoid, Softmax, Tanh
from tinycnn.layers.interface.by_name import LayersByName
from tinycnn.layers.interface.one_number import is_noted
from tinycnn.layers.metadata import BYTES
from tinycnn.optim import Optimizer
from tinycnn.optim.schedules import length_of
from tinycnn.train.callbacks.base import Callback
from tinycnn.train.callbacks.progress_bar import ProgressBar
from tinycnn.train.objective import CLASSES, SEVERAL, Objective
from tinycnn.train.pixel_scale import mixed_floats, other_scale

LOGGER = logging.getLogger("tinycnn.train")
HEADS = Softmax | LogSoftmax | Sigmoid
TAKES = "takes scores of any size, positive and negative"


def remark(text: str, callbacks: Sequence[Callback], level: int = logging.INFO) -> None:
    """Print ``text`` if one of the callbacks leaves its bars on the screen, or log it; on rank 0 only."""
    if get_communicator().rank:
        return
    if any(isinstance(callback, ProgressBar) and callback.leave for callback in callbacks):
        print(text, flush=True)
    else:
        LOGGER.log(level, "%s", text)


def about_images(model: Sequential, images: Any, validation: Any, batch_size: int) -> list[str]:
    """Sentences about the training images ``(M, H, W, C)`` and those for validation; None: there are none."""
    found = [dark_images(model, images), last_batch_of_one(model, len(images) % batch_size), other_scale(model, images)]
    return found if validation is None else [*found, mixed_floats(model, images, validation)]


def about_training(model: Sequential, purpose: Objective, optimizer: Optimizer, steps: int) -> list[str]:
    """Sentences about the settings of a run of ``steps`` steps."""
    return [momentum_of_keras(model), last_layer(model, purpose), schedule_ends_early(optimizer, steps)]


def nothing_to_train(epochs: int) -> str:
    """The sentence for a run that has all of its epochs before it begins."""
    return (
        f"nothing was trained: the history already ends with epoch {epochs}, and `epochs` counts those of earlier "
        f"calls, too; pass `epochs={2 * epochs}` for {epochs} more"
    )


def schedule_ends_early(optimizer: Optimizer, steps: int) -> str:
    """A sentence if a schedule ends before the optimizer has taken ``steps`` more steps; "" if none does."""
    total = optimizer.step_count + steps
    for part in optimizer.parts:
        length = length_of(part.schedule)
        if length is not None and length < total and steps > 0:
            rate = part.rate(total - 1)
            effect = f"{rate:g}" if rate else "0, at which nothing is learned"
            return (
                f"the schedule has {length:,} steps, but the run ends after step {total:,}: the rest has a learning "
                f"rate of {effect}; pass the number of steps of the run to the schedule"
            )
    return ""


def dark_images(model: Sequential, images: Any) -> str:
    """A sentence if bytes, which are divided by 255, are all almost black, such as truth values as integers."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or model.pixels == BYTES:
        return ""
    brightest = int(images.max(initial=0))
    if not 0 < brightest < DARK:
        return ""
    return (
        f"the brightest pixel of all training images is {brightest} of 255, and integers are divided by 255; if "
        f"{brightest} is white, pass floats, images / {brightest}"
    )


def momentum_of_keras(model: Sequential) -> str:
    """A sentence if a momentum of batch norm is one of Keras, where it weights the old statistics."""
    for name, layer in model.all_layers():
        if isinstance(layer, BatchNorm) and 0.9 <= layer.momentum < 1:
            return (
                f"{name} has `momentum={layer.momentum:g}`, the weight of the newest batch in the running statistics; "
                f"{layer.momentum:g} in Keras is {1 - layer.momentum:.3g} here"
            )
    return ""


def one_number_per_channel(model: Sequential, batch_size: int) -> str:
    """The name of the first batch norm that would normalise a single number of each channel; "" if there is none.

    Its result is ``beta`` whatever its input is, so that no gradient reaches the layers before it.
    """
    norms = ((name, layer) for name, layer in model.all_layers() if isinstance(layer, BatchNorm) and not layer.frozen)
    return next((name for name, one in norms if batch_size * math.prod(one.input_shape[:-1]) == 1), "")


def check_batch_norm(model: Sequential, batch_size: int) -> None:
    """Raise SettingError if batches of ``batch_size`` images leave a batch norm nothing to normalise."""
    if name := one_number_per_channel(model, batch_size):
        raise SettingError(
            f"{name} normalises each channel over the batch, and `batch_size` {batch_size} leaves one number, whose "
            "deviation is 0: nothing before it would be trained; pass a larger `batch_size`, or use LayerNorm()"
        )


def last_batch_of_one(model: Sequential, remainder: int) -> str:
    """A sentence if the last batch of an epoch has a single image, which leaves a batch norm nothing to normalise."""
    name = one_number_per_channel(model, 1) if remainder == 1 else ""
    if not name:
        return ""
    is_noted()
    return (
        f"the last batch of an epoch has one image, from which {name} learns nothing, and which moves its running "
        "variance towards 0: pass another `batch_size`, or leave out one image"
    )


def _in_order(layers: LayersByName, within: str = "") -> Iterator[tuple[str, Layer]]:
    """The layers with their full names, those of inner networks in their place."""
    for name, layer in layers.items():
        if isinstance(layer, Sequential):
            yield from _in_order(layer.layers, f"{within}{name}.")
        else:
            yield within + name, layer


def last_layer(model: Sequential, purpose: Objective) -> str:
    """A sentence if the scores that a cross-entropy takes come from a layer that limits them, such as a last ReLU.

    A final Softmax, LogSoftmax or Sigmoid is left to the loss (`Sequential.logits`); here it is a second one.
    """
    if purpose.labels not in (CLASSES, SEVERAL):
        return ""
    layers = list(_in_order(model.layers))
    if purpose.labels == CLASSES and isinstance(layers[-1][1], Sigmoid) and model.output_shape != (1,):
        return (
            f"{layers[-1][0]} is the last layer, and {purpose.name} is trained for one class per image: what predict "
            "returns will not sum to 1; end the network with Softmax(), or, if each label is yes or no by itself, pass "
            '`loss="binary_cross_entropy_with_logits"`'
        )
    if isinstance(layers[-1][1], HEADS):
        layers.pop()
    while layers and isinstance(layers[-1][1], Dropout):
        layers.pop()
    if not layers:
        return ""
    name, layer = layers[-1]
    if isinstance(layer, Softmax | Sigmoid):
        return f"{name} is not the last layer, so the loss is computed from its probabilities: {purpose.name} {TAKES}"
    if isinstance(layer, ReLU | Clip | Tanh):
        return f"{name} limits the scores of the last layer with weights: {purpose.name} {TAKES}; leave {name} out"
    return ""
