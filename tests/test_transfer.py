"""Transfer learning: a trained network with a new head, on other classes."""

import numpy as np
import pytest

import tinycnn
from tinycnn import models
from tinycnn.errors import SettingError
from tinycnn.layers import Conv2d, Dense, Dropout, Flatten, ReLU, Sequential, Softmax


def bytes_of(model):
    return {name: values.tobytes() for name, values in model.state_dict().items()}


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("name", models.MODELS)
def test_a_new_head_leaves_everything_else_as_it_is(name):
    model = models.create(name, input_shape=(32, 32, 3) if "cifar" in name else (28, 28, 1))
    before, changed = bytes_of(model), model.with_head(7, seed=1)
    after, head = bytes_of(changed), f"{model.head()}."
    assert {n for n in after if after[n] != before[n]} == {f"{head}weight", f"{head}bias"}
    assert changed.output_shape == (7,)
    assert changed.class_names == tuple("0123456")
    x = np.zeros((2, *model.input_shape), np.float32)
    assert changed(x).shape == (2, 7)
    changed.parameters()[0].data[...] = 1
    assert bytes_of(model) == before  # nothing is shared


def test_the_seed_decides_about_the_head_and_the_dropout_masks():
    model = models.create("batchnorm_cnn")
    one, again, other = (model.with_head(3, seed=seed) for seed in (1, 1, 2))
    assert bytes_of(one) == bytes_of(again)
    assert one.counters() == again.counters()
    head = f"{model.head()}.weight"
    assert bytes_of(one)[head] != bytes_of(other)[head]
    masks = {name: value for name, value in one.counters().items() if name.endswith("seed")}
    assert masks
    assert all(other.counters()[name] != value for name, value in masks.items())


def test_what_is_frozen_stays_frozen_and_the_head_is_not():
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


def test_names_of_classes_do_not_outlive_their_head():
    model = models.create("lenet", classes=2)
    model.class_names = ("cat", "dog")
    assert model.with_head(2).class_names == ("0", "1")
    assert model.class_names == ("cat", "dog")


def test_a_changed_network_is_saved_and_loaded(tmp_path):
    model = models.create("keras_cnn").with_head(4)
    tinycnn.save(model.freeze_only("conv2d_1"), tmp_path / "model.safetensors")
    loaded = tinycnn.load(tmp_path / "model.safetensors")
    assert bytes_of(loaded) == bytes_of(model)
    assert not any(layer.frozen for layer in loaded.layers.values())  # freezing belongs to a run, not to a network


@pytest.mark.parametrize(("layers", "last"), [((Conv2d(3), Flatten()), "conv2d_1"), ((Dropout(0.1),), "nothing")])
def test_a_network_without_a_dense_head_is_refused(layers, last):
    model = Sequential(*layers, input_shape=(5, 5, 1))
    with pytest.raises(SettingError, match=f"a Dense layer, but the last that this network has to train is {last}"):
        model.with_head(2)


def test_layers_behind_the_head_follow_its_size():
    model = Sequential(Flatten(), Dense(3), ReLU(), Softmax(), input_shape=(5, 5, 1)).with_head(2)
    assert [layer.output_shape for layer in model.layers.values()] == [(25,), (2,), (2,), (2,)]


@pytest.mark.parametrize("classes", [0, -1, 1.5, "three"])
def test_a_number_of_classes_that_is_none(classes):
    with pytest.raises(SettingError, match="expected a whole number above 0"):
        models.create("lenet").with_head(classes)
