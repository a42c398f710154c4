"""Model files: load restores the saved model, other tools read it, and damaged or hostile files are refused."""

import json
import os
import stat
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from safetensors.numpy import save as safetensors_bytes

import tinycnn
from tests.support.data_helpers import zipped
from tests.support.memory_held import linux_only, output_of
from tinycnn import models
from tinycnn.errors import FileFormatError, SettingError
from tinycnn.initializers import INITIALIZERS
from tinycnn.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2d,
    ReLU,
    Rescaling,
    Sequential,
    pixel_scale,
)
from tinycnn.saving import model_file as io

FILE = "model.safetensors"


def small_network(seed=0, dtype=np.float32):
    images = Rescaling(0.5), Conv2d(2, (3, 2), padding=1), BatchNorm(), ReLU(), MaxPool2d()
    return Sequential(*images, Flatten(), Dropout(), Dense(3), input_shape=(4, 5, 1), seed=seed, dtype=dtype)


def saved(model, folder):
    tinycnn.save(model, folder / FILE)
    return folder / FILE


def content(model):
    """The bytes of the file of ``model``."""
    with tempfile.TemporaryDirectory() as folder:
        return saved(model, Path(folder)).read_bytes()


VALID = content(small_network())


def predictions(model, seed=0):
    x = np.random.default_rng(seed).normal(size=(3, *model.input_shape)).astype(model.dtype)
    return model.eval()(x).numpy()


# ------------------------------------------------------------------------------------------------------ save and load


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("name", models.NETWORKS)
def test_every_network_is_restored_bit_for_bit(name, tmp_path):
    model = models.create(name, seed=5)
    model(np.random.default_rng(0).random((2, *model.input_shape), np.float32))  # changes the running statistics
    again = tinycnn.load(saved(model, tmp_path))
    assert not again.training
    assert list(again.layers.keys()) == list(model.layers.keys())
    assert repr(again) == repr(model)  # all settings of all layers
    assert np.array_equal(predictions(again), predictions(model))
    assert again.summary() == model.summary()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_setting_is_restored(dtype, tmp_path):
    model = small_network(dtype=dtype)
    again = tinycnn.load(saved(model, tmp_path))
    assert repr(again) == repr(model)
    assert again.dtype == dtype
    assert np.array_equal(predictions(again), predictions(model))


def test_the_same_model_gives_the_same_bytes():
    assert len({content(small_network()) for _ in range(10)}) == 1
    assert content(small_network(seed=1)) != content(small_network())


def test_saving_a_loaded_model_gives_the_same_bytes(tmp_path):
    assert content(tinycnn.load(saved(small_network(), tmp_path))) == VALID


def test_other_tools_can_read_the_weights(tmp_path):
    model = small_network()
    arrays, state = load_file(saved(model, tmp_path)), model.state_dict()
    assert arrays.keys() == state.keys()
    assert all(np.array_equal(arrays[name], state[name]) for name in state)


def test_the_architecture_is_plain_json():
    size = struct.unpack("<Q", VALID[:8])[0]
    text = json.loads(VALID[8 : 8 + size])["__metadata__"]["tinycnn"]
    description = json.loads(text)
    assert text == json.dumps(description, sort_keys=True)
    assert description["format"] == 1
    assert description["input_shape"] == [4, 5, 1]
    assert [layer["kind"] for layer in description["layers"]][:3] == ["Rescaling", "Conv2d", "BatchNorm"]


def test_class_names_are_restored(tmp_path):
    model = small_network()
    assert model.class_names == ("0", "1", "2")
    assert "class_names" not in io.architecture(model)  # the format without names is unchanged
    model.class_names = ["T-shirt/top", "été", "0"]
    again = tinycnn.load(saved(model, tmp_path))
    assert again.class_names == ("T-shirt/top", "été", "0")
    assert content(again) == content(model) != VALID
    assert again.pictures == "whole"
    again.pictures = "drawing"
    assert tinycnn.load(saved(again, tmp_path)).pictures == "drawing"
    again.pictures = None
    assert content(again) == content(model)


