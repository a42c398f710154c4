"""What a training step takes of memory, and which batch would fit, for the moment when there is no more.

Counted is what lives at once when memory is fullest: the outputs of the steps of the network, which forward keeps for
backward; the columns of convolutions that are computed by ``im2col``; and the gradients around one step. Of frozen
layers below the first that learns nothing is kept. It is an estimate: for the networks here on NumPy, whatever is
frozen, it is within 15 % of the truth from batches of 128 on; smaller ones are outweighed by what the optimizer takes
for a moment.
"""

import math
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.errors import OutOfMemoryError
from tinycnn.layers import BatchNorm, Conv2d, Layer, Sequential, fusion


@contextmanager
def memory_explained(model: Sequential, batch_size: int) -> Iterator[None]:
    """Inside, a MemoryError (CuPy's is one) becomes an OutOfMemoryError that says what would fit."""
    try:
        yield
    except MemoryError as error:
        if error.__traceback__ is not None:
            traceback.clear_frames(error.__traceback__)  # the arrays of the step that failed do not count as used
        raise OutOfMemoryError(advice(model, batch_size, get_backend().free_memory(), str(error))) from None


def advice(model: Sequential, batch_size: int, free: int | None, error: str) -> str:
    """The sentence: what was needed, what there is, what would fit."""
    text = f"out of memory ({error.rstrip('.')}): " if error else "out of memory: "
    text += f"a step with a batch of {batch_size} takes about {size_in_words(step_bytes(model, batch_size))}"
    if free is None:
        return f"{text}. Try a smaller --batch-size. Whatever was saved before is as it was"
    fitting = batch_that_fits(model, batch_size, free)
    way_out = f"--batch-size {fitting} should fit" if fitting else "not even a batch of 1 fits: end other programs"
    return f"{text}, and {size_in_words(free)} are free; {way_out}. Whatever was saved before is as it was"


def batch_that_fits(model: Sequential, batch_size: int, free: int) -> int:
    """The largest power of 2 below ``batch_size`` whose step takes at most ``free`` bytes; 0 if there is none."""
    smaller = (2**power for power in reversed(range((batch_size - 1).bit_length())))
    return next((size for size in smaller if step_bytes(model, size) <= free), 0)


@dataclass(frozen=True)
class Step:
    """How many numbers of an image a step of the network takes in, gives out, and makes on the way."""

    x: int
    y: int
    inner: int  # what batch norm keeps beside its output
    columns: int
    learns: bool  # whether any parameter of it is trained


def step_bytes(model: Sequential, batch_size: int) -> int:
    """About how many bytes a training step takes on the active backend, above parameters and data set."""
    per_image = math.prod(model.input_shape) + max(moments(network_steps(model)))
    gradients = sum(parameter.data.size for parameter in model.parameters() if parameter.requires_grad)
    return (batch_size * per_image + gradients) * model.dtype.itemsize


def moments(steps: Iterable[Step]) -> Iterator[int]:
    """How many numbers of an image live at once, beside itself, while each step computes: where memory may be fullest.

    Below the first step that learns, that is in the forward pass, which keeps nothing but what came out last. From
    there on it is in the backward pass, with all that this step and those before it have made.
    """
    kept, learning = 0, False
    for step in steps:
        lowest, learning = step.learns and not learning, learning or step.learns
        if learning:
            kept += step.y + step.inner + step.columns
            yield kept + step.y + step.inner + (0 if lowest else step.x + step.columns)  # gradients; lowest: not of x
        else:
            yield kept + step.y + 2 * step.inner + step.columns
            kept = step.y


def network_steps(model: Sequential) -> Iterator[Step]:
    """The steps in which the active backend computes ``model``."""
    shape = model.input_shape
    for layers in covered_layers(model):
        y = layers[-1].output_shape
        learns = any(parameter.requires_grad for layer in layers for parameter in layer.parameters())
        yield Step(math.prod(shape), math.prod(y), inner_count(layers), column_count(layers, shape), learns)
        shape = y


def inner_count(layers: list[Layer]) -> int:
    """How many numbers of an image batch norm keeps beside its output: its input without mean and variance."""
    match layers:
        case [BatchNorm() as norm] if not get_backend().fused.norm_forward:
            return math.prod(norm.output_shape)
        case [first, *others] if any(isinstance(layer, BatchNorm) for layer in others):
            return math.prod(first.output_shape)
    return 0


def covered_layers(model: Sequential) -> list[list[Layer]]:
    """The layers of each step in which the active backend computes ``model``."""
    layers, backend = list(model.layers.values()), get_backend()
    if not (model.fuse and backend.fused and model.dtype == np.float32):
        return [[layer] for layer in layers]
    return [covered for _, covered in fusion.plan_with_layers(layers, backend)]


def column_count(layers: list[Layer], input_shape: tuple[int, ...]) -> int:
    """How many numbers ``im2col`` makes of an image ``(H, W, C)``; 0 for anything but a convolution by itself."""
    backend = get_backend()
    match layers:
        case [Conv2d() as conv] if not backend.fused.conv_forward:
            return math.prod(conv.output_shape[:2]) * math.prod(conv.kernel_size) * input_shape[-1]
    return 0


def size_in_words(count: int) -> str:
    """Bytes for people: ``1.5 GiB``."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{math.ceil(count / 2**20)} MiB"
