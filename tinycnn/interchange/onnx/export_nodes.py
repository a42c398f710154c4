"""The ONNX nodes of every layer: ``NODES`` maps its class to a function that adds them to the graph.

Between layers, images are ``(N, C, H, W)`` in the file. A layer that has no entry here may have the method
``onnx_nodes``. The function gets the graph, the name of the layer, the layer, and the name of its input; it returns the
name of the result, which is the name of the layer, or of the input if the layer changes nothing.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.layers import (
    ELU,
    GELU,
    Abs,
    Add,
    AvgPool2d,
    BatchNorm,
    Clip,
    Concatenate,
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
    Layer,
    LayerNorm,
    LeakyReLU,
    LogSoftmax,
    Maximum,
    MaxPool2d,
    Minimum,
    Multiply,
    Normalization,
    Pad2d,
    ReLU,
    Rescaling,
    Reshape,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
    Transpose2d,
    Upsample,
)
from tinycnn.ops.windows.padding import as_pads

TO_CHANNELS_SECOND, TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


class Graph(Protocol):
    """What the functions below use of the graph; ``shape`` is the input shape of the layer, channels last."""

    dtype: np.dtype
    shape: tuple[int, ...]

    def add(self, operation: str, name: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node whose result has the name of the node."""

    def constant(self, name: str, array: Any) -> str:
        """Add a constant, and return its name."""

    def add_layer(self, name: str, layer: Layer, x: str) -> str:
        """Add the nodes of another layer, and return the name of its result."""


def operator(operation: str, **settings: str) -> Callable[[Graph, str, Any, str], str]:
    """A layer that is one node; ``settings`` are its attributes, and the settings of the layer that they take."""

    def nodes(graph: Graph, name: str, layer: Any, x: str) -> str:
        return graph.add(operation, name, [x], **{key: getattr(layer, own) for key, own in settings.items()})

    return nodes


def nothing(graph: Graph, name: str, layer: Layer, x: str) -> str:
    """A layer that changes nothing in evaluation mode."""
    return x


def sequential(graph: Graph, name: str, layer: Sequential, x: str) -> str:
    """The layers of a network within another."""
    for own, inner in layer.layers.items():
        x = graph.add_layer(f"{name}.{own}", inner, x)
    return x


def joined(operation: str) -> Callable[[Graph, str, Any, str], str]:
    """Branches, of which an operator joins two results after the other."""

    def nodes(graph: Graph, name: str, layer: Layer, x: str) -> str:
        first, *others = branches(graph, name, layer, x)
        for number, other in enumerate(others, start=1):
            result = name if number == len(others) else f"{name}.joined_{number}"
            first = graph.add(operation, result, [first, other])
        return first

    return nodes


def branches(graph: Graph, name: str, layer: Layer, x: str) -> list[str]:
    """The results of the layers inside of ``layer``, which all take ``x``."""
    shape, results = graph.shape, []
    for own, inner in layer.sublayers().items():
        graph.shape = shape
        results.append(graph.add_layer(f"{name}.{own}", inner, x))
    return results


def concatenate(graph: Graph, name: str, layer: Concatenate, x: str) -> str:
    """Channels are second in images and rows."""
    return graph.add("Concat", name, branches(graph, name, layer, x), axis=1)


def conv2d(graph: Graph, name: str, layer: Conv2d, x: str) -> str:
    """The weight is ``(F, C / groups, KH, KW)`` in the file."""
    weight = get_backend().to_host(layer.parameters_by_name["weight"].data)  # (KH, KW, C/groups, F)
    inputs = [x, graph.constant(f"{name}.weight", weight.transpose(3, 2, 0, 1))]  # (F, C/groups, KH, KW)
    if layer.bias:
        inputs.append(graph.constant(f"{name}.bias", layer.parameters_by_name["bias"].data))
    return graph.add("Conv", name, inputs, **window(layer), dilations=layer.dilation, group=layer.groups)


