"""What every operator of ONNX that can be read becomes: a layer, a change of the layer before, or other axes.

``STEPS`` is the list. Each step reads the attributes of its node, refuses what the layers here cannot do, and changes
the chain. Source: the operator schemas of ONNX, https://onnx.ai/onnx/operators/.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinycnn.backends.base import Pair, window_grid
from tinycnn.errors import FileFormatError
from tinycnn.io import shortened
from tinycnn.layers import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    LogSoftmax,
    MaxPool2d,
    ReLU,
    Rescaling,
    Softmax,
)
from tinycnn.onnx_import.chain import Chain, OtherOrderError
from tinycnn.onnx_import.file import MOST_AXES, Node
from tinycnn.ops.windows import check_window

WINDOW = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "auto_pad": "NOTSET"}
ELEMENT_TYPES = {"float32": 1, "float64": 11}  # of TensorProto

# ---------------------------------------------------------------------------------------------------------- windows


def conv(chain: Chain, node: Node) -> None:
    """``weight (F, C, KH, KW)`` → Conv2d."""
    settings = node.settings(kernel_shape=(), group=1, **WINDOW)
    weight, bias = chain.needed(node, 1), chain.constant(node, 2)
    node.require(settings, group=1)
    if weight.ndim != 4 or settings["kernel_shape"] not in ((), weight.shape[2:]):
        kernel = shortened(settings["kernel_shape"])
        raise FileFormatError(f"{node}: weight {weight.shape} with kernel_shape {kernel}, expected (F, C, KH, KW)")
    window = find_window(chain, node, settings | {"kernel_shape": weight.shape[2:]})
    chain.resize(C=weight.shape[0])
    arrays = {"weight": weight.transpose(2, 3, 1, 0)} | ({} if bias is None else {"bias": bias})  # (KH, KW, C, F)
    chain.plan(Conv2d, arrays, filters=weight.shape[0], **window)


def max_pool(chain: Chain, node: Node) -> None:
    """→ MaxPool2d."""
    settings = node.settings(kernel_shape=(), ceil_mode=0, storage_order=0, **WINDOW)
    chain.plan(MaxPool2d, **find_window(chain, node, settings))


def average_pool(chain: Chain, node: Node) -> None:
    """→ AvgPool2d, which counts padding as zeros."""
    settings = node.settings(kernel_shape=(), ceil_mode=0, count_include_pad=0, **WINDOW)
    window = find_window(chain, node, settings)
    if window["padding"] != (0, 0):
        node.require(settings, count_include_pad=1)
    chain.plan(AvgPool2d, **window)


def find_window(chain: Chain, node: Node, settings: dict[str, Any]) -> dict[str, Any]:
    """Kernel size, stride and padding as layers take them; the images of the chain get their new size."""
    chain.expect_channels_second(node)
    node.require(settings, dilations=(1, 1))
    kernel_size, stride = settings["kernel_shape"], settings["strides"]
    if len(kernel_size) != 2 or len(stride) != 2 or min(*kernel_size, *stride) < 1:
        raise FileFormatError(
            f"{node}: window {shortened(kernel_size)}, strides {shortened(stride)}; expected (down, across)"
        )
    pads = find_pads(chain, node, kernel_size, settings)
    if len(pads) != 4 or pads[:2] != pads[2:] or min(pads) < 0:
        raise FileFormatError(
            f"{node}: pads {shortened(pads)} (top, left, bottom, right); here opposite sides get the same"
        )
    window = {"kernel_size": kernel_size, "stride": stride, "padding": pads[:2]}
    check_window(node.operator, (1, *chain.shape), **window)
    if settings.get("ceil_mode"):
        check_rounding(chain, node, **window)
    OH, OW = window_grid((1, *chain.shape), **window)
    chain.resize(H=OH, W=OW)
    return window


def find_pads(chain: Chain, node: Node, kernel_size: Pair, settings: dict[str, Any]) -> tuple[int, ...]:
    """``(top, left, bottom, right)``, also where the file only says "so that the size is kept"."""
    match settings["auto_pad"]:
        case "NOTSET":
            return settings["pads"]
        case "VALID":
            return (0, 0, 0, 0)
        case "SAME_UPPER" | "SAME_LOWER":
            sides = zip(chain.shape, kernel_size, settings["strides"], strict=False)
            whole = [max((math.ceil(size / S) - 1) * S + K - size, 0) for size, K, S in sides]
            return *(pad // 2 for pad in whole), *(pad - pad // 2 for pad in whole)
    raise FileFormatError(f"{node}: auto_pad={shortened(settings['auto_pad'])} is none of ONNX's")


def check_rounding(chain: Chain, node: Node, kernel_size: Pair, stride: Pair, padding: Pair) -> None:
    """``ceil_mode`` would count a last window that hangs over the edge."""
    for size, K, S, P in zip(chain.shape, kernel_size, stride, padding, strict=False):
        if (size + 2 * P - K) % S:
            raise FileFormatError(f"{node}: ceil_mode=1, and its windows do not come out even; here they round down")


def global_average_pool(chain: Chain, node: Node) -> None:
    """→ AvgPool2d whose window is the image."""
    chain.expect_channels_second(node)
    chain.plan(AvgPool2d, kernel_size=(chain.sizes["H"], chain.sizes["W"]))
    chain.resize(H=1, W=1)


def reduce_mean(chain: Chain, node: Node) -> None:
    """Over height and width, in any order of the axes: the same."""
    settings = node.settings(axes=(), keepdims=1, noop_with_empty_axes=0)
    axes = {axis % len(chain.axes) for axis in settings["axes"] or numbers(chain.constant(node, 1))}
    if not chain.is_image or {chain.axes[axis] for axis in axes} != {chain.letters("H"), chain.letters("W")}:
        raise FileFormatError(f"{node}: a mean over axes {sorted(axes)}; a layer here takes it over height and width")
    kept = ["" if i in axes else axis for i, axis in enumerate(chain.axes) if settings["keepdims"] or i not in axes]
    chain.plan(AvgPool2d, kernel_size=(chain.sizes["H"], chain.sizes["W"]))
    chain.resize(H=1, W=1)
    chain.lie_as(tuple(kept))


# ------------------------------------------------------------------------------------------------------ sums of inputs


def gemm(chain: Chain, node: Node) -> None:
    """``alpha x weight + beta bias``, weight ``(in, out)`` or transposed → Dense."""
    settings = node.settings(alpha=1.0, beta=1.0, transA=0, transB=0)
    node.require(settings, transA=0)
    weight, bias = chain.needed(node, 1), chain.constant(node, 2)
    weight = weight.T if settings["transB"] else weight  # (in, out)
    dense(chain, node, weight if settings["alpha"] == 1 else weight * settings["alpha"])
    if bias is not None:
        spread = np.broadcast_to(bias, (1, weight.shape[1]))[0]  # (out,)
        chain.planned[-1].arrays["bias"] = spread if settings["beta"] == 1 else spread * settings["beta"]


def matmul(chain: Chain, node: Node) -> None:
    """``x weight`` → Dense without bias; an Add behind it becomes the bias."""
    dense(chain, node, chain.needed(node, 1))


def dense(chain: Chain, node: Node, weight: np.ndarray) -> None:
    """``weight (in, out)``, its rows in the order of the file → Dense."""
    if chain.is_image or len(chain.axes) != 2:
        raise FileFormatError(
            f"{node}: multiplies an array with axes {', '.join(chain.axes)}; a Dense layer takes rows"
        )
    if weight.ndim != 2 or len(weight) != chain.length(chain.row):
        raise FileFormatError(f"{node}: weight {weight.shape} for rows of {chain.length(chain.row)} numbers")
    chain.plan(Dense, {"weight": weight[chain.places()]}, units=weight.shape[1])
    chain.sizes = {"H": 1, "W": 1, "C": weight.shape[1]}
    chain.axes = ("N", chain.letters("C"))


def batch_normalization(chain: Chain, node: Node) -> None:
    """``scale, B, mean, var`` → BatchNorm; ONNX's momentum is the weight of the old value."""
    settings = node.settings(epsilon=1e-5, momentum=0.9, training_mode=0, spatial=1)
    node.require(settings, training_mode=0, spatial=1)
    arrays = [chain.needed(node, place) for place in (1, 2, 3, 4)]
    if chain.is_image:
        chain.expect_channels_second(node)
    if {array.shape for array in arrays} != {chain.shape[-1:]}:
        raise FileFormatError(f"{node}: constants {[array.shape for array in arrays]} for {chain.shape[-1]} channels")
    order = slice(None) if chain.is_image else chain.places()
    names = ("gamma", "beta", "running_mean", "running_var")
    values = {name: array[order] for name, array in zip(names, arrays, strict=True)}
    chain.plan(BatchNorm, values, momentum=decimal(1 - settings["momentum"]), eps=decimal(settings["epsilon"]))


