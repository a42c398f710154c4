"""Reads an ONNX file into nodes and constants, treating it as untrusted input.

At most ``MAX_FILE`` bytes are read. Their protobuf fields are counted before protobuf creates objects from them,
because two bytes can become an object of two hundred. A constant must contain all the numbers that its shape declares.
Constants in other files are refused, so no path from the file is ever opened.
"""

import math
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError, SettingError, shortened
from tinycnn.files import open_regular
from tinycnn.saving.foreign_files import ONNX, described
from tinycnn.saving.safetensors_file import DAMAGED, MAX_FILE, strict_json

MAX_FIELDS = 200_000  # per file; our largest export has 500. A field takes at most about 200 bytes of memory
MAX_AXES = 8
MAX_METADATA = 1 << 22  # characters
BYTE_FACTOR = "multiply_byte_pixels_by"
METADATA = "class_names", "outputs", "pictures", "pixels", BYTE_FACTOR
OPSETS = range(7, 29)  # older opsets broadcast differently; newer ones do not exist yet
RANDOM_HINT = ". This type belongs to random numbers: export the network without its augmentation"
SINGLE_FILE_HINT = "onnx.save_model(onnx.load(path), path) makes one file (torch.onnx.export: external_data=False)"
INSTALL_HINT = "ONNX files need two more packages: pip install 'tinycnn[onnx]'"
HALF = 10, 16  # float16 and bfloat16 in TensorProto, which are read as float32
ELEMENT_TYPES = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64, 10: np.float32, 16: np.float32}
GROUPS, VARINT, EIGHT_BYTES, WITH_LENGTH, FOUR_BYTES = (3, 4), 0, 1, 2, 5  # protobuf's wire types


@dataclass(frozen=True)
class Node:
    """One operation of the file: operator, name, names of inputs and outputs, and attributes."""

    operator: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        operator = self.operator if self.operator.isalnum() and len(self.operator) <= 50 else shortened(self.operator)
        return f"node {shortened(self.name)} ({operator})"

    def settings(self, **defaults: Any) -> dict[str, Any]:
        """``defaults`` updated with the attributes; raises FileFormatError for an unknown name or another type."""
        for name, value in self.attributes.items():
            if name not in defaults:
                raise FileFormatError(f"{self}: tinycnn does not know its attribute {shortened(name)}")
            if type(value) is not type(defaults[name]):
                raise FileFormatError(f"{self}: {name} is {shortened(value)}, expected as in {defaults[name]!r}")
        return defaults | self.attributes

    def require(self, settings: dict[str, Any], **known: Any) -> None:
        """Raise FileFormatError unless ``settings`` have the ``known`` values, the only ones that layers support."""
        for name, value in known.items():
            if settings[name] != value:
                raise FileFormatError(f"{self}: {name}={shortened(settings[name])}; tinycnn supports only {value}")


@dataclass(frozen=True)
class Graph:
    """The nodes in the order of the file, its constants by name, its input and its single output.

    ``half``: whether the file computes in float16 or bfloat16; tinycnn does so in float32, to which its constants are
    converted. ``inputs``: other inputs, for which the file has no constant.
    """

    nodes: list[Node]
    constants: dict[str, np.ndarray]
    opset: int
    input_name: str
    dtype: np.dtype
    shape: tuple[int, ...]  # of the input, without N
    batch: int | None  # N, if the file fixes it
    output_name: str
    size: int  # of the file, in bytes
    metadata: dict[str, Any]  # by the names in METADATA, if tinycnn wrote the file
    half: bool = False
    inputs: tuple[str, ...] = ()


def read_graph(path: str | os.PathLike[str]) -> Graph:
    """The graph in the ONNX file ``path``; raises FileFormatError for a damaged file or unsupported content."""
    content = _read(path)
    found = described(os.fsdecode(path), content[:16])  # before a package is asked for that does not read it
    if found not in (None, ONNX):
        raise FileFormatError(f"expected an ONNX file, but this is {found}")
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise SettingError(INSTALL_HINT) from None

    try:
        _count_fields(memoryview(content), onnx.ModelProto.DESCRIPTOR, MAX_FIELDS)
        return _graph(onnx, onnx.ModelProto.FromString(content), len(content))
    except (DecodeError, *DAMAGED) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"not a readable ONNX file ({shortened(error)})") from None