def conv_transpose2d(graph: Graph, name: str, layer: ConvTranspose2d, x: str) -> str:
    """The weight is ``(C, F, KH, KW)`` in the file."""
    weight = get_backend().to_host(layer.parameters_by_name["weight"].data)  # (KH, KW, F, C)
    inputs = [x, graph.constant(f"{name}.weight", weight.transpose(3, 2, 0, 1))]  # (C, F, KH, KW)
    if layer.bias:
        inputs.append(graph.constant(f"{name}.bias", layer.parameters_by_name["bias"].data))
    return graph.add("ConvTranspose", name, inputs, **window(layer), output_padding=layer.added)


def window(layer: Any) -> dict[str, Any]:
    """The attributes of a window; ``layer.pads`` are those of its ``padding`` for this image."""
    (top, bottom), (left, right) = layer.pads
    return {"kernel_shape": layer.kernel_size, "strides": layer.stride, "pads": (top, left, bottom, right)}


def max_pool2d(graph: Graph, name: str, layer: MaxPool2d, x: str) -> str:
    """With ``ceil_mode``, ``layer.pads`` complete the last window, so the file needs no ceil_mode."""
    return graph.add("MaxPool", name, [x], **window(layer))


def avg_pool2d(graph: Graph, name: str, layer: AvgPool2d, x: str) -> str:
    """A window that hangs over the edge is padded, and the mean leaves that out."""
    counts = layer.counts_padding
    if not (counts and layer.ceil_mode) or layer.padding == "same":
        return graph.add("AveragePool", name, [x], **window(layer), count_include_pad=int(counts))
    (top, bottom), (left, right) = as_pads(layer.padding)
    pads = {"pads": (top, left, bottom, right), "ceil_mode": 1, "count_include_pad": 1}
    return graph.add("AveragePool", name, [x], **(window(layer) | pads))


def global_pool(operation: str) -> Callable[[Graph, str, Any, str], str]:
    """A global pool, which keeps the axes of height and width in ONNX."""

    def nodes(graph: Graph, name: str, layer: Any, x: str) -> str:
        if layer.keepdims:
            return graph.add(operation, name, [x])  # (N, C, 1, 1)
        return graph.add("Flatten", name, [graph.add(operation, f"{name}.pooled", [x])])  # (N, C)

    return nodes


def dense(graph: Graph, name: str, layer: Dense, x: str) -> str:
    """The weight is ``(in, out)``, as here."""
    return graph.add("Gemm", name, [x, *arrays(graph, name, layer)])


def batch_norm(graph: Graph, name: str, layer: BatchNorm, x: str) -> str:
    """ONNX's momentum is the weight of the old value."""
    inputs = [x, *arrays(graph, name, layer)]
    return graph.add("BatchNormalization", name, inputs, epsilon=layer.eps, momentum=1 - layer.momentum)


def layer_norm(graph: Graph, name: str, layer: LayerNorm, x: str) -> str:
    """Over the last axis: images go there and back."""
    image = len(graph.shape) == 3
    if image:
        x = graph.add("Transpose", f"{name}.channels_last", [x], perm=TO_CHANNELS_LAST)  # (N, H, W, C)
    result = f"{name}.normalised" if image else name
    x = graph.add("LayerNormalization", result, [x, *arrays(graph, name, layer)], axis=-1, epsilon=layer.eps)
    return graph.add("Transpose", name, [x], perm=TO_CHANNELS_SECOND) if image else x


def group_norm(graph: Graph, name: str, layer: GroupNorm, x: str) -> str:
    """Opset 17 has no group norm: the groups become channels, which InstanceNormalization normalises."""
    H, W, C = graph.shape
    one = np.ones(layer.groups, graph.dtype)
    x = reshaped(graph, f"{name}.groups", x, (0, layer.groups, -1))  # (N, groups, C/groups*H*W)
    constants = [graph.constant(f"{name}.one", one), graph.constant(f"{name}.zero", np.zeros_like(one))]
    x = graph.add("InstanceNormalization", f"{name}.normalised", [x, *constants], epsilon=layer.eps)
    x = reshaped(graph, f"{name}.channels", x, (-1, C, H, W))
    gamma, beta = (get_backend().to_host(tensor.data).reshape(C, 1, 1) for _, tensor in layer.named_parameters())
    x = graph.add("Mul", f"{name}.scaled", [x, graph.constant(f"{name}.gamma", gamma)])
    return graph.add("Add", name, [x, graph.constant(f"{name}.beta", beta)])


