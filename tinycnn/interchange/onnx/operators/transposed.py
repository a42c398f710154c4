"""The transposed convolution."""

from typing import Any

from tinycnn.backends.base import Pair
from tinycnn.errors import FileFormatError, shortened
from tinycnn.interchange.onnx.chain import Chain
from tinycnn.interchange.onnx.file import Node
from tinycnn.interchange.onnx.operators.windows import MAX_PAD, WINDOW, Sides, checked_window, simplest
from tinycnn.layers import ConvTranspose2d


def conv_transpose(chain: Chain, node: Node) -> None:
    """``weight (C, F, KH, KW)`` → ConvTranspose2d."""
    settings = node.settings(kernel_shape=(), group=1, output_padding=(0, 0), output_shape=(), **WINDOW)
    weight, bias = chain.required_weights(node, 1), chain.weights(node, 2)
    if weight.ndim != 4 or settings["kernel_shape"] not in ((), weight.shape[2:]):
        kernel = shortened(settings["kernel_shape"])
        raise FileFormatError(f"{node}: weight {weight.shape} with kernel_shape {kernel}, expected (C, F, KH, KW)")
    node.require(settings, group=1, dilations=(1, 1))
    chain.expect_channels_second(node)
    H, W, C = chain.shape
    settings |= {"kernel_shape": weight.shape[2:]}
    kernel_size, stride, _ = checked_window(node, settings)
    if weight.shape[0] != C:
        raise FileFormatError(f"{node}: weight {weight.shape} for {C} channels")
    added = settings["output_padding"]
    if len(added) != 2 or not all(0 <= more < S for more, S in zip(added, stride, strict=True)):
        raise FileFormatError(f"{node}: output_padding={shortened(added)}, expected less than the strides {stride}")
    painted = [(size - 1) * S + K + more for size, S, K, more in zip((H, W), stride, kernel_size, added, strict=True)]
    sides = removed(node, settings, painted, (H * stride[0], W * stride[1]))
    grid = [size - sum(pads) for size, pads in zip(painted, sides, strict=True)]
    if min(grid) < 1:
        raise FileFormatError(f"{node}: pads {sides} leave no pixel of {painted[0]}x{painted[1]}")
    arrays = {"weight": weight.transpose(2, 3, 1, 0)} | ({} if bias is None else {"bias": bias})  # (KH, KW, F, C)
    window: dict[str, Any] = {"kernel_size": kernel_size, "stride": stride, "padding": simplest(sides)}
    window |= {} if added == (0, 0) else {"output_padding": added}
    chain.resize(H=grid[0], W=grid[1], C=weight.shape[1])
    chain.plan(ConvTranspose2d, arrays, filters=weight.shape[1], **window)


def removed(node: Node, settings: dict[str, Any], painted: list[int], same: Pair) -> Sides:
    """The rows and columns that the pads remove; ``output_shape`` and ``auto_pad`` state the size that is left."""
    wanted, automatic = settings["output_shape"], settings["auto_pad"]
    if automatic not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise FileFormatError(f"{node}: auto_pad={shortened(automatic)} is not a value that ONNX defines")
    if not wanted and automatic not in ("SAME_UPPER", "SAME_LOWER"):
        pads = settings["pads"] if automatic == "NOTSET" else (0, 0, 0, 0)
        if len(pads) != 4 or min(pads) < 0 or max(pads) > MAX_PAD:
            raise FileFormatError(f"{node}: pads {shortened(pads)}, expected (top, left, bottom, right)")
        return (pads[0], pads[2]), (pads[1], pads[3])
    sizes = tuple(wanted[-2:] or same)
    totals = [size - left for size, left in zip(painted, sizes, strict=True)] if len(wanted) in (0, 2) else [-1]
    if min(totals) < 0:
        raise FileFormatError(f"{node}: cannot return {shortened(sizes)} pixels; export it with pads")
    smaller = [(total // 2, total - total // 2) for total in totals]
    (top, bottom), (left, right) = smaller
    upper = automatic == "SAME_UPPER"
    return ((top, bottom), (left, right)) if upper else ((bottom, top), (right, left))
