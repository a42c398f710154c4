"""Operators with a window that slides over the image or covers it: convolution, pooling, mean; padding, upsampling."""

import math
from typing import Any

import numpy as np

from tinycnn.backends.base import Pair
from tinycnn.errors import FileFormatError, shortened
from tinycnn.interchange.onnx.chain import Chain
from tinycnn.interchange.onnx.file import Node
from tinycnn.interchange.onnx.operators.axes import axes_of, numbers
from tinycnn.interchange.onnx.patterns import ChannelMean, EdgePad
from tinycnn.layers import (
    AvgPool2d,
    Conv2d,
    Crop2d,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    Layer,
    MaxPool2d,
    Pad2d,
    Rescaling,
    Upsample,
)

Sides = tuple[Pair, Pair]  # ((top, bottom), (left, right))
WINDOW = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "auto_pad": "NOTSET"}
MAX_PAD = 1 << 20  # pixels
EVERYTHING = (1 << 31) - 1  # the end of a Slice up to the last element


def conv(chain: Chain, node: Node) -> None:
    """``weight (F, C / groups, KH, KW)`` → Conv2d."""
    settings = node.settings(kernel_shape=(), group=1, **WINDOW)
    weight, bias = chain.required_weights(node, 1), chain.weights(node, 2)
    groups = settings["group"]
    if weight.ndim != 4 or settings["kernel_shape"] not in ((), weight.shape[2:]) or groups < 1:
        kernel = shortened(settings["kernel_shape"])
        raise FileFormatError(f"{node}: weight {weight.shape} with kernel_shape {kernel}, expected (F, C, KH, KW)")
    if groups > 1 and (weight.shape[0] % groups or weight.shape[1] * groups != chain.shape[-1]):
        raise FileFormatError(f"{node}: weight {weight.shape} in {groups} groups for {chain.shape[-1]} channels")
    chain.expect_channels_second(node)
    before = take_padding(chain, Pad2d)
    settings |= {"kernel_shape": weight.shape[2:]}
    kernel_size, stride, dilation = checked_window(node, settings)
    padding = added(before, find_pads(chain, node, settings, before))
    grid = [
        (size + sum(pads) - D * (K - 1) - 1) // S + 1
        for size, K, S, D, pads in zip(chain.shape, kernel_size, stride, dilation, padding, strict=False)
    ]
    check_grid(chain, node, kernel_size, grid)
    chain.resize(H=grid[0], W=grid[1], C=weight.shape[0])
    arrays = {"weight": weight.transpose(2, 3, 1, 0)} | ({} if bias is None else {"bias": bias})  # (KH, KW, C, F)
    unusual: dict[str, Any] = {} if dilation == (1, 1) else {"dilation": dilation}
    unusual |= {} if groups == 1 else {"groups": groups}
    window: dict[str, Any] = {"kernel_size": kernel_size, "stride": stride, "padding": simplest(padding)}
    chain.plan(Conv2d, arrays, filters=weight.shape[0], **window, **unusual)


def max_pool(chain: Chain, node: Node) -> None:
    """→ MaxPool2d, including a border that a Pad has put in front, unless it could win."""
    settings = node.settings(kernel_shape=(), ceil_mode=0, storage_order=0, **WINDOW)
    chain.expect_channels_second(node)
    chain.plan(MaxPool2d, **pool_settings(chain, node, settings, take_padding(chain, EdgePad)))


def average_pool(chain: Chain, node: Node) -> None:
    """→ AvgPool2d."""
    settings = node.settings(kernel_shape=(), ceil_mode=0, count_include_pad=0, **WINDOW)
    chain.expect_channels_second(node)
    edges = repeats_last_pixel(chain, settings)
    window = pool_settings(chain, node, settings, take_padding(chain, EdgePad) if edges else ((0, 0), (0, 0)))
    padded = window["padding"] != (0, 0) or "ceil_mode" in window
    counts = bool(settings["count_include_pad"]) and not edges
    chain.plan(AvgPool2d, **window, count_include_pad=counts or not padded)


