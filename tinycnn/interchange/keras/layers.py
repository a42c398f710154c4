"""The conversion of every layer of Keras: from its config and its arrays to planned layers.

``LAYERS`` maps a class of Keras to a function. A setting that a function does not know is refused, so none is lost.
Sources: https://keras.io/api/layers/, and ``get_config`` of each layer.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinycnn.backends.base import Pair
from tinycnn.errors import FileFormatError, shortened
from tinycnn.interchange.keras.file import Variable
from tinycnn.interchange.planned import Affine, PlannedLayer
from tinycnn.layers import (
    ELU,
    GELU,
    Add,
    AvgPool2d,
    BatchNorm,
    Clip,
    Conv2d,
    ConvTranspose2d,
    Crop2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    GroupNorm,
    HardSwish,
    Identity,
    LayerNorm,
    LeakyReLU,
    LogSoftmax,
    MaxPool2d,
    Multiply,
    Normalization,
    Pad2d,
    ReLU,
    Rescaling,
    Reshape,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
    Transpose2d,
    Upsample,
)

Layers = list[PlannedLayer]
Arrays = dict[str, np.ndarray]
WITHOUT_EFFECT = re.compile(  # settings that do not change the result in evaluation
    "name|trainable|dtype|batch_input_shape|batch_shape|input_shape|input_dtype|seed|autocast|.*_initializer"
    "|.*_regularizer|.*_constraint|synchronized|momentum|renorm.*|optional|sparse|ragged|quantization_config"
)
DIGITS = 7  # after the point: what is left of 1 - momentum


@dataclass
class Source:
    """One layer of the file: its class, name, config, input shape, and arrays."""

    kind: str
    name: str
    config: dict[str, Any]
    shape: tuple[int, ...]  # of the input, without N
    version: str  # of Keras
    dtype: np.dtype
    variables: list[Variable] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def get(self, key: str, default: Any = None) -> Any:
        """A setting."""
        self.used.add(key)
        return self.config.get(key, default)

    def number(self, key: str, default: Any = None) -> float:
        """A setting that is one finite number."""
        return as_number(key, self.get(key, default))

    def pair(self, key: str, default: Any = None) -> Pair:
        """A setting that is an integer, or one for each of height and width."""
        value = self.get(key, default)
        pair = value if isinstance(value, list | tuple) else [value, value]
        if len(pair) != 2 or not all(type(size) is int and 0 <= size < 1 << 20 for size in pair):
            raise FileFormatError(f"{key} is {shortened(value)}, expected one or two integers")
        return pair[0], pair[1]

    def require(self, **known: Any) -> None:
        """Raise FileFormatError unless these settings have one of the values, or are missing."""
        for key, values in known.items():
            value = self.get(key, values[0])
            if value not in values:
                raise FileFormatError(f"{key}={shortened(value)}; tinycnn supports only {shortened(values[0])}")

    def arrays(self, *shapes: tuple[int, ...]) -> list[np.ndarray]:
        """All arrays of the layer, which have these shapes."""
        found = [variable.shape for variable in self.variables]
        if found != list(shapes):
            raise FileFormatError(f"its arrays have the shapes {shortened(found)}, expected {shortened(list(shapes))}")
        return [self.as_dtype(variable.read()) for variable in self.variables]

    def as_dtype(self, array: np.ndarray) -> np.ndarray:
        """``array`` in the dtype of the network; raises FileFormatError where that would round it."""
        if array.dtype.itemsize > self.dtype.itemsize:
            raise FileFormatError(f"its arrays are {array.dtype}, the network is {self.dtype}")
        return array.astype(self.dtype)

    def check_all_used(self) -> None:
        """Raise FileFormatError for a setting that no function has read."""
        unknown = [key for key in self.config if key not in self.used and not WITHOUT_EFFECT.fullmatch(key)]
        if unknown:
            raise FileFormatError(f"tinycnn does not know its setting {shortened(unknown[0])}")

    @property
    def channels(self) -> int:
        return self.shape[-1]

    def expect_image(self) -> tuple[int, int, int]:
        """``(H, W, C)``; raises FileFormatError for another input, or channels first."""
        self.require(data_format=("channels_last", None))
        if len(self.shape) != 3:
            raise FileFormatError(f"takes images (H, W, C), but gets {self.shape}")
        return self.shape[0], self.shape[1], self.shape[2]

    def expect_last_axis(self, default: int = -1) -> None:
        """Raise FileFormatError unless ``axis`` is the last one."""
        axis = self.get("axis", default)
        axis = axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis
        if axis not in (-1, len(self.shape)) or len(self.shape) not in (1, 3):
            raise FileFormatError(f"axis={shortened(axis)} of {self.shape}; tinycnn supports only the last axis")


def as_number(key: str, value: Any) -> float:
    """``value`` as a float; raises FileFormatError unless it is a finite number."""
    if type(value) not in (int, float) or not math.isfinite(value):
        raise FileFormatError(f"{key} is {shortened(value)}, expected a finite number")
    return float(value)


def planned(kind: Any, arrays: dict[str, np.ndarray] | None = None, **settings: Any) -> PlannedLayer:
    """A layer with these settings and arrays."""
    return PlannedLayer(kind, settings, arrays or {})


def rescaling(scale: float, offset: float = 0.0) -> PlannedLayer:
    """A factor and a term."""
    return planned(Rescaling, scale=scale, offset=offset)


# ---------------------------------------------------------------------------------------------------- activations

ACTIVATIONS: dict[str, Callable[[], Layers]] = {
    "linear": lambda: [],
    "relu": lambda: [planned(ReLU)],
    "relu6": lambda: [planned(Clip, low=0.0, high=6.0)],
    "leaky_relu": lambda: [planned(LeakyReLU, slope=0.2)],
    "tanh": lambda: [planned(Tanh)],
    "hard_tanh": lambda: [planned(Clip, low=-1.0, high=1.0)],
    "sigmoid": lambda: [planned(Sigmoid)],
    "hard_sigmoid": lambda: [rescaling(1 / 6, 0.5), planned(Clip, low=0.0, high=1.0)],
    "silu": lambda: [planned(SiLU)],
    "swish": lambda: [planned(SiLU)],
    "hard_silu": lambda: [planned(HardSwish)],
    "hard_swish": lambda: [planned(HardSwish)],
    "gelu": lambda: [planned(GELU)],
    "elu": lambda: [planned(ELU)],
    "celu": lambda: [planned(ELU)],
    "selu": lambda: [planned(ELU, alpha=1.6732632423543772), rescaling(1.0507009873554805)],
    "softplus": lambda: [planned(Softplus)],
    "softsign": lambda: [planned(Softsign)],
    "log_sigmoid": lambda: [rescaling(-1.0), planned(Softplus), rescaling(-1.0)],
    "mish": lambda: [planned_branches(Multiply, [planned(Identity)], [planned(Softplus), planned(Tanh)])],
    "softmax": lambda: [planned(Softmax)],
    "log_softmax": lambda: [planned(LogSoftmax)],
}


def planned_branches(kind: Any, *branches: Layers) -> PlannedLayer:
    """A container of branches."""
    return PlannedLayer(kind, branches=tuple(map(tuple, branches)))


def activation(source: Source, key: str = "activation") -> Layers:
    """The layers of an activation, which is a name, or an object that contains it."""
    value = source.get(key)
    if isinstance(value, dict) and value.get("class_name") == "function":
        value = value.get("config")
    name = "linear" if value is None else value
    if name == "hard_sigmoid" and source.version.startswith(("1", "2")):  # until Keras 3: clip(0.2 x + 0.5)
        return [rescaling(0.2, 0.5), planned(Clip, low=0.0, high=1.0)]
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise FileFormatError(f"the activation {shortened(name)}; tinycnn has {', '.join(ACTIVATIONS)}")
    if name.endswith("softmax") and len(source.shape) == 2:
        raise FileFormatError(f"{name} of an array {source.shape}")
    return ACTIVATIONS[name]()


def relu(source: Source) -> Layers:
    """→ ReLU, LeakyReLU, Clip, or the latter two."""
    source.require(threshold=(0, None))
    slope, most = source.get("negative_slope", 0), source.get("max_value")
    slope = as_number("negative_slope", 0 if slope is None else slope)
    if slope and most is not None:
        return [planned(LeakyReLU, slope=slope), planned(Clip, high=as_number("max_value", most))]
    if most is not None:
        return [planned(Clip, low=0.0, high=as_number("max_value", most))]
    return [planned(LeakyReLU, slope=slope) if slope else planned(ReLU)]


def leaky_relu(source: Source) -> Layers:
    """→ LeakyReLU; until Keras 3, the slope was called alpha."""
    return [planned(LeakyReLU, slope=source.number("negative_slope", source.get("alpha", 0.3)))]


def elu(source: Source) -> Layers:
    """→ ELU."""
    return [planned(ELU, alpha=source.number("alpha", 1.0))]


def p_relu(source: Source) -> Layers:
    """A slope for every channel, or every number: ``relu(x) - slope relu(-x)``, as two branches."""
    shared = source.get("shared_axes")
    shared = sorted(shared) if isinstance(shared, list | tuple) else shared
    if shared not in (None, [1, 2]) or (shared and len(source.shape) != 3):
        raise FileFormatError(f"shared_axes={shortened(shared)}; tinycnn supports None and [1, 2], a slope per channel")
    (slope,) = source.arrays((1, 1, source.channels) if shared else source.shape)
    below = planned(Affine, {"gamma": -slope.ravel(), "beta": np.zeros_like(slope.ravel())})
    bent = planned_branches(Add, [planned(ReLU)], [rescaling(-1.0), planned(ReLU), below])
    return [bent] if shared else of_all_numbers(source, bent)


def of_all_numbers(source: Source, layer: PlannedLayer) -> Layers:
    """``layer`` for which every number of an image is a channel of its own."""
    if len(source.shape) == 1:
        return [layer]
    return [planned(Flatten), layer, planned(Reshape, shape=source.shape)]


def softmax(source: Source) -> Layers:
    """→ Softmax over the last axis."""
    source.expect_last_axis()
    return [planned(Softmax)]


# --------------------------------------------------------------------------------- layers with weights, and windows


def kernels_and_bias(source: Source, count: int, *shapes: tuple[int, ...]) -> tuple[list[np.ndarray], Arrays]:
    """The kernels of a layer, which have these shapes, and its bias ``(count,)`` by name, if it has one."""
    bias = [(count,)] if source.get("use_bias", True) else []
    found = source.arrays(*shapes, *bias)
    return found[: len(shapes)], dict(zip(("bias",), found[len(shapes) :], strict=False))


def windows(source: Source, size: str, stride: str, default: Any = 1) -> dict[str, Any]:
    """Window, stride and padding of a layer."""
    kernel_size = source.pair(size)
    step = source.get(stride)
    source.require(padding=("valid", "same"))
    return {
        "kernel_size": kernel_size,
        "stride": kernel_size if step is None and default is None else source.pair(stride, default),
        "padding": source.get("padding", "valid"),
    }


def dilation(source: Source) -> dict[str, Any]:
    """The dilation, if there is any."""
    rate = source.pair("dilation_rate", 1)
    return {} if rate == (1, 1) else {"dilation": rate}


def conv2d(source: Source) -> Layers:
    """→ Conv2d, with its activation."""
    _, _, C = source.expect_image()
    filters, groups, window = source.get("filters"), source.get("groups", 1), windows(source, "kernel_size", "strides")
    if type(groups) is not int or groups < 1:
        raise FileFormatError(f"groups={shortened(groups)}, expected a positive integer")
    (weight,), bias = kernels_and_bias(source, filters, (*window["kernel_size"], C // groups, filters))
    more = dilation(source) | ({} if groups == 1 else {"groups": groups})
    return [planned(Conv2d, {"weight": weight} | bias, filters=filters, **window, **more), *activation(source)]


def depthwise(source: Source) -> Layers:
    """→ Conv2d in as many groups as there are channels."""
    _, _, C = source.expect_image()
    source.require(groups=(1,))
    multiplier, window = source.get("depth_multiplier", 1), windows(source, "kernel_size", "strides")
    (weight,), bias = kernels_and_bias(source, C * multiplier, (*window["kernel_size"], C, multiplier))
    return [by_channel(source, weight, bias, window), *activation(source)]


def by_channel(source: Source, weight: np.ndarray, bias: Arrays, window: dict[str, Any]) -> PlannedLayer:
    """A depthwise convolution; its ``weight (KH, KW, C, multiplier)`` becomes ``(KH, KW, 1, C*multiplier)``."""
    KH, KW, C, multiplier = weight.shape
    arrays, more = {"weight": weight.reshape(KH, KW, 1, C * multiplier)} | bias, {"groups": C} | dilation(source)
    return planned(Conv2d, arrays, filters=C * multiplier, **window, **more)


def separable(source: Source) -> Layers:
    """A depthwise convolution, then one of single pixels → two Conv2d."""
    _, _, C = source.expect_image()
    source.require(groups=(1,))
    filters, multiplier = source.get("filters"), source.get("depth_multiplier", 1)
    window = windows(source, "kernel_size", "strides")
    shapes = (*window["kernel_size"], C, multiplier), (1, 1, C * multiplier, filters)
    (first, second), bias = kernels_and_bias(source, filters, *shapes)
    pointwise = planned(Conv2d, {"weight": second} | bias, filters=filters, kernel_size=(1, 1))
    return [by_channel(source, first, {}, window), pointwise, *activation(source)]


def conv_transpose(source: Source) -> Layers:
    """→ ConvTranspose2d; a window below the stride leaves gaps, which belong to the output in Keras."""
    _, _, C = source.expect_image()
    source.require(groups=(1,), dilation_rate=([1, 1], (1, 1), 1))
    filters, window = source.get("filters"), windows(source, "kernel_size", "strides")
    (weight,), bias = kernels_and_bias(source, filters, (*window["kernel_size"], filters, C))
    sizes = list(zip(window["kernel_size"], window["stride"], strict=True))
    added = tuple(max(S - K, 0) for K, S in sizes)
    if source.get("output_padding") is not None:
        added = source.pair("output_padding")
        if window["padding"] == "same" and added != tuple(S - K + 2 * (K // 2) for K, S in sizes):
            raise FileFormatError(f"output_padding={added}; with 'same', tinycnn supports None: S times the input size")
    more = {"output_padding": added} if window["padding"] == "valid" and any(added) else {}
    return [planned(ConvTranspose2d, {"weight": weight} | bias, filters=filters, **window, **more), *activation(source)]


def dense(source: Source) -> Layers:
    """→ Dense; of images, a convolution of single pixels."""
    units = source.get("units")
    if len(source.shape) not in (1, 3):
        raise FileFormatError(f"takes rows or images, but gets {source.shape}")
    (weight,), bias = kernels_and_bias(source, units, (source.channels, units))
    if len(source.shape) == 1:
        return [planned(Dense, {"weight": weight} | bias, units=units), *activation(source)]
    arrays = {"weight": weight[np.newaxis, np.newaxis]} | bias  # (1, 1, C, F)
    return [planned(Conv2d, arrays, filters=units, kernel_size=(1, 1)), *activation(source)]


def pool(kind: Any, **settings: Any) -> Callable[[Source], Layers]:
    """→ a pooling layer; its padding never counts."""

    def convert(source: Source) -> Layers:
        source.expect_image()
        return [planned(kind, **windows(source, "pool_size", "strides", None), **settings)]

    return convert


def global_pool(kind: Any) -> Callable[[Source], Layers]:
    """→ a global pool."""

    def convert(source: Source) -> Layers:
        source.expect_image()
        return [planned(kind, keepdims=bool(source.get("keepdims", False)))]

    return convert


# ------------------------------------------------------------------------------------------------------------ norms


def batch_norm(source: Source) -> Layers:
    """→ BatchNorm; momentum is the weight of the old value in Keras."""
    source.expect_last_axis()
    C = (source.channels,)
    gamma, beta = norm_arrays(source, 2)
    mean, var = (source.as_dtype(variable.read()) for variable in source.variables[-2:])
    if mean.shape != C or var.shape != C:
        raise FileFormatError(f"its statistics have the shapes {mean.shape} and {var.shape}, expected {C}")
    momentum = round(1 - as_number("momentum", source.config.get("momentum", 0.99)), DIGITS)
    arrays = {"gamma": gamma, "beta": beta, "running_mean": mean, "running_var": var}
    return [planned(BatchNorm, arrays, eps=source.number("epsilon", 1e-3), momentum=momentum)]


def norm_arrays(source: Source, others: int = 0, shape: tuple[int, ...] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Gamma and beta, ones and zeros where the layer has none; ``others``: the number of arrays behind them."""
    flags, size = [bool(source.get(name, True)) for name in ("scale", "center")], shape or (source.channels,)
    count = sum(flags)
    if len(source.variables) != count + others or any(one.shape != size for one in source.variables[:count]):
        shapes = [variable.shape for variable in source.variables]
        raise FileFormatError(
            f"its arrays have the shapes {shortened(shapes)}, expected {count + others} of {', '.join(map(str, size))}"
        )
    given = iter([source.as_dtype(variable.read()) for variable in source.variables[:count]])
    ones, zeros = np.ones(size, source.dtype), np.zeros(size, source.dtype)
    return next(given) if flags[0] else ones, next(given) if flags[1] else zeros