def in_float32(path: str | os.PathLike[str]) -> bytes:
    """The content of a file that ``read_graph`` has read, with float32 in place of float16 and bfloat16.

    So programs compute in float32 what the file says, as tinycnn does.
    """
    import onnx

    model = onnx.ModelProto.FromString(_read(path))
    del model.graph.value_info[:]
    for declared in (*model.graph.input, *model.graph.output):
        if declared.type.tensor_type.elem_type in HALF:
            declared.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    tensors = [*model.graph.initializer, *(one.t for one in attributes if one.type == onnx.AttributeProto.TENSOR)]
    for tensor in tensors:
        if tensor.data_type in HALF:
            tensor.CopyFrom(onnx.numpy_helper.from_array(_constant(onnx, tensor), tensor.name))
    for attribute in attributes:
        if attribute.name == "to" and attribute.i in HALF:
            attribute.i = onnx.TensorProto.FLOAT
    return model.SerializeToString()


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE:
                raise FileFormatError(f"{size:,} bytes; the limit for ONNX files is {MAX_FILE:,}")
            return file.read(size)
    except IsADirectoryError:
        raise FileFormatError("is a folder; give the file in it") from None
    except (FileNotFoundError, NotADirectoryError):
        raise FileFormatError("no such file") from None
    except OSError as error:
        raise FileFormatError(f"cannot be read: {error.strerror or error}") from None