NAMES_THAT_ARE_NONE = {
    "too few": ["a", "b"],
    "too many": ["a", "b", "c", "d"],
    "one twice": ["a", "b", "a"],
    "empty": ["a", "b", ""],
    "only blanks": ["a", "b", "  "],
    "too long": ["a", "b", "c" * 101],
    "a number": ["a", "b", 3],
    "a list": ["a", "b", ["c"]],
    "a line break": ["a", "b", "c\n"],
    "for the terminal": ["a", "b", "\x1b[2Jc"],
    "from right to left": ["a", "b", "\u202ec"],
    "a word": "abc",
    "nothing": None,
    "a dictionary": {"a": 1, "b": 2, "c": 3},
}


@pytest.mark.parametrize("names", NAMES_THAT_ARE_NONE.values(), ids=NAMES_THAT_ARE_NONE)
def test_invalid_class_names_are_refused(names, tmp_path):
    message = refused(file_with(architecture_text(class_names=names)), tmp_path)
    assert "class_names" in message or names is None
    if names and not isinstance(names, dict):
        with pytest.raises(SettingError, match="class_names"):
            small_network().class_names = names


@pytest.mark.parametrize("pictures", ["upside down", 1, ["whole"], ""])
def test_invalid_picture_kinds_are_refused(pictures, tmp_path):
    assert "expected 'drawing' or 'whole'" in refused(file_with(architecture_text(pictures=pictures)), tmp_path)
    with pytest.raises(SettingError, match="expected 'drawing' or 'whole'"):
        small_network().pictures = pictures


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ([], "0..1"),
        ([Rescaling(1, -0.5)], "0..1"),  # a mean that is subtracted says nothing about the range
        ([Rescaling(1 / 255)], "0..255"),
        ([Rescaling(1 / 127.5, -1)], "0..255"),
    ],
)
def test_the_pixels_that_a_network_takes(first, expected, tmp_path):
    """By its first layer, unless they are set; 255 times ``pixel_scale`` is the number for white."""
    model = Sequential(*first, Flatten(), Dense(3), input_shape=(4, 5, 1))
    white = {"0..1": 1, "0..255": 255}
    assert (model.pixels, 255 * pixel_scale(model)) == (expected, white[expected])
    assert "pixels" not in io.architecture(model)  # the format without them is unchanged
    for pixels in white:
        model.pixels = pixels
        again = tinycnn.load(saved(model, tmp_path))
        assert (again.pixels, 255 * pixel_scale(again)) == (pixels, white[pixels])
    model.pixels = None
    assert model.pixels == expected


@pytest.mark.parametrize("pixels", ["0..0", "1..2", "0..-1", "0..1e9", 1, ["0..1"], ""])
def test_invalid_pixels_are_refused(pixels, tmp_path):
    assert "expected '0..1' or '0..255'" in refused(file_with(architecture_text(pixels=pixels)), tmp_path)
    with pytest.raises(SettingError, match=r"expected '0\.\.1' or '0\.\.255'"):
        small_network().pixels = pixels


def test_a_colour_network_takes_no_drawings():
    model = Sequential(Flatten(), Dense(2), input_shape=(4, 4, 3))
    assert model.pictures == "whole"
    with pytest.raises(SettingError, match=r"drawings are greyscale, \(H, W, 1\)"):
        model.pictures = "drawing"
    with pytest.raises(SettingError, match="got 2 names for outputs of shape"):
        Sequential(Conv2d(2), input_shape=(4, 4, 3)).class_names = ["a", "b"]
    for names in ("ab", 2):
        with pytest.raises(SettingError, match=rf"`class_names`: got {names!r}; expected a list of names"):
            model.class_names = names


SCRAMBLES = {
    "Fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "channels first": lambda a: np.ascontiguousarray(np.moveaxis(a, -1, 0)).transpose(*range(1, a.ndim), 0),
}


