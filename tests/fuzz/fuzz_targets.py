"""What is fuzzed: for every reader of files, how bytes become a file, what reads it, and which files to begin with.

``run.py`` feeds these targets with what atheris invents, ``test_fuzz.py`` with the corpus that was found so, and with
mutations of valid files. A corpus is a text file, one input per line, in base64.
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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load as from_safetensors
from safetensors.numpy import save as safetensors_bytes

import tinycnn
from tinycnn import layers
from tinycnn.checkpoint import ARRAY, KEY, _digest, read_state, to_bytes
from tinycnn.checkpoint import FORMAT_VERSION as CHECKPOINT_VERSION
from tinycnn.data.idx import idx_header, read_idx
from tinycnn.data.npz import load_npz
from tinycnn.errors import TinyCNNError
from tinycnn.onnx_export import to_onnx
from tinycnn.onnx_import.constants import OPERATORS
from tinycnn.onnx_import.operators import STEPS

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Target:
    """``read`` a file made of ``wrap(data)``; ``seeds`` are data of valid files, ``words`` what occurs in them."""

    read: Callable[[Path], object]
    suffix: str
    seeds: tuple[bytes, ...]
    words: tuple[str, ...] = ()
    wrap: Callable[[bytes], bytes] = bytes

    def run(self, data: bytes, folder: Path) -> str:
        """``"read"``, or the message with which the file was refused; every other exception is a bug."""
        path = folder / f"fuzzed{self.suffix}"
        path.write_bytes(self.wrap(data))
        try:
            self.read(path)
        except TinyCNNError as error:
            return str(error)
        return "read"


def corpus(name: str) -> list[bytes]:
    """What fuzzing the target has found: inputs that each reach other code, and those that once failed."""
    path = CORPUS / f"{name}.txt"
    return [base64.b64decode(line) for line in path.read_text().splitlines()] if path.is_file() else []


def scratch_folder(name: str) -> Path:
    """In memory where possible: a fuzzer writes thousands of files a second. libFuzzer keeps its own in ``found``."""
    memory = Path("/dev/shm")
    folder = (memory if memory.is_dir() else Path(tempfile.gettempdir())) / f"tinycnn-fuzz-{name}"
    (folder / "found").mkdir(parents=True, exist_ok=True)
    return folder


def images_and_labels(path: Path) -> None:
    """Whatever the file is meant to be: one of the two ranks is refused."""
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


def npz_around(member: bytes) -> bytes:
    """A valid .npz, but for one member: checksums of the zip would keep a fuzzer out of it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in small_set().items():
            archive.writestr(f"{name}.npy", member if name == "x_train" else npy_bytes(array))
    return buffer.getvalue()


def small_model() -> layers.Sequential:
    kinds = layers.Conv2d(2, (3, 2), padding=1), layers.BatchNorm(), layers.ReLU(), layers.MaxPool2d()
    head = layers.Flatten(), layers.Dropout(), layers.Dense(3)
    return layers.Sequential(layers.Rescaling(0.5), *kinds, *head, input_shape=(4, 5, 1))


def model_parts() -> tuple[bytes, dict[str, np.ndarray]]:
    """The architecture text and the weights of a small model."""
    model = small_model()
    return json.dumps(tinycnn.io.architecture(model), sort_keys=True).encode(), model.state_dict()


def model_around(text: bytes) -> bytes:
    """A model file with this architecture text: so lengths stay right whatever becomes of the text."""
    weights, offset, entries = model_parts()[1], 0, {}
    for name, array in weights.items():
        entries[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    entries["__metadata__"] = {"tinycnn": text.decode("utf-8", "replace")}
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + b"".join(array.tobytes() for array in weights.values())


STATE = {"step": 3, "slots": [{"m": np.arange(3, dtype=np.float32)}], "key": {"seed": 2**70, "epoch": None}}


def checkpoint_around(nest: bytes) -> bytes:
    """A checkpoint with this nest: its SHA-256 would keep a fuzzer out of it."""
    arrays = {"/slots/0/m": STATE["slots"][0]["m"], "nest": np.frombuffer(nest, np.uint8)}
    return safetensors_bytes(arrays | {"sha256": _digest(arrays)}, metadata={KEY: CHECKPOINT_VERSION})


def nest_of(checkpoint: bytes) -> bytes:
    return from_safetensors(checkpoint)["nest"].tobytes()


def onnx_seeds() -> tuple[bytes, ...]:
    """A network as tinycnn writes it, and a graph as PyTorch and Keras do: shapes computed, channels second."""
    from onnx import TensorProto, helper, numpy_helper

    shape, weight = np.array([-1], np.int64), np.ones((12, 2), np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"], auto_pad="SAME_UPPER"),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Div", ["c", "s"], ["d"]),
        helper.make_node("ReduceMean", ["d"], ["e"], axes=[2, 3], keepdims=1),
        helper.make_node("Shape", ["e"], ["f"]),
        helper.make_node("Gather", ["f", "0"], ["g"]),
        helper.make_node("Unsqueeze", ["g", "axes"], ["h"]),
        helper.make_node("Concat", ["h", "-1"], ["i"], axis=0),
        helper.make_node("Reshape", ["e", "i"], ["j"]),
        helper.make_node("MatMul", ["j", "w"], ["y"]),
    ]
    arrays = {"k": np.ones((12, 2, 3, 3), np.float32), "b": np.ones((12, 1, 1), np.float32), "w": weight, "-1": shape}
    arrays |= {"s": np.array(4, np.float32), "0": np.array(0), "axes": np.array([0])}
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 4, 4])]
    ends.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2]))
    graph = helper.make_graph(nodes, "drawn", ends[:1], ends[1:], constants)
    drawn = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return to_onnx(small_model()), drawn.SerializeToString()


CHECKPOINT = to_bytes(STATE)
IDX = idx_header((2, 3, 4)) + bytes(range(24)), idx_header((5,)) + bytes(5)
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
        tuple(map(npy_bytes, (small_set()["x_train"], np.ones((4, 3, 2)), np.ones((4, 3, 2), ">i4", "F")))),
        ("descr", "fortran_order", "shape", "|u1", "<f8", "|O", "(4, 3, 2)", "True", "\\x93NUMPY", "9999999999"),
        npz_around,
    ),
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
    TARGETS["onnx"] = Target(
        tinycnn.from_onnx,
        ".onnx",
        onnx_seeds(),
        (*STEPS, *OPERATORS, "kernel_shape", "strides", "pads", "axis", "axes", "perm", "dilations", "ceil_mode"),
    )
