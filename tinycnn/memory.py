"""What a training step takes of memory, and which batch would fit, for the moment when there is no more.

Counted is what lives at once when memory is fullest, early in the backward pass: the outputs of all steps of the
network, which forward keeps for backward; the columns of convolutions that are computed by ``im2col``; and the
gradients around the largest step. It is an estimate: for the five networks on NumPy it is within 15 % of the truth
from batches of 64 on; smaller ones are outweighed by what the optimizer takes for a moment.
"""

import math
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

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


def step_bytes(model: Sequential, batch_size: int) -> int:
    """About how many bytes a training step takes on the active backend, above parameters and data set."""
    inputs, kept, largest = math.prod(model.input_shape), 0, 0
    shape = model.input_shape
    for layers in covered_layers(model):
        output = math.prod(layers[-1].output_shape)
        inner = math.prod(layers[0].output_shape) if any(isinstance(layer, BatchNorm) for layer in layers[1:]) else 0
        columns = column_count(layers, shape)
        kept += output + inner + columns
        largest = max(largest, output + inner + columns)
        shape = layers[-1].output_shape
    per_image = inputs + kept + largest
    return (batch_size * per_image + model.parameter_count()) * model.dtype.itemsize


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
        case [Conv2d() as conv] if "conv_forward" not in backend.fused:
            return math.prod(conv.output_shape[:2]) * math.prod(conv.kernel_size) * input_shape[-1]
    return 0


def size_in_words(count: int) -> str:
    """Bytes for people: ``1.5 GiB``."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{math.ceil(count / 2**20)} MiB"