@pytest.mark.parametrize("scramble", SCRAMBLES.values(), ids=SCRAMBLES)
def test_non_contiguous_arrays_are_saved_correctly(scramble, tmp_path):
    model, original = small_network(), small_network().state_dict()
    for _, parameter in model.named_parameters():
        parameter.data = scramble(parameter.data)
    assert content(model) == VALID
    again = tinycnn.load(saved(model, tmp_path)).state_dict()
    assert all(np.array_equal(again[name], original[name]) for name in original)


def test_an_unregistered_layer_is_not_saved(tmp_path):
    class Homemade(Layer):
        def forward(self, x):
            return x

    for layer in (Homemade(), Sequential(Homemade(), input_shape=(4,))):
        with pytest.raises(SettingError, match="Homemade is not a registered layer"):
            tinycnn.save(Sequential(layer, input_shape=(4,)), tmp_path / FILE)
    assert not list(tmp_path.iterdir())


def nested_network():
    """A network with two nested networks, one of which has a nested network itself."""
    inner = Sequential(Dense(4), ReLU(), input_shape=(5,), seed=1)
    first = Sequential(Dense(5), inner, input_shape=(6,), seed=2)
    second = Sequential(BatchNorm(), Dense(3), input_shape=(4,), seed=3)
    return Sequential(Flatten(), Dense(6), first, second, input_shape=(2, 2, 1))


def test_nested_networks_are_restored(tmp_path):
    model = nested_network()
    again = tinycnn.load(saved(model, tmp_path))
    assert repr(again) == repr(model)
    assert "sequential_1.sequential_1.dense_1.weight" in model.state_dict()
    assert np.array_equal(predictions(again), predictions(model))
    assert content(again) == content(model)


def test_a_nested_network_without_weights_is_refused(tmp_path):
    model = nested_network()
    saved(model, tmp_path)
    arrays = load_file(tmp_path / FILE)
    del arrays["sequential_1.sequential_1.dense_1.bias"]
    header = json.dumps(io.architecture(model), sort_keys=True)
    (tmp_path / FILE).write_bytes(safetensors_bytes(arrays, metadata={"tinycnn": header}))
    with pytest.raises(FileFormatError, match="bias is missing"):
        tinycnn.load(tmp_path / FILE)


# ------------------------------------------------------------------------------------------------------- atomic writes


class Crash(BaseException):
    """Not a subclass of Exception, like KeyboardInterrupt."""