def layer_norm(source: Source) -> Layers:
    """→ LayerNorm, over the channels or the whole image."""
    source.require(rms_scaling=(False,))
    whole = source.get("axis") in ([1, 2, 3], [-3, -2, -1]) and len(source.shape) == 3
    if not whole:
        source.expect_last_axis()
    gamma, beta = norm_arrays(source, shape=source.shape if whole else (source.channels,))
    norm = planned(LayerNorm, {"gamma": gamma.ravel(), "beta": beta.ravel()}, eps=source.number("epsilon", 1e-3))
    return of_all_numbers(source, norm) if whole else [norm]


def group_norm(source: Source) -> Layers:
    """→ GroupNorm; -1 groups are as many as there are channels."""
    source.expect_last_axis()
    gamma, beta = norm_arrays(source)
    groups = source.get("groups", 32)
    settings = {"groups": source.channels if groups == -1 else groups, "eps": source.number("epsilon", 1e-3)}
    return [planned(GroupNorm, {"gamma": gamma, "beta": beta}, **settings)]


def normalization(source: Source) -> Layers:
    """→ Normalization, with the numbers in its config, or those that ``adapt`` has computed."""
    source.expect_last_axis()
    source.require(invert=(False,))
    numbers = [source.get("mean"), source.get("variance")]
    if None in numbers:
        if len(source.variables) != 3 or any(one.shape != (source.channels,) for one in source.variables[:2]):
            raise FileFormatError("has neither numbers nor arrays for mean and variance")
        numbers = [variable.read() for variable in source.variables[:2]]
    mean, variance = (np.asarray(each, np.float64).ravel() for each in numbers)
    std = np.maximum(np.sqrt(variance), 1e-7)
    if {len(mean), len(std)} - {1, source.channels}:
        raise FileFormatError(f"has {len(mean)} means for {source.channels} channels")
    return [planned(Normalization, mean=as_given(mean), std=as_given(std))]


