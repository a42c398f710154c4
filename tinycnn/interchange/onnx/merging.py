"""Nodes that join several arrays of the file: Add, Sub, Mul, Div, Sum, Max, Min and Concat of branches.

The branches of a node are the layers after the last step that its inputs have in common.
"""

from dataclasses import replace

import numpy as np

from tinycnn.errors import FileFormatError, shortened
from tinycnn.interchange.onnx.chain import CHANNELS_LAST, Chain, Conversion
from tinycnn.interchange.onnx.file import Node
from tinycnn.interchange.onnx.patterns import joined
from tinycnn.interchange.planned import PlannedLayer, branches_between, checked_branches, common_step
from tinycnn.layers import Add, Concatenate, LayerNorm, Maximum, Minimum, Multiply, Rescaling

NEGATIVE = PlannedLayer(Rescaling, {"scale": -1.0, "offset": 0.0})
MAX_BRANCHES = 256
MISSING = 99  # an axis that no array has
JOINING = "Add", "Sub", "Sum", "Mul", "Div", "Max", "Min", "Concat"
CONTAINERS = {"Mul": Multiply, "Max": Maximum, "Min": Minimum}


def merge(whole: Conversion, node: Node) -> Chain:
    """The chain of layers to the result of ``node``, which takes several arrays that depend on the input."""
    if node.operator not in JOINING:
        raise FileFormatError(f"{node}: takes several computed arrays; tinycnn joins them by {', '.join(JOINING)}")
    if constants := [name for name in node.inputs if name not in whole.arrays]:
        raise FileFormatError(f"{node}: joins computed arrays and the constant {shortened(constants[0])}")
    if len(node.inputs) > MAX_BRANCHES:
        raise FileFormatError(f"{node}: joins {len(node.inputs):,} arrays, more than {MAX_BRANCHES}")
    chains = [whole.arrays[name].copy() for name in node.inputs]
    if node.operator == "Concat":
        return concatenated(whole, node, chains)
    node.settings()
    if any(chain.is_image for chain in chains):
        for chain in chains:
            chain.become_image(node)
    result = broadcast(node, chains)
    steps = [chain.last for chain in chains]
    common = common_step(steps)
    branches = branches_between(node, common, steps)
    result.last = common
    pattern = joined(node.operator, common.layer if common else None, *branches) if len(branches) == 2 else None
    if pattern is not None:
        if pattern[0]:
            result.drop_last()
        for layer in pattern[1]:
            result.append(completed(layer, node, result))
        return result
    if node.operator == "Div":
        raise FileFormatError(f"{node}: divides computed arrays by each other; tinycnn has no layer for this")
    if node.operator == "Sub":
        branches = branches[0], (*branches[1], NEGATIVE)
    checked_branches(node, branches)
    result.append(PlannedLayer(CONTAINERS.get(node.operator, Add), branches=branches))
    return result


def completed(layer: PlannedLayer, node: Node, chain: Chain) -> PlannedLayer:
    """``layer``, which a pattern made, with the name of the node for a message, and with arrays if it has any."""
    if layer.kind is LayerNorm:
        one = np.ones(chain.shape[-1], chain.graph.dtype)
        layer = layer.with_arrays(gamma=one, beta=np.zeros_like(one))
    return layer if layer.node else replace(layer, node=str(node))


def broadcast(node: Node, chains: list[Chain]) -> Chain:
    """A chain with the layout of the arrays, broadcast; raises FileFormatError where their axes do not match."""
    result = chains[0].copy()
    described = " and ".join(chain.described() for chain in chains)
    if len({len(chain.axes) for chain in chains}) > 1:
        raise FileFormatError(f"{node}: joins arrays with different numbers of axes, {described}")
    result.sizes = {axis: max(chain.sizes[axis] for chain in chains) for axis in CHANNELS_LAST}
    if any(chain.sizes[axis] not in (1, size) for chain in chains for axis, size in result.sizes.items()):
        raise FileFormatError(f"{node}: joins arrays of shapes {' and '.join(str(chain.shape) for chain in chains)}")
    found = [{chain.axes[position] for chain in chains} - {""} for position in range(len(result.axes))]
    axes = tuple(letters.pop() if len(letters) == 1 else "?" if letters else "" for letters in found)
    if sorted("".join(axes[1:])) != sorted(result.letters(CHANNELS_LAST)):
        raise FileFormatError(f"{node}: joins arrays with the axes {described}; tinycnn needs the same axes in each")
    indices = [chain.file_index() for chain in chains] if not result.is_image else []
    if any(chain.index is not None for chain in chains):
        if not all(same_index(indices[0], index) for index in indices):
            raise FileFormatError(f"{node}: joins rows of different orders")
        result.index = indices[0]
    result.axes = axes
    return result


