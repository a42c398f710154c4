"""The state of an import: the layers converted so far, and the layout of each array of the ONNX file.

The layout in the file changes from node to node: ``(N, C, H, W)`` after a convolution, ``(N, H, W, C)`` after a
Transpose. In tinycnn it is always ``(N, H, W, C)``. So each axis of an array is described by letters, as in
``("N", "C", "H", "W")``. An axis that a Flatten joined has several letters, ``("N", "CHW")``. An axis of length 1 has
no letter, because its position does not affect the order of the numbers. Channels that a Reshape divides into groups
have the letters ``g`` (group) and ``c`` (within the group); ``y`` and ``x`` are the axes of repeated rows and columns.
"""

import copy
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

import numpy as np

from tinycnn.errors import FileFormatError, TinyCNNError, shortened
from tinycnn.interchange.onnx.building import built
from tinycnn.interchange.onnx.file import Graph, Node
from tinycnn.interchange.onnx.rewriting import rewritten
from tinycnn.interchange.planned import MAX_LAYERS, PlannedLayer, Step, layers_between, place
from tinycnn.layers import Dropout, Flatten, GlobalAvgPool2d, GlobalMaxPool2d, Layer, Reshape, Sequential, Transpose2d

CHANNELS_LAST, CHANNELS_FIRST = "HWC", "CHW"  # axes of one image: tinycnn's order, and that of ONNX operators
MAX_NUMBERS = 1 << 26  # per image between two layers: 256 MiB
SHARED_BYTES = 1 << 22  # bytes of weights allowed beyond twice the file size, for constants shared by several layers


class OpenBatch:
    """N in the shape of an array whose first axis the file leaves open. A shape with it has the dtype object."""

    def __repr__(self) -> str:
        return "N"


N = OpenBatch()


class LayoutError(FileFormatError):
    """The assumed order of the axes is wrong."""


class Conversion:
    """What all arrays of a file share: its constants, and the chain of layers that leads to each array.

    ``order``: the letters of the input's axes after N. ``rows_become``: the order of axes where a row becomes an image.
    """

    def __init__(self, graph: Graph, order: str, rows_become: str) -> None:
        self.graph, self.order, self.rows_become = graph, order, rows_become
        self.constants = dict(graph.constants)
        self.folded_bytes = self.weight_bytes = 0
        self.arrays: dict[str, Chain] = {}
        self.nodes = needed_nodes(graph.output_name, rewritten(graph))
        self.uses = Counter(name for node in self.nodes if node.operator != "Shape" for name in set(node.inputs))
        self.uses[graph.output_name] += 1
        self.steps: dict[Any, Step] = {}  # layers without weights, which need not be planned twice
        self.joined: dict[Any, Chain] = {}  # the results of Concat, by its inputs

    def begin(self, first_layers: list[PlannedLayer]) -> None:
        """Make the input of the file the first array; ``first_layers`` stand in front of the layers of the file."""
        chain = Chain(self)
        chain.check_size("the input")
        for layer in first_layers:
            chain.append(layer)
        self.add(self.graph.input_name, chain)

    def add(self, name: str, chain: "Chain") -> None:
        """Make ``chain`` the array ``name`` of the file."""
        chain.current = name
        if self.uses[name] > 1:
            chain.sealed = chain.last
        self.arrays[name] = chain


def needed_nodes(output: str, all_nodes: list[Node]) -> list[Node]:
    """The nodes that ``output`` depends on, in the order of the file."""
    needed, nodes = {output}, []
    for node in reversed(all_nodes):
        if not needed.isdisjoint(node.outputs):
            needed.update(name for name in node.inputs if name)
            nodes.append(node)
    return nodes[::-1]