def as_given(numbers: np.ndarray) -> float | tuple[float, ...]:
    """One number, or one for each channel."""
    return float(numbers[0]) if len(numbers) == 1 else tuple(numbers.tolist())


def rescale(source: Source) -> Layers:
    """→ Rescaling; with a number for each channel, a factor and a term."""
    scale, offset = source.get("scale", 1.0), source.get("offset", 0.0)
    if not isinstance(scale, list) and not isinstance(offset, list):
        return [rescaling(as_number("scale", scale), as_number("offset", offset))]
    numbers = [np.asarray(each, source.dtype).ravel() for each in (scale, offset)]
    if {len(each) for each in numbers} - {1, source.channels}:
        raise FileFormatError(f"has {max(map(len, numbers))} numbers for {source.channels} channels")
    gamma, beta = (np.broadcast_to(each, source.channels).copy() for each in numbers)
    return [planned(Affine, {"gamma": gamma, "beta": beta})]


# ----------------------------------------------------------------------------------------------------------- shapes


def flatten(source: Source) -> Layers:
    """→ Flatten; a row stays as it is."""
    source.require(data_format=("channels_last", None))
    return [] if len(source.shape) == 1 else [planned(Flatten)]


def reshape(source: Source) -> Layers:
    """→ Reshape."""
    target = list(source.get("target_shape") or [])
    if not all(type(size) is int for size in target) or target.count(-1) > 1:
        raise FileFormatError(f"target_shape={shortened(target)}, expected integers")
    count = math.prod(source.shape)
    if -1 in target:
        rest = math.prod(size for size in target if size != -1)
        target[target.index(-1)] = count // rest if rest > 0 else 0
    if len(target) not in (1, 3) or math.prod(target) != count or min(target) < 1:
        raise FileFormatError(f"to {target} from {source.shape}; tinycnn has rows and images (H, W, C)")
    return [] if tuple(target) == source.shape else [planned(Reshape, shape=tuple(target))]


