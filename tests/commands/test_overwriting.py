"""A command does not write over the data set that it reads, nor over a file of another format.

For import and export: test_onnx_pixels.py.
"""

import argparse
import os

import numpy as np
import pytest
from PIL import Image

from tinycnn.commands import main
from tinycnn.commands.shared_options import check_not_of_dataset
from tinycnn.errors import SettingError


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """A data set as a file, as a folder of arrays and as a folder of pictures, and other names for its files."""
    monkeypatch.chdir(tmp_path)
    labels = np.arange(4) % 2
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28)).astype(np.uint8)
    np.savez("d.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    os.symlink("d.npz", "link.png")
    os.link("d.npz", "hard.png")
    os.mkdir("arrays")
    for part in ("train", "test"):
        np.save(f"arrays/x_{part}.npy", images[..., None])
        np.save(f"arrays/y_{part}.npy", labels)
    for i, image in enumerate(images):
        os.makedirs(f"pictures/{labels[i]}", exist_ok=True)
        Image.fromarray(image).save(f"pictures/{labels[i]}/{i}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("dataset", "output"),
    [
        ("d.npz", "d.npz"),
        ("d.npz", "arrays/../d.npz"),
        ("d.npz", "link.png"),
        ("d.npz", "hard.png"),
        ("arrays", "arrays/x_train.npy"),
        ("pictures", "pictures/0/0.png"),
        ("arrays/../pictures", "pictures/1/1.png"),
    ],
)
def test_the_picture_of_an_augmentation_is_another_file(dataset, output, inputs, capsys):
    def content():
        return {path: path.read_bytes() for path in inputs.rglob("*") if path.is_file()}

    before = content()
    assert main(["augmentation", "affine", "--dataset", dataset, "--output", output]) == 2
    said = capsys.readouterr().err
    assert f"--output {output}: this " in said
    assert "choose another name" in said
    assert content() == before


KEPT = {
    "export first.safetensors second.safetensors": "--onnx second.safetensors: an ONNX file is written",
    "train --dataset d.npz --csv d.npz": "--csv d.npz: this is the data set itself",
    "train --init-from first.safetensors --csv first.safetensors": "--csv first.safetensors: a CSV table is written",
    "train --dataset d.npz --data-dir arrays --csv arrays/x_train.npy": "this file belongs to the data set arrays",
    "train --dataset d.npz --csv metrics.JSON": "--csv metrics.JSON: a CSV table is written, and .JSON is the ending",
    "runs . --page metrics.JSON": "--page metrics.JSON: an HTML page is written",
    "trace first.safetensors hard.png --label 1 --html other.png": "--html other.png: an HTML page is written",
    "trace first.safetensors hard.png --label 1 --save other.png": "name it other.safetensors",
    "augmentation affine --dataset d.npz --output second.safetensors": "--output second.safetensors: a PNG picture",
    "lr-find --dataset d.npz --output curve.pdf": "name it curve.png",
    "import weights.h5 --into second.safetensors --model second.safetensors": "this is the network of --into itself",
}


@pytest.mark.parametrize(("command", "sentence"), KEPT.items())
def test_a_file_of_another_format_is_kept(command, sentence, inputs, capsys):
    """``tinycnn export runs/*/model.safetensors``, where two networks match, wrote over the second."""
    for name in ("first.safetensors", "second.safetensors", "metrics.JSON", "other.png", "curve.pdf", "weights.h5"):
        (inputs / name).write_text(f"{name} is still needed")
    before = {path: path.read_bytes() for path in inputs.rglob("*") if path.is_file()}
    assert main(command.split()) == 2
    assert sentence in capsys.readouterr().err
    assert {path: path.read_bytes() for path in inputs.rglob("*") if path.is_file()} == before


def test_a_csv_file_beside_the_data_set_is_replaced(inputs):
    (inputs / "arrays/live.csv").write_text("of the last run")
    options = argparse.Namespace(dataset="arrays", data_dir=None)
    check_not_of_dataset("--csv", inputs / "arrays/live.csv", options)
    with pytest.raises(SettingError, match="belongs to the data set"):
        check_not_of_dataset("--csv", inputs / "arrays/x_test.npy", options)


def test_a_picture_beside_the_data_set_is_replaced(inputs, capsys):
    (inputs / "pictures/drawn.png").write_bytes(b"")
    assert main(["augmentation", "affine", "--dataset", "pictures", "--output", "pictures/drawn.png"]) == 0
    capsys.readouterr()
    assert (inputs / "pictures/drawn.png").read_bytes().startswith(b"\x89PNG")
