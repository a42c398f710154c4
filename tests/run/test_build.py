"""Images that are too small for a network: the error names the option, and the smallest size."""

from types import SimpleNamespace

import pytest

from tinycnn import models
from tinycnn.errors import ShapeError
from tinycnn.layers import Dense, Flatten, Sequential, Sigmoid
from tinycnn.run.build import size_for, transferred


@pytest.mark.parametrize("model", ["keras_cnn", "lenet"])
def test_too_small_images(model, tmp_path):
    config = SimpleNamespace(model=model, dataset=str(tmp_path))  # a folder of pictures
    with pytest.raises(
        ShapeError, match=r"images of 4x4 pixels: use --image-size (\d+) or more, or .*--model"
    ) as raised:
        size_for(config, SimpleNamespace(input_shape=(4, 4, 3), num_classes=2))
    assert "kernel_size" not in str(raised.value)
    smallest = int(str(raised.value).partition("--image-size ")[2].split()[0])
    for size, fits in ((smallest - 1, False), (smallest, True)):
        try:
            models.size_of(model, input_shape=(size, size, 3), classes=2)
        except ShapeError:
            assert not fits
        else:
            assert fits
    config.dataset = "small.npz"
    with pytest.raises(ShapeError, match=rf"it takes images from {smallest}x{smallest}; choose another --model"):
        size_for(config, SimpleNamespace(input_shape=(4, 4, 1), num_classes=2))
    assert size_for(config, SimpleNamespace(input_shape=(28, 28, 1), num_classes=2)) > 0


def test_a_single_output_gets_a_new_head_for_two_classes_of_the_same_names():
    source = Sequential(Flatten(), Dense(1), Sigmoid(), input_shape=(6, 6, 1))
    source.class_names = ["even", "odd"]
    config = SimpleNamespace(new_head=False, seed=0, freeze=[])
    model, words = transferred(config, SimpleNamespace(class_names=("even", "odd"), num_classes=2), source)
    assert model.output_shape == (2,)
    assert words == "dense_1 is new, for 2 classes"
