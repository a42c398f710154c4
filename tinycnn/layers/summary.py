"""The cost of a network, layer by layer: parameters, floating-point operations, memory.

Operations are derived from the equations, for one image in evaluation mode: a multiplication and an addition are two
operations, a comparison or an elementary function, such as an exponential, tanh or erf, is one. A backend (im2col,
fused kernels) may need fewer or more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from tinycnn.layers.activations import LogSoftmax, ReLU, Softmax
from tinycnn.layers.base import Layer, Shape
from tinycnn.layers.convolution import Conv2d
from tinycnn.layers.dense import Dense
from tinycnn.layers.dropout import Dropout
from tinycnn.layers.further.activations import (
    ELU,
    GELU,
    Abs,
    Clip,
    HardSwish,
    LeakyReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
)
from tinycnn.layers.further.convolution import ConvTranspose2d
from tinycnn.layers.further.normalization import GroupNorm, LayerNorm, Normalization
from tinycnn.layers.further.shapes import Crop2d, Pad2d, Transpose2d, Upsample
from tinycnn.layers.normalization import BatchNorm
from tinycnn.layers.pooling import AvgPool2d, GlobalAvgPool2d, GlobalMaxPool2d, MaxPool2d
from tinycnn.layers.rescaling import Rescaling
from tinycnn.layers.reshaping import Flatten


class Table(str):
    """A text that a notebook and Python's prompt show line by line, without ``print``."""

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Cost:
    """The cost of one layer per image: ``flops`` (None for a class not listed below) and ``bytes`` of output."""

    name: str
    output_shape: Shape
    parameters: int
    flops: int | None
    bytes: int


def costs(layers: Mapping[str, Layer], input_shape: Shape, dtype: np.dtype) -> list[Cost]:
    """The cost of every layer of a network for images of ``input_shape`` (without N)."""
    found = []
    for name, layer in layers.items():
        found.append(_cost(name, layer, input_shape, dtype))
        input_shape = layer.output_shape
    return found


def _cost(name: str, layer: Layer, input_shape: Shape, dtype: np.dtype) -> Cost:
    count = sum(parameter.data.size for parameter in layer.parameters())
    label = " ".join(filter(None, [name, _settings(layer), "(frozen)" if layer.frozen else ""]))
    return Cost(label, layer.output_shape, count, flops(layer, input_shape), _values(layer) * dtype.itemsize)


def _inner_costs(layer: Layer, dtype: np.dtype) -> list[Cost]:
    """The costs of the layers inside ``layer``, part of its own; layers that only contain others are left out."""
    inner = [(name, one) for name, one in layer.all_layers() if not one.sublayers()]
    return [_cost(f"  {name}", one, one.input_shape, dtype) for name, one in inner]


def _values(layer: Layer) -> int:
    """The numbers that ``layer`` writes for one image, those of the layers inside it included."""
    own = prod(layer.output_shape) if layer.allocates_output else 0
    return own + sum(_values(inner) for inner in layer.sublayers().values())


def flops(layer: Layer, input_shape: Shape) -> int | None:
    """Floating-point operations of ``layer`` for one image; None for a class that is not listed here."""
    own = _own_flops(layer, input_shape)
    inner = [flops(one, one.input_shape) for one in layer.sublayers().values()]
    return None if own is None or None in inner else own + sum(count or 0 for count in inner)


def _own_flops(layer: Layer, input_shape: Shape) -> int | None:
    """Those of the layer itself, without the layers inside it."""
    outputs = prod(layer.output_shape)
    match layer:
        case Conv2d():
            return outputs * (2 * prod(layer.kernel_size) * input_shape[-1] // layer.groups + layer.bias)
        case ConvTranspose2d():
            return 2 * prod(input_shape) * prod(layer.kernel_size) * layer.filters + outputs * layer.bias
        case Dense():
            return outputs * (2 * input_shape[-1] + layer.bias)
        case MaxPool2d() | AvgPool2d():
            return outputs * prod(layer.kernel_size)
        case GlobalAvgPool2d() | GlobalMaxPool2d():
            return prod(input_shape)
        case BatchNorm():
            return 2 * outputs  # in evaluation mode, one multiplication and one addition per value
        case ReLU() | Rescaling():
            return outputs
        case LayerNorm() | GroupNorm():
            return 7 * outputs  # sum, difference, square, sum of squares, product, then as in batch norm
        case LeakyReLU() | Clip() | Normalization():
            return 2 * outputs
        case Tanh() | Abs():
            return outputs
        case Sigmoid() | SiLU() | ELU():
            return 4 * outputs
        case GELU():
            return (9 if layer.approximate else 5) * outputs
        case HardSwish():
            return 5 * outputs
        case Softplus():
            return 5 * outputs  # absolute value, exponential, logarithm, maximum, sum
        case Softsign():
            return 3 * outputs  # absolute value, sum, quotient
        case Pad2d() | Crop2d() | Transpose2d() | Upsample():
            return 0
        case Softmax() | LogSoftmax():
            return 5 * outputs  # maximum, difference, exponential, sum, quotient
        case Flatten() | Dropout():
            return 0
    return layer.flops(input_shape)


def summary(layers: Mapping[str, Layer], input_shape: Shape, dtype: np.dtype, buffers: int) -> str:
    """A table of all layers with their costs, the totals, and the size of the network in memory."""
    rows = costs(layers, input_shape, dtype)
    lines: list[tuple[str, ...]] = [
        ("layer", "output shape", "parameters", "FLOPs", "bytes out"),
        ("input", _shape(input_shape), "", "", ""),
    ]
    for row, layer in zip(rows, layers.values(), strict=True):
        lines += [
            (cost.name, _shape(cost.output_shape), f"{cost.parameters:,}", _count(cost.flops), f"{cost.bytes:,}")
            for cost in (row, *_inner_costs(layer, dtype))
        ]
    count = sum(row.parameters for row in rows)
    known = sum(row.flops or 0 for row in rows)
    all_flops = f"{known:,}" if all(row.flops is not None for row in rows) else f"> {known:,}"
    lines.append(("one image, total", "", f"{count:,}", all_flops, f"{sum(row.bytes for row in rows):,}"))
    trained = sum(p.data.size for layer in layers.values() for p in layer.parameters() if p.requires_grad)
    total = f"{count:,} parameters ({trained:,} trainable)" if trained < count else f"{count:,} trainable parameters"
    total += f" and {buffers:,} running statistics" if buffers else ""
    size = f"{(count + buffers) * dtype.itemsize / 1024:,.1f} KiB"
    return Table("\n".join([*_table(lines), f"{total}, {dtype}, {size}"]))


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _shape(shape: Shape) -> str:
    return f"({', '.join(map(str, ('N', *shape)))})"


def _settings(layer: Layer) -> str:
    """The settings shown in the table: kernel size, groups if there are several, dropout probability."""
    settings = {name: getattr(layer, name) for name in ("kernel_size", "p") if hasattr(layer, name)}
    settings |= {"groups": layer.groups} if isinstance(layer, Conv2d) and layer.groups > 1 else {}
    return " ".join("x".join(map(str, v)) if isinstance(v, tuple) else f"{k}={v}" for k, v in settings.items())


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows of text as aligned lines, the first two columns left-aligned, with rules below header and totals."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            f"{cell:<{w}}" if i < 2 else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    return [lines[0], rule, *lines[1:], rule]
