"""Files of other programs are recognised before a package is asked for, by `tinycnn import` and in Python."""

import pickle
import sys

import numpy as np
import pytest

import tinycnn
from tests.support.data_helpers import zipped
from tinycnn.commands import main
from tinycnn.errors import FileFormatError, SettingError
from tinycnn.layers import Dense, Sequential

HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(40)
EXTRA_OF_KERAS, EXTRA_OF_ONNX = r"pip install 'tinycnn\[keras\]'", r"pip install 'tinycnn\[onnx\]'"
FILES = {  # content, and what is said where no extra is installed
    "mine.pt": (zipped("mine/data.pkl", "mine/version"), "a file of torch.save; .*load_torch_state_dict"),
    "mine.bin": (zipped("mine/data.pkl"), "a file of torch.save"),
    "old.pth": (b"\x80\x02}q\x00.", "a file of torch.save"),
    "mine.pkl": (pickle.dumps({"a": 1}), "a pickled file of Python, which is not read"),
    "data.npz": (zipped("x_train.npy"), "arrays of NumPy, such as a data set"),
    "data.npy": (b"\x93NUMPY" + bytes(40), "arrays of NumPy"),
    "cat.png": (b"\x89PNG\r\n\x1a\n" + bytes(40), "a picture, not a network"),
    "cat.keras": (b"\x89PNG\r\n\x1a\n" + bytes(40), "a picture, not a network"),
}
KERAS = {"a.keras": zipped("config.json", "model.weights.h5"), "a.h5": HDF5, "a.weights.h5": HDF5}
ONNX = {"a.onnx": b"\x08\x08\x12\x07pytorch" + bytes(40)}


@pytest.fixture(autouse=True)
def no_extras(monkeypatch):
    for package in ("h5py", "onnx", "onnxruntime", "torch"):
        monkeypatch.setitem(sys.modules, package, None)


def network():
    return Sequential(Dense(2), input_shape=(3,))


READ = {
    "from_keras": tinycnn.from_keras,
    "from_onnx": tinycnn.from_onnx,
    "load_keras_weights": lambda path: tinycnn.load_keras_weights(network(), path),
    "load_torch_state_dict": lambda path: tinycnn.load_torch_state_dict(network(), path),
    "load": tinycnn.load,
}


def imported(path, capsys):
    assert main(["import", str(path), "--model", str(path.parent / "m.safetensors")]) == 2
    assert not (path.parent / "m.safetensors").exists()
    return capsys.readouterr().err


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_no_extra_reads_is_named(name, tmp_path, capsys):
    content, words = FILES[name]
    (tmp_path / name).write_bytes(content)
    for read in READ.values():
        with pytest.raises(FileFormatError, match=words):
            read(tmp_path / name)
    said = imported(tmp_path / name, capsys)
    assert "pip install" not in said
    assert ("torch.onnx.export" in said) == ("torch.save" in words)
    assert words.partition(";")[0] in said


@pytest.mark.parametrize("name", KERAS)
def test_files_of_keras_need_their_extra(name, tmp_path, capsys):
    (tmp_path / name).write_bytes(KERAS[name])
    for read in (READ["from_keras"], READ["load_keras_weights"]):
        with pytest.raises(SettingError, match=EXTRA_OF_KERAS):
            read(tmp_path / name)
    with pytest.raises(FileFormatError, match="expected an ONNX file, but this is a file of Keras"):
        tinycnn.from_onnx(tmp_path / name)
    assert "tinycnn[keras]" in imported(tmp_path / name, capsys)


@pytest.mark.parametrize("name", ONNX)
def test_files_of_onnx_need_theirs(name, tmp_path, capsys):
    (tmp_path / name).write_bytes(ONNX[name])
    with pytest.raises(SettingError, match=EXTRA_OF_ONNX):
        tinycnn.from_onnx(tmp_path / name)
    with pytest.raises(FileFormatError, match="expected a file of Keras, but this is an ONNX file"):
        tinycnn.from_keras(tmp_path / name)
    assert "tinycnn[onnx]" in imported(tmp_path / name, capsys)


def test_folders_and_missing_files_need_none(tmp_path, capsys):
    (tmp_path / "saved_model").mkdir()
    said = imported(tmp_path / "saved_model", capsys)
    assert "saved_model: is a folder; give the file in it; a SavedModel of TensorFlow is exported by" in said
    for name in ("none.onnx", "none.keras", "none.pt"):
        assert "no such file" in imported(tmp_path / name, capsys)
        for read in (READ["from_keras"], READ["from_onnx"]):
            with pytest.raises(FileFormatError, match="no such file"):
                read(tmp_path / name)


def test_weights_alone_in_a_safetensors_file_say_what_reads_them(tmp_path, capsys):
    from safetensors.numpy import save_file

    save_file({"conv.weight": np.zeros((2, 3), np.float32)}, tmp_path / "theirs.safetensors")
    assert "load_torch_state_dict(model, path) reads the weights" in imported(tmp_path / "theirs.safetensors", capsys)
