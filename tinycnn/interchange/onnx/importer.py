"""A network from an ONNX file, such as PyTorch and Keras write: ``tinycnn.from_onnx(path)``.

``file.py`` reads the file, believing nothing. Here its nodes are followed from the input to the output: each becomes a
layer, a change of the last layer (a bias that is added), or nothing at all (a Transpose: images are channels last
here throughout). ``operators/`` says which, ``chain.py`` remembers what is known on the way, ``constants.py`` works
out what is computed from constants.
"""

import os
from dataclasses import dataclass

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.errors import FileFormatError, SettingError, TinyCNNError
from tinycnn.interchange.onnx.chain import LAST, SECOND, Chain, OtherOrderError, Planned
from tinycnn.interchange.onnx.constants import computed
from tinycnn.interchange.onnx.file import HOW_TO_GET_IT, Graph, Node, read_graph
from tinycnn.interchange.onnx.operators import STEPS
from tinycnn.layers import Rescaling, Sequential, pixel_scale
from tinycnn.saving.model_file import set_metadata
from tinycnn.saving.safetensors_file import DAMAGED, shortened
from tinycnn.tensor import no_grad

__all__ = ["from_onnx"]


def from_onnx(path: str | os.PathLike[str], *, scale: float | None = None, offset: float = 0.0) -> Sequential:
    """The network in the ONNX file ``path``, in evaluation mode; it takes images channels last, ``(N, H, W, C)``.

    ``scale`` and ``offset`` say what was done to byte pixels before they came to the network of the file, as in
    ``scale=1 / 255 / 0.3081, offset=-0.1307 / 0.3081``; a Rescaling layer does it from now on. Needs the package
    ``onnx``. Raises FileFormatError, naming the node, for what no layer here does, and for a file that is damaged.
    """
    return import_onnx(path, scale=scale, offset=offset).model


@dataclass(frozen=True)
class Imported:
    """A network, and how the arrays lie in the file it is from: the letters of their axes without N, and N if fixed."""

    model: Sequential
    input_order: str
    input_shape: tuple[int, ...]
    output_order: str
    batch: int | None
    scale: float  # of a layer that is not in the file
    offset: float


def import_onnx(path: str | os.PathLike[str], *, scale: float | None = None, offset: float = 0.0) -> Imported:
    """As ``from_onnx``, with what is needed to compare the network with the file."""
    before = [] if scale is None else [Planned(Rescaling, {"scale": float(scale), "offset": float(offset)})]
    try:
        graph = read_graph(path)
        chain = followed(graph, before)
        model = chain.finished()
        say_meaning(model, graph)
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from None
    return Imported(model, chain.order, graph.shape, chain.row, graph.batch, 1.0 if scale is None else scale, offset)


def say_meaning(model: Sequential, graph: Graph) -> None:
    """The names of the classes and the kind of pictures, as far as the file says them."""
    try:
        set_metadata(model, graph.meaning)
    except (TinyCNNError, *DAMAGED) as error:
        raise FileFormatError(shortened(error)) from None


def followed(graph: Graph, before: list[Planned]) -> Chain:
    """The chain at the end of ``graph``; ``before`` are layers in front of it.

    The input of an ONNX file does not say which axis holds the channels, but its convolutions do. Where there is none
    it is the first after N, as in all of ONNX's operators, unless the file begins by moving the last there.
    """
    if len(graph.shape) != 3:
        return follow(graph, {1: "C", 2: "HW"}.get(len(graph.shape), ""), before)
    to_second = bool(graph.nodes) and graph.nodes[0].attributes.get("perm") == (0, 3, 1, 2)
    likely, other = (LAST, SECOND) if to_second else (SECOND, LAST)
    try:
        return follow(graph, likely, before)
    except OtherOrderError as first:
        try:
            return follow(graph, other, before)
        except OtherOrderError:
            raise first from None


@np.errstate(all="ignore")  # what is not finite is found where the network is used
def follow(graph: Graph, order: str, before: list[Planned]) -> Chain:
    """All nodes in turn, where the axes of the input are called ``order``; raises FileFormatError naming the node."""
    if not order:
        raise FileFormatError(f"its input has {len(graph.shape)} axes beside N; images have three, rows one")
    chain = Chain(graph, order, before)
    for node in graph.nodes:
        try:
            advance(chain, node)
        except FileFormatError:
            raise
        except (TinyCNNError, *DAMAGED) as error:
            raise FileFormatError(f"{node}: {shortened(error)}") from None
    chain.check_end()
    return chain


def advance(chain: Chain, node: Node) -> None:
    """One node: the next step of the array that is followed, or something that is computed from constants."""
    if not any(node.outputs[:1]) or (any(node.outputs[1:]) and node.operator != "Dropout"):
        raise FileFormatError(f"{node}: gives {len(node.outputs)} results, expected one")
    inputs, result = [name for name in node.inputs if name], node.outputs[0]
    if result in chain.constants or result == chain.current:
        raise FileFormatError(f"{node}: its result is called {shortened(result)}, as something else in the file")
    if chain.current in inputs and node.operator != "Shape":
        step(chain, node)
        chain.current = result
    elif inputs == [chain.current]:
        chain.constants[result] = chain.shape_in_the_file()
    elif unknown := [name for name in inputs if name not in chain.constants]:
        raise FileFormatError(
            f"{node}: takes {shortened(unknown[0])}, which is no constant and not what the node before gives; a "
            "network here is one chain of layers"
        )
    else:
        chain.constants[result] = computed(node, [chain.constants[name] for name in inputs])


def step(chain: Chain, node: Node) -> None:
    """What ``STEPS`` says of the operator; FileFormatError where it does not know it."""
    if node.operator not in STEPS:
        raise FileFormatError(f"{node}: no layer here does this; tinycnn reads {', '.join(STEPS)}")
    STEPS[node.operator](chain, node)
    chain.check_size(node)


def largest_difference(imported: Imported, path: str | os.PathLike[str], images: int = 5) -> float:
    """How far the network's output is from what ONNX Runtime computes with the file, at most, over random images.

    As a fraction of the largest output, where that is above 1. Raises SettingError where it is not installed, or cannot
    run the file.
    """
    try:
        import onnxruntime
    except ImportError:
        raise SettingError(HOW_TO_GET_IT) from None

    model = imported.model
    pixels = np.random.default_rng(0).uniform(0, 255, (imported.batch or images, *model.input_shape))
    x = (pixels * pixel_scale(model)).astype(model.dtype)
    with no_grad():
        ours = get_backend().to_host(model(get_backend().asarray(x)).data)
    given = in_order(x * imported.scale + imported.offset, imported.input_order, imported.input_shape)
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        theirs = session.run(None, {session.get_inputs()[0].name: given.astype(model.dtype)})[0]
    except Exception as error:  # its exceptions have no common base
        raise SettingError(f"ONNX Runtime cannot run {path}: {error}") from None
    differences = np.abs(in_order(ours, imported.output_order, theirs.shape[1:]) - theirs)
    return float(differences.max() / max(1.0, np.abs(theirs).max()))


def in_order(images: np.ndarray, order: str, shape: tuple[int, ...]) -> np.ndarray:
    """Images ``(N, H, W, C)`` with their axes in the order of the file's, ``(N, *shape)``; rows as they are."""
    if images.ndim == 4:
        order += "".join(one for one in LAST if one not in order)  # those of length 1
        images = images.transpose(0, *(1 + LAST.index(one) for one in order))
    return images.reshape(len(images), *shape)