@pytest.mark.parametrize("moment", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("kind", [OSError, Crash])
def test_a_crash_while_writing_leaves_the_old_file(moment, kind, tmp_path, monkeypatch):
    def crash(*arguments):
        raise kind("no space left")

    path = saved(small_network(), tmp_path)
    monkeypatch.setattr(os, moment, crash)
    with pytest.raises(kind):
        tinycnn.save(small_network(seed=1), path)
    assert path.read_bytes() == VALID
    assert os.listdir(tmp_path) == [FILE]


def test_a_path_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"nowhere/{FILE}: there is no folder {tmp_path}/nowhere; create it"):
        tinycnn.save(small_network(), tmp_path / "nowhere" / FILE)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder: is a folder; give the name of a file"):
        tinycnn.save(small_network(), tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        path = saved(small_network(), tmp_path)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert os.umask(umask) == umask  # reading the mask has not changed it
    finally:
        os.umask(before)


# ------------------------------------------------------------------------------------------------------- damaged files


def refused(data, folder):
    """The error message of ``load`` for a file of these bytes."""
    path = folder / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(FileFormatError) as caught:
        tinycnn.load(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def with_header(size, header, rest=b""):
    return struct.pack("<Q", size) + header + rest


def with_entry(**entry):
    header = json.dumps({"a": {"dtype": "F32", **entry}}).encode()
    return with_header(len(header), header)


HOSTILE = {
    "empty": b"",
    "short": b"\x01\x02",
    "text": b"this is not a model, but a shopping list",
    "bytes that are no text": b"\x89ABC\r\n\x1a\n" + bytes(100),
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "truncated in the header": VALID[:100],
    "truncated in the weights": VALID[:-1],
    "too long": VALID + b"\0",
    "header longer than the file": with_header(2**40, b"{}"),
    "header longer than any memory": with_header(2**64 - 1, b"{}"),
    "header is no JSON": with_header(4, b"\xff\xfe{}"),
    "header is a list": with_header(2, b"[]"),
    "header nested deeply": with_header(200_000, b"[" * 200_000),
    "offsets outside": with_entry(shape=[2], data_offsets=[0, 8]),
    "sizes that wrap around": with_entry(shape=[2**32, 2**32, 4], data_offsets=[0, 0]),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_damaged_files_are_refused(data, tmp_path):
    assert "not a readable safetensors file" in refused(data, tmp_path)


def test_a_text_file_is_refused(tmp_path):
    assert "not a tinycnn model file" in refused(b"# Notes\n\nNothing of the kind.\n", tmp_path)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(FileFormatError, match="no such file"):
        tinycnn.load(tmp_path / "missing.safetensors")
    with pytest.raises(FileFormatError, match=str(tmp_path)):
        tinycnn.load(tmp_path)
    with pytest.raises(FileFormatError, match="expected the name of a file, got an empty string"):
        tinycnn.load("")


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    assert "not written by tinycnn" in refused(safetensors_bytes({"a": np.zeros(3, np.float32)}), tmp_path)
    assert "not written by tinycnn" in refused(safetensors_bytes({}, metadata={"format": "pt"}), tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("weights.pt", zipped("weights/data.pkl", "weights/version"), "a file of torch.save; .*load_torch_state_dict"),
        ("old.pth", b"\x80\x02}q\x00X\x06\x00", "weights_only=True"),
        ("network.keras", zipped("metadata.json", "config.json", "model.weights.h5"), "a file of Keras, .*from_keras"),
        ("network.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(40), "a file of Keras"),
        ("network.onnx", b"\x08\x08\x12\x07pytorch" + bytes(40), "an ONNX file, which `tinycnn import` converts"),
        ("damaged.pt", b"PK\x03\x04" + bytes(40), "a file of torch.save"),
        ("cat.png", b"\x89PNG\r\n\x1a\n" + bytes(40), "a picture, not a network; .* `tinycnn predict` classifies"),
        ("data.npz", zipped("x_train.npy", "y_train.npy"), "arrays of NumPy, such as a data set, not a network"),
        ("any.bin", b"\x01" * 40, "not a readable safetensors file"),
    ],
)
def test_a_file_of_another_program_names_what_reads_it(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileFormatError, match=words):
        tinycnn.load(tmp_path / name)
    plain = safetensors_bytes({"conv.weight": np.zeros(3, np.float32)})
    assert "tinycnn.load_torch_state_dict(model, path) reads the weights of a module" in refused(plain, tmp_path)


BITS = {"BF16": 16, "F16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "I64": 64, "BOOL": 8, "C64": 64}


@pytest.mark.parametrize("dtype", BITS)
def test_weights_of_another_dtype_are_refused(dtype, tmp_path):
    size = BITS[dtype] * 2 // 8
    entry = {"dtype": dtype, "shape": [2], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"tinycnn": architecture_text()}, "a": entry}).encode()
    assert refused(with_header(len(header), header, bytes(size)), tmp_path)


# -------------------------------------------------------------------------------------------------- inconsistent files


def architecture_text(**changes):
    return json.dumps(io.architecture(small_network()) | changes)


def file_with(text=None, weights=None):
    """A well-formed safetensors file with the given architecture text and weights."""
    weights = small_network().state_dict() if weights is None else weights
    return safetensors_bytes(weights, metadata={"tinycnn": architecture_text() if text is None else text})


def file_with_layers(*layers):
    return file_with(architecture_text(layers=[{"kind": kind, "settings": values} for kind, values in layers]))


def test_the_file_that_the_next_tests_damage_is_valid(tmp_path):
    (tmp_path / FILE).write_bytes(file_with())
    assert np.array_equal(predictions(tinycnn.load(tmp_path / FILE)), predictions(small_network()))


def test_a_newer_format_asks_for_an_update(tmp_path):
    message = refused(file_with(architecture_text(format=2)), tmp_path)
    assert "newer tinycnn (format 2); update tinycnn" in message


@pytest.mark.parametrize("kind", ["Conv9d", "Sequential", "Layer", "__class__", "os.system", ["Dense"], None, {}])
def test_unregistered_layers_are_refused(kind, tmp_path):
    refused(file_with_layers((kind, {})), tmp_path)


def test_an_unknown_layer_says_how_a_layer_of_ones_own_is_loaded(tmp_path):
    """Forty names of known layers were listed instead."""
    advice = (
        "; if it is a layer of your own, import the module that defines it, with @tinycnn.layers.register_layer above "
        "the class, before the file is loaded"
    )
    assert refused(file_with_layers(("SqueezeExcite", {})), tmp_path).endswith(f"unknown layer 'SqueezeExcite'{advice}")
    message = refused(file_with_layers(("Conv9d", {})), tmp_path)
    assert message.endswith(f"unknown layer 'Conv9d' (similar: Conv2d){advice}")


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Dense", {}),
        ("Dense", {"units": -1}),
        ("Dense", {"units": 2.5}),
        ("Dense", {"units": "10"}),
        ("Dense", {"units": 3, "colour": "red"}),
        ("Dense", {"units": 3, "initializer": "os.system"}),
        ("Dense", {"units": 3, "initializer": ["he_normal"]}),
        ("Dense", {"units": 3, "initializer": {}}),
        ("Dense", {"self": 3}),
        ("Dense", []),
        ("Dense", None),
        ("Conv2d", {"filters": 3, "kernel_size": [3]}),
        ("Conv2d", {"filters": 3, "kernel_size": 0}),
        ("Conv2d", {"filters": 3, "stride": {}}),
        ("Dropout", {"p": "half"}),
        ("Dropout", {"p": float("nan")}),
        ("BatchNorm", {"momentum": None}),
        ("Rescaling", {"scale": [1]}),
        ("Rescaling", {"scale": float("inf")}),
        ("MaxPool2d", {"kernel_size": True}),
        ("Dense", {"units": 3, "bias": "no"}),
        ("Conv2d", {"filters": 2, "bias": {}}),
        ("BatchNorm", {"eps": float("inf")}),
        ("BatchNorm", {"momentum": float("nan")}),
    ],
)
def test_settings_out_of_range_are_refused(kind, settings, tmp_path):
    refused(file_with_layers((kind, settings)), tmp_path)