def permute(source: Source) -> Layers:
    """Rows and columns exchanged → Transpose2d."""
    source.expect_image()
    source.require(dims=([2, 1, 3], (2, 1, 3)))
    return [planned(Transpose2d)]


def sides(source: Source, key: str) -> Any:
    """``((top, bottom), (left, right))``, from one number, two, or four."""
    value = source.get(key, 1)
    pair = value if isinstance(value, list | tuple) else [value, value]
    each = [tuple(side) if isinstance(side, list | tuple) else (side, side) for side in pair]
    numbers = [number for side in each for number in side]
    if [len(side) for side in each] != [2, 2] or not all(type(n) is int and 0 <= n < 1 << 20 for n in numbers):
        raise FileFormatError(f"{key} is {shortened(value)}, expected ((top, bottom), (left, right))")
    return tuple(each)


def zero_padding(source: Source) -> Layers:
    """→ Pad2d."""
    source.expect_image()
    return [planned(Pad2d, padding=sides(source, "padding"))]


def center_crop(source: Source) -> Layers:
    """→ Crop2d; an odd edge is cut off behind."""
    H, W, _ = source.expect_image()
    edges = [size - source.get(key) for size, key in ((H, "height"), (W, "width"))]
    if min(edges) < 0:
        raise FileFormatError(f"to a larger size than {H}x{W}, which enlarges the image")
    return [planned(Crop2d, cropping=tuple((edge // 2, edge - edge // 2) for edge in edges))]


def cropping(source: Source) -> Layers:
    """→ Crop2d."""
    source.expect_image()
    return [planned(Crop2d, cropping=sides(source, "cropping"))]


def upsampling(source: Source) -> Layers:
    """→ Upsample."""
    source.expect_image()
    source.require(interpolation=("nearest",))
    return [planned(Upsample, scale=source.pair("size", 2))]


def dropout(source: Source) -> Layers:
    """→ Dropout; where numbers share their noise, nothing, as for SpatialDropout2D."""
    rate = source.number("rate")
    return [planned(Dropout, p=rate)] if source.get("noise_shape") is None else []


def nothing(source: Source) -> Layers:
    """A layer that changes nothing in evaluation."""
    source.used |= source.config.keys()
    return []


LAYERS: dict[str, Callable[[Source], Layers]] = {
    "Conv2D": conv2d,
    "DepthwiseConv2D": depthwise,
    "SeparableConv2D": separable,
    "Conv2DTranspose": conv_transpose,
    "Dense": dense,
    "MaxPooling2D": pool(MaxPool2d),
    "AveragePooling2D": pool(AvgPool2d, count_include_pad=False),
    "GlobalAveragePooling2D": global_pool(GlobalAvgPool2d),
    "GlobalMaxPooling2D": global_pool(GlobalMaxPool2d),
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "GroupNormalization": group_norm,
    "Normalization": normalization,
    "Rescaling": rescale,
    "Activation": activation,
    "ReLU": relu,
    "LeakyReLU": leaky_relu,
    "PReLU": p_relu,
    "ELU": elu,
    "Softmax": softmax,
    "Flatten": flatten,
    "Reshape": reshape,
    "Permute": permute,
    "ZeroPadding2D": zero_padding,
    "Cropping2D": cropping,
    "CenterCrop": center_crop,
    "UpSampling2D": upsampling,
    "Dropout": dropout,
    **dict.fromkeys(
        (
            "Identity", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout",
            "ActivityRegularization", "RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation",
            "RandomContrast", "RandomBrightness",
        ),
        nothing,
    ),
}  # fmt: skip