class Chain:
    """The chain of layers from the input of the file to one of its arrays, and the layout of this array.

    An operator takes a copy of the chain of its input, and changes it. Letters cannot express the order of a row that
    was joined from several flattened images: ``index`` is then the index in the file of each element of the row.
    """

    def __init__(self, whole: Conversion) -> None:
        self.whole, self.graph, self.constants = whole, whole.graph, whole.constants
        order, shape = whole.order, whole.graph.shape
        self.current = self.graph.input_name
        self.sizes = dict.fromkeys(CHANNELS_LAST, 1) | dict(zip(order, shape, strict=True))
        self.axes = ("N", *map(self.letters, order))
        self.is_image = len(order) > 1
        self.index: np.ndarray | None = None
        self.last: Step | None = None
        self.sealed: Step | None = None  # a last layer whose result other nodes take, too

    def copy(self) -> Self:
        """The same chain, for an operator to change."""
        chain = copy.copy(self)
        chain.sizes = dict(self.sizes)
        return chain

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
        if self.index is not None:
            return self.index
        if self.row in CHANNELS_LAST or self.row == "HC":
            return slice(None)
        index = np.arange(self.length(self.row)).reshape([self.sizes[axis] for axis in self.row])
        return index.transpose([self.row.index(axis) for axis in CHANNELS_LAST if axis in self.row]).ravel()  # (H*W*C,)

    def file_shape(self) -> np.ndarray:
        """The shape of the array in the file, as ONNX's Shape operator returns it."""
        sizes = [self.length(axis) for axis in self.axes[1:]]
        return np.array([N, *sizes], object) if self.graph.batch is None else np.array([self.graph.batch, *sizes])

    # ------------------------------------------------------------------------------------------------ inputs of a node

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
        if not self.is_image and len(self.axes) == 4:
            self.become_image(node)
        if not self.is_image:
            raise FileFormatError(f"{node}: takes images, but its input has rows of {self.shape[0]} numbers")
        if self.axes == ("N", *map(self.letters, "CWH")) and min(self.sizes["H"], self.sizes["W"]) > 1:
            self.exchange_rows_and_columns()
        if self.axes != ("N", *map(self.letters, CHANNELS_FIRST)):
            raise LayoutError(f"{node}: takes images (N, C, H, W), but gets the axes {self.described()}")

    def channel_constant(self, constant: np.ndarray) -> np.ndarray | None:
        """``constant`` as one number per channel ``(C,)`` in tinycnn's order; None if it is anything else.

        The channels of a row are all of its elements.
        """
        if constant.ndim > len(self.axes) or constant.size != self.shape[-1]:
            return None
        axes = [self.axes[axis - constant.ndim] for axis, size in enumerate(constant.shape) if size > 1]
        if constant.size > 1 and axes != ["C" if self.is_image else self.row]:
            return None
        return constant.ravel() if self.is_image else constant.ravel()[self.file_index()]

    # --------------------------------------------------------------------------------------------------- its layers

    @property
    def final(self) -> PlannedLayer | None:
        """The last layer, if there is one."""
        return self.last.layer if self.last else None

    @property
    def foldable(self) -> PlannedLayer | None:
        """The last layer, if no other node needs its result, so that the next node may change it."""
        return self.final if self.last is not self.sealed else None

    def plan(
        self, kind: type[Layer], arrays: dict[str, np.ndarray] | None = None, *, node: str = "", **settings: Any
    ) -> None:
        """Append a layer; raises FileFormatError when too many layers would each copy the same constant."""
        self.append(PlannedLayer(kind, settings, arrays or {}, node=node))

    def append(self, layer: PlannedLayer) -> None:
        """Append ``layer``, or the same step as before if it has no weights and was planned in this place already."""
        self.whole.weight_bytes += sum(array.nbytes for array in layer.arrays.values())
        if self.whole.weight_bytes > 2 * self.graph.size + SHARED_BYTES:
            raise FileFormatError(
                f"its layers share constants: {self.whole.weight_bytes:,} bytes from {self.graph.size:,}"
            )
        if place(self.last) >= MAX_LAYERS:
            raise FileFormatError(f"more than {MAX_LAYERS:,} layers one after the other")
        step = Step(layer, self.last)
        if not layer.arrays and not layer.branches and layer.kind is not Dropout:
            step = self.whole.steps.setdefault((self.last, layer.kind, repr(sorted(layer.settings.items()))), step)
        self.last = step

    def drop_last(self) -> None:
        """Remove the last layer."""
        self.last = self.last.before if self.last else None

    def replace_last(self, layer: PlannedLayer) -> None:
        """Put ``layer`` in the place of the last one."""
        self.drop_last()
        self.last = Step(layer, self.last)

    # --------------------------------------------------------------------------------------------------- its layout

    def resize(self, **sizes: int) -> None:
        """Set the sizes of the image after an operator with windows; channels are second."""
        self.sizes |= sizes
        self.axes = ("N", *map(self.letters, CHANNELS_FIRST))

    def become_row(self, length: int) -> None:
        """Set the layout after a layer that returns rows of ``length`` numbers."""
        self.sizes, self.index = {"H": 1, "W": 1, "C": length}, None
        self.axes = ("N", self.letters("C"))

    def set_axes(self, axes: Iterable[str]) -> None:
        """Set the layout in the file; an image with a single axis after N becomes a row, so a Flatten is appended."""
        self.axes = tuple(axis.replace("gc", "C") for axis in axes)
        if not self.is_image or len(self.axes) != 2:
            return
        if set(self.row) != set(self.letters(CHANNELS_LAST)):
            raise FileFormatError(f"an image flattened in the order {self.row}; tinycnn has no layer for this")
        if self.final and self.final.kind in (GlobalAvgPool2d, GlobalMaxPool2d) and self.final.settings["keepdims"]:
            self.replace_last(self.final.changed(keepdims=False))  # (C,) instead of (1, 1, C)
        else:
            self.plan(Flatten)
        self.is_image = False

    def become_image(self, node: object) -> None:
        """Turn a row that the file holds as an image into one in tinycnn, too."""
        if self.is_image:
            return
        if self.index is not None or len(self.axes) != 4 or any(len(axis) > 1 for axis in self.axes[1:]):
            raise FileFormatError(f"{node}: takes images, but gets a row with the axes {self.described()}")
        self.is_image = True
        if self.final and self.final.kind is Flatten:
            self.drop_last()
        elif self.final and self.final.kind in (GlobalAvgPool2d, GlobalMaxPool2d):
            self.replace_last(self.final.changed(keepdims=True))
        else:
            self.plan(Reshape, shape=self.shape)

    def exchange_rows_and_columns(self) -> None:
        """Append a Transpose2d: what the file calls rows are then the rows in tinycnn, too."""
        self.plan(Transpose2d)
        self.sizes |= {"H": self.sizes["W"], "W": self.sizes["H"]}
        self.axes = tuple({"H": "W", "W": "H"}.get(axis, axis) for axis in self.axes)

    def described(self) -> str:
        """The axes of the current array in the file, for a message: ``N, C, H, W``; 1 is an axis of length 1."""
        return ", ".join(axis or "1" for axis in self.axes)

    def check_size(self, what: object) -> None:
        """Raise FileFormatError when one image, the output of ``what``, is too large."""
        if math.prod(self.shape) > MAX_NUMBERS:
            raise FileFormatError(f"{what}: {shortened(self.shape)} for each image, more than {MAX_NUMBERS:,} numbers")

    # --------------------------------------------------------------------------------------------------- its network

    def check_output(self) -> None:
        """Raise FileFormatError unless the current array can be the output of the network, in a supported layout."""
        if not self.last:
            raise FileFormatError("it has no operator that becomes a layer")
        if not self.is_image and len(self.axes) == 4 and self.index is None:
            self.become_image("its output")
        if not self.is_image and not isinstance(self.file_index(), slice):
            raise LayoutError("its output is a flattened image, channels first; tinycnn supports only channels last")
        found = self.axes[1:]
        if self.is_image and "WH" in self.row.replace("C", "") and set(self.axes) <= {"N", "", "H", "W", "C"}:
            self.exchange_rows_and_columns()
            found = self.axes[1:]
        joined = self.is_image and any(len(axis) > 1 or axis in ("g", "c", "x", "y") for axis in found)
        if joined or len(found) not in ((2, 3) if self.is_image else (1,)):
            raise FileFormatError(
                f"its output has {len(found)} axes besides N, {self.described()}; tinycnn returns images with three, "
                "rows with one"
            )

    def build(self) -> Sequential:
        """The network, in evaluation mode; raises FileFormatError when its layers do not fit together."""
        first = Chain(self.whole)
        try:
            return built(layers_between(None, self.last), input_shape=first.shape, dtype=self.graph.dtype).eval()
        except TinyCNNError as error:
            raise FileFormatError(shortened(error)) from None
