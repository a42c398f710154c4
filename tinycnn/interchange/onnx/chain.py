"""The state of an import: the layers converted so far, and the layout of the current array in the ONNX file.

The layout in the file changes from node to node: ``(N, C, H, W)`` after a convolution, ``(N, H, W, C)`` after a
Transpose. In tinycnn it is always ``(N, H, W, C)``. So each axis of the current array is described by letters, as in
``("N", "C", "H", "W")``. An axis that a Flatten joined has several letters, ``("N", "CHW")``. An axis of length 1 has
no letter, because its position does not affect the order of the numbers.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError, TinyCNNError, shortened
from tinycnn.interchange.onnx.file import Graph, Node
from tinycnn.layers import Conv2d, Dense, Flatten, Layer, Sequential
from tinycnn.layers.sequential import layer_names

CHANNELS_LAST, CHANNELS_FIRST = "HWC", "CHW"  # axes of one image: tinycnn's order, and that of ONNX operators
MAX_NUMBERS = 1 << 26  # per image between two layers: 256 MiB
SHARED_BYTES = 1 << 22  # bytes of weights allowed beyond twice the file size, for constants shared by several layers


class OpenBatch:
    """N in the shape of an array whose first axis the file leaves open. A shape with it has the dtype object."""

    def __repr__(self) -> str:
        return "N"


N = OpenBatch()


class LayoutError(FileFormatError):
    """The assumed order of the input's axes is wrong."""


@dataclass
class PlannedLayer:
    """A layer that is not built yet, because the next node may still change it."""

    kind: type[Layer]
    settings: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def is_linear(self) -> bool:
        return issubclass(self.kind, Conv2d | Dense)

    def build(self) -> Layer:
        return self.kind(**self.settings, **({"bias": "bias" in self.arrays} if self.is_linear else {}))


