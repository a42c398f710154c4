"""Import a network from an ONNX file, as PyTorch and Keras write them: ``tinycnn.from_onnx(path)``.

``file.py`` reads the file. This module converts its nodes from the input to the output. Each node becomes a layer, a
change of the last layer (an added bias), or nothing (a Transpose, because tinycnn's images are always channels last).
``operators/`` holds the conversion of each operator, ``chain.py`` the state of the import, and ``constants.py``
evaluates nodes that depend only on constants.
"""

import os
from dataclasses import dataclass

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.errors import FileFormatError, SettingError, TinyCNNError, printable, shortened
from tinycnn.interchange.onnx.chain import CHANNELS_FIRST, CHANNELS_LAST, Chain, Conversion, LayoutError
from tinycnn.interchange.onnx.constants import fold_constants, part_of_shape
from tinycnn.interchange.onnx.file import BYTE_FACTOR, INSTALL_HINT, Graph, Node, in_float32, read_graph
from tinycnn.interchange.onnx.merging import JOINING, merge
from tinycnn.interchange.onnx.operators import REWRITTEN, STEPS
from tinycnn.interchange.onnx.rewriting import Structure
from tinycnn.interchange.planned import OF_SCOPE, PlannedLayer
from tinycnn.interchange.preparation import NOTHING, Numbers, Preparation
from tinycnn.layers import Sequential, pixel_scale
from tinycnn.layers.interface.likely_pixels import likely_pixels
from tinycnn.layers.metadata import PIXELS, scale_of_bytes
from tinycnn.saving.endings import check_path
from tinycnn.saving.model_file import set_metadata
from tinycnn.saving.safetensors_file import DAMAGED
from tinycnn.tensor import no_grad

__all__ = ["from_onnx"]
SEQUENCES = "LSTM", "GRU", "RNN", "Attention", "MultiHeadAttention", "GroupQueryAttention"
CHANNELS = 1, 3, 4  # grey, colour, and colour with transparency
MORE_RESULTS = "Dropout", "BatchNormalization"  # a mask; statistics in training mode, which the error names


def from_onnx(
    path: str | os.PathLike[str],
    *,
    scale: float | None = None,
    offset: float = 0.0,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    pixels: str | None = None,
) -> Sequential:
    """The network in the ONNX file ``path``, in evaluation mode; it takes images channels last, ``(N, H, W, C)``.

    ``pixels`` states whether it takes pixels from ``0..1`` or ``0..255``, and becomes ``model.pixels``. None: as the
    file records it (only tinycnn's do), or as the first constants of the network suggest. ``mean`` and ``std`` are
    those of torchvision's Normalize, one number or one for each channel, which are not in the file; the network then
    starts with a Normalization layer. ``scale`` and ``offset`` do the same with a Rescaling layer, as in
    ``scale=1 / 0.3081, offset=-0.1307 / 0.3081, pixels="0..1"``; without ``pixels``, they apply to bytes.
    Needs the package ``onnx``. Raises FileFormatError, which names the node, for unsupported operators and for a
    damaged file.
    """
    return import_onnx(path, Preparation(scale, offset, mean, std), pixels=pixels).model


@dataclass(frozen=True)
class Imported:
    """A network, and the layout of the input and output of its file: axes as letters without N, and N if fixed.

    ``reason``: why ``model.pixels`` has its value. ``half``: whether the file computes in float16 or bfloat16.
    """

    model: Sequential
    input_order: str
    input_shape: tuple[int, ...]
    output_order: str
    batch: int | None
    preparation: Preparation  # the added layer, which is not in the file
    reason: str
    half: bool = False


def import_onnx(
    path: str | os.PathLike[str], preparation: Preparation = NOTHING, *, pixels: str | None = None
) -> Imported:
    """Like ``from_onnx``, but also returns what ``largest_difference`` needs to compare the network with the file."""
    check_path(path)
    try:
        graph = read_graph(path)
        chain = convert(graph, preparation.layers())
        model = chain.build()
        _set_metadata(model, graph)
    except FileFormatError as error:
        raise FileFormatError(f"{printable(os.fsdecode(path))}: {error}") from None
    reason = _set_pixels(model, graph, pixels, preparation)
    return Imported(model, chain.whole.order, graph.shape, chain.row, graph.batch, preparation, reason, graph.half)