def same_index(a: np.ndarray | slice, b: np.ndarray | slice) -> bool:
    """Whether two orders of the elements of a row are the same."""
    return (isinstance(a, slice) and isinstance(b, slice)) or (
        isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.array_equal(a, b)
    )


def concatenated(whole: Conversion, node: Node, chains: list[Chain]) -> Chain:
    """Arrays joined along the channels, or rows one after the other → Concatenate.

    A dense block passes all earlier arrays to every Concat: those that were joined before are taken from there.
    """
    axis, rank = node.settings(axis=MISSING)["axis"], len(chains[0].axes)
    if not -rank <= axis < rank:
        raise FileFormatError(f"{node}: axis={axis} of {chains[0].described()}; expected an existing axis")
    axis %= rank
    if len(chains) == 1:
        return chains[0]
    keys = [(chain.last, chain.axes) for chain in chains]
    for count in range(len(keys) - 1, 1, -1):
        before = whole.joined.get((axis, *keys[:count]))
        if before is not None:
            chains = [before.copy(), *chains[count:]]
            break
    result = concatenated_layout(node, chains, axis)
    steps = [chain.last for chain in chains]
    result.last = common = common_step(steps)
    branches = branches_between(node, common, steps)
    checked_branches(node, branches)
    result.append(PlannedLayer(Concatenate, branches=branches))
    whole.joined[axis, *keys] = result
    return result


def concatenated_layout(node: Node, chains: list[Chain], axis: int) -> Chain:
    """A chain with the layout of the result; raises FileFormatError unless ``axis`` holds the channels."""
    result = chains[0].copy()
    ranks = {(len(chain.axes), chain.is_image) for chain in chains}
    if len(ranks) > 1 or axis == 0:
        described = " and ".join(chain.described() for chain in chains)
        raise FileFormatError(f"{node}: joins arrays with the axes {described} along axis {axis}")
    if not result.is_image:
        if len(result.axes) != 2:
            raise FileFormatError(f"{node}: joins rows with the axes {result.described()}")
        starts = np.cumsum([0, *(chain.shape[0] for chain in chains)])
        orders = [chain.file_index() for chain in chains]
        result.become_row(int(starts[-1]))
        if not all(isinstance(order, slice) for order in orders):
            pairs = zip(starts[:-1], orders, chains, strict=True)
            result.index = np.concatenate([start + np.arange(chain.shape[0])[order] for start, order, chain in pairs])
        return result
    others = [{letter for position, letter in enumerate(chain.axes) if position != axis and letter} for chain in chains]
    joined_letters = {chain.axes[axis] for chain in chains} - {""}
    channels = joined_letters == {"C"} or (not joined_letters and others[0] == {"N", "H", "W"})
    same = len({chain.axes[:axis] + chain.axes[axis + 1 :] for chain in chains}) == 1
    sizes = [{name: chain.sizes[name] for name in "HW"} for chain in chains]
    if not channels or not same or any(one != sizes[0] for one in sizes) or any("C" in one for one in others):
        described = " and ".join(f"{chain.described()} {chain.shape}" for chain in chains)
        raise FileFormatError(f"{node}: joins {described} along axis {axis}; tinycnn joins channels only")
    result.sizes = dict.fromkeys(CHANNELS_LAST, 1) | sizes[0] | {"C": sum(chain.sizes["C"] for chain in chains)}
    result.axes = (*result.axes[:axis], "C", *result.axes[axis + 1 :])
    return result