def flatten(graph: Graph, name: str, layer: Flatten, x: str) -> str:
    """An image is flattened channels last."""
    if len(graph.shape) == 3:
        x = graph.add("Transpose", f"{name}.channels_last", [x], perm=TO_CHANNELS_LAST)  # (N, H, W, C)
    return graph.add("Flatten", name, [x], axis=1)  # (N, H*W*C)


def reshape(graph: Graph, name: str, layer: Reshape, x: str) -> str:
    """Numbers keep the order that they have channels last."""
    if len(graph.shape) == 3:
        x = graph.add("Transpose", f"{name}.channels_last", [x], perm=TO_CHANNELS_LAST)  # (N, H, W, C)
    image = len(layer.output_shape) == 3
    x = reshaped(graph, f"{name}.reshaped" if image else name, x, (-1, *layer.output_shape))
    return graph.add("Transpose", name, [x], perm=TO_CHANNELS_SECOND) if image else x


def reshaped(graph: Graph, name: str, x: str, shape: tuple[int, ...]) -> str:
    """A Reshape to a constant shape."""
    return graph.add("Reshape", name, [x, graph.constant(f"{name}.shape", np.array(shape, np.int64))])


def rescaling(graph: Graph, name: str, layer: Rescaling, x: str) -> str:
    """A product and a sum with one number each."""
    scaled = graph.add("Mul", f"{name}.scaled", [x, number(graph, f"{name}.scale", layer.scale)])
    return graph.add("Add", name, [scaled, number(graph, f"{name}.offset", layer.offset)])


def normalization(graph: Graph, name: str, layer: Normalization, x: str) -> str:
    """A difference and a quotient for every channel."""
    shape = (-1, 1, 1) if len(graph.shape) == 3 else (-1,)
    mean, std = (np.array(numbers, graph.dtype).reshape(shape) for numbers in (layer.mean, layer.std))
    centred = graph.add("Sub", f"{name}.centred", [x, graph.constant(f"{name}.mean", mean)])
    return graph.add("Div", name, [centred, graph.constant(f"{name}.std", std)])


def number(graph: Graph, name: str, value: float) -> str:
    """A constant of one number."""
    return graph.constant(name, np.array(value, graph.dtype))


def softmax(graph: Graph, name: str, layer: Layer, x: str) -> str:
    """Over the classes, or the channels."""
    return graph.add(type(layer).__name__, name, [x], axis=1)


def gelu(graph: Graph, name: str, layer: GELU, x: str) -> str:
    """Opset 17 has no GELU: ``x (1 + erf(x / √2)) / 2``, or the approximation by tanh."""
    if layer.approximate:
        cube = graph.add("Pow", f"{name}.cube", [x, number(graph, f"{name}.three", 3)])
        small = graph.add("Mul", f"{name}.small", [cube, number(graph, f"{name}.factor", 0.044715)])
        total = graph.add("Add", f"{name}.sum", [x, small])
        scaled = graph.add("Mul", f"{name}.scaled", [total, number(graph, f"{name}.scale", (2 / np.pi) ** 0.5)])
        bent = graph.add("Tanh", f"{name}.tanh", [scaled])
    else:
        scaled = graph.add("Mul", f"{name}.scaled", [x, number(graph, f"{name}.scale", 0.5**0.5)])
        bent = graph.add("Erf", f"{name}.erf", [scaled])
    raised = graph.add("Add", f"{name}.raised", [bent, number(graph, f"{name}.one", 1)])
    product = graph.add("Mul", f"{name}.product", [x, raised])
    return graph.add("Mul", name, [product, number(graph, f"{name}.half", 0.5)])