def _set_metadata(model: Sequential, graph: Graph) -> None:
    try:
        set_metadata(model, graph.metadata)
    except (TinyCNNError, *DAMAGED) as error:
        raise FileFormatError(shortened(error)) from None


def _set_pixels(model: Sequential, graph: Graph, given: str | None, preparation: Preparation) -> str:
    """Set ``model.pixels``, and return the reason; raises SettingError for a ``given`` value that is not a range.

    A network that tinycnn exported keeps its pixels; the file holds them only if they differ from the default of its
    layers.
    """
    if given is not None:
        model.pixels = given
        return "as given"
    if preparation.layers():
        model.pixels, reason = preparation.pixels()
        return reason
    factor = graph.metadata.get(BYTE_FACTOR)
    recorded = next((pixels for pixels in PIXELS if scale_of_bytes(pixels) == factor), None)
    if "pixels" not in graph.metadata and recorded is None:
        model.pixels, reason = likely_pixels(model)
        return reason
    if "pixels" not in graph.metadata and recorded != model.pixels:
        model.pixels = recorded
    return "as the file records it"


def convert(graph: Graph, first_layers: list[PlannedLayer]) -> Chain:
    """Convert ``graph`` to the chain of layers of its output, which starts with ``first_layers``.

    The input of an ONNX file does not declare which axis holds the channels, but the convolutions of the file show it.
    Without convolutions it is the first axis after N, as in all ONNX operators, unless the file starts with a Transpose
    that moves the last axis there, or only the last axis is as long as pictures have channels. The same question
    arises where a row becomes an image.
    """
    orders = [{1: "C", 2: "HW"}.get(len(graph.shape), "")]
    if len(graph.shape) == 3:
        to_second = bool(graph.nodes) and graph.nodes[0].attributes.get("perm") == (0, 3, 1, 2)
        as_last = graph.shape[2] in CHANNELS and graph.shape[0] not in CHANNELS
        orders = [CHANNELS_FIRST, CHANNELS_LAST][:: -1 if to_second or as_last else 1]
    reason = None
    for order in orders:
        for rows_become in (CHANNELS_FIRST, CHANNELS_LAST):
            try:
                return convert_with_order(graph, order, rows_become, first_layers)
            except LayoutError as error:
                reason = reason or error
    raise reason or AssertionError


@np.errstate(all="ignore")  # values that are not finite are detected when the network is used
def convert_with_order(graph: Graph, order: str, rows_become: str, first_layers: list[PlannedLayer]) -> Chain:
    """Convert all nodes, given the ``order`` of the input's axes; raises FileFormatError, which names the node."""
    if not order:
        raise FileFormatError(f"its input has {len(graph.shape)} axes besides N; images have three, rows one")
    try:
        whole = Conversion(graph, order, rows_become)
    except DAMAGED as error:  # attributes of odd types, in nodes that are compared with known structures
        raise FileFormatError(f"its nodes cannot be read ({shortened(error)})") from None
    whole.begin(first_layers)
    for node in whole.nodes:
        try:
            convert_node(whole, node)
        except FileFormatError:
            raise
        except (TinyCNNError, *DAMAGED) as error:
            raise FileFormatError(f"{node}: {shortened(error)}") from None
    if graph.output_name not in whole.arrays:
        raise FileFormatError(f"its output {shortened(graph.output_name)} does not depend on its input")
    chain = whole.arrays[graph.output_name]
    chain.check_output()
    return chain


