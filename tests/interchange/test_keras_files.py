"""ONNX files that Keras wrote: the imported networks compute what Keras computed."""

from pathlib import Path

import numpy as np
import pytest

import tinycnn
from tests.support.onnx_networks import in_float64
from tinycnn import no_grad
from tinycnn.errors import FileFormatError
from tinycnn.interchange.onnx.importer import import_onnx

pytest.importorskip("onnx", reason="ONNX files need: pip install 'tinycnn[onnx]'")
FOLDER = Path(__file__).parent / "keras_onnx"
WITHOUT_CONSTANT = "normalization_layer.kerasexport", "normalization_layer.tf2onnx17"
NAMES = sorted(path.stem for path in FOLDER.glob("*.onnx"))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_CONSTANT])
def test_a_file_of_keras_is_read(name):
    """In float64, so that only Keras' rounding is left."""
    model = tinycnn.from_onnx(FOLDER / f"{name}.onnx")
    values = np.load(FOLDER / f"{name.split('.')[0]}.npz")
    with no_grad():
        ours = in_float64(model)(values["x"].astype(np.float64)).numpy()
    assert np.abs(ours - values["y"]).max() <= 1e-5 * np.abs(values["y"]).max()


@pytest.mark.parametrize("name", WITHOUT_CONSTANT)
def test_a_constant_that_is_not_in_the_file(name):
    """tf2onnx lists the mean of a Normalization layer as a second input, and stores it nowhere."""
    with pytest.raises(FileFormatError, match=r"\(Sub\): takes '.*', which the exporter did not store in the file"):
        tinycnn.from_onnx(FOLDER / f"{name}.onnx")


def test_the_layers_are_those_of_keras():
    """Not only their numbers: batch norm, Normalization and the branches of a residual network are found."""
    found = {name: repr(import_onnx(FOLDER / f"{name}.onnx").model) for name in NAMES if name not in WITHOUT_CONSTANT}
    for name in ("same_gap_bn.kerasexport", "same_gap_bn.torchbackend"):
        assert "ReLU(), BatchNorm(momentum=0.1, eps=0.001), MaxPool2d(" in found[name]
        assert "ReLU(), GlobalAvgPool2d(keepdims=False), Dense(units=10" in found[name]
    assert found["normalization_layer.torchbackend"].startswith("Sequential(Normalization(mean=(0.4")
    for name in ("residual_functional.tf2onnx17", "residual_functional.torchbackend"):
        assert "ReLU(), Residual(Conv2d(filters=8, kernel_size=(3, 3)" in found[name]
    for name in ("maxpool_same_odd.kerasexport", "maxpool_same_odd.torchbackend"):
        assert "MaxPool2d(kernel_size=(2, 2), stride=(2, 2), padding=((0, 1), (0, 1))" in found[name]