def repeats_last_pixel(chain: Chain, settings: dict[str, Any]) -> bool:
    """Whether a Pad before has repeated pixels at the edge, each of which is the only one in its window.

    Keras' PyTorch backend does so for windows of 2. The mean is then that of the pixels of the image.
    """
    if not chain.final or chain.final.kind is not EdgePad or settings["pads"] != (0, 0, 0, 0):
        return False
    sides = as_sides(chain.final.settings["padding"])
    whole = all(
        (size - K) % S == 0
        for size, K, S in zip(chain.shape, settings["kernel_shape"], settings["strides"], strict=False)
    )
    return whole and settings["kernel_shape"] == (2, 2) and all(sorted(pads) in ([0, 0], [0, 1]) for pads in sides)


def pool_settings(chain: Chain, node: Node, settings: dict[str, Any], before: Sides) -> dict[str, Any]:
    """The settings of a pooling layer; also sets the new image size of the chain. ``before``: padding in front."""
    node.require(settings, dilations=(1, 1))
    kernel_size, stride, _ = checked_window(node, settings)
    padding = added(before, find_pads(chain, node, settings, before))
    if any(2 * pad > K for pads, K in zip(padding, kernel_size, strict=True) for pad in pads):
        raise FileFormatError(f"{node}: pads {padding} are more than half of the window {kernel_size}")
    sides = list(zip(chain.shape, kernel_size, stride, padding, strict=False))
    grid = [(size + sum(pads) - K) // S + 1 for size, K, S, pads in sides]
    window: dict[str, Any] = {"kernel_size": kernel_size, "stride": stride, "padding": simplest(padding)}
    if settings["ceil_mode"]:
        higher = [-((K - size - sum(pads)) // S) + 1 for size, K, S, pads in sides]
        begins = [(count - 1) * S for (_, _, S, _), count in zip(sides, higher, strict=True)]
        last = [begin < size + pads[0] for (size, _, _, pads), begin in zip(sides, begins, strict=True)]
        if higher != grid:
            if not all(last):
                raise FileFormatError(f"{node}: ceil_mode=1 with a last window in the padding; programs disagree on it")
            grid, window = higher, window | {"ceil_mode": True}
    check_grid(chain, node, kernel_size, grid)
    chain.resize(H=grid[0], W=grid[1])
    return window


def checked_window(node: Node, settings: dict[str, Any]) -> tuple[Pair, Pair, Pair]:
    """Kernel size, strides and dilations ``(down, across)``."""
    window = settings["kernel_shape"], settings["strides"], settings["dilations"]
    if any(len(pair) != 2 or min(pair) < 1 for pair in window):
        words = ", ".join(shortened(pair) for pair in window)
        raise FileFormatError(f"{node}: window, strides, dilations {words}; expected (down, across)")
    return window


def check_grid(chain: Chain, node: Node, kernel_size: Pair, grid: list[int]) -> None:
    """Raise FileFormatError where no window fits into the image, or where the result is too large."""
    if min(grid) < 1:
        H, W, _ = chain.shape
        raise FileFormatError(f"{node}: a {kernel_size[0]}x{kernel_size[1]} window does not fit into the {H}x{W} image")


def find_pads(chain: Chain, node: Node, settings: dict[str, Any], before: Sides) -> Sides:
    """The padding, computed from ``auto_pad`` where the file uses it, for an image that is padded by ``before``."""
    match settings["auto_pad"]:
        case "NOTSET":
            pads = settings["pads"]
            if len(pads) != 4 or min(pads) < 0 or max(pads) > MAX_PAD:
                raise FileFormatError(
                    f"{node}: pads {shortened(pads)}, expected (top, left, bottom, right) from 0 to {MAX_PAD:,}"
                )
            return (pads[0], pads[2]), (pads[1], pads[3])
        case "VALID":
            return (0, 0), (0, 0)
        case "SAME_UPPER" | "SAME_LOWER":
            sizes = [size + sum(pads) for size, pads in zip(chain.shape, before, strict=False)]
            sides = zip(sizes, settings["kernel_shape"], settings["strides"], settings["dilations"], strict=True)
            totals = [(math.ceil(size / S) - 1) * S + D * (K - 1) + 1 - size for size, K, S, D in sides]
            if min(totals) < 0 and node.operator != "Conv":  # programs agree only on convolutions
                raise FileFormatError(f"{node}: auto_pad with strides above the window; export it with pads")
            smaller = [(max(total, 0) // 2, max(total, 0) - max(total, 0) // 2) for total in totals]
            (top, bottom), (left, right) = smaller
            return (
                ((top, bottom), (left, right))
                if settings["auto_pad"] == "SAME_UPPER"
                else ((bottom, top), (right, left))
            )
    raise FileFormatError(f"{node}: auto_pad={shortened(settings['auto_pad'])} is not a value that ONNX defines")


def take_padding(chain: Chain, kind: type) -> Sides:
    """Remove the last layer if it is a padding of this ``kind``, and return the padding; restores the image size."""
    if not chain.final or chain.final.kind is not kind:
        return (0, 0), (0, 0)
    (top, bottom), (left, right) = sides = as_sides(chain.final.settings["padding"])
    chain.drop_last()
    chain.resize(H=chain.sizes["H"] - top - bottom, W=chain.sizes["W"] - left - right)
    return sides


def as_sides(padding: Any) -> Sides:
    """The padding of a layer as ``((top, bottom), (left, right))``."""
    down, across = padding
    return ((down, down), (across, across)) if isinstance(down, int) else (down, across)


def added(first: Sides, second: Sides) -> Sides:
    """The sum of two paddings."""
    (top, bottom), (left, right) = first
    return (top + second[0][0], bottom + second[0][1]), (left + second[1][0], right + second[1][1])


def simplest(sides: Sides) -> Pair | Sides:
    """``(down, across)`` where opposite sides are padded equally."""
    (top, bottom), (left, right) = sides
    return (top, left) if (top, left) == (bottom, right) else sides


def pad(chain: Chain, node: Node) -> None:
    """Zeros around the image → Pad2d; a border that a max-pool ignores → part of the pool."""
    settings = node.settings(mode="constant", pads=(), value=0.0)
    pads = settings["pads"] or numbers(chain.constant(node, 1))
    value, listed = chain.constant(node, 2), chain.constant(node, 3)
    rank = len(chain.axes)
    axes = list(range(rank)) if listed is None else [axis % rank for axis in numbers(listed)]
    if len(pads) != 2 * len(axes) or len(set(axes)) < len(axes) or max(map(abs, pads), default=0) > MAX_PAD:
        raise FileFormatError(f"{node}: pads {shortened(pads)} of {rank} axes; expected two for each")
    by_axis = {axis: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    padded = {axis: sides for axis, sides in by_axis.items() if any(sides)}
    if not padded:
        return
    if not chain.is_image or rank != 4 or min(min(sides) for sides in padded.values()) < 0:
        raise FileFormatError(f"{node}: pads {shortened(pads)} of {chain.described()}; tinycnn adds pixels to images")
    channels_last = chain.axes == ("N", *map(chain.letters, "HWC")) and set(padded) <= {1, 2}
    if not channels_last:
        chain.expect_channels_second(node)
    down, across = (1, 2) if channels_last else (2, 3)
    if not set(padded) <= {down, across}:
        raise FileFormatError(f"{node}: pads {shortened(pads)} of {chain.described()}; tinycnn pads H and W only")
    number = settings["value"] if value is None or not value.size else float(value.ravel()[0])
    if settings["mode"] == "constant" and number == 0:
        kind: type[Layer] = Pad2d
    elif settings["mode"] == "edge" or (settings["mode"] == "constant" and number == -math.inf):
        kind = EdgePad
    else:
        raise FileFormatError(f"{node}: mode={shortened(settings['mode'])}, value {number:g}; tinycnn pads with zeros")
    sides = by_axis.get(down, (0, 0)), by_axis.get(across, (0, 0))
    chain.plan(kind, node=str(node), padding=simplest(sides))
    axes_before = chain.axes
    chain.sizes |= {"H": chain.sizes["H"] + sum(sides[0]), "W": chain.sizes["W"] + sum(sides[1])}
    order = "HWC" if channels_last else "CHW"
    chain.axes = ("N", *map(chain.letters, order)) if len(axes_before) == 4 else axes_before


def crop(chain: Chain, node: Node) -> None:
    """A part of the rows and columns → Crop2d; before opset 10, the lists are attributes."""
    settings, rank = node.settings(starts=(), ends=(), axes=()), len(chain.axes)
    if node.inputs[0] != chain.current:
        raise FileFormatError(f"{node}: expected the result of the previous layers as input 0")
    lists = [settings[name] or numbers(chain.constant(node, i)) for i, name in enumerate(("starts", "ends", "axes"), 1)]
    starts, ends, listed = lists[0], lists[1], lists[2] or range(len(lists[0]))
    steps = numbers(chain.constant(node, 4)) or [1] * len(starts)
    axes = [axis + rank if axis < 0 else axis for axis in listed]
    if not len(starts) == len(ends) == len(axes) == len(set(axes)) == len(steps) or not set(axes) <= set(range(rank)):
        raise FileFormatError(f"{node}: starts {shortened(starts)}, ends {shortened(ends)}, axes {shortened(axes)}")
    edges = {"H": (0, 0), "W": (0, 0)}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if axis == 0 and (start, step) == (0, 1) and end >= EVERYTHING:
            continue
        first, stop, stride = slice(start, end, step).indices(chain.length(chain.axes[axis])) if step else (0, 0, 0)
        size, letter = chain.length(chain.axes[axis]), chain.axes[axis]
        if stride != 1 or axis == 0 or (letter not in edges and (first, stop) != (0, size)) or stop <= first:
            raise FileFormatError(
                f"{node}: {start}:{end}:{step} of axis {axis} of {chain.described()}; tinycnn cuts off edges of images"
            )
        if letter in edges:
            edges[letter] = first, size - stop
    if not any(map(any, edges.values())):
        return
    if not chain.is_image:
        raise FileFormatError(f"{node}: takes a part of a row; tinycnn cuts off the edges of images")
    chain.plan(Crop2d, cropping=(edges["H"], edges["W"]))
    sizes = {letter: chain.sizes[letter] - sum(sides) for letter, sides in edges.items()}
    axes_left = tuple("" if sizes.get(axis) == 1 else axis for axis in chain.axes)
    chain.sizes |= sizes
    chain.axes = axes_left


def resize(chain: Chain, node: Node) -> None:
    """Each pixel repeated a whole number of times → Upsample."""
    chain.expect_channels_second(node)
    settings = node.settings(
        mode="nearest", scales=(), coordinate_transformation_mode="half_pixel", nearest_mode="round_prefer_floor",
        antialias=0, axes=(), cubic_coeff_a=-0.75, exclude_outside=0, extrapolation_value=0.0,
        keep_aspect_ratio_policy="stretch",
    )  # fmt: skip
    node.require(settings, mode="nearest", antialias=0, axes=(), keep_aspect_ratio_policy="stretch")
    scales = factors(chain, node, settings["scales"])
    if len(scales) != 4 or scales[:2] != [1, 1] or any(scale < 1 or scale != int(scale) for scale in scales):
        raise FileFormatError(
            f"{node}: resizes {chain.described()} by {shortened(scales)}; tinycnn repeats pixels only"
        )
    down, across = int(scales[2]), int(scales[3])
    mode, rounding = settings["coordinate_transformation_mode"], settings["nearest_mode"]
    if node.operator == "Upsample" or chain.graph.opset == 10:
        mode, rounding = "asymmetric", "floor"
    repeats = {
        "asymmetric": rounding == "floor" or (rounding == "round_prefer_floor" and max(down, across) <= 2),
        "half_pixel": rounding.startswith("round_prefer"),
        "pytorch_half_pixel": rounding.startswith("round_prefer") and min(chain.shape[:2]) > 1,
        "tf_half_pixel_for_nn": rounding == "floor",
    }
    if not repeats.get(mode):
        raise FileFormatError(
            f"{node}: {shortened(mode)} with {shortened(rounding)} does not repeat each pixel equally"
        )
    if (down, across) != (1, 1):
        chain.plan(Upsample, scale=(down, across))
        chain.resize(H=down * chain.sizes["H"], W=across * chain.sizes["W"])


def factors(chain: Chain, node: Node, listed: tuple[float, ...]) -> list[float]:
    """The factor of each axis: an attribute, an input, or the quotient of the new and the old sizes."""
    if listed or node.operator == "Upsample" or chain.graph.opset == 10:
        scales = listed if listed else chain.constant(node, 1)
    else:
        scales = chain.constant(node, 2)
    sizes = chain.constant(node, 3)
    if sizes is not None and sizes.size == 4:
        ours = [None, *chain.file_shape()[1:].tolist()]
        return [1.0 if old in (None, new) else new / old for new, old in zip(sizes.ravel().tolist(), ours, strict=True)]
    return [] if scales is None else np.ravel(scales).tolist()


def global_average_pool(chain: Chain, node: Node) -> None:
    """→ GlobalAvgPool2d."""
    global_pool(chain, node, GlobalAvgPool2d)


def global_max_pool(chain: Chain, node: Node) -> None:
    """→ GlobalMaxPool2d."""
    global_pool(chain, node, GlobalMaxPool2d)


def global_pool(chain: Chain, node: Node, kind: type) -> None:
    """→ a global pool; the file keeps the axes of height and width."""
    node.settings()
    chain.expect_channels_second(node)
    chain.plan(kind, keepdims=True)
    chain.resize(H=1, W=1)


def reduce(chain: Chain, node: Node) -> None:
    """A mean, maximum or sum over height and width, in any order → a global pool; a mean over channels → its part."""
    settings = node.settings(axes=(), keepdims=1, noop_with_empty_axes=0)
    axes = axes_of(chain, node, settings["axes"])
    over = "".join(chain.axes[axis] for axis in sorted(axes))
    kept = ["" if i in axes else axis for i, axis in enumerate(chain.axes) if settings["keepdims"] or i not in axes]
    if node.operator == "ReduceMean" and axes and settings["keepdims"] and is_channels(chain, over):
        chain.plan(ChannelMean, node=str(node))
        chain.sizes, chain.index = chain.sizes | ({"C": 1} if chain.is_image else {"H": 1, "W": 1, "C": 1}), None
        chain.axes = tuple(kept)
        return
    if not chain.is_image or not axes or sorted(over) != sorted(chain.letters("HW")):
        name = {"ReduceMean": "mean", "ReduceMax": "maximum", "ReduceSum": "sum"}[node.operator]
        names = chain.described()
        raise FileFormatError(f"{node}: a {name} over axes {sorted(axes)} of {names}; tinycnn supports only H and W")
    pixels = chain.sizes["H"] * chain.sizes["W"]
    chain.plan(GlobalMaxPool2d if node.operator == "ReduceMax" else GlobalAvgPool2d, keepdims=True)
    chain.sizes |= {"H": 1, "W": 1}
    chain.set_axes(kept)
    if node.operator == "ReduceSum":
        chain.plan(Rescaling, scale=float(pixels), offset=0.0)


def is_channels(chain: Chain, over: str) -> bool:
    """Whether the axes with these letters are those that a layer norm of the current array normalises."""
    return over == "C" if chain.is_image else bool(over) and over == chain.row