def file_with_entries(*entries, text=None, data=b""):
    """A safetensors file whose header is written entry by entry, so that it can contain duplicate names."""
    metadata = '"__metadata__":' + json.dumps({"tinycnn": architecture_text() if text is None else text})
    header = "{" + ",".join([metadata, *entries]) + "}"
    return with_header(len(header), header.encode(), data)


DENSE = ("Flatten", {}), ("Dense", {"units": 10**9})
FEW_BYTES = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
TWICE = {
    "a weight": file_with_entries(f'"a":{FEW_BYTES}', f'"a":{FEW_BYTES}', data=bytes(8)),
    "a key of a weight": file_with_entries(
        '"a":{"dtype":"F32","dtype":"F64","shape":[],"data_offsets":[0,8]}', data=bytes(8)
    ),
    "the metadata": file_with_entries('"__metadata__":{}'),
    "a key of the architecture": file_with(architecture_text()[:-1] + ', "format": 1}'),
    "a setting": file_with(
        architecture_text(layers=[]).replace("[]", '[{"kind":"Dense","settings":{"units":1,"units":3}}]')
    ),
}  # fmt: skip


@pytest.mark.parametrize("data", TWICE.values(), ids=TWICE)
def test_duplicate_names_are_refused(data, tmp_path):
    refused(data, tmp_path)