# --------------------------------------------------------------------------------------------------- number by number


def arithmetic(chain: Chain, node: Node) -> None:
    """``+ - * /`` with a constant: part of the layer before, or a Rescaling."""
    node.settings()
    first = chain.current == node.inputs[0]
    constant = chain.constant(node, 1 if first else 0)
    if constant is None:
        raise FileFormatError(f"{node}: expected two inputs, got {len(node.inputs)}")
    if not first and node.operator == "Div":
        raise FileFormatError(f"{node}: divides by what the layers before give, which no layer here does")
    last = chain.planned[-1] if chain.planned else None
    if last and last.is_linear and first and is_per_channel(chain, constant):
        change_linear(last.arrays, node.operator, constant.ravel())
    elif constant.size == 1:
        change_all(chain, node.operator, decimal(constant.item()), constant_first=not first)
    else:
        raise FileFormatError(
            f"{node}: a constant of shape {constant.shape}; here only one number, or one for each channel behind a "
            "convolution or dense layer"
        )


def is_per_channel(chain: Chain, constant: np.ndarray) -> bool:
    """Whether the constant has a number for each channel, along the axis where these lie."""
    places = [place - constant.ndim for place, size in enumerate(constant.shape) if size > 1]
    if constant.size != chain.sizes["C"] or constant.ndim > len(chain.axes):
        return False
    return all(chain.axes[place] == "C" for place in places)