def _count_fields(message: memoryview, kind: Any, left: int) -> int:
    """Subtract the number of fields of ``message``, a protobuf message of ``kind``, from the budget ``left``.

    Raises FileFormatError when the budget is used up.
    """
    at = 0
    while at < len(message):
        if left == 0:
            raise FileFormatError(f"more than {MAX_FIELDS:,} fields; a network has a few hundred")
        key, at = _varint(message, at)
        left -= 1
        length = {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(key & 7, 0)
        if key & 7 in GROUPS:
            raise ValueError("a protobuf group, which ONNX does not use")
        if key & 7 == VARINT:
            _, at = _varint(message, at)
        elif key & 7 == WITH_LENGTH:
            length, at = _varint(message, at)
            inner = kind.fields_by_number.get(key >> 3)
            if inner is not None and inner.message_type is not None:
                left = _count_fields(message[at : at + length], inner.message_type, left)
        at += length
    return left


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Decode the varint at ``at``, seven bits per byte: its value, and the position after it."""
    value = shift = 0
    while message[at] & 128:
        value |= (message[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
    return value | message[at] << shift, at + 1


def _graph(onnx: Any, model: Any, size: int) -> Graph:
    """The parts of the file that the importer needs; raises FileFormatError unless it has one input and one output."""
    graph, opset = model.graph, next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
    if opset not in OPSETS:
        raise FileFormatError(f"opset {opset}, expected {OPSETS[0]} to {OPSETS[-1]}: export it again with another")
    constants = {tensor.name: _constant(onnx, tensor) for tensor in graph.initializer}
    if len(constants) < len(graph.initializer):
        raise FileFormatError("two constants have the same name")
    taken = {name for node in graph.node for name in node.input}
    declared = [one for one in graph.input if one.name not in constants]  # old files list constants as inputs, too
    inputs = [one for one in declared if one.name in taken] or declared[:1]
    if not inputs or len(graph.output) != 1 or graph.sparse_initializer or len(open_inputs(inputs)) > 1:
        raise FileFormatError(
            f"{len(open_inputs(inputs))} inputs, {len(graph.output)} outputs, {len(graph.sparse_initializer)} sparse "
            "constants; expected one input, one output, none sparse"
        )
    first = open_inputs(inputs)[0]
    dtype, shape, batch = _input_kind(onnx, first)
    half = first.type.tensor_type.elem_type in HALF or any(one.data_type in HALF for one in graph.initializer)
    return Graph(
        nodes=[_node(onnx, number, node) for number, node in enumerate(graph.node)],
        constants=constants,
        opset=opset,
        input_name=first.name,
        dtype=dtype,
        shape=shape,
        batch=batch,
        output_name=graph.output[0].name,
        size=size,
        metadata=_metadata(model),
        half=half,
        inputs=tuple(one.name for one in declared if one is not first),
    )


def open_inputs(inputs: list[Any]) -> list[Any]:
    """The ``inputs`` with an open number of images; where none is open, those whose first axis may be N.

    tf2onnx lists constants that it does not store as inputs of a fixed shape, which starts with 1.
    """
    shapes = [one.type.tensor_type.shape.dim for one in inputs]
    opened = [one for one, shape in zip(inputs, shapes, strict=True) if shape and not shape[0].HasField("dim_value")]
    return opened or inputs


def _metadata(model: Any) -> dict[str, Any]:
    """The pixel settings and class names that tinycnn stored; other programs use these keys differently."""
    if model.producer_name != "tinycnn":
        return {}
    entries = {entry.key: entry.value for entry in model.metadata_props if entry.key in METADATA}
    if sum(map(len, entries.values())) > MAX_METADATA:
        raise FileFormatError(f"its metadata for class names exceeds {MAX_METADATA:,} characters")
    return {key: strict_json(value) for key, value in entries.items()}


def _input_kind(onnx: Any, declared: Any) -> tuple[np.dtype, tuple[int, ...], int | None]:
    """Dtype, shape without N, and N (None if the file leaves it open)."""
    kind = declared.type.tensor_type
    dtype = np.dtype(ELEMENT_TYPES.get(kind.elem_type, np.bool_))
    if dtype.kind != "f":
        raise FileFormatError(
            f"its input {shortened(declared.name)} holds no floating-point numbers, as images must: float32, float64, "
            "float16 or bfloat16"
        )
    batch, *shape = [one.dim_value if one.HasField("dim_value") else 0 for one in kind.shape.dim] or [0]
    if not shape or len(shape) > MAX_AXES or min(shape) < 1:
        found = shortened((batch, *shape))
        raise FileFormatError(f"its input has shape {found} (0: open); all sizes but the first must be fixed")
    return dtype, tuple(shape), batch if batch > 0 else None


def _node(onnx: Any, number: int, node: Any) -> Node:
    name = node.name or str(number)
    if node.domain not in ("", "ai.onnx"):
        raise FileFormatError(f"node {shortened(name)}: an operator of {shortened(node.domain)}, not a standard one")
    attributes = {one.name: _attribute(onnx, name, one) for one in node.attribute}
    return Node(node.op_type, name, list(node.input), list(node.output), attributes)


def _attribute(onnx: Any, node: str, attribute: Any) -> Any:
    """The value of an attribute: a number, text, array, or tuple of numbers."""
    kinds = onnx.AttributeProto
    if attribute.type == kinds.TENSOR:
        return _constant(onnx, attribute.t)
    if attribute.type == kinds.STRING:
        return attribute.s.decode(errors="replace")  # programs store bytes in operators of their own
    if attribute.type in (kinds.INT, kinds.FLOAT, kinds.INTS, kinds.FLOATS):
        value = onnx.helper.get_attribute_value(attribute)
        return value if isinstance(value, int | float) else tuple(value)
    raise FileFormatError(f"node {shortened(node)}: attribute {shortened(attribute.name)} has an unsupported type")


def _constant(onnx: Any, tensor: Any) -> np.ndarray:
    """The array that a tensor of the file holds, without a copy where possible; raises FileFormatError otherwise."""
    kinds, name = onnx.TensorProto, f"constant {shortened(tensor.name)}"
    if tensor.data_location == kinds.EXTERNAL or tensor.external_data:
        raise FileFormatError(f"{name} lies in another file, which is not opened; {SINGLE_FILE_HINT}")
    typed = {
        kinds.FLOAT: "float_data",
        kinds.DOUBLE: "double_data",
        kinds.INT64: "int64_data",
        kinds.INT32: "int32_data",
        kinds.BOOL: "int32_data",
        kinds.FLOAT16: "int32_data",
        kinds.BFLOAT16: "int32_data",
    }
    if tensor.data_type not in typed or tensor.HasField("segment"):
        kind = kinds.DataType.Name(tensor.data_type) if tensor.data_type in kinds.DataType.values() else "unknown"
        numbers = f"{name} is {kind}; tinycnn reads floating-point numbers (and INT32, INT64, BOOL for settings)"
        raise FileFormatError(f"{numbers}{RANDOM_HINT if kind in ('UINT32', 'UINT64') else ''}")
    itemsize = {kinds.DOUBLE: 8, kinds.INT64: 8, kinds.BOOL: 1, kinds.FLOAT16: 2, kinds.BFLOAT16: 2}.get(
        tensor.data_type, 4
    )
    held = (
        len(tensor.raw_data) / itemsize
        if tensor.HasField("raw_data")
        else len(getattr(tensor, typed[tensor.data_type]))
    )
    fits = len(tensor.dims) <= MAX_AXES and all(size >= 0 for size in tensor.dims) and math.prod(tensor.dims) == held
    if not fits:
        raise FileFormatError(f"{name} has shape {shortened(tuple(tensor.dims))} and holds {held:g} numbers")
    array = onnx.numpy_helper.to_array(tensor)
    return array.astype(np.float32) if tensor.data_type in HALF else array
