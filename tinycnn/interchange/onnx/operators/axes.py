"""Operators that only change the layout in the file. They become no layer, since images are always channels last."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError, shortened
from tinycnn.interchange.onnx.chain import CHANNELS_FIRST, CHANNELS_LAST, Chain, LayoutError, N
from tinycnn.interchange.onnx.file import ELEMENT_TYPES, MAX_AXES, Node
from tinycnn.interchange.planned import Step, backwards
from tinycnn.layers import (
    ELU,
    GELU,
    Abs,
    BatchNorm,
    Clip,
    Dense,
    Dropout,
    HardSwish,
    LeakyReLU,
    ReLU,
    Rescaling,
    Reshape,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
    Upsample,
)

# The layers that treat every element of a row alike, or have one number for each: the row may be in another order.
ROW_LAYERS = (
    Abs, BatchNorm, Clip, ELU, GELU, HardSwish, LeakyReLU, ReLU, Rescaling, Sigmoid, SiLU, Softplus, Softsign, Tanh,
)  # fmt: skip


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
    """Join axes, move, add and remove axes of length 1, divide channels into groups, or turn a row into an image."""
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
    left, axes = chain.row, list[str]()
    for size in sizes:
        count = next((n for n in range(len(left) + 1) if chain.length(left[:n]) >= size), 0)
        taken = left[:count]
        if chain.is_image and taken.endswith("C") and chain.length(taken) > size:  # the channels are divided
            groups, remainder = divmod(size, chain.length(taken[:-1]))
            if not remainder and groups > 1 and chain.sizes["C"] % groups == 0:
                chain.sizes |= {"g": groups, "c": chain.sizes["C"] // groups}
                left = left.replace("C", "gc", 1)
        axes.append(left[:count])
        left = left[count:]
    if repeated := [axis for axis in axes if axis in ("Hy", "Wx")]:
        repeat_pixels(chain, repeated)
        axes = [axis if axis not in repeated else axis[0] for axis in axes]
    if any("cg" in axis or (axis == "c" and "g" not in axes) for axis in axes):
        raise FileFormatError(f"{node}: puts the channels into another order; tinycnn has no layer for this")
    if [chain.length(axis) for axis in axes] == sizes:
        return axes
    if not chain.is_image and len(sizes) == 3 and len(chain.axes) == 2:
        return image_from_row(chain, node, sizes)
    raise FileFormatError(f"{node}: to {sizes} for each image, which splits an axis; tinycnn has no layer for this")


def expand(chain: Chain, node: Node) -> None:
    """Rows or columns of pixels repeated in a new axis behind them → Upsample, once a Reshape joins the two axes."""
    settings, sizes = node.settings(repeats=()), shape_of(chain, node)
    axes = list(chain.axes)
    if settings["repeats"] or len(sizes) != len(axes) or sizes[0] not in (1, -1, N, chain.graph.batch):
        raise FileFormatError(f"{node}: to {sizes} from {chain.described()}; tinycnn repeats pixels only")
    for i, (size, letters) in enumerate(zip(sizes, chain.axes, strict=True)):
        if i == 0 or size in (-1, 1) or (size == chain.length(letters) and node.operator == "Expand"):
            continue
        letter = {"H": "y", "W": "x"}.get(chain.axes[i - 1])
        if letters or letter is None or not chain.is_image:
            raise LayoutError(f"{node}: to {sizes} from {chain.described()}; tinycnn repeats pixels only")
        chain.sizes |= {letter: size}
        axes[i] = letter
    chain.axes = tuple(axes)


def repeat_pixels(chain: Chain, axes: list[str]) -> None:
    """Plan the Upsample for joined axes: ``y`` repeats rows, ``x`` columns."""
    down, across = (chain.sizes[letter] if pair in axes else 1 for pair, letter in (("Hy", "y"), ("Wx", "x")))
    chain.plan(Upsample, scale=(down, across))
    chain.sizes |= {"H": down * chain.sizes["H"], "W": across * chain.sizes["W"]}


def image_from_row(chain: Chain, node: Node, sizes: list[int]) -> list[str]:
    """Rows cut into images of three axes → Reshape; a row in the order of the file gets tinycnn's order before."""
    order = chain.whole.rows_become
    if chain.index is not None or chain.row != "C":
        raise FileFormatError(f"{node}: to {sizes}, from a row that was an image of another shape")
    chain.sizes = dict(zip(order, sizes, strict=True))
    H, W, C = (chain.sizes[axis] for axis in CHANNELS_LAST)
    if order == CHANNELS_FIRST and C > 1 and H * W > 1:
        reorder_row(chain, node, np.arange(C * H * W).reshape(C, H, W).transpose(1, 2, 0).ravel())
    chain.plan(Reshape, shape=(H, W, C))
    chain.is_image = True
    return list(map(chain.letters, order))


def reorder_row(chain: Chain, node: Node, order: np.ndarray) -> None:
    """Put the elements of a row in another ``order``, by changing the dense layer that computed it."""
    steps = list(backwards(chain.last, chain.sealed))
    count = next((i for i, step in enumerate(steps) if step.layer.kind is Dense), None)
    if count is None or any(step.layer.kind not in (*ROW_LAYERS, Dropout) for step in steps[:count]):
        raise LayoutError(f"{node}: turns a row into images, channels first; tinycnn reads this after a dense layer")
    chain.last = steps[count].before
    for step in reversed(steps[: count + 1]):
        arrays = {name: array[..., order] for name, array in step.layer.arrays.items()}
        chain.last = Step(step.layer.with_arrays(**arrays), chain.last)


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
    """Accept a conversion to the dtype that the array has, or between halves and float32 in a file of halves."""
    to = node.settings(to=0, saturate=1, round_mode="up")["to"]
    same = [number for number, dtype in ELEMENT_TYPES.items() if dtype == chain.graph.dtype]
    if to not in (same if chain.graph.half else same[:1]):
        raise FileFormatError(f"{node}: to={to}; tinycnn supports only {same[0]}, the dtype of the input")


def identity(chain: Chain, node: Node) -> None:
    """No change."""
    node.settings()