def file_with_sizes(layers, weights=(), **changes):
    """A file whose layers declare the given sizes, with few weights or none."""
    entries = [{"kind": kind, "settings": values} for kind, values in layers]
    return file_with(architecture_text(layers=entries, **changes), weights=dict(weights))


GIANT = {
    **{f"dense of {n}": file_with_sizes([("Dense", {"units": n})], input_shape=[4]) for n in (10**9, 10**14, 10**40)},
    "zeros": file_with_sizes([("Dense", {"units": 10**9, "initializer": "zeros"})], input_shape=[4]),
    "with all weights but small": file_with_layers(*DENSE),
    "empty weights": file_with_sizes(
        [("Dense", {"units": 10**9})], {"dense_1.weight": np.zeros((0, 10**9), np.float32)}, input_shape=[4]
    ),
    "filters": file_with_sizes([("Conv2d", {"filters": 10**9})]),
    "kernel": file_with_sizes([("Conv2d", {"filters": 1, "kernel_size": 10**5, "padding": 10**5})]),
    "channels": file_with_sizes([("BatchNorm", {})], input_shape=[1, 1, 10**10]),
    "image": file_with_sizes([("Flatten", {}), ("Dense", {"units": 10})], input_shape=[10**6, 10**6, 10**6]),
    "many layers": file_with_sizes([("Dense", {"units": 10**5})] * 5_000, input_shape=[10**5]),
    "terabytes declared": file_with_entries(
        '"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}'
    ),
    "long names": file_with_entries(f'"{"a" * 900_000}":{FEW_BYTES}', data=bytes(8)),
    "long kind": file_with_sizes([("a" * 900_000, {})]),
    "long setting": file_with_sizes([("Dense", {"units": 1, "initializer": "a" * 900_000})]),
    "long header": with_header(3_000_000, b"{" + b" " * 2_999_998 + b"}"),
    "deep settings": file_with(architecture_text(layers=[]).replace("[]", "[" * 50_000 + "]" * 50_000)),
}  # fmt: skip

MOST_MIB = 40
BOUNDED = """
import os, sys, time, tinycnn
from tests.support.memory_held import held
good, *hostile = sys.argv[1:]
tinycnn.load(good)  # modules imported at first use must not be measured
for path in hostile:
    before, start = held("VmHWM"), time.process_time()
    try:
        tinycnn.load(path)
    except tinycnn.errors.FileFormatError as error:
        print(os.path.basename(path), held("VmHWM") - before, time.process_time() - start, len(str(error)), sep=";")
"""


@linux_only
def test_hostile_files_cost_neither_memory_nor_time(tmp_path):
    """Each is refused with a short message, in a process whose memory hardly grows."""
    (tmp_path / "good").write_bytes(VALID)
    for name, data in GIANT.items():
        (tmp_path / name).write_bytes(data)
    with open(tmp_path / "sparse", "wb") as file:  # a sparse terabyte, which takes no space on the disk
        file.truncate(2**40)
    names = [*GIANT, "sparse"]
    output = output_of(BOUNDED, tmp_path / "good", *(tmp_path / name for name in names))
    rows = [line.split(";") for line in output.splitlines()]
    assert [row[0] for row in rows] == names
    assert max(float(row[1]) for row in rows) < MOST_MIB, rows
    assert max(float(row[2]) for row in rows) < 2, rows  # seconds
    assert max(int(row[3]) for row in rows) < 1000, rows  # characters


@linux_only
def test_the_memory_test_detects_a_reader_that_allocates(tmp_path):
    (tmp_path / "good").write_bytes(VALID)
    (tmp_path / "hostile").write_bytes(b"")
    planted = BOUNDED.replace("    try:", f"    bytearray({2 * MOST_MIB} << 20)\n    try:")
    name, grown, *_ = output_of(planted, tmp_path / "good", tmp_path / "hostile").split(";")
    assert name == "hostile"
    assert float(grown) > MOST_MIB


def test_a_pipe_is_refused_without_blocking(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileFormatError, match="pipe: cannot be read: a pipe, expected an ordinary file"):
        tinycnn.load(tmp_path / "pipe")