def change_linear(arrays: dict[str, np.ndarray], operator: str, constant: np.ndarray) -> None:
    """The weights ``(..., F)`` and bias ``(F,)`` of a layer behind which ``constant (F,)`` is added or multiplied."""
    if operator in ("Mul", "Div"):
        factor = constant if operator == "Mul" else 1 / constant
        arrays |= {name: array * factor for name, array in arrays.items()}
    else:
        term = constant if operator == "Add" else -constant
        arrays["bias"] = arrays["bias"] + term if "bias" in arrays else term


def change_all(chain: Chain, operator: str, number: float, constant_first: bool) -> None:
    """A Rescaling, or a change of the one before: ``(x s + o) a + b = x (s a) + (o a + b)``."""
    match operator:
        case "Add":
            factor, term = 1.0, number
        case "Sub":
            factor, term = (-1.0, number) if constant_first else (1.0, -number)
        case "Mul":
            factor, term = number, 0.0
        case _:
            factor, term = 1 / number, 0.0
    if not (chain.planned and chain.planned[-1].kind is Rescaling):
        chain.plan(Rescaling, scale=1.0, offset=0.0)
    settings = chain.planned[-1].settings
    settings |= {"scale": settings["scale"] * factor, "offset": settings["offset"] * factor + term}


def relu(chain: Chain, node: Node) -> None:
    """→ ReLU."""
    node.settings()
    chain.plan(ReLU)


def dropout(chain: Chain, node: Node) -> None:
    """→ Dropout, for who goes on training; as the file has it, it does nothing."""
    settings = node.settings(ratio=0.5, seed=0)
    ratio, training = chain.constant(node, 1), chain.constant(node, 2)
    if training is not None and training.any():
        raise FileFormatError(f"{node}: drops also in evaluation; export the network in evaluation mode")
    chain.plan(Dropout, p=decimal(settings["ratio"] if ratio is None else ratio.item()))


def softmax(chain: Chain, node: Node) -> None:
    """→ Softmax or LogSoftmax over the channels."""
    modern = chain.graph.opset >= 13
    axis = node.settings(axis=-1 if modern else 1)["axis"]
    rank = len(chain.axes)
    over = chain.axes[axis] if -rank <= axis < rank else "?"
    if (over != chain.letters("C") if chain.is_image else over != chain.row) or (not modern and rank != 2):
        kind = OtherOrderError if chain.is_image else FileFormatError
        raise kind(f"{node}: over axis {axis} of {', '.join(chain.axes)}; here it is over the channels, C")
    chain.plan(Softmax if node.operator == "Softmax" else LogSoftmax)


# ----------------------------------------------------------------------------------------- the same, lying otherwise


def transpose(chain: Chain, node: Node) -> None:
    """Other axes in the file; here images stay as they are."""
    rank = len(chain.axes)
    perm = node.settings(perm=())["perm"] or tuple(reversed(range(rank)))
    if sorted(perm) != list(range(rank)) or perm[0] != 0:
        raise FileFormatError(f"{node}: perm={shortened(perm)} of {rank} axes; the first, N, must stay the first")
    chain.lie_as(tuple(chain.axes[axis] for axis in perm))


