"""What is known of the network while the nodes of an ONNX file are followed: its layers so far, and its axes.

In the file an image lies as the node before has left it: ``(N, C, H, W)`` behind a convolution of ONNX, ``(N, H, W,
C)`` behind a Transpose. Here it always is ``(N, H, W, C)``. So each axis of the file's array is described by letters,
``("N", "C", "H", "W")``, and an axis that a Flatten joined by several, ``("N", "CHW")``. Axes of length 1 have no
letter: it moves no number where they lie.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError, TinyCNNError
from tinycnn.interchange.onnx.file import Graph, Node
from tinycnn.layers import Conv2d, Dense, Flatten, Layer, Sequential
from tinycnn.layers.sequential import layer_names
from tinycnn.saving.safetensors_file import shortened

LAST, SECOND = "HWC", "CHW"  # the order of the axes of one image: ours, and that of ONNX's operators
MAX_NUMBERS = 1 << 26  # in one image between two layers: 256 MiB
SPARE = 1 << 22  # bytes of weights beyond twice the file, for a constant that several layers share


class OtherOrderError(FileFormatError):
    """The axes of the input are not in the order that was tried."""


@dataclass
class Planned:
    """A layer that is not made yet, because the next node may still change it."""

    kind: type[Layer]
    settings: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def is_linear(self) -> bool:
        return issubclass(self.kind, Conv2d | Dense)

    def make(self) -> Layer:
        return self.kind(**self.settings, **({"bias": "bias" in self.arrays} if self.is_linear else {}))


class Chain:
    """The one array that is followed from the input of ``graph``, whose axes behind N are called ``order``."""

    def __init__(self, graph: Graph, order: str, before: list[Planned]) -> None:
        self.graph, self.order = graph, order
        self.constants = dict(graph.constants)
        self.current = graph.input_name
        self.sizes = dict.fromkeys(LAST, 1) | dict(zip(order, graph.shape, strict=True))
        self.axes = ("N", *map(self.letters, order))
        self.is_image = len(order) > 1
        self.planned, self.weight_bytes = [Planned(one.kind, dict(one.settings)) for one in before], 0
        self.input_shape = self.shape
        self.check_size("the input")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image or row here, channels last."""
        return tuple(self.sizes[one] for one in LAST) if self.is_image else (self.length(self.row),)

    @property
    def row(self) -> str:
        """The letters of all axes but N."""
        return "".join(self.axes[1:])

    def letters(self, order: str) -> str:
        """``order`` without the axes of length 1."""
        return "".join(one for one in order if self.sizes[one] > 1)

    def length(self, letters: str) -> int:
        """How many numbers there are along these axes."""
        return math.prod(self.sizes[one] for one in letters)

    def places(self) -> Any:
        """For each number of a row here its place in the file, where channels may come first."""
        if self.row in LAST or self.row == "HC":
            return slice(None)
        numbers = np.arange(self.length(self.row)).reshape([self.sizes[one] for one in self.row])
        return numbers.transpose([self.row.index(one) for one in LAST if one in self.row]).ravel()  # (H*W*C,)

    def shape_in_the_file(self) -> np.ndarray:
        """What ONNX's Shape answers; an open N is 0, which Reshape takes for "as it was"."""
        return np.array([self.graph.batch or 0, *map(self.length, self.axes[1:])], np.int64)

    def constant(self, node: Node, place: int) -> np.ndarray | None:
        """The constant that the node takes as input ``place``; None where it takes nothing there."""
        name = node.inputs[place] if place < len(node.inputs) else ""
        if name and name not in self.constants:
            raise FileFormatError(f"{node}: its input {place} is {shortened(name)}, expected a constant of the file")
        return self.constants[name] if name else None

    def needed(self, node: Node, place: int) -> np.ndarray:
        """The constant beside the array that is followed, which must be the first input."""
        array = self.constant(node, place)
        if array is None or node.inputs[0] != self.current:
            raise FileFormatError(
                f"{node}: expected what the layers before give as input 0, a constant as input {place}"
            )
        return array

    def expect_channels_second(self, node: Node) -> None:
        """Raise FileFormatError unless the array in the file is of images, ``(N, C, H, W)``."""
        if not self.is_image:
            raise FileFormatError(f"{node}: takes images, but comes behind rows of {self.shape[0]} numbers")
        if self.axes != ("N", *map(self.letters, SECOND)):
            raise OtherOrderError(f"{node}: takes images (N, C, H, W), but gets the axes {', '.join(self.axes)}")

    def plan(self, kind: type[Layer], arrays: dict[str, np.ndarray] | None = None, **settings: Any) -> None:
        """Append a layer; raises FileFormatError where many layers would each copy the same constant."""
        self.planned.append(Planned(kind, settings, arrays or {}))
        self.weight_bytes += sum(array.nbytes for array in self.planned[-1].arrays.values())
        if self.weight_bytes > 2 * self.graph.size + SPARE:
            raise FileFormatError(f"its layers share constants: {self.weight_bytes:,} bytes from {self.graph.size:,}")

    def resize(self, **sizes: int) -> None:
        """After an operator with windows: images of another size, channels second."""
        self.sizes |= sizes
        self.axes = ("N", *map(self.letters, SECOND))

    def lie_as(self, axes: tuple[str, ...]) -> None:
        """The same numbers under other axes; with one axis beside N, an image has become a row."""
        self.axes = axes
        if self.is_image and len(axes) == 2:
            self.plan(Flatten)
            self.is_image = False

    def check_size(self, what: object) -> None:
        """Raise FileFormatError when one image has become too large to compute with."""
        if math.prod(self.shape) > MAX_NUMBERS:
            raise FileFormatError(f"{what}: {shortened(self.shape)} for each image, more than {MAX_NUMBERS:,} numbers")

    def check_end(self) -> None:
        """Raise FileFormatError unless what is followed is the output of the file, and can be that of a network."""
        if self.current != self.graph.output_name:
            raise FileFormatError(f"its output {shortened(self.graph.output_name)} is not what the last node gives")
        if not self.planned:
            raise FileFormatError("nothing in it would be a layer")
        if not self.is_image and not isinstance(self.places(), slice):
            raise OtherOrderError("its output is an image in a row, channels first; here channels come last")

    def finished(self) -> Sequential:
        """The network; raises FileFormatError when its layers do not fit together."""
        try:
            layers = [one.make() for one in self.planned]
            names = layer_names(tuple(layers))
            state = {
                f"{name}.{own}": array
                for name, one in zip(names, self.planned, strict=True)
                for own, array in one.arrays.items()
            }
            return Sequential(*layers, input_shape=self.input_shape, dtype=self.graph.dtype, state=state).eval()
        except TinyCNNError as error:
            raise FileFormatError(shortened(error)) from None
