"""ONNX export: ONNX Runtime computes what tinycnn computes, for every network, layer and batch size."""

import sys

import numpy as np
import pytest

import tinycnn
from tests.support import onnx_runtime
from tests.support.onnx_networks import LAYERS, unlike_fresh
from tinycnn import explain, models, no_grad
from tinycnn.commands import main
from tinycnn.errors import SettingError
from tinycnn.interchange.onnx.exporter import export_onnx, largest_difference, to_onnx
from tinycnn.layers import Conv2d, Dense, Flatten, Layer, ReLU, Sequential, Softmax, Upsample

onnx = pytest.importorskip("onnx", reason="ONNX files need: pip install 'tinycnn[onnx]'")
pytest.importorskip("onnxruntime", reason="running them needs: pip install 'tinycnn[onnx]'")


def onnx_outputs(content, images):
    return onnx_runtime.outputs(content, {"images": images})[0]


@pytest.mark.parametrize("name", models.NETWORKS)
def test_every_network(backend, name, tmp_path):
    model = unlike_fresh(models.create(name))
    export_onnx(model, tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    many = 5 if backend.name == "cupy-emulated" else 17  # the emulated GPU is slow
    images = np.random.default_rng(1).integers(0, 256, (many, *model.input_shape), np.uint8)
    x = explain.as_input(model, images)
    with no_grad():
        ours = model(x).numpy()
    for count in (1, 2, many):
        np.testing.assert_allclose(onnx_outputs(content, x.numpy()[:count]), ours[:count], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", LAYERS.values(), ids=list(LAYERS))
def test_every_layer(layers):
    model = unlike_fresh(Sequential(*layers, input_shape=(7, 6, 2)))
    images = np.random.default_rng(1).normal(size=(3, 7, 6, 2)).astype(np.float32)
    with no_grad():
        ours = model(images).numpy()
    np.testing.assert_allclose(onnx_outputs(to_onnx(model), images), ours, rtol=1e-5, atol=1e-5)


def test_rows_instead_of_images():
    model = unlike_fresh(Sequential(Dense(4), ReLU(), Dense(2), Softmax(), input_shape=(5,)))
    assert largest_difference(model, to_onnx(model)) < 1e-6


def test_the_difference_is_relative_to_large_outputs():
    """Scores of bytes without a softmax reach thousands, of which float32 has seven digits: 0.001 is nothing."""
    model = Sequential(Conv2d(16), ReLU(), Flatten(), Dense(10), input_shape=(12, 12, 1))
    model.pixels = "0..255"
    content = to_onnx(model)
    assert largest_difference(model, content) < 1e-5
    with no_grad():
        bias = model.layers["dense_1"].parameters_by_name["bias"]
        bias.data = bias.data + np.float32(50)  # of about 1,000
    assert largest_difference(model, content) > 1e-2


def test_float64_is_compared_where_onnx_runtime_supports_it():
    dense = Sequential(Dense(4), ReLU(), Dense(2), input_shape=(5,), dtype=np.float64)
    assert largest_difference(unlike_fresh(dense), to_onnx(dense)) < 1e-12
    convolution = Sequential(Conv2d(2), input_shape=(5, 5, 1), dtype=np.float64)
    with pytest.raises(SettingError, match=r"ONNX Runtime cannot run this network: .*Conv"):
        largest_difference(convolution, to_onnx(convolution))


def test_a_file_that_onnx_runtime_cannot_run_is_not_written(tmp_path):
    model = unlike_fresh(
        Sequential(Conv2d(2), Upsample(2), Flatten(), Dense(3), input_shape=(5, 5, 1), dtype=np.float64)
    )
    path = tmp_path / "model.onnx"
    with pytest.raises(
        SettingError, match=r'conv2d_1 computes in float64, which ONNX Runtime does not .*`dtype="float32"`'
    ):
        export_onnx(model, path)
    with pytest.raises(SettingError, match="`dtype` is 'float16': expected float32, or float64 as the network has"):
        export_onnx(model, path, dtype="float16")
    assert not path.exists()
    export_onnx(model, path, dtype="float32")
    images = np.random.default_rng(1).normal(size=(3, 5, 5, 1)).astype(np.float32)
    np.testing.assert_allclose(onnx_outputs(path.read_bytes(), images), model.predict(images), rtol=1e-5, atol=1e-5)
    dense = Sequential(Dense(2), input_shape=(5,), dtype=np.float64)
    export_onnx(dense, path)
    assert path.read_bytes() == to_onnx(dense)


def test_the_metadata_of_the_file():
    file = onnx.load_from_string(to_onnx(models.create("lenet")))
    assert (file.ir_version, file.opset_import[0].version, file.producer_name) == (8, 17, "tinycnn")
    assert {note.key: note.value for note in file.metadata_props}["multiply_byte_pixels_by"] == repr(1 / 255)
    shapes = [[d.dim_param or d.dim_value for d in one.type.tensor_type.shape.dim] for one in file.graph.input]
    assert shapes == [["N", 28, 28, 1]]


def test_a_layer_without_an_onnx_operator_is_refused():
    class Odd(Layer):
        def forward(self, x):
            return x

    with pytest.raises(SettingError, match="no operation for the layer odd_1 \\(Odd\\)"):
        to_onnx(Sequential(Odd(), input_shape=(3,)))
    with pytest.raises(SettingError, match=r"expected \(H, W, C\) or \(in,\)"):
        to_onnx(Sequential(ReLU(), input_shape=(3, 4)))


# ------------------------------------------------------------------------------------------------------ the command


@pytest.fixture
def model_file(tmp_path):
    tinycnn.save(models.create("lenet"), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_the_command_writes_and_compares(model_file, tmp_path, capsys):
    assert main(["export", str(model_file), "--onnx", str(tmp_path / "model.onnx")]) == 0
    assert "outputs of ONNX Runtime and tinycnn agree up to " in capsys.readouterr().out
    assert largest_difference(tinycnn.load(model_file), (tmp_path / "model.onnx").read_bytes()) < 1e-5


def test_a_file_with_different_outputs_is_not_written(model_file, tmp_path, capsys, monkeypatch):
    other = to_onnx(unlike_fresh(models.create("lenet", seed=1)))
    monkeypatch.setattr("tinycnn.interchange.onnx.exporter.to_onnx", lambda _: other)
    assert main(["export", str(model_file), "--onnx", str(tmp_path / "model.onnx")]) == 2
    assert "ONNX Runtime gives different results (up to" in capsys.readouterr().err
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_its_packages_the_command_names_the_installation(package, model_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["export", str(model_file), "--onnx", str(tmp_path / "model.onnx")]) == 2
    assert "pip install 'tinycnn[onnx]'" in capsys.readouterr().err
    assert not (tmp_path / "model.onnx").exists()


def test_a_path_that_cannot_be_written(model_file, tmp_path, capsys):
    assert main(["export", str(model_file), "--onnx", str(tmp_path / "gone" / "model.onnx")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
