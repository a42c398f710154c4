"""Fuzz targets: for every file reader, how bytes become a file, the function that reads it, and valid seed files.

``run.py`` runs these targets on inputs from atheris, ``test_fuzz.py`` on the corpus found by fuzzing and on mutated
valid files. A corpus is a text file with one input per line, in base64.
"""

import base64
import gzip
import importlib.util
import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load as from_safetensors
from safetensors.numpy import save as safetensors_bytes

import tinycnn
from tinycnn import layers
from tinycnn.data.drawing import EmptyDrawingError, read_drawing
from tinycnn.data.idx import idx_header, read_idx
from tinycnn.data.npz import load_npz
from tinycnn.data.picture import read_picture
from tinycnn.errors import TinyCNNError
from tinycnn.interchange.onnx.constants import OPERATORS
from tinycnn.interchange.onnx.exporter import to_onnx
from tinycnn.interchange.onnx.operators import STEPS
from tinycnn.saving.model_file import architecture
from tinycnn.saving.safetensors_file import CHECKPOINT as CHECKPOINT_KEY
from tinycnn.saving.state_file import ARRAY, _digest, read_state, to_bytes
from tinycnn.saving.state_file import FORMAT_VERSION as CHECKPOINT_VERSION

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Target:
    """``read`` a file with the contents ``wrap(data)``; ``seeds`` give valid files, ``words`` are tokens in them."""

    read: Callable[[Path], object]
    suffix: str
    seeds: tuple[bytes, ...]
    words: tuple[str, ...] = ()
    wrap: Callable[[bytes], bytes] = bytes

    def run(self, data: bytes, folder: Path) -> str:
        """Return ``"read"`` or the message of a TinyCNNError; any other exception is a bug."""
        path = folder / f"fuzzed{self.suffix}"
        path.write_bytes(self.wrap(data))
        try:
            self.read(path)
        except TinyCNNError as error:
            return str(error)
        return "read"


def corpus(name: str) -> list[bytes]:
    """The inputs found by fuzzing: those that reach different code, and those that once failed."""
    path = CORPUS / f"{name}.txt"
    return [base64.b64decode(line) for line in path.read_text().splitlines()] if path.is_file() else []


def scratch_folder(name: str) -> Path:
    """A folder in memory if possible, for thousands of files per second; libFuzzer writes its inputs to ``found``."""
    memory = Path("/dev/shm")
    folder = (memory if memory.is_dir() else Path(tempfile.gettempdir())) / f"tinycnn-fuzz-{name}"
    (folder / "found").mkdir(parents=True, exist_ok=True)
    return folder


def images_and_labels(path: Path) -> None:
    """Read the file as images, or else as labels."""
    try:
        read_idx(path, 3)
    except TinyCNNError:
        read_idx(path, 1)


def small_set() -> dict[str, np.ndarray]:
    images, labels = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2), np.array([0, 1, 2, 1], np.uint8)
    return {"x_train": images, "y_train": labels, "x_test": images[:2], "y_test": labels[:2]}