def test_save_refuses_files_that_load_would_refuse(tmp_path, monkeypatch):
    with monkeypatch.context() as smaller:
        smaller.setattr("tinycnn.saving.safetensors_file.MAX_HEADER", 500)
        for refusing in (lambda: saved(small_network(), tmp_path), lambda: io.check_size(small_network())):
            with pytest.raises(SettingError, match=r"of them names and settings; the limits are 2,147,483,648 and 500"):
                refusing()
    monkeypatch.setattr(io, "MAX_FILE", len(VALID) - 1)
    with pytest.raises(SettingError, match="use fewer or smaller layers"):
        saved(small_network(), tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(io, "MAX_FILE", len(VALID))
    assert saved(small_network(), tmp_path).read_bytes() == VALID


def test_check_size_refuses_a_network_that_is_too_large_before_copying_it(monkeypatch):
    """The reported size is that of the file without its header."""
    arrays = sum(array.nbytes for array in small_network().state_dict().values())
    monkeypatch.setattr(io, "MAX_HEADER", len(VALID) - arrays)
    monkeypatch.setattr(io, "MAX_FILE", len(VALID))
    io.check_size(small_network())
    monkeypatch.setattr(io, "MAX_FILE", len(VALID) - 1)
    monkeypatch.setattr(io, "to_bytes", None)
    with pytest.raises(SettingError, match=f"the network has {arrays:,} bytes; the limit of a model file is"):
        io.check_size(small_network())


def test_dropout_counters_are_not_in_a_model_file(tmp_path):
    """They affect only further training, so they are in checkpoints; in a loaded model they start at 0."""
    model, expected = small_network(), predictions(small_network())
    model.train()(np.zeros((2, *model.input_shape), np.float32))
    assert model.counters()["dropout_1.step"] == 1
    model.load_state_dict(small_network().state_dict())  # restores the running statistics
    assert content(model) == VALID
    again = tinycnn.load(saved(model, tmp_path))
    assert again.counters()["dropout_1.step"] == 0
    assert np.array_equal(predictions(again), expected)


def test_loading_draws_no_weights(tmp_path, monkeypatch):
    path, expected = saved(small_network(), tmp_path), predictions(small_network())
    monkeypatch.setitem(INITIALIZERS, "he_normal", lambda *_: pytest.fail("drawn"))
    assert np.array_equal(predictions(tinycnn.load(path)), expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"input_shape": [4, 5]},
        {"input_shape": []},
        {"input_shape": None},
        {"input_shape": 4},
        {"input_shape": [4, 5, -1]},
        {"input_shape": [4, 5, "1"]},
        {"input_shape": [4, 5, 2]},
        {"dtype": "int32"},
        {"dtype": "float64"},
        {"dtype": None},
        {"dtype": ["float32"]},
        {"format": "1"},
        {"format": True},
        {"format": 0},
        {"format": 1.5},
        {"format": None},
        {"layers": []},
        {"layers": None},
        {"layers": "Dense"},
        {"layers": [[]]},
        {"layers": [{}]},
        {"layers": {"kind": "Dense"}},
    ],
    ids=repr,
)
def test_invalid_architectures_are_refused(changes, tmp_path):
    refused(file_with(architecture_text(**changes)), tmp_path)


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "{", '"Dense"', "[" * 100_000, "1" * 10_000, " " * 2_000_000])
def test_texts_that_are_not_an_architecture_are_refused(text, tmp_path):
    refused(file_with(text), tmp_path)


