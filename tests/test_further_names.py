"""What another library calls it, and what cannot be assigned to a network: the sentence says what to write."""

import copy
import re

import numpy as np
import pytest

import tinycnn
from tinycnn import data, metrics, models, ops, optim
from tinycnn.data import augment
from tinycnn.errors import DataError, DtypeError, SettingError, ShapeError
from tinycnn.layers import BatchNorm, Conv2d, Dense, Flatten, LogSoftmax, Sequential
from tinycnn.tensor import Tensor

IMAGES, CLASSES = np.random.default_rng(0).random((6, 4, 4, 1)).astype(np.float32), np.arange(6) % 3
FIT = {"epochs": 1, "progress": False}


def network(**settings):
    return Sequential(Conv2d(2), Flatten(), Dense(3), input_shape=(4, 4, 1), **settings)


class OfPairs:
    """A Dataset of PyTorch: an image and its label for each number."""

    def __len__(self):
        return 6

    def __getitem__(self, number):
        return IMAGES[number], CLASSES[number]


CALLS = {
    "create has no setting num_classes: pass `classes`": lambda: models.create("lenet", num_classes=5),
    "create has no setting image_size: pass `input_shape`": lambda: models.create("lenet", image_size=32),
    "create has no setting pretrained: call tinycnn.load(path)": lambda: models.create("lenet", pretrained=True),
    "load has no setting root: pass `data_dir`": lambda: data.load("mnist", root="x"),
    "load has no setting train: a data set has both parts": lambda: data.load("mnist", train=True),
    "load has no setting transform: pass `augment` to fit": lambda: data.load("mnist", transform=abs),
    "`name` is ndarray: expected a name or a path; images and labels in arrays are passed to fit": lambda: data.load(
        IMAGES
    ),
    "`name` is 3: expected a name or a path": lambda: data.load(3),
    "load_pictures has no setting grey: pass `colour`: False for grey, True": lambda: data.load_pictures(
        "x", grey=True
    ),
    "with_head has no setting class_names: assign them to the network": lambda: network().with_head(
        5, class_names=list("abcde")
    ),
    "Affine has no setting rotate: pass `rotation`": lambda: augment.Affine(rotate=10),
    "Elastic has no setting zoom_range: pass `scale`": lambda: augment.Elastic(zoom_range=0.1),
    "FlipAndCrop has no setting translate: pass `shift`": lambda: augment.FlipAndCrop(translate=2),
    "softmax has no setting axis: leave it out: the classes are in the last axis": lambda: ops.softmax(IMAGES, axis=1),
    "LogSoftmax has no setting dim: leave it out: the classes are in": lambda: LogSoftmax(dim=1),
    "confusion_matrix needs `classes`: confusion_matrix(labels, predicted, 10)": lambda: metrics.confusion_matrix(
        CLASSES, CLASSES
    ),
}


@pytest.mark.parametrize("words", CALLS)
def test_arguments(words):
    with pytest.raises(SettingError, match=re.escape(words)):
        CALLS[words]()


def test_augmentations_are_still_equal_by_their_numbers():
    assert augment.Affine(rotation=3) == augment.Affine(2.0, 3) != augment.Affine()
    assert repr(augment.FlipAndCrop()) == "FlipAndCrop(flip=0.5, shift=4, edge='reflect')"


def test_the_names_of_networks_and_layers():
    with pytest.raises(AttributeError, match=r"no attribute 'names': they are the keys of tinycnn.models.NETWORKS"):
        models.names  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'dense_1': use `model.layers\['dense_1'\]`"):
        network().dense_1  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'dense_2'$"):
        network().dense_2  # noqa: B018


@pytest.mark.parametrize(("name", "value"), [("input_shape", (32, 32, 1)), ("dtype", "float64")])
def test_shape_and_dtype_of_a_network_are_not_assigned(name, value):
    model = network()
    with pytest.raises(SettingError, match=f"Sequential.{name} = .* would have no effect: the layers are built for "):
        setattr(model, name, value)
    setattr(model, name, getattr(model, name))
    outer = Sequential(model, input_shape=(4, 4, 1))  # which has the same shape
    assert outer.predict(IMAGES).shape == model.predict(IMAGES).shape == (6, 3)