def flatten(chain: Chain, node: Node) -> None:
    """``(N, all others)``."""
    axis = node.settings(axis=1)["axis"]
    if axis not in (1, 1 - len(chain.axes)):
        raise FileFormatError(f"{node}: axis={axis}, expected 1: all axes but N become one")
    chain.lie_as(("N", chain.row))


def reshape(chain: Chain, node: Node) -> None:
    """Axes joined, or axes of length 1 moved, added and taken away."""
    settings = node.settings(allowzero=0)
    node.require(settings, allowzero=0)
    first, *sizes = numbers(chain.needed(node, 1))
    sizes = [chain.length(chain.axes[i]) if size == 0 else size for i, size in enumerate(sizes, start=1)]
    if sizes.count(-1) == 1 and first != -1:
        sizes[sizes.index(-1)] = chain.length(chain.row) // max(math.prod(size for size in sizes if size != -1), 1)
    if first not in (0, -1, chain.graph.batch) or math.prod(sizes) != chain.length(chain.row) or min(sizes) < 1:
        raise FileFormatError(
            f"{node}: to {[first, *sizes]}; the first axis must stay N, and all numbers must have a place"
        )
    chain.lie_as(("N", *regrouped(chain, node, sizes)))


def regrouped(chain: Chain, node: Node, sizes: list[int]) -> list[str]:
    """The letters of axes with these sizes; raises FileFormatError where one would be cut in two."""
    left, axes = chain.row, []
    for size in sizes:
        count = next((n for n in range(len(left) + 1) if chain.length(left[:n]) >= size), 0)
        axes.append(left[:count])
        left = left[count:]
    if [chain.length(axis) for axis in axes] != sizes:
        raise FileFormatError(f"{node}: to {sizes} for each image, which cuts an axis in two; no layer here does this")
    return axes


def squeeze(chain: Chain, node: Node) -> None:
    """Axes of length 1 taken away."""
    axes = {axis % len(chain.axes) for axis in node.settings(axes=())["axes"] or numbers(chain.constant(node, 1))}
    if not axes or 0 in axes or any(chain.axes[axis] for axis in axes):
        raise FileFormatError(f"{node}: takes away axes {sorted(axes)}; they must be named, and have length 1")
    chain.lie_as(tuple(axis for i, axis in enumerate(chain.axes) if i not in axes))


def unsqueeze(chain: Chain, node: Node) -> None:
    """Axes of length 1 added."""
    given = node.settings(axes=())["axes"] or numbers(chain.constant(node, 1))
    axes = list(chain.axes)
    for axis in sorted(axis % (len(axes) + len(given)) for axis in given):
        axes.insert(axis, "")
    if axes[0] != "N":
        raise FileFormatError(f"{node}: puts an axis before N")
    chain.lie_as(tuple(axes))


def numbers(constant: np.ndarray | None) -> list[int]:
    """The numbers of a shape or list of axes; raises FileFormatError for more than a shape can have."""
    if constant is not None and (constant.size > MOST_AXES or constant.dtype.kind != "i"):
        raise FileFormatError(f"a constant of {constant.dtype} {constant.shape} where a shape is expected")
    return [] if constant is None else constant.ravel().tolist()


def cast(chain: Chain, node: Node) -> None:
    """To the dtype that it has: nothing."""
    node.require(node.settings(to=0, saturate=1), to=ELEMENT_TYPES[chain.graph.dtype.name])


def identity(chain: Chain, node: Node) -> None:
    """Nothing."""
    node.settings()


def decimal(number: float) -> float:
    """The shortest decimal number that is the same in float32, as ONNX keeps attributes: 0.001, not 0.00100000005."""
    return float(str(np.float32(number))) if np.float32(number) == number else number


STEPS: dict[str, Callable[[Chain, Node], None]] = {
    "Conv": conv,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "ReduceMean": reduce_mean,
    "Gemm": gemm,
    "MatMul": matmul,
    "BatchNormalization": batch_normalization,
    "Add": arithmetic,
    "Sub": arithmetic,
    "Mul": arithmetic,
    "Div": arithmetic,
    "Relu": relu,
    "Dropout": dropout,
    "Softmax": softmax,
    "LogSoftmax": softmax,
    "Transpose": transpose,
    "Flatten": flatten,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Cast": cast,
    "Identity": identity,
}
