"""A command does not write over the data set that it reads. For import and export: test_onnx_pixels.py."""

import os

import numpy as np
import pytest
from PIL import Image

from tinycnn.commands import main


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


def test_a_picture_beside_the_data_set_is_replaced(inputs, capsys):
    (inputs / "pictures/drawn.png").write_bytes(b"")
    assert main(["augmentation", "affine", "--dataset", "pictures", "--output", "pictures/drawn.png"]) == 0
    capsys.readouterr()
    assert (inputs / "pictures/drawn.png").read_bytes().startswith(b"\x89PNG")