def silu(graph: Graph, name: str, layer: SiLU, x: str) -> str:
    """``x sigmoid(x)``."""
    return graph.add("Mul", name, [x, graph.add("Sigmoid", f"{name}.sigmoid", [x])])


def clip(graph: Graph, name: str, layer: Clip, x: str) -> str:
    """The bounds are inputs; one that does not exist is left out."""
    bounds = (("low", layer.low), ("high", layer.high))
    inputs = ["" if bound is None else number(graph, f"{name}.{own}", bound) for own, bound in bounds]
    return graph.add("Clip", name, [x, *inputs])


def upsample(graph: Graph, name: str, layer: Upsample, x: str) -> str:
    """Each pixel is repeated."""
    down, across = layer.scale
    scales = graph.constant(f"{name}.scales", np.array([1, 1, down, across], np.float32))
    mode = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.add("Resize", name, [x, "", scales], mode="nearest", **mode)


def pad2d(graph: Graph, name: str, layer: Pad2d, x: str) -> str:
    """Zeros around the image."""
    (top, bottom), (left, right) = as_pads(layer.padding)
    pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
    return graph.add("Pad", name, [x, graph.constant(f"{name}.pads", pads)])


def crop2d(graph: Graph, name: str, layer: Crop2d, x: str) -> str:
    """A part of the rows and columns."""
    H, W, _ = graph.shape
    (top, bottom), (left, right) = layer.cropping
    lists = {"starts": [top, left], "ends": [H - bottom, W - right], "axes": [2, 3]}
    return graph.add("Slice", name, [x, *(graph.constant(f"{name}.{key}", np.array(v)) for key, v in lists.items())])


def transpose2d(graph: Graph, name: str, layer: Transpose2d, x: str) -> str:
    """Height and width exchanged."""
    return graph.add("Transpose", name, [x], perm=(0, 1, 3, 2))


def arrays(graph: Graph, name: str, layer: Layer) -> list[str]:
    """The parameters and buffers of a layer as constants, in their order."""
    found = [(own, parameter.data) for own, parameter in layer.named_parameters()] + list(layer.named_buffers())
    return [graph.constant(f"{name}.{own}", array) for own, array in found]


NODES: dict[type[Layer], Callable[[Graph, str, Any, str], str]] = {
    Sequential: sequential,
    Residual: joined("Add"),
    Add: joined("Add"),
    Multiply: joined("Mul"),
    Maximum: joined("Max"),
    Minimum: joined("Min"),
    Concatenate: concatenate,
    Identity: nothing,
    Dropout: nothing,
    Conv2d: conv2d,
    ConvTranspose2d: conv_transpose2d,
    MaxPool2d: max_pool2d,
    AvgPool2d: avg_pool2d,
    GlobalAvgPool2d: global_pool("GlobalAveragePool"),
    GlobalMaxPool2d: global_pool("GlobalMaxPool"),
    Upsample: upsample,
    Pad2d: pad2d,
    Crop2d: crop2d,
    Transpose2d: transpose2d,
    Dense: dense,
    BatchNorm: batch_norm,
    LayerNorm: layer_norm,
    GroupNorm: group_norm,
    Flatten: flatten,
    Reshape: reshape,
    Normalization: normalization,
    Rescaling: rescaling,
    ReLU: operator("Relu"),
    LeakyReLU: operator("LeakyRelu", alpha="slope"),
    ELU: operator("Elu", alpha="alpha"),
    Tanh: operator("Tanh"),
    Sigmoid: operator("Sigmoid"),
    Softplus: operator("Softplus"),
    Softsign: operator("Softsign"),
    Abs: operator("Abs"),
    HardSwish: operator("HardSwish"),
    GELU: gelu,
    SiLU: silu,
    Clip: clip,
    Softmax: softmax,
    LogSoftmax: softmax,
}