def test_a_parameter_keeps_its_shape_and_its_dtype():
    """Another shape would be refused somewhere in a kernel, or be broadcast, or be read beyond its end."""
    model = network()
    weight, bias = model.layers["dense_1"].parameters()
    for frozen in (False, True):
        weight.requires_grad = not frozen
        with pytest.raises(ShapeError, match=r"data = \(1, 3\): expected an array of shape \(8, 3\), as before"):
            weight.data = np.zeros((1, 3), np.float32)
        with pytest.raises(ShapeError, match="data = float: expected an array of shape"):
            weight.data = 0.0
    with pytest.raises(DtypeError, match="got complex128"):
        weight.data = np.zeros((8, 3), complex)
    weight.data, bias.data = np.zeros((8, 3)), [1, 2, 3]
    assert weight.dtype == bias.dtype == np.float32
    np.testing.assert_array_equal(model.predict(IMAGES), [[1, 2, 3]] * 6)
    weight.data = Tensor(np.ones((8, 3), np.float32))
    assert type(weight.data) is np.ndarray


def test_a_parameter_can_be_given_an_array_that_cannot_be_written():
    model, values = network(), np.zeros((8, 3), np.float32)
    values.setflags(write=False)
    weight = model.layers["dense_1"].parameters_by_name["weight"]
    weight.data = values
    optim.SGD([weight], 0.1).step()  # without a gradient
    weight.grad = np.ones((8, 3), np.float32)
    optim.SGD([weight], 0.1).step()
    assert (weight.data == np.float32(-0.1)).all()
    assert not values.any()


def test_arrays_in_the_place_of_those_of_a_layer():
    norm = Sequential(BatchNorm(), input_shape=(2, 2, 3)).layers[0]
    norm.buffers_by_name["running_mean"] = [1, 2, 3]
    assert norm.buffers_by_name["running_mean"].dtype == np.float32
    with pytest.raises(ShapeError, match=r"running_var = \(1,\): expected an array of shape \(3,\), as before"):
        norm.buffers_by_name["running_var"] = np.ones(1)
    gamma = Tensor(np.full(3, 2, np.float32))
    norm.parameters_by_name["gamma"] = gamma  # as two layers share one
    assert norm.parameters()[0] is gamma
    with pytest.raises(
        DtypeError, match=r"gamma = ndarray: expected a Tensor; .* parameters_by_name\['gamma'\].data = "
    ):
        norm.parameters_by_name["gamma"] = np.ones(3)
    for other in (np.ones(3), np.ones(4, np.float32)):
        with pytest.raises(ShapeError, match=r"gamma = float.*: expected float32 \(3,\), as the layer was built"):
            norm.parameters_by_name["gamma"] = Tensor(other)
    copied = copy.deepcopy(norm)
    assert copied.buffers_by_name["running_mean"].tolist() == [1, 2, 3]
    with pytest.raises(ShapeError):
        copied.buffers_by_name["running_mean"] = np.ones(1)


@pytest.mark.parametrize("given", [[[0.0] * 3] * 8, Tensor(np.ones((8, 3), np.float32)), np.ones(3, np.float32)])
def test_a_gradient_of_another_kind(given):
    weight = network().layers["dense_1"].parameters_by_name["weight"]
    weight.grad = given
    for use in (lambda: optim.clip_gradients([weight], 1.0), lambda: optim.SGD([weight], 0.1).step()):
        with pytest.raises(ShapeError, match=r"a parameter has the gradient .*: expected an array \(8, 3\)"):
            use()


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        (IMAGES, r"`validation` is ndarray\(6, 4, 4, 1\): expected a pair \(images, labels\)"),
        ((IMAGES,), "`validation` is tuple of 1: expected a pair"),
        ((IMAGES, CLASSES[:5]), "`validation`: 6 images and 5 labels: expected one label per image"),
        ((IMAGES, CLASSES + 1), "`validation`: labels range from 1 to 3"),
        (OfPairs(), r"None; it has single images: pass DataLoader\(dataset, batch_size=32\)"),
    ],
)
def test_an_error_about_validation_images_names_the_argument(validation, words):
    with tinycnn.use_backend("numpy"), pytest.raises(tinycnn.TinyCNNError, match=words):
        network().fit(IMAGES, CLASSES, validation=validation, **FIT)


@pytest.mark.parametrize("use", [lambda m, given: m.fit(given, **FIT), lambda m, given: m.evaluate(given)])
def test_a_dataset_of_single_images(use):
    with pytest.raises(
        DataError, match=r"images are a OfPairs; it has single images: pass DataLoader\(dataset, batch_si"
    ):
        use(network(), OfPairs())
