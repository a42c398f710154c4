"""An estimate of the memory that a training step takes, for the error message when memory runs out.

It counts the arrays that exist at the same time at the peak: the outputs of the stages of the network, which the
forward pass keeps for the backward pass; the columns of convolutions that are computed by ``im2col``; the gradients
of one stage, and what it needs only while it computes. A stage is one layer, or several that a fused kernel computes
together. Frozen layers below the first trained layer keep nothing. For the networks in ``models.py`` on NumPy, frozen
or not, the estimate is within 15 % of the measured peak for batches of 128 and more. For smaller batches, the
optimizer's temporary arrays, which are not counted, are a larger share.
"""

import math
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.errors import OutOfMemoryError
from tinycnn.layers import (
    ELU,
    GELU,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    GlobalAvgPool2d,
    GroupNorm,
    HardSwish,
    Layer,
    LayerNorm,
    LeakyReLU,
    Normalization,
    Sequential,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    fusion,
)


@contextmanager
def explain_memory_errors(model: Sequential, batch_size: int) -> Iterator[None]:
    """Convert a MemoryError (also CuPy's) in the block to an OutOfMemoryError that suggests a batch size."""
    try:
        yield
    except MemoryError as error:
        if error.__traceback__ is not None:
            traceback.clear_frames(error.__traceback__)  # frees the arrays of the step that failed
        raise OutOfMemoryError(
            out_of_memory_message(model, batch_size, get_backend().free_memory(), str(error))
        ) from None


def out_of_memory_message(model: Sequential, batch_size: int, free: int | None, error: str) -> str:
    """The message: the memory needed, the memory that is free, and a batch size that should fit."""
    text = f"out of memory ({error.rstrip('.')}): " if error else "out of memory: "
    text += f"a step with a batch of {batch_size} takes about {format_bytes(step_bytes(model, batch_size))}"
    if free is None:
        return f"{text}. Try a smaller `batch_size`. Previously saved files are unchanged"
    fitting = batch_that_fits(model, batch_size, free)
    hint = f"`batch_size={fitting}` should fit" if fitting else "even a batch of 1 does not fit: close other programs"
    return f"{text}, and {format_bytes(free)} are free; {hint}. Previously saved files are unchanged"


def batch_that_fits(model: Sequential, batch_size: int, free: int) -> int:
    """The largest power of 2 below ``batch_size`` whose step takes at most ``free`` bytes; 0 if there is none."""
    smaller = (2**power for power in reversed(range((batch_size - 1).bit_length())))
    return next((size for size in smaller if step_bytes(model, size) <= free), 0)


@dataclass(frozen=True)
class Stage:
    """The array sizes of one stage of the network, in elements per image."""

    x: int  # input
    y: int  # output
    inner: int  # what it stores in addition to its output
    columns: int  # the im2col matrix of the input
    trained: bool  # whether any of its parameters is trained
    passing: int = 0  # what exists only while it computes


def step_bytes(model: Sequential, batch_size: int) -> int:
    """Estimated bytes that a training step needs on the active backend, excluding parameters and data set."""
    per_image = math.prod(model.input_shape) + max(live_elements(stages(model)))
    gradients = sum(parameter.data.size for parameter in model.parameters() if parameter.requires_grad)
    return (batch_size * per_image + gradients) * model.dtype.itemsize


def live_elements(stages: Iterable[Stage]) -> Iterator[int]:
    """The elements per image, excluding the image, that are live while each stage is computed.

    Below the first trained stage, the peak is in the forward pass, which keeps only the last output. From that stage
    on, it is in the backward pass, which needs the arrays kept by this stage and all earlier ones.
    """
    kept, training = 0, False
    for stage in stages:
        lowest, training = stage.trained and not training, training or stage.trained
        if training:
            kept += stage.y + stage.inner + stage.columns
            grad_x = 0 if lowest else stage.x + stage.columns  # the lowest trained stage does not compute it
            yield kept + stage.y + stage.inner + grad_x + stage.passing
        else:
            yield kept + stage.y + 2 * stage.inner + stage.columns + stage.passing
            kept = stage.y


def stages(model: Sequential) -> Iterator[Stage]:
    """The stages in which the active backend computes ``model``."""
    for layers in layers_by_stage(model):
        yield from stages_of(layers, fuses(model))


