"""Constant folding: the nodes of an ONNX file whose inputs are all constants, such as the shape for a Reshape.

Most are views of constants and computations on shapes. Weights that a node computes, such as a Cast of float16, count:
together they may take ``FOLDED_BYTES`` more than the file, so the memory used stays proportional to its size.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from tinycnn.errors import FileFormatError, shortened
from tinycnn.interchange.onnx.file import ELEMENT_TYPES, MAX_AXES, Graph, Node

Arrays = list[np.ndarray]
VALUES = "value", "value_int", "value_ints", "value_float", "value_floats"  # attributes of Constant
MAX_SHAPE = 4 * MAX_AXES  # elements of a shape, or of pads, while they are computed
FOLDED_BYTES = 1 << 22


class Budget(Protocol):
    """The graph, and the bytes of the constants computed so far."""

    graph: Graph
    folded_bytes: int


def fold_constants(node: Node, inputs: Sequence[np.ndarray | None], budget: Budget) -> np.ndarray:
    """The result of a node whose ``inputs`` are all constants, None where the node leaves one out.

    Raises FileFormatError for an unsupported operator, and for more numbers than ``budget`` allows.
    """
    if node.operator not in OPERATORS:
        raise FileFormatError(
            f"{node}: computes something from constants, of which tinycnn reads only {', '.join(OPERATORS)}; "
            "export the network again in evaluation mode, with constant folding"
        )
    given = [array for array in inputs if array is not None]
    if "" in node.inputs and node.operator not in WITH_GAPS:
        raise FileFormatError(f"{node}: leaves out an input")
    sizes = math.prod(np.broadcast_shapes(*(array.shape for array in given))) if node.operator in ELEMENTWISE else 0
    itemsize = max((array.itemsize for array in given), default=0)
    spend(node, budget, sizes * itemsize if sizes > MAX_SHAPE else 0)
    result = np.asarray(OPERATORS[node.operator](node, list(inputs) if node.operator in WITH_GAPS else given))
    if given and not sizes and result.size > MAX_SHAPE and not np.may_share_memory(result, given[0]):
        spend(node, budget, result.nbytes)
    return result


def spend(node: Node, budget: Budget, count: int) -> None:
    """Count the bytes that ``node`` computes; raises FileFormatError when they are too many."""
    budget.folded_bytes += count
    if budget.folded_bytes > 2 * budget.graph.size + FOLDED_BYTES:
        raise FileFormatError(
            f"{node}: the constants that the file computes take {budget.folded_bytes:,} bytes, the file "
            f"{budget.graph.size:,}; export the network again with constant folding"
        )


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
    """The same numbers in another dtype."""
    array, to = inputs[0], node.settings(to=0, saturate=1, round_mode="up")["to"]
    if to not in ELEMENT_TYPES or (array.dtype == object and ELEMENT_TYPES[to] not in (np.int32, np.int64)):
        raise FileFormatError(f"{node}: to={to} of a constant {array.dtype}; tinycnn does not read this dtype")
    return array if array.dtype in (object, ELEMENT_TYPES[to]) else array.astype(ELEMENT_TYPES[to])


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


def part(node: Node, inputs: list[np.ndarray | None]) -> np.ndarray:
    """A slice of a shape; ``axes`` and ``steps`` may be absent. Before opset 10, all were attributes."""
    settings = node.settings(starts=(), ends=(), axes=())
    array, *given = inputs
    if array is None or (len(given) < 2 and not settings["starts"]):
        raise FileFormatError(f"{node}: expected a shape, starts, ends, axes and steps")
    array = checked_shape(node, array)
    if not given:
        given = [np.array(settings[name], np.int64) for name in ("starts", "ends", "axes")]
        given = given if settings["axes"] else given[:2]
    starts, ends, axes, steps = (None if each is None else integers(node, each) for each in (*given, None, None)[:4])
    if starts is None or ends is None:
        raise FileFormatError(f"{node}: expected a shape, starts, ends, axes and steps")
    which = [slice(None)] * array.ndim
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        step = steps[i] if steps else 1
        axis = axes[i] if axes else i
        beyond = step < 0 and end < -array.shape[axis]  # a backward slice up to the first element
        which[axis] = slice(start, None if beyond else end, step)
    return array[tuple(which)]


def concat(node: Node, inputs: Arrays) -> np.ndarray:
    """Several shapes joined to one."""
    return np.concatenate([checked_shape(node, array) for array in inputs], axis=node.settings(axis=0)["axis"])


def filled(node: Node, inputs: Arrays) -> np.ndarray:
    """A constant of the given shape."""
    value = np.ravel(node.settings(value=np.zeros(1, np.float32))["value"])
    sizes = integers(node, inputs[0])
    if value.size != 1 or min(sizes, default=0) < 0 or math.prod(sizes) > MAX_SHAPE:
        raise FileFormatError(
            f"{node}: a constant of shape {shortened(sizes)}; tinycnn evaluates only shapes of arrays"
        )
    return np.full(sizes, value[0])


def expand(node: Node, inputs: Arrays) -> np.ndarray:
    """A view broadcast to a shape."""
    node.settings()
    sizes = np.broadcast_shapes(inputs[0].shape, tuple(integers(node, inputs[1])))
    if math.prod(sizes) > max(inputs[0].size, MAX_SHAPE):
        raise FileFormatError(
            f"{node}: a constant of shape {shortened(sizes)}; tinycnn evaluates only shapes of arrays"
        )
    return np.broadcast_to(inputs[0], sizes)


def arithmetic(node: Node, inputs: Arrays) -> np.ndarray:
    """``+ - * /`` of two constants; whole numbers are divided towards 0."""
    node.settings(**({"fmod": 0} if node.operator == "Mod" else {}))
    a, b = inputs
    whole = a.dtype.kind == "i" and b.dtype.kind == "i"
    if not whole and a.dtype != b.dtype:
        raise FileFormatError(f"{node}: computes with {a.dtype} and {b.dtype}; expected the same dtype")
    match node.operator:
        case "Mod":
            return np.fmod(a, b) if node.attributes else np.mod(a, b)
        case "Add":
            return a + b
        case "Sub":
            return a - b
        case "Mul":
            return a * b
    if whole and not b.all():
        raise FileFormatError(f"{node}: divides by 0")
    return (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype) if whole else a / b


def equal(node: Node, inputs: Arrays) -> np.ndarray:
    """Which elements of two shapes are equal."""
    node.settings()
    return checked_shape(node, inputs[0]) == checked_shape(node, inputs[1])


def where(node: Node, inputs: Arrays) -> np.ndarray:
    """Elements of one shape or the other."""
    node.settings()
    return np.where(*(checked_shape(node, array) for array in inputs))


def of_one(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Node, Arrays], np.ndarray]:
    """The operator that applies ``function`` to its input."""

    def applied(node: Node, inputs: Arrays) -> np.ndarray:
        node.settings()
        return function(inputs[0]).astype(inputs[0].dtype)

    return applied


def integers(node: Node, array: np.ndarray) -> list[int]:
    """The integers of a shape or list of axes; raises FileFormatError for more than a shape can have."""
    if array.size > MAX_SHAPE or array.dtype.kind != "i":
        raise FileFormatError(f"{node}: a constant {array.dtype} {array.shape}, expected integers of a fixed shape")
    return array.ravel().tolist()


def checked_shape(node: Node, array: np.ndarray) -> np.ndarray:
    """``array``; raises FileFormatError when it has more elements than a shape can have."""
    if array.size > MAX_SHAPE:
        raise FileFormatError(
            f"{node}: computes with a constant of shape {array.shape}; tinycnn evaluates only shapes of arrays"
        )
    return array


OPERATORS: dict[str, Callable[[Node, Any], Any]] = {
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
    "ConstantOfShape": filled,
    "Expand": expand,
    "Equal": equal,
    "Where": where,
    "Add": arithmetic,
    "Sub": arithmetic,
    "Mul": arithmetic,
    "Div": arithmetic,
    "Mod": arithmetic,
    "Sqrt": of_one(np.sqrt),
    "Neg": of_one(np.negative),
    "Reciprocal": of_one(lambda array: 1 / array),
    "Floor": of_one(np.floor),
    "Ceil": of_one(np.ceil),
}
ELEMENTWISE = "Cast", "Add", "Sub", "Mul", "Div", "Mod", "Sqrt", "Neg", "Reciprocal", "Floor", "Ceil"
WITH_GAPS = ("Slice",)
