"""Transfer learning: a trained network with a new head, on other classes."""

import re

import numpy as np
import pytest

import tinycnn
from tests.support.example_runner import run_example
from tinycnn import data, models
from tinycnn.data.split import only_classes
from tinycnn.errors import SettingError
from tinycnn.layers import Conv2d, Dense, Dropout, Flatten, ReLU, Sequential, Softmax


def bytes_of(model):
    return {name: values.tobytes() for name, values in model.state_dict().items()}


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("name", models.NETWORKS)
def test_a_new_head_leaves_everything_else_as_it_is(name):
    model = models.create(name)
    before, changed = bytes_of(model), model.with_head(7, seed=1)
    after, head = bytes_of(changed), f"{model.head()}."
    assert {n for n in after if after[n] != before[n]} == {f"{head}weight", f"{head}bias"}
    assert changed.output_shape == (7,)
    assert changed.class_names == tuple("0123456")
    x = np.zeros((2, *model.input_shape), np.float32)
    assert changed(x).shape == (2, 7)
    changed.parameters()[0].data[...] = 1
    assert bytes_of(model) == before  # nothing is shared


def test_the_seed_determines_the_head_and_the_dropout_masks():
    model = models.create("batchnorm_cnn")
    one, again, other = (model.with_head(3, seed=seed) for seed in (1, 1, 2))
    assert bytes_of(one) == bytes_of(again)
    assert one.counters() == again.counters()
    head = f"{model.head()}.weight"
    assert bytes_of(one)[head] != bytes_of(other)[head]
    masks = {name: value for name, value in one.counters().items() if name.endswith("seed")}
    assert masks
    assert all(other.counters()[name] != value for name, value in masks.items())


def test_frozen_layers_stay_frozen_except_the_head():
    model = models.create("lenet").freeze()
    changed = model.with_head(5)
    assert {name for name, layer in changed.layers.items() if layer.frozen} == {
        "conv2d_1",
        "conv2d_2",
        "dense_1",
        "dense_2",
    }
    assert changed.training == model.training
    assert not model.eval().with_head(5).training


def test_a_new_head_gets_new_class_names():
    model = models.create("lenet", classes=2)
    model.class_names = ("cat", "dog")
    assert model.with_head(2).class_names == ("0", "1")
    assert model.class_names == ("cat", "dog")


def test_a_changed_network_is_saved_and_loaded(tmp_path):
    model = models.create("keras_cnn").with_head(4)
    tinycnn.save(model.freeze_only("conv2d_1"), tmp_path / "model.safetensors")
    loaded = tinycnn.load(tmp_path / "model.safetensors")
    assert bytes_of(loaded) == bytes_of(model)
    assert not any(layer.frozen for layer in loaded.layers.values())  # a model file does not record freezing


@pytest.mark.parametrize(("layers", "last"), [((Conv2d(3), Flatten()), "conv2d_1"), ((Dropout(0.1),), "none")])
def test_a_network_without_a_dense_head_is_refused(layers, last):
    model = Sequential(*layers, input_shape=(5, 5, 1))
    with pytest.raises(SettingError, match=f"the last layer with parameters is {last}, expected a Dense layer"):
        model.with_head(2)


def test_layers_behind_the_head_follow_its_size():
    model = Sequential(Flatten(), Dense(3), ReLU(), Softmax(), input_shape=(5, 5, 1)).with_head(2)
    assert [layer.output_shape for layer in model.layers.values()] == [(25,), (2,), (2,), (2,)]


@pytest.mark.parametrize("classes", [0, -1, 1.5, "three"])
def test_an_invalid_number_of_classes_is_refused(classes):
    with pytest.raises(SettingError, match="expected a positive integer"):
        models.create("lenet").with_head(classes)


# ------------------------------------------------------------------------------------------------------- other classes


def test_a_subset_of_classes():
    digits = data.load("digits")
    part = only_classes(digits, [7, 2], per_class=4, seed=3)
    assert part.class_names == ("7", "2")
    assert np.bincount(part.y_train).tolist() == [4, 4]
    assert len(part.y_test) == np.isin(digits.y_test, [7, 2]).sum()
    for images, labels, all_images, all_labels in (
        (part.x_train, part.y_train, digits.x_train, digits.y_train),
        (part.x_test, part.y_test, digits.x_test, digits.y_test),
    ):
        for image, label in zip(images, labels, strict=True):
            same = (all_images == image).all(axis=(1, 2, 3))
            assert {7, 2}.issuperset(all_labels[same])
            assert all_labels[same][0] == [7, 2][label]


def test_the_seed_draws_the_examples():
    digits = data.load("digits")
    one, again, other = (only_classes(digits, [1, 2], per_class=5, seed=seed).x_train for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("classes", "settings", "words"),
    [
        ([], {}, "expected different ones of 0 to 9"),
        ([1, 1], {}, "expected different ones"),
        ([3, 10], {}, "expected different ones"),
        ([1, 2], {"per_class": 0}, "`per_class`: got 0"),
        ([1, 2], {"per_class": 10**6}, "the images of the rarest class"),
    ],
)
def test_classes_out_of_range_are_refused(classes, settings, words):
    with pytest.raises(SettingError, match=words):
        only_classes(data.load("digits"), classes, **settings)


def test_the_example_compares_three_ways(tmp_path):
    process = run_example("transfer_learning.py", "--seeds", 1, folder=tmp_path)
    assert process.returncode == 0, process.stderr
    means = re.findall(r"^(.+?) +mean (0\.\d{4}|1\.0000), from", process.stdout, re.M)
    assert [name for name, _ in means] == ["from scratch", "new head, all trained", "new head, convolutions frozen"]
    assert all(float(mean) > 0.5 for _, mean in means)  # guessing gives 0.2
    assert "this is NOT MNIST" in process.stdout


@pytest.mark.parametrize("option", ["--seeds=0", "--per-class=0"])
def test_the_example_refuses_numbers_out_of_range(option, tmp_path):
    process = run_example("transfer_learning.py", option, "--backend", "numpy", folder=tmp_path)
    assert process.returncode == 2
    assert process.stderr == f"error: {option}: expected a positive integer\n"