def stages_of(layers: list[Layer], fused: bool) -> Iterator[Stage]:
    """The stage of these layers; for a layer that contains others, their stages, and that of its own result."""
    x, y = math.prod(layers[0].input_shape), math.prod(layers[-1].output_shape)
    if not layers[0].sublayers():
        trained = any(parameter.requires_grad for layer in layers for parameter in layer.parameters())
        columns = column_count(layers, layers[0].input_shape, fused)
        yield Stage(x, y, inner_count(layers), columns, trained, passing_count(layers))
        return
    if isinstance(layers[0], Sequential):
        yield from stages(layers[0])
        return
    for inner in layers[0].sublayers().values():
        yield from stages_of([inner], fused)
    yield Stage(x, y, 0, 0, trained=False)


def inner_count(layers: list[Layer]) -> int:
    """The elements per image that layers store besides their outputs: slopes, and normalised inputs."""
    match layers:
        case [Sigmoid() | SiLU() | Softplus() | Softsign() | GELU() | ELU() | Normalization() as layer]:
            return math.prod(layer.output_shape)
        case [LayerNorm() | GroupNorm() as norm]:
            return 2 * math.prod(norm.output_shape)  # without and with the scale
        case [BatchNorm() as norm] if not get_backend().fused.norm_forward:
            return math.prod(norm.output_shape)
        case [first, *others] if any(isinstance(layer, BatchNorm) for layer in others):
            return math.prod(first.output_shape)
    return 0


def passing_count(layers: list[Layer]) -> int:
    """The elements per image of arrays that exist only while layers compute, besides their outputs and gradients.

    A fused backend adds float32 numbers as float64, in an array of twice the size that is then halved.
    """
    fused, y = bool(get_backend().fused), math.prod(layers[-1].output_shape)
    match layers:
        case [ConvTranspose2d() as conv]:
            columns = math.prod((*conv.input_shape[:2], *conv.kernel_size, conv.filters))
            return columns + 3 * y * (fused and conv.bias)
        case [AvgPool2d() as pool]:
            return math.prod(pool.kernel_size) * y * (4 if fused else 1)
        case [GlobalAvgPool2d() as pool] if fused:
            return 3 * math.prod(pool.input_shape)
        case [Dropout()] if not fused:
            return 4 * y  # random numbers of 64 bits, and what becomes of them
        case [GELU()]:
            return 3 * y
        case [SiLU()]:
            return 2 * y
        case [HardSwish() | LeakyReLU()]:
            return y
    return 0


def layers_by_stage(model: Sequential) -> list[list[Layer]]:
    """The layers of each stage in which the active backend computes ``model``."""
    layers = list(model.layers.values())
    if not fuses(model):
        return [[layer] for layer in layers]
    return [covered for _, covered in fusion.plan_with_layers(layers, get_backend())]


def fuses(model: Sequential) -> bool:
    """Whether the active backend has fused kernels and ``model`` may use them."""
    return model.fuse and bool(get_backend().fused) and model.dtype == np.float32


def column_count(layers: list[Layer], input_shape: tuple[int, ...], fused: bool) -> int:
    """The size of the ``im2col`` matrix of an image ``(H, W, C)``, or of the copies made in its place; often 0.

    Without columns, groups and dilation take the padded image apart, and a depthwise convolution keeps it.
    """
    if len(layers) != 1 or not isinstance(layers[0], Conv2d):
        return 0
    conv, kernels = layers[0], get_backend().fused
    (H, W, C), ((top, bottom), (left, right)) = input_shape, conv.pads
    padded, columns = (
        (top + H + bottom) * (left + W + right) * C,
        math.prod((*conv.output_shape[:2], *conv.kernel_size, C)),
    )
    fast = conv.parameters_by_name["weight"].dtype == np.float32  # see ops/convolutions/fused.py
    if fusion.can_be_fused(conv):
        return 0 if fused and kernels.conv_forward else columns
    if conv.groups == C > 1:
        return 0 if fast and kernels.depthwise_forward else padded
    if fast and kernels.conv_forward:
        return padded
    return columns * 3 // 2 if conv.groups > 1 else columns  # the gradient of grouped columns has two orders


def format_bytes(count: int) -> str:
    """``count`` bytes as ``1.5 GiB`` or ``20 MiB``."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{math.ceil(count / 2**20)} MiB"
