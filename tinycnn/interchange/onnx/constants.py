"""What an ONNX file computes from constants alone: PyTorch and Keras compute the shape that a Reshape takes.

Only views of a constant, and arithmetic of shapes, are worked out: however often a large constant is named, it lies in
memory once.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError
from tinycnn.interchange.onnx.file import MOST_AXES, Node

Arrays = list[np.ndarray]
ELEMENT_TYPES = {1: np.float32, 6: np.int32, 7: np.int64, 11: np.float64}  # by their number in TensorProto


def computed(node: Node, inputs: Arrays) -> np.ndarray:
    """The result of a node all of whose ``inputs`` are constants; FileFormatError for an operator not known here."""
    if node.operator not in OPERATORS:
        raise FileFormatError(
            f"{node}: computes something from constants, of which tinycnn reads only {', '.join(OPERATORS)}; "
            "export the network again in evaluation mode, with constant folding"
        )
    result = OPERATORS[node.operator](node, inputs)
    if inputs and result.size > MOST_AXES and not np.may_share_memory(result, inputs[0]):
        raise FileFormatError(
            f"{node}: computes {result.size:,} numbers from constants, which a file should hold itself"
        )
    return result


def constant(node: Node, inputs: Arrays) -> np.ndarray:
    """The one value among the attributes."""
    values = [
        value for name, value in node.attributes.items() if name in ("value", "value_int", "value_ints", "value_float")
    ]
    if len(values) != 1:
        raise FileFormatError(f"{node}: attributes {list(node.attributes)[:3]}, expected one value")
    return np.asarray(values[0])


def as_it_is(node: Node, inputs: Arrays) -> np.ndarray:
    """The input itself."""
    return inputs[0]


def transposed(node: Node, inputs: Arrays) -> np.ndarray:
    """A view with other axes."""
    return inputs[0].transpose(node.settings(perm=())["perm"] or None)


def reshaped(node: Node, inputs: Arrays) -> np.ndarray:
    """A view with another shape."""
    array, sizes, settings = inputs[0], short(node, inputs[1]).tolist(), node.settings(allowzero=0)
    if 0 in sizes:  # which is the old length, or no length at all
        node.require(settings, allowzero=0)
    return array.reshape([array.shape[i] if size == 0 else size for i, size in enumerate(sizes)])


def squeezed(node: Node, inputs: Arrays) -> np.ndarray:
    """Without axes of length 1."""
    return inputs[0].squeeze(axes_of(node, inputs) or None)


def unsqueezed(node: Node, inputs: Arrays) -> np.ndarray:
    """With axes of length 1."""
    return np.expand_dims(inputs[0], axes_of(node, inputs))


def axes_of(node: Node, inputs: Arrays) -> tuple[int, ...]:
    """An attribute in older files, the second input in newer ones."""
    given = node.settings(axes=())["axes"]
    return given or tuple(short(node, inputs[1]).ravel().tolist() if len(inputs) > 1 else ())


def cast(node: Node, inputs: Arrays) -> np.ndarray:
    """In another dtype."""
    return short(node, inputs[0]).astype(ELEMENT_TYPES[node.settings(to=0, saturate=1)["to"]])


def gathered(node: Node, inputs: Arrays) -> np.ndarray:
    """Some numbers of a shape."""
    return np.take(short(node, inputs[0]), short(node, inputs[1]), axis=node.settings(axis=0)["axis"])


def concatenated(node: Node, inputs: Arrays) -> np.ndarray:
    """A shape put together."""
    return np.concatenate([short(node, array) for array in inputs], axis=node.settings(axis=0)["axis"])


def short(node: Node, array: np.ndarray) -> np.ndarray:
    """``array``, if it can be a shape; raises FileFormatError for a larger one."""
    if array.size > MOST_AXES:
        raise FileFormatError(f"{node}: computes with a constant of shape {array.shape}, which is no shape of an array")
    return array


OPERATORS: dict[str, Callable[[Node, Arrays], Any]] = {
    "Constant": constant,
    "Identity": as_it_is,
    "Transpose": transposed,
    "Reshape": reshaped,
    "Squeeze": squeezed,
    "Unsqueeze": unsqueezed,
    "Cast": cast,
    "Gather": gathered,
    "Concat": concatenated,
}