class Chain:
    """The chain of layers from the input of ``graph`` to its current array.

    ``order``: the letters of the input's axes after N. ``first_layers``: layers in front of those of the file.
    """

    def __init__(self, graph: Graph, order: str, first_layers: list[PlannedLayer]) -> None:
        self.graph, self.order = graph, order
        self.constants = dict(graph.constants)
        self.current = graph.input_name
        self.shapes: dict[str, np.ndarray] = {}  # of the arrays so far, which the Shape operator may take
        self.sizes = dict.fromkeys(CHANNELS_LAST, 1) | dict(zip(order, graph.shape, strict=True))
        self.axes = ("N", *map(self.letters, order))
        self.is_image = len(order) > 1
        self.planned = [PlannedLayer(layer.kind, dict(layer.settings)) for layer in first_layers]
        self.weight_bytes = 0
        self.input_shape = self.shape
        self.check_size("the input")
        self.set_current(self.current)

    def set_current(self, name: str) -> None:
        """Make ``name`` the current array, the result of the last layer."""
        self.current = name
        self.shapes[name] = self.file_shape()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image or row in tinycnn, channels last, without N."""
        return tuple(self.sizes[axis] for axis in CHANNELS_LAST) if self.is_image else (self.length(self.row),)

    @property
    def row(self) -> str:
        """The letters of all axes but N, in the order of the file."""
        return "".join(self.axes[1:])

    def letters(self, order: str) -> str:
        """``order`` without the axes of length 1."""
        return "".join(axis for axis in order if self.sizes[axis] > 1)

    def length(self, letters: str) -> int:
        """The number of elements along these axes."""
        return math.prod(self.sizes[axis] for axis in letters)

    def file_index(self) -> Any:
        """For each element of a row in tinycnn, its index in the file, where channels may come first."""
        if self.row in CHANNELS_LAST or self.row == "HC":
            return slice(None)
        index = np.arange(self.length(self.row)).reshape([self.sizes[axis] for axis in self.row])
        return index.transpose([self.row.index(axis) for axis in CHANNELS_LAST if axis in self.row]).ravel()  # (H*W*C,)

    def file_shape(self) -> np.ndarray:
        """The shape of the current array in the file, as ONNX's Shape operator returns it."""
        sizes = [self.length(axis) for axis in self.axes[1:]]
        return np.array([N, *sizes], object) if self.graph.batch is None else np.array([self.graph.batch, *sizes])

    def constant(self, node: Node, position: int) -> np.ndarray | None:
        """The constant at input ``position`` of the node; None if the node has no such input."""
        name = node.inputs[position] if position < len(node.inputs) else ""
        if name and name not in self.constants:
            raise FileFormatError(f"{node}: its input {position} is {shortened(name)}, expected a constant of the file")
        return self.constants[name] if name else None

    def weights(self, node: Node, position: int) -> np.ndarray | None:
        """``constant`` of the dtype of the network, as ONNX requires it."""
        array = self.constant(node, position)
        if array is not None and array.dtype != self.graph.dtype:
            raise FileFormatError(
                f"{node}: its input {position} is {array.dtype}, expected {self.graph.dtype} as the input of the file"
            )
        return array

    def required_weights(self, node: Node, position: int) -> np.ndarray:
        """``weights``, which the node must have; its input 0 must be the current array."""
        array = self.weights(node, position)
        if array is None or node.inputs[0] != self.current:
            raise FileFormatError(
                f"{node}: expected the result of the previous layers as input 0 and a constant as input {position}"
            )
        return array

    def expect_channels_second(self, node: Node) -> None:
        """Raise FileFormatError unless the current array in the file holds images ``(N, C, H, W)``."""
        if not self.is_image:
            raise FileFormatError(f"{node}: takes images, but its input has rows of {self.shape[0]} numbers")
        if self.axes != ("N", *map(self.letters, CHANNELS_FIRST)):
            raise LayoutError(f"{node}: takes images (N, C, H, W), but gets the axes {self.described()}")

    def plan(self, kind: type[Layer], arrays: dict[str, np.ndarray] | None = None, **settings: Any) -> None:
        """Append a layer; raises FileFormatError when too many layers would each copy the same constant."""
        self.planned.append(PlannedLayer(kind, settings, arrays or {}))
        self.weight_bytes += sum(array.nbytes for array in self.planned[-1].arrays.values())
        if self.weight_bytes > 2 * self.graph.size + SHARED_BYTES:
            raise FileFormatError(f"its layers share constants: {self.weight_bytes:,} bytes from {self.graph.size:,}")

    def resize(self, **sizes: int) -> None:
        """Set the sizes of the image after an operator with windows; channels are second."""
        self.sizes |= sizes
        self.axes = ("N", *map(self.letters, CHANNELS_FIRST))

    def set_axes(self, axes: tuple[str, ...]) -> None:
        """Set the layout in the file; an image with a single axis after N becomes a row, so a Flatten is appended."""
        self.axes = axes
        if self.is_image and len(axes) == 2:
            self.plan(Flatten)
            self.is_image = False

    def described(self) -> str:
        """The axes of the current array in the file, for a message: ``N, C, H, W``; 1 is an axis of length 1."""
        return ", ".join(axis or "1" for axis in self.axes)

    def check_size(self, what: object) -> None:
        """Raise FileFormatError when one image, the output of ``what``, is too large."""
        if math.prod(self.shape) > MAX_NUMBERS:
            raise FileFormatError(f"{what}: {shortened(self.shape)} for each image, more than {MAX_NUMBERS:,} numbers")

    def check_output(self) -> None:
        """Raise FileFormatError unless the current array is the output of the file in a supported layout."""
        if self.current != self.graph.output_name:
            raise FileFormatError(f"its output {shortened(self.graph.output_name)} is not the result of its last node")
        if not self.planned:
            raise FileFormatError("it has no operator that becomes a layer")
        if not self.is_image and not isinstance(self.file_index(), slice):
            raise LayoutError("its output is a flattened image, channels first; tinycnn supports only channels last")
        found = self.axes[1:]
        joined = self.is_image and any(len(axis) > 1 for axis in found)
        if joined or len(found) not in ((2, 3) if self.is_image else (1,)):
            raise FileFormatError(
                f"its output has {len(found)} axes beside N, {self.described()}; tinycnn returns images with three, "
                "rows with one"
            )

    def build(self) -> Sequential:
        """The network, in evaluation mode; raises FileFormatError when its layers do not fit together."""
        try:
            layers = [planned.build() for planned in self.planned]
            names = layer_names(tuple(layers))
            state = {
                f"{name}.{own}": array
                for name, planned in zip(names, self.planned, strict=True)
                for own, array in planned.arrays.items()
            }
            return Sequential(*layers, input_shape=self.input_shape, dtype=self.graph.dtype, state=state).eval()
        except TinyCNNError as error:
            raise FileFormatError(shortened(error)) from None