def convert_node(whole: Conversion, node: Node) -> None:
    """Convert one node that takes arrays computed from the input, or evaluate one whose inputs are all constants."""
    if node.operator in SEQUENCES:
        raise FileFormatError(f"{node}: {OF_SCOPE}")
    if not any(node.outputs[:1]) or (any(node.outputs[1:]) and node.operator not in MORE_RESULTS):
        raise FileFormatError(f"{node}: has {len(node.outputs)} results, expected one")
    inputs, result = [name for name in node.inputs if name], node.outputs[0]
    if result in whole.constants or result in whole.arrays or result in whole.graph.inputs:
        raise FileFormatError(f"{node}: its result has the name {shortened(result)}, which is already used in the file")
    if unknown := [name for name in inputs if name not in whole.constants and name not in whole.arrays]:
        missing = (
            "which the exporter did not store in the file; export with constant folding, or import the .keras file"
        )
        reason = missing if unknown[0] in whole.graph.inputs else "which no earlier node computes"
        raise FileFormatError(f"{node}: takes {shortened(unknown[0])}, {reason}")
    arrays = [name for name in inputs if name in whole.arrays]
    if node.operator == "Shape" and len(inputs) == 1 and arrays:
        whole.constants[result] = part_of_shape(node, whole.arrays[arrays[0]].file_shape())
    elif not arrays:
        whole.constants[result] = fold_constants(node, [whole.constants.get(name) for name in node.inputs], whole)
    elif isinstance(node, Structure):
        if arrays != node.inputs[:1]:
            raise FileFormatError(f"{node}: expected one computed array, got {len(arrays)}")
        chain = whole.arrays[arrays[0]].copy()
        REWRITTEN[node.operator](chain, node)
        whole.add(result, chain)
    elif node.operator not in STEPS and node.operator not in JOINING:
        raise FileFormatError(
            f"{node}: tinycnn has no layer for this operator; docs/interoperation.md lists the others"
        )
    else:
        if len(arrays) > 1 or node.operator not in STEPS:
            chain = merge(whole, node)
        else:
            chain = whole.arrays[arrays[0]].copy()
            STEPS[node.operator](chain, node)
        chain.check_size(node)
        whole.add(result, chain)


def largest_difference(imported: Imported, path: str | os.PathLike[str], images: int = 5) -> float:
    """The largest difference between the network's output and ONNX Runtime's for the file, over random images.

    It is relative to the largest output, if that is above 1. A file that computes in float16 or bfloat16 is compared in
    float32. Raises SettingError where ONNX Runtime is not installed or cannot run the file.
    """
    try:
        import onnxruntime
    except ImportError:
        raise SettingError(INSTALL_HINT) from None

    model = imported.model
    pixels = np.random.default_rng(0).uniform(0, 255, (imported.batch or images, *model.input_shape))
    x = (pixels * pixel_scale(model)).astype(model.dtype)
    with no_grad():
        ours = get_backend().to_host(model(get_backend().asarray(x)).data)
    file_input = to_file_layout(imported.preparation.of(x), imported.input_order, imported.input_shape)
    try:
        content = in_float32(path) if imported.half else os.fspath(path)
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        theirs = session.run(None, {session.get_inputs()[0].name: file_input.astype(model.dtype)})[0]
    except Exception as error:  # its exceptions have no common base
        name = printable(os.fsdecode(path))
        raise SettingError(f"ONNX Runtime cannot run {name}: {shortened(error)}") from None
    differences = np.abs(to_file_layout(ours, imported.output_order, theirs.shape[1:]) - theirs)
    return float(differences.max() / max(1.0, np.abs(theirs).max()))


def to_file_layout(images: np.ndarray, order: str, shape: tuple[int, ...]) -> np.ndarray:
    """Images ``(N, H, W, C)`` → ``(N, *shape)``, with the axes in the ``order`` of the file; rows are unchanged."""
    if images.ndim == 4:
        order += "".join(axis for axis in CHANNELS_LAST if axis not in order)  # axes of length 1
        images = images.transpose(0, *(1 + CHANNELS_LAST.index(axis) for axis in order))  # (N, in the file's order)
    return images.reshape(len(images), *shape)
