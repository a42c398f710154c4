"""Constant folding: the nodes of an ONNX file whose inputs are all constants, such as the shape for a Reshape.

Only views of constants and computations on shapes are evaluated, so a large constant is in memory only once, no matter
how many nodes use it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError, shortened
from tinycnn.interchange.onnx.file import MAX_AXES, Node

Arrays = list[np.ndarray]
VALUES = "value", "value_int", "value_ints", "value_float", "value_floats"  # attributes of Constant
ELEMENT_TYPES = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}  # by number in TensorProto


def fold_constants(node: Node, inputs: Arrays) -> np.ndarray:
    """The result of a node whose ``inputs`` are all constants; raises FileFormatError for an unsupported operator."""
    if node.operator not in OPERATORS:
        raise FileFormatError(
            f"{node}: computes something from constants, of which tinycnn reads only {', '.join(OPERATORS)}; "
            "export the network again in evaluation mode, with constant folding"
        )
    result = np.asarray(OPERATORS[node.operator](node, inputs))
    if inputs and result.size > MAX_AXES and not np.may_share_memory(result, inputs[0]):
        raise FileFormatError(
            f"{node}: computes {result.size:,} numbers from constants, which should be stored in the file; export the "
            "network again with constant folding"
        )
    return result


def constant(node: Node, inputs: Arrays) -> np.ndarray:
    """The value in the attributes."""
    names = [name for name in node.attributes if name in VALUES]
    if len(names) != 1:
        raise FileFormatError(f"{node}: attributes {shortened(list(node.attributes)[:3])}, expected one value")
    array = np.asarray(node.attributes[names[0]])
    return array.astype(np.float32) if names[0].startswith("value_float") else array


def identity(node: Node, inputs: Arrays) -> np.ndarray:
    """The input itself."""
    return inputs[0]


def transpose(node: Node, inputs: Arrays) -> np.ndarray:
    """A view with permuted axes."""
    return inputs[0].transpose(node.settings(perm=())["perm"] or None)


def reshape(node: Node, inputs: Arrays) -> np.ndarray:
    """A view with another shape."""
    array, sizes, settings = inputs[0], integers(node, inputs[1]), node.settings(allowzero=0)
    if 0 in sizes:  # with allowzero=0, 0 means the old length; otherwise an empty axis
        node.require(settings, allowzero=0)
    return array.reshape([array.shape[i] if size == 0 else size for i, size in enumerate(sizes)])


def squeeze(node: Node, inputs: Arrays) -> np.ndarray:
    """A view without axes of length 1."""
    return inputs[0].squeeze(axes_of(node, inputs) or None)


def unsqueeze(node: Node, inputs: Arrays) -> np.ndarray:
    """A view with additional axes of length 1."""
    return np.expand_dims(inputs[0], axes_of(node, inputs))


def axes_of(node: Node, inputs: Arrays) -> tuple[int, ...]:
    """The axes of a Squeeze or Unsqueeze: an attribute in older files, the second input in newer ones."""
    axes = node.settings(axes=())["axes"]
    return axes or tuple(integers(node, inputs[1]) if len(inputs) > 1 else ())


def cast(node: Node, inputs: Arrays) -> np.ndarray:
    """A shape in another dtype."""
    array, to = checked_shape(node, inputs[0]), node.settings(to=0, saturate=1)["to"]
    if to not in ELEMENT_TYPES or (array.dtype == object and ELEMENT_TYPES[to] not in (np.int32, np.int64)):
        raise FileFormatError(f"{node}: to={to} of a constant {array.dtype}; tinycnn does not read this dtype")
    return array if array.dtype == object else array.astype(ELEMENT_TYPES[to])


def gather(node: Node, inputs: Arrays) -> np.ndarray:
    """Selected elements of a shape."""
    array, axis = checked_shape(node, inputs[0]), node.settings(axis=0)["axis"]
    indices = np.array(integers(node, inputs[1]), np.int64).reshape(inputs[1].shape)
    return np.take(array, indices, axis=axis)


def shape(node: Node, inputs: Arrays) -> np.ndarray:
    """The shape of a constant."""
    return part_of_shape(node, np.array(inputs[0].shape, np.int64))


def part_of_shape(node: Node, sizes: np.ndarray) -> np.ndarray:
    """The sizes from ``start`` to ``end``, which a Shape operator selects since opset 15."""
    settings = node.settings(start=0, end=len(sizes))
    return sizes[settings["start"] : settings["end"]]


def part(node: Node, inputs: Arrays) -> np.ndarray:
    """A slice of a shape; ``axes`` and ``steps`` may be absent."""
    if "" in node.inputs or len(inputs) < 3:
        raise FileFormatError(f"{node}: expected a shape, starts, ends, axes and steps")
    node.settings()
    array = checked_shape(node, inputs[0])
    starts, ends, *more = (integers(node, each) for each in inputs[1:])
    axes = more[0] if more else range(len(starts))
    steps = more[1] if len(more) > 1 else [1] * len(starts)
    which = [slice(None)] * array.ndim
    for axis, *bounds in zip(axes, starts, ends, steps, strict=True):
        which[axis] = slice(*bounds)
    return array[tuple(which)]


def concat(node: Node, inputs: Arrays) -> np.ndarray:
    """Several shapes joined to one."""
    return np.concatenate([checked_shape(node, array) for array in inputs], axis=node.settings(axis=0)["axis"])


def integers(node: Node, array: np.ndarray) -> list[int]:
    """The integers of a shape or list of axes; raises FileFormatError for more than a shape can have."""
    if array.size > MAX_AXES or array.dtype.kind != "i":
        raise FileFormatError(f"{node}: a constant {array.dtype} {array.shape}, expected integers of a fixed shape")
    return array.ravel().tolist()


def checked_shape(node: Node, array: np.ndarray) -> np.ndarray:
    """``array``; raises FileFormatError when it has more elements than a shape can have."""
    if array.size > MAX_AXES:
        raise FileFormatError(
            f"{node}: computes with a constant of shape {array.shape}; tinycnn evaluates only shapes of arrays"
        )
    return array


OPERATORS: dict[str, Callable[[Node, Arrays], Any]] = {
    "Constant": constant,
    "Identity": identity,
    "Transpose": transpose,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Cast": cast,
    "Gather": gather,
    "Slice": part,
    "Concat": concat,
    "Shape": shape,
}