def changed(**changes):
    state = small_network().state_dict()
    for name, array in changes.items():
        state[name.replace("__", ".")] = array
    return {name: array for name, array in state.items() if array is not None}


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (changed(dense_1__bias=None), "dense_1 does not fit: bias is missing"),
        (changed(batchnorm_1__running_var=None), "batchnorm_1 does not fit: running_var is missing"),
        ({}, "conv2d_1 does not fit: weight is missing"),
        (changed(extra=np.zeros(3, np.float32)), "unknown names: 'extra'"),
        (changed(dense_1__extra=np.zeros(3, np.float32)), "dense_1 does not fit: unknown names: 'extra'"),
        (changed(dense_2__bias=np.zeros(3, np.float32)), "unknown names: 'dense_2'"),
        (changed(relu_1__bias=np.zeros(3, np.float32)), "relu_1 does not fit: unknown names: 'bias'"),
        (changed(dense_1__bias=np.zeros(4, np.float32)), "bias is float32 (4,), the settings require float32 (3,)"),
        (changed(dense_1__bias=np.zeros((1, 3), np.float32)), "dense_1 does not fit: bias is float32 (1, 3)"),
        (changed(dense_1__bias=np.zeros(3)), "dense_1 does not fit: bias is float64 (3,)"),
        (changed(batchnorm_1__running_mean=np.zeros(2)), "batchnorm_1 does not fit: running_mean is float64 (2,)"),
        (changed(batchnorm_1__running_var=np.ones(2, np.int32)), "batchnorm_1 does not fit: running_var is int32 (2,)"),
        (changed(dense_1__bias=np.zeros(3, np.int32)), "dense_1 does not fit: bias is int32 (3,)"),
        (changed(dense_1__weight=np.zeros(0, np.float32)), "dense_1 does not fit: weight is float32 (0,)"),
        (changed(**{"../../etc/passwd": np.zeros(3, np.float32)}), "unknown names: ''"),
        (changed(**{"/etc/passwd": np.zeros(3, np.float32)}), "unknown names: '/etc/passwd'"),
    ],
)
def test_weights_that_do_not_match_the_architecture_are_refused(weights, words, tmp_path):
    assert words in refused(file_with(weights=weights), tmp_path)


# -------------------------------------------------------------------------------------------------------- random input


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch") / "fuzzed.safetensors"


def loads_or_is_refused(data, path):
    path.write_bytes(data)
    try:
        outcome = tinycnn.load(path)
    except FileFormatError as error:
        outcome = str(error)
    assert isinstance(outcome, Sequential) or str(path) in outcome


fuzzing = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@fuzzing
@given(data=st.binary(max_size=300))
def test_random_bytes(data, scratch):
    loads_or_is_refused(data, scratch)


@fuzzing
@given(data=st.binary(max_size=200))
def test_random_bytes_after_a_correct_length(data, scratch):
    loads_or_is_refused(with_header(len(data), data), scratch)


@fuzzing
@given(
    changes=st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=4),
    end=st.none() | st.integers(0, len(VALID)),
)
def test_mutated_bytes_of_a_valid_file(changes, end, scratch):
    data = bytearray(VALID)
    for place, value in changes:
        data[place] = value
    loads_or_is_refused(bytes(data[:end]), scratch)


PARTS = ["format", "input_shape", "dtype", "layers", "class_names", "pictures"]


@fuzzing
@given(values=st.dictionaries(st.sampled_from(PARTS), json_values))
def test_random_values_in_the_architecture(values, scratch):
    loads_or_is_refused(file_with(architecture_text(**values)), scratch)


@fuzzing
@given(
    kind=st.sampled_from(list(Layer.registry)),
    values=st.dictionaries(
        st.sampled_from(["filters", "kernel_size", "stride", "padding", "bias", "initializer", "units", "p", "eps"])
        | st.text(max_size=5),
        json_values,
    ),
)
def test_random_settings_of_a_layer(kind, values, scratch):
    loads_or_is_refused(file_with_layers((kind, values)), scratch)


def test_saving_a_number_that_is_not_finite_is_noted(tmp_path, caplog):
    model = small_network()
    tinycnn.save(model, tmp_path / "good.safetensors")
    assert caplog.records == []
    name, parameter = next(model.named_parameters())
    parameter.data.reshape(-1)[0] = np.nan
    tinycnn.save(model, tmp_path / "bad.safetensors")
    assert [(one.levelname, one.message.partition(",")[0]) for one in caplog.records] == [("WARNING", f"note: {name}")]
