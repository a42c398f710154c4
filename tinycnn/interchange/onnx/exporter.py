"""Export a network as an ONNX file, which ONNX Runtime and many other programs can run.

Inputs and outputs keep tinycnn's layout: images channels last, ``(N, H, W, C)``, for any N. ONNX operators take
channels second, so the file has one Transpose after the input and one before the dense layers. ``export_nodes.py``
holds the nodes of every layer. The file uses opset 17 and IR 8, which recent runtimes support.
"""

import json
import os
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.errors import SettingError, shortened
from tinycnn.files import write_atomically
from tinycnn.interchange.onnx.export_nodes import NODES, TO_CHANNELS_LAST, TO_CHANNELS_SECOND
from tinycnn.interchange.onnx.file import BYTE_FACTOR, INSTALL_HINT
from tinycnn.layers import AvgPool2d, Conv2d, ConvTranspose2d, GlobalAvgPool2d, Layer, Sequential, pixel_scale
from tinycnn.saving.endings import ONNX, check_ending
from tinycnn.tensor import no_grad
from tinycnn.version import __version__

OPSET, IR = 17, 8


def export_onnx(model: Sequential, path: str | os.PathLike[str], *, dtype: Any = None) -> None:
    """Write ``model`` in evaluation mode to ``path`` (``.onnx``), atomically.

    ``dtype``: ``"float32"`` for a network in float64, by default that of the network. Raises SettingError for a layer
    without an ONNX operator, for float64 convolutions, which ONNX Runtime does not have, and for a path with the ending
    of another format.
    """
    check_ending(path, ONNX)
    is_network = isinstance(model, Sequential)  # to_onnx refuses anything else
    if is_network and checked_dtype(model, dtype) == np.float64 and (name := of_float32(model)):
        raise SettingError(
            f"export: {name} computes in float64, which ONNX Runtime does not support for this layer: pass "
            '`dtype="float32"`, or call to_onnx(model) for the content of the file'
        )
    write_atomically(path, to_onnx(model, dtype=dtype))


def of_float32(model: Sequential) -> str:
    """The name of the first layer that ONNX Runtime computes in float32 only; "" if there is none."""
    kinds = Conv2d | ConvTranspose2d | AvgPool2d | GlobalAvgPool2d
    return next((name for name, layer in model.all_layers() if isinstance(layer, kinds)), "")


def to_onnx(model: Sequential, *, dtype: Any = None) -> bytes:
    """The content of the ONNX file for ``model``; ``dtype`` as of ``export_onnx``."""
    try:
        import onnx
    except ImportError:
        raise SettingError(INSTALL_HINT) from None

    if not isinstance(model, Sequential):
        raise SettingError(f"export: expected a network (Sequential), got {shortened(model)}")
    if len(model.input_shape) not in (1, 3):
        raise SettingError(f"export: images are {model.input_shape}, expected (H, W, C) or (in,)")
    graph = _Graph(onnx.helper, model, checked_dtype(model, dtype))
    x = "images"
    if len(model.input_shape) == 3:
        x = graph.add("Transpose", "channels_second", [x], perm=TO_CHANNELS_SECOND)  # (N, C, H, W)
    for name, layer in model.layers.items():
        x = graph.add_layer(name, layer, x)
    last = {"perm": TO_CHANNELS_LAST} if len(model.output_shape) == 3 else {}
    graph.add("Transpose" if last else "Identity", "scores", [x], **last)
    file = _as_file(onnx, graph, model)
    onnx.checker.check_model(file, full_check=True)
    return file.SerializeToString()


def checked_dtype(model: Sequential, dtype: Any) -> np.dtype:
    """The dtype of the file; raises SettingError unless it is float32 or that of the network."""
    if dtype is None or str(dtype) == model.dtype.name or dtype == model.dtype:
        return model.dtype
    if str(dtype) == "float32" or dtype == np.float32:
        return np.dtype(np.float32)
    raise SettingError(f"export: `dtype` is {shortened(dtype)}: expected float32, or {model.dtype} as the network has")


def _as_file(onnx: Any, graph: "_Graph", model: Sequential) -> Any:
    """The ONNX model: the graph, its input and output, and layout, pixel scale and class names as metadata."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(graph.dtype)
    images = onnx.helper.make_tensor_value_info("images", kind, ["N", *model.input_shape])
    scores = onnx.helper.make_tensor_value_info("scores", kind, ["N", *model.output_shape])
    body = onnx.helper.make_graph(graph.nodes, "tinycnn", [images], [scores], initializer=graph.constants)
    file = onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR)
    file.producer_name, file.producer_version = "tinycnn", __version__
    metadata = {"layout": "channels last (N, H, W, C)", BYTE_FACTOR: repr(pixel_scale(model))}
    metadata |= {name: json.dumps(value) for name, value in model.metadata().items()}
    onnx.helper.set_model_props(file, metadata)
    return file


class _Graph:
    """Collects the nodes and constants of the file. Every node has one result, which has the name of the node."""

    def __init__(self, helper: Any, model: Sequential, dtype: np.dtype) -> None:
        self.helper, self.dtype = helper, dtype
        self.shape = model.input_shape  # input shape of the next layer, without N, channels last
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operation: str, name: str, inputs: list[str], **attributes: Any) -> str:
        self.nodes.append(self.helper.make_node(operation, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, array: Any) -> str:
        from onnx import numpy_helper

        host = np.ascontiguousarray(get_backend().to_host(array) if not isinstance(array, np.ndarray) else array)
        host = host.astype(self.dtype) if host.dtype == np.float64 else host
        self.constants.append(numpy_helper.from_array(host, name))
        return name

    def add_layer(self, name: str, layer: Layer, x: str) -> str:
        """Add the nodes of one layer and return the name of its result; images are ``(N, C, H, W)`` between layers.

        A layer of one's own adds them in its method ``onnx_nodes``; otherwise the class that it is derived from counts.
        """
        result = layer.onnx_nodes(self, name, x)
        if result is None:
            kind = next((kind for kind in type(layer).__mro__ if kind in NODES), None)
            if kind is None or (kind is not type(layer) and type(layer).forward is not kind.forward):
                raise SettingError(
                    f"export: ONNX has no operation for the layer {name} ({type(layer).__name__}); define its method "
                    "`onnx_nodes`"
                )
            result = NODES[kind](self, name, layer, x)
        self.shape = layer.output_shape
        return result


def largest_difference(model: Sequential, content: bytes, images: int = 5) -> float:
    """The largest difference between ONNX Runtime's output for the file ``content`` and ours, over random images.

    It is relative to the largest output, if that is above 1: float32 has seven digits, also of scores in the thousands.
    Raises SettingError where ONNX Runtime is not installed, or cannot run the file (it has no float64 convolution).
    """
    try:
        import onnxruntime
    except ImportError:
        raise SettingError(INSTALL_HINT) from None

    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base; one of them: no float64 convolution
        raise SettingError(f"export: ONNX Runtime cannot run this network: {error}") from None
    pixels = np.random.default_rng(0).uniform(0, 255, (images, *model.input_shape)) * pixel_scale(model)
    with no_grad():
        ours = model.eval()(pixels.astype(model.dtype)).numpy()
    theirs = session.run(None, {"images": pixels.astype(model.dtype)})[0]
    return float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max()))
