"""Operators with a window that slides over the image or covers it: convolution, pooling, mean."""

import math
from typing import Any

from tinycnn.backends.base import Pair, window_grid
from tinycnn.errors import FileFormatError, shortened
from tinycnn.interchange.onnx.chain import Chain
from tinycnn.interchange.onnx.file import Node
from tinycnn.interchange.onnx.operators.axes import axes_of
from tinycnn.layers import AvgPool2d, Conv2d, GlobalMaxPool2d, MaxPool2d
from tinycnn.ops.windows.checks import check_window

WINDOW = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "auto_pad": "NOTSET"}


def conv(chain: Chain, node: Node) -> None:
    """``weight (F, C, KH, KW)`` → Conv2d."""
    settings = node.settings(kernel_shape=(), group=1, **WINDOW)
    weight, bias = chain.required_weights(node, 1), chain.weights(node, 2)
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
    """→ AvgPool2d."""
    settings = node.settings(kernel_shape=(), ceil_mode=0, count_include_pad=0, **WINDOW)
    window = find_window(chain, node, settings)
    without_padding = window["padding"] != (0, 0) and not settings["count_include_pad"]
    chain.plan(AvgPool2d, **window, count_include_pad=not without_padding)


def find_window(chain: Chain, node: Node, settings: dict[str, Any]) -> dict[str, Any]:
    """Kernel size, stride and padding as arguments of a layer; also sets the new image size of the chain."""
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
            f"{node}: pads {shortened(pads)} (top, left, bottom, right); tinycnn pads opposite sides equally"
        )
    window = {"kernel_size": kernel_size, "stride": stride, "padding": pads[:2]}
    check_window(node.operator, (1, *chain.shape), **window)
    if settings.get("ceil_mode"):
        check_rounding(chain, node, **window)
    OH, OW = window_grid((1, *chain.shape), **window)
    chain.resize(H=OH, W=OW)
    return window


def find_pads(chain: Chain, node: Node, kernel_size: Pair, settings: dict[str, Any]) -> tuple[int, ...]:
    """The padding ``(top, left, bottom, right)``, computed from ``auto_pad`` where the file uses it."""
    match settings["auto_pad"]:
        case "NOTSET":
            return settings["pads"]
        case "VALID":
            return (0, 0, 0, 0)
        case "SAME_UPPER" | "SAME_LOWER":
            sides = zip(chain.shape, kernel_size, settings["strides"], strict=False)
            totals = [(math.ceil(size / S) - 1) * S + K - size for size, K, S in sides]
            if min(totals) < 0 and node.operator != "Conv":  # programs agree only on convolutions
                raise FileFormatError(f"{node}: auto_pad with strides above the window; export it with pads")
            totals = [max(total, 0) for total in totals]
            return *(pad // 2 for pad in totals), *(pad - pad // 2 for pad in totals)
    raise FileFormatError(f"{node}: auto_pad={shortened(settings['auto_pad'])} is not a value that ONNX defines")


def check_rounding(chain: Chain, node: Node, kernel_size: Pair, stride: Pair, padding: Pair) -> None:
    """Raise FileFormatError where ``ceil_mode`` would add a last window that extends over the edge."""
    for size, K, S, P in zip(chain.shape, kernel_size, stride, padding, strict=False):
        if (size + 2 * P - K) % S:
            raise FileFormatError(f"{node}: ceil_mode=1 adds a window over the edge of the image; tinycnn rounds down")


def global_average_pool(chain: Chain, node: Node) -> None:
    """→ AvgPool2d with the image as its window."""
    chain.expect_channels_second(node)
    chain.plan(AvgPool2d, kernel_size=(chain.sizes["H"], chain.sizes["W"]))
    chain.resize(H=1, W=1)


def global_max_pool(chain: Chain, node: Node) -> None:
    """→ GlobalMaxPool2d, which keeps the axes of height and width."""
    chain.expect_channels_second(node)
    chain.plan(GlobalMaxPool2d, keepdims=True)
    chain.resize(H=1, W=1)


def reduce_mean(chain: Chain, node: Node) -> None:
    """A mean over height and width, in any order → AvgPool2d with the image as its window."""
    settings = node.settings(axes=(), keepdims=1, noop_with_empty_axes=0)
    axes = axes_of(chain, node, settings["axes"])
    over = "".join(chain.axes[axis] for axis in axes)
    if not chain.is_image or not axes or sorted(over) != sorted(chain.letters("HW")):
        names = chain.described()
        raise FileFormatError(f"{node}: a mean over axes {sorted(axes)} of {names}; tinycnn supports only H and W")
    kept = ["" if i in axes else axis for i, axis in enumerate(chain.axes) if settings["keepdims"] or i not in axes]
    chain.plan(AvgPool2d, kernel_size=(chain.sizes["H"], chain.sizes["W"]))
    chain.resize(H=1, W=1)
    chain.set_axes(tuple(kept))