def npz_bytes(save: Callable[..., None], arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def picture_bytes(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    """A small picture file; Pillow reads its format by its content."""
    buffer = io.BytesIO()
    pixels = np.arange(9 * 7 * 3, dtype=np.uint8).reshape(9, 7, 3)
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def picture_and_drawing(path: Path) -> None:
    """Read the file as a whole picture, then as a drawing."""
    read_picture(path, (8, 8, 3))
    with suppress(EmptyDrawingError):
        read_drawing(path)


def npz_around(member: bytes) -> bytes:
    """A valid .npz with one member replaced, whose checksum in the zip is right, so that fuzzing reaches the member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in small_set().items():
            other = npy_bytes(array * 0 if name == "x_test" else array)  # black, which is a part of every range
            archive.writestr(f"{name}.npy", member if name == "x_train" else other)
    return buffer.getvalue()


def small_model() -> layers.Sequential:
    kinds = layers.Conv2d(2, (3, 2), padding=1), layers.BatchNorm(), layers.ReLU(), layers.MaxPool2d()
    head = layers.Flatten(), layers.Dropout(), layers.Dense(3)
    return layers.Sequential(layers.Rescaling(0.5), *kinds, *head, input_shape=(4, 5, 1))


def model_parts() -> tuple[bytes, dict[str, np.ndarray]]:
    """The architecture text and the weights of a small model."""
    model = small_model()
    return json.dumps(architecture(model), sort_keys=True).encode(), model.state_dict()


def model_around(text: bytes) -> bytes:
    """A model file with this architecture text and matching lengths, so that fuzzing reaches the text."""
    weights, offset, entries = model_parts()[1], 0, {}
    for name, array in weights.items():
        entries[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    entries["__metadata__"] = {"tinycnn": text.decode("utf-8", "replace")}
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + b"".join(array.tobytes() for array in weights.values())


STATE = {"step": 3, "slots": [{"m": np.arange(3, dtype=np.float32)}], "key": {"seed": 2**70, "epoch": None}}


def checkpoint_around(nest: bytes) -> bytes:
    """A checkpoint with this nest and its right SHA-256, so that fuzzing reaches the nest."""
    arrays = {"/slots/0/m": STATE["slots"][0]["m"], "nest": np.frombuffer(nest, np.uint8)}
    return safetensors_bytes(arrays | {"sha256": _digest(arrays)}, metadata={CHECKPOINT_KEY: CHECKPOINT_VERSION})


def nest_of(checkpoint: bytes) -> bytes:
    return from_safetensors(checkpoint)["nest"].tobytes()


NODES = b"""Conv x kernel auto_pad=SAME_UPPER
Add n0 bias
Div n1 4.0
ReduceMean n2 axes=2,3 keepdims=1
Shape n3
Gather n4 0
Unsqueeze n5 0,
Concat n6 -1, axis=0
Reshape n3 n7
MatMul n8 weight"""  # as PyTorch and Keras write them: computed shapes, channels second
MORE_NODES = b"""Identity x
Cast n0 to=1
MaxPool n1 kernel_shape=2,2 strides=2,2
AveragePool n2 kernel_shape=1,1
Conv n3 kernel kernel_shape=3,3 pads=1,1,1,1
BatchNormalization n4 channels channels channels channels
Relu n5
Transpose n6 perm=0,2,3,1
Transpose n7 perm=0,3,1,2
GlobalAveragePool n8
Squeeze n9 2,3
Unsqueeze n10 -1,
Flatten n11
Gemm n12 weight
Dropout n13
Sub n14 0.5
Mul n15 2.0
LogSoftmax n16"""
ONNX_ARRAYS = {"kernel": (12, 2, 3, 3), "bias": (12, 1, 1), "weight": (12, 2), "channels": (12,), "one": (1, 12)}


def onnx_around(text: bytes) -> bytes:
    """A file with a node for each line of this text: operator, inputs (names, or numbers of a constant), attributes.

    The lengths in protobuf are right, so that fuzzing reaches the nodes. Text that is not a node gives an empty file.
    """
    from onnx import TensorProto, helper, numpy_helper

    constants = {name: np.ones(shape, np.float32) for name, shape in ONNX_ARRAYS.items()}
    try:
        lines = enumerate(text.decode("latin1").splitlines())
        nodes = [onnx_node(*line.split(), result=f"n{i}", constants=constants) for i, line in lines]
        arrays = [numpy_helper.from_array(array, name) for name, array in constants.items()]
        first = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 4, 4])
        last = helper.make_tensor_value_info(f"n{len(nodes) - 1}", TensorProto.FLOAT, None)
        graph = helper.make_graph(nodes, "drawn", [first], [last], arrays)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    except (TypeError, ValueError, OverflowError):
        return b""


def onnx_node(operator: str, *words: str, result: str, constants: dict[str, np.ndarray]) -> Any:
    """The node of a line; numeric inputs become constants."""
    from onnx import helper

    inputs = [word for word in words if "=" not in word]
    for word in inputs:
        if not isinstance(number := value_of(word), str):
            constants[word] = np.array(number, np.float32 if "." in word else np.int64)
    attributes = (word.split("=", 1) for word in words if "=" in word)
    return helper.make_node(operator, inputs, [result], **{name: value_of(value) for name, value in attributes})


def value_of(word: str) -> str | float | list[int]:
    """``"2"`` → 2, ``"2,"`` → [2], ``"2,3"`` → [2, 3], ``"0.5"`` → 0.5; other words are returned unchanged."""
    try:
        if "," in word:
            return [int(part) for part in word.split(",") if part]
        return float(word) if "." in word else int(word)
    except ValueError:
        return word


def keras_layer(kind: str, **config: Any) -> dict[str, Any]:
    """A layer as Keras describes it."""
    return {"class_name": kind, "config": {"name": kind.lower(), "trainable": True, **config}}


def keras_configs() -> tuple[bytes, ...]:
    """A Sequential, and a functional network, whose layers have the arrays of ``hdf5_bytes``."""
    first = keras_layer("InputLayer", batch_shape=[None, 4, 5, 1])
    window = {"kernel_size": [2, 2], "strides": [1, 1], "padding": "same"}
    conv, dense = keras_layer("Conv2D", filters=2, **window), keras_layer("Dense", units=3, activation="softmax")
    pool = keras_layer("MaxPooling2D", pool_size=[2, 2], strides=None, padding="valid")
    row = keras_layer("GlobalAveragePooling2D", keepdims=False)
    sequential = {"class_name": "Sequential", "config": {"layers": [first, conv, pool, row, dense]}}
    calls: list[Any] = [[], [[["inputlayer", 0, 0, {}]]], [[["conv2d", 0, 0, {}], ["conv2d", 0, 0, {}]]]]
    tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": ["add", 0, 0]}}
    calls += [[{"args": [tensor], "kwargs": {}}], [[["globalaveragepooling2d", 0, 0, {}]]]]
    layers = [one | {"inbound_nodes": call} for one, call in
              zip([first, conv, keras_layer("Add"), row, dense], calls, strict=True)]  # fmt: skip
    ends = {"input_layers": [["inputlayer", 0, 0]], "output_layers": [["dense", 0, 0]]}
    functional = {"class_name": "Functional", "config": {"layers": layers} | ends}
    return json.dumps(sequential).encode(), json.dumps(functional).encode()


def hdf5_bytes() -> bytes:
    """The weights of these layers in the newer, shorter format of HDF5."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver="latest") as file:
        for kind, shapes in {"conv2d": ((2, 2, 1, 2), (2,)), "dense": ((2, 3), (3,))}.items():
            for i, shape in enumerate(shapes):
                file.create_dataset(f"layers/{kind}/vars/{i}", data=np.ones(shape, np.float32))
    return buffer.getvalue()


def keras_around(config: bytes) -> bytes:
    """A ``.keras`` archive with this config, whose checksum in the zip is right, so that fuzzing reaches the layers."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        members = {"config.json": config, "metadata.json": b"{}", "model.weights.h5": HDF5_WEIGHTS}
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def into_small_network(path: Path) -> None:
    """Read the file as weights alone."""
    network = layers.Sequential(layers.Conv2d(2, 2), layers.Flatten(), layers.Dense(3), input_shape=(2, 2, 1))
    tinycnn.load_keras_weights(network, path)


CHECKPOINT = to_bytes(STATE)
IDX = idx_header((2, 3, 4)) + bytes(range(24)), idx_header((5,)) + bytes(5)
PICTURES = (
    *(picture_bytes(kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "PPM")),
    picture_bytes("PNG", "LA"),
    picture_bytes("JPEG", "CMYK", progressive=True),
    picture_bytes("TIFF", "F", compression="tiff_lzw"),
    picture_bytes("TIFF", "1", compression="group4"),
)
NPZ = npz_bytes(np.savez, small_set()), npz_bytes(np.savez_compressed, small_set())
TEXT = model_parts()[0]
NUMBERS = ("0", "-1", "1e9", "1000000000", "9223372036854775808", "NaN", "Infinity", "null", "true", "[]", "{}", '"a"')

TARGETS = {
    "idx": Target(images_and_labels, "", (*IDX, *map(gzip.compress, IDX)), ("\\x00\\x00\\x08\\x03", "\\x1f\\x8b\\x08")),
    "packed_idx": Target(images_and_labels, ".gz", IDX, ("\\x00\\x00\\x08\\x03",), gzip.compress),
    "npz": Target(load_npz, ".npz", NPZ, ("PK\\x03\\x04", "PK\\x01\\x02", "PK\\x05\\x06", "x_train.npy")),
    "npy": Target(
        load_npz,
        ".npz",
        tuple(
            map(
                npy_bytes,
                (small_set()["x_train"], np.ones((4, 3, 2)), np.ones((4, 3, 2), ">i4", "F"), np.ones((4, 3, 2), bool)),
            )
        ),
        ("descr", "fortran_order", "shape", "|u1", "<f8", "|O", "(4, 3, 2)", "True", "\\x93NUMPY", "9999999999"),
        npz_around,
    ),
    "picture": Target(picture_and_drawing, "", PICTURES, ("IHDR", "IDAT", "\\xff\\xda", "II*\\x00", "RIFF", "VP8L")),
    "model": Target(
        tinycnn.load, ".safetensors", (model_around(TEXT),), ("__metadata__", "data_offsets", "F32", "BF16")
    ),
    "architecture": Target(
        tinycnn.load,
        ".safetensors",
        (TEXT,),
        (*layers.Layer.registry, *NUMBERS, "kind", "settings", "units", "kernel_size", "stride", "padding", "layers"),
        model_around,
    ),
    "checkpoint": Target(read_state, ".safetensors", (CHECKPOINT,), ("__metadata__", "data_offsets", "nest", "sha256")),
    "nest": Target(
        read_state,
        ".safetensors",
        (nest_of(CHECKPOINT),),
        (*NUMBERS, ARRAY, "/slots/0/m", "nest", "step", "{", "[", "]", "}"),
        checkpoint_around,
    ),
}
if importlib.util.find_spec("onnx"):  # an extra
    ATTRIBUTES = "kernel_shape=3,3", "strides=", "pads=1,1,1,1", "axis=", "axes=", "perm=0,2,3,1", "dilations="
    ONNX_WORDS = *STEPS, *OPERATORS, *ATTRIBUTES, "ceil_mode=1", "keepdims=", "transB=1", "value=", "to=1"
    TARGETS["onnx"] = Target(tinycnn.from_onnx, ".onnx", (to_onnx(small_model()), onnx_around(NODES)), ONNX_WORDS)
    NAMES = *(f" {name}" for name in (*ONNX_ARRAYS, "x", "n0", "n3", "-1,", "0,-1", "0.5")), "\\x0a"
    TARGETS["nodes"] = Target(tinycnn.from_onnx, ".onnx", (NODES, MORE_NODES), (*ONNX_WORDS, *NAMES), onnx_around)
if importlib.util.find_spec("h5py"):  # an extra
    from tinycnn.interchange.keras.layers import ACTIVATIONS, LAYERS

    HDF5_WEIGHTS = hdf5_bytes()
    WORDS = *LAYERS, *ACTIVATIONS, *NUMBERS, "axis", "use_bias", "same", "inbound_nodes", "args", "kwargs", "dtype"
    TARGETS["keras"] = Target(tinycnn.from_keras, ".keras", keras_configs(), WORDS, keras_around)
    TARGETS["keras_archive"] = Target(
        tinycnn.from_keras, ".keras", (keras_around(keras_configs()[0]),), ("PK\\x03\\x04", "config.json")
    )
    TARGETS["hdf5"] = Target(into_small_network, ".weights.h5", (HDF5_WEIGHTS,), ("\\x89HDF", "OHDR", "FRHP", "vars"))
