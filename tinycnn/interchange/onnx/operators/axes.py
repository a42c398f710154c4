"""Operators that only change the layout in the file. They become no layer, since images are always channels last."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError, shortened
from tinycnn.interchange.onnx.chain import Chain, N
from tinycnn.interchange.onnx.constants import ELEMENT_TYPES
from tinycnn.interchange.onnx.file import MAX_AXES, Node


def transpose(chain: Chain, node: Node) -> None:
    """Permute the axes in the file; N must stay the first."""
    rank = len(chain.axes)
    perm = node.settings(perm=())["perm"] or tuple(reversed(range(rank)))
    if sorted(perm) != list(range(rank)) or perm[0] != 0:
        raise FileFormatError(f"{node}: perm={shortened(perm)} of {rank} axes; the first axis, N, must stay the first")
    chain.set_axes(tuple(chain.axes[axis] for axis in perm))


def flatten(chain: Chain, node: Node) -> None:
    """Join all axes after N to one."""
    axis = node.settings(axis=1)["axis"]
    if axis not in (1, 1 - len(chain.axes)):
        raise FileFormatError(f"{node}: axis={axis}, expected 1, which joins all axes but N")
    chain.set_axes(("N", chain.row))


def reshape(chain: Chain, node: Node) -> None:
    """Join axes, or move, add and remove axes of length 1."""
    settings = node.settings(allowzero=0)
    first, *sizes = shape_of(chain, node)
    if 0 in (first, *sizes):  # with allowzero=0, 0 means the old length; otherwise an empty axis
        node.require(settings, allowzero=0)
    if N in sizes:
        raise FileFormatError(f"{node}: to {[first, *sizes]}; only the first axis may depend on N")
    sizes = [chain.length(chain.axes[i]) if size == 0 else size for i, size in enumerate(sizes, start=1)]
    if sizes.count(-1) == 1 and first != -1:
        sizes[sizes.index(-1)] = chain.length(chain.row) // max(math.prod(size for size in sizes if size != -1), 1)
    if (
        first not in (N, 0, -1, chain.graph.batch)
        or math.prod(sizes) != chain.length(chain.row)
        or min(sizes, default=1) < 1
    ):
        raise FileFormatError(
            f"{node}: to {[first, *sizes]}; the first axis must stay N, and the number of elements must not change"
        )
    chain.set_axes(("N", *regrouped(chain, node, sizes)))


def shape_of(chain: Chain, node: Node) -> list[Any]:
    """The shape at input 1; an open N in it is ``N``."""
    sizes = chain.constant(node, 1)
    if node.inputs[0] != chain.current or sizes is None or not sizes.size:
        raise FileFormatError(f"{node}: expected the result of the previous layers as input 0 and a shape as input 1")
    if sizes.dtype == object and sizes.size <= MAX_AXES:
        return [size if size is N else int(size) for size in sizes.ravel()]
    return numbers(sizes)


def regrouped(chain: Chain, node: Node, sizes: list[int]) -> list[str]:
    """The letters of the axes with these sizes; raises FileFormatError where an axis would be split."""
    left, axes = chain.row, []
    for size in sizes:
        count = next((n for n in range(len(left) + 1) if chain.length(left[:n]) >= size), 0)
        axes.append(left[:count])
        left = left[count:]
    if [chain.length(axis) for axis in axes] != sizes:
        raise FileFormatError(f"{node}: to {sizes} for each image, which splits an axis; tinycnn has no layer for this")
    return axes


def squeeze(chain: Chain, node: Node) -> None:
    """Remove axes of length 1."""
    axes = axes_of(chain, node, node.settings(axes=())["axes"])
    if not axes or 0 in axes or any(chain.axes[axis] for axis in axes):
        raise FileFormatError(f"{node}: removes the axes {sorted(axes)}; the axes must be listed and have length 1")
    chain.set_axes(tuple(axis for i, axis in enumerate(chain.axes) if i not in axes))


def unsqueeze(chain: Chain, node: Node) -> None:
    """Add axes of length 1."""
    added = node.settings(axes=())["axes"] or numbers(chain.constant(node, 1))
    axes = list(chain.axes)
    for axis in sorted(in_range(node, added, len(axes) + len(added))):
        axes.insert(axis, "")
    if axes[0] != "N":
        raise FileFormatError(f"{node}: adds an axis before N, which must stay the first")
    chain.set_axes(tuple(axes))


def axes_of(chain: Chain, node: Node, listed: tuple[int, ...]) -> set[int]:
    """The axes that the node names, ``listed`` in an attribute or at input 1, counted from the first."""
    return in_range(node, listed or numbers(chain.constant(node, 1)), len(chain.axes))


def in_range(node: Node, axes: Iterable[int], rank: int) -> set[int]:
    """``axes`` counted from the first; raises FileFormatError for one that is listed twice or does not exist."""
    listed = [axis + rank if axis < 0 else axis for axis in axes]
    if len(set(listed)) < len(listed) or not all(0 <= axis < rank for axis in listed):
        raise FileFormatError(f"{node}: axes {shortened(listed)} of {rank}; expected existing axes, each once")
    return set(listed)


def numbers(constant: np.ndarray | None) -> list[int]:
    """The integers of a shape or list of axes; raises FileFormatError for more than a shape can have."""
    if constant is not None and (constant.size > MAX_AXES or constant.dtype.kind != "i"):
        raise FileFormatError(f"a constant of {constant.dtype} {constant.shape} where a shape is expected")
    return [] if constant is None else constant.ravel().tolist()


def cast(chain: Chain, node: Node) -> None:
    """Accept a conversion to the dtype that the array already has."""
    number = next(number for number, dtype in ELEMENT_TYPES.items() if dtype == chain.graph.dtype)
    node.require(node.settings(to=0, saturate=1), to=number)


def identity(chain: Chain, node: Node) -> None:
    """No change."""
    node.settings()
