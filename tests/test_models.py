"""The published networks: layers, shapes and parameter counts as their authors state them; and our own network."""

import copy
import pickle
import re
import tracemalloc
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinycnn
from tests.support.train_configs import config_of
from tinycnn import Tensor, data, gradcheck, models, ops
from tinycnn.data.augment import named
from tinycnn.data.redrawn import redrawn
from tinycnn.errors import OutOfMemoryError, SettingError, ShapeError
from tinycnn.layers import Conv2d, Dense, Dropout, Flatten, Sequential, initial_values, pixel_scale
from tinycnn.optim import Adam
from tinycnn.run.build import make_model, make_trainer
from tinycnn.saving.model_file import check_finite
from tinycnn.train import Trainer, evaluate
from tinycnn.train.capture import reason_not_recordable

SEQUENCES = {
    "lenet": """
        Conv2d(6) ReLU MaxPool2d  Conv2d(16) ReLU MaxPool2d  Flatten
        Dense(120) ReLU  Dense(84) ReLU  Dense(10) LogSoftmax""",
    "keras_cnn": """
        Conv2d(32) ReLU MaxPool2d  Conv2d(64) ReLU MaxPool2d  Flatten
        Dense(128) ReLU  Dense(10) Softmax""",
    "batchnorm_cnn": """
        Conv2d(32) ReLU BatchNorm MaxPool2d  Conv2d(64) ReLU BatchNorm MaxPool2d  Conv2d(128) ReLU BatchNorm  Flatten
        Dense(128) ReLU Dropout(0.5)  Dense(64) ReLU Dropout(0.3)  Dense(10) Softmax""",
    "single_conv": """
        Conv2d(32) ReLU MaxPool2d  Flatten
        Dense(128) ReLU  Dense(10) Softmax""",
    "three_conv": """
        Rescaling  Conv2d(32) ReLU MaxPool2d  Conv2d(64) ReLU MaxPool2d  Conv2d(128) ReLU MaxPool2d  Flatten
        Dropout(0.5)  Dense(64) ReLU  Dense(10)""",
}
DIGITS = """
    Conv2d(24) ReLU BatchNorm MaxPool2d  Conv2d(48) ReLU BatchNorm MaxPool2d
    Conv2d(64) ReLU BatchNorm  Conv2d(96) ReLU BatchNorm  Flatten  Dense(10) LogSoftmax"""
OURS = """
    Conv2d(32) ReLU BatchNorm  Conv2d(32) ReLU BatchNorm MaxPool2d
    Conv2d(64) ReLU BatchNorm  Conv2d(64) ReLU BatchNorm MaxPool2d
    Conv2d(128) ReLU BatchNorm  Conv2d(128) ReLU BatchNorm MaxPool2d
    Flatten Dropout(0.5)  Dense(10) LogSoftmax"""

# Weights plus biases of each layer that has any: 3·3·C·F + F of a convolution, in·out + out of a dense layer.
COUNTS = {
    "lenet": [60, 880, 48_120, 10_164, 850],
    "keras_cnn": [320, 18_496, 204_928, 1_290],
    "batchnorm_cnn": [320, 64, 18_496, 128, 73_856, 256, 147_584, 8_256, 650],
    "single_conv": [320, 692_352, 1_290],
    "three_conv": [320, 18_496, 73_856, 8_256, 650],
}
TOTALS = dict(zip(COUNTS, [60_074, 225_034, 249_610, 693_962, 101_578], strict=True))
FLAT = {"lenet": 400, "keras_cnn": 1600, "batchnorm_cnn": 1152, "single_conv": 5408, "three_conv": 128}

each_model = pytest.mark.parametrize("name", SEQUENCES)


def test_models_lists_the_five_published_networks():
    assert list(models.MODELS) == list(SEQUENCES)


def test_networks_adds_our_own():
    assert list(models.NETWORKS) == [*SEQUENCES, "digit_cnn", "cifar_cnn", "whitened_cnn", "wide_whitened_cnn"]


def as_word(layer):
    argument = next((getattr(layer, name) for name in ("filters", "units", "p") if hasattr(layer, name)), None)
    return type(layer).__name__ + ("" if argument is None else f"({argument})")


@each_model
def test_layers_and_their_order(name):
    network = models.create(name)
    assert [as_word(layer) for layer in network.layers.values()] == SEQUENCES[name].split()


@each_model
def test_windows_are_3x3_for_convolutions_and_2x2_for_pools(name):
    for layer in models.create(name).layers.values():
        window = tuple(getattr(layer, setting, None) for setting in ("kernel_size", "stride", "padding"))
        expected = {"Conv2d": ((3, 3), (1, 1), (0, 0)), "MaxPool2d": ((2, 2), (2, 2), (0, 0))}
        assert window == expected.get(type(layer).__name__, (None, None, None))


@each_model
def test_parameter_counts_per_layer_and_in_total(name):
    network = models.create(name)
    counts = [sum(parameter.data.size for parameter in layer.parameters()) for layer in network.layers.values()]
    assert [count for count in counts if count] == COUNTS[name]
    assert network.parameter_count() == sum(COUNTS[name]) == TOTALS[name]
    assert f"{TOTALS[name]:,} trainable parameters" in network.summary()


@each_model
def test_running_statistics_are_counted_separately(name):
    network = models.create(name)
    count = sum(buffer.size for _, buffer in network.named_buffers())
    assert count == (448 if name == "batchnorm_cnn" else 0)
    assert ("448 running statistics" in network.summary()) == bool(count)


@pytest.mark.usefixtures("backend")
@each_model
def test_outputs(name):
    network = models.create(name)
    assert network.output_shape == (10,)
    assert network.layers["flatten_1"].output_shape == (FLAT[name],)
    x = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1)).astype(np.float32)
    y = network.eval()(x * pixel_scale(network)).numpy()
    assert y.shape == (3, 10)
    assert y.dtype == np.float32
    if name != "three_conv":  # it ends in scores, not probabilities
        probabilities = np.exp(y) if name == "lenet" else y
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_three_conv_takes_raw_pixels():
    network = models.create("three_conv")
    pixels = np.full((1, 28, 28, 1), 255, np.float32)
    np.testing.assert_allclose(network.layers["rescaling_1"](Tensor(pixels)).numpy(), 1, rtol=1e-6)
    assert pixel_scale(network) == 1
    assert all(pixel_scale(models.create(name)) == 1 / 255 for name in SEQUENCES if name != "three_conv")


@each_model
def test_author_recipes(name):
    epochs = {"lenet": 5, "keras_cnn": 5, "batchnorm_cnn": 10, "single_conv": 5, "three_conv": 10}
    recipe = models.MODELS[name].recipe("author")
    assert recipe.epochs == epochs[name]
    assert recipe.lr == 1e-3
    assert recipe.schedule == "constant"
    assert recipe.validation_split == (0.2 if name == "single_conv" else 0)
    assert not recipe.augment
    assert models.MODELS[name].recipe("best").epochs <= 20


def test_our_network_for_digits():
    network = models.create("digit_cnn")
    assert [as_word(layer) for layer in network.layers.values()] == DIGITS.split()
    convolutions = [(1, 24), (24, 48), (48, 64), (64, 96)]  # channels in and out
    expected = sum(9 * C * F + F + 2 * F for C, F in convolutions) + (3 * 3 * 96 + 1) * 10
    assert network.parameter_count() == expected == 102_874 < 400_000
    recipe = models.NETWORKS["digit_cnn"].recipe("best")
    assert recipe.epochs <= 20
    assert recipe.average_weights
    assert models.create("digit_cnn", input_shape=(18, 19, 3), classes=3).output_shape == (3,)
    with pytest.raises(ShapeError, match="layer conv2d_4 does not fit"):
        models.create("digit_cnn", input_shape=(17, 18, 1))


def test_the_recipe_of_our_network_for_digits_is_recorded():
    """Steps from Python would take much longer than three minutes."""
    words = ["--model", "digit_cnn", "--recipe", "best", "--dataset", "digits", "--threads", "1"]
    config = config_of(words)
    with tinycnn.use_backend("numba"):
        trainer = make_trainer(config, models.create("digit_cnn"), 60_000)
        step, images = trainer.training_step, np.zeros((1, 28, 28, 1), np.uint8)
        assert step.average
        assert reason_not_recordable(step, images) == ""


# --------------------------------------------------------------------------------------------- the network that we ship


def test_the_network_that_comes_with_the_package():
    network = models.trained()
    assert models.TRAINED.stat().st_size < 500_000
    assert models.name_of(network) == "digit_cnn"
    assert not network.training
    assert network.class_names == tuple("0123456789")
    assert network.pictures == "drawing"
    check_finite(network, models.TRAINED)


def test_it_reads_digits(mnist_folder):
    """The first 500 test images, and some of them redrawn, with other pens and turned by up to 35 degrees."""
    mnist = data.load("mnist", data_dir=mnist_folder)
    images, labels = mnist.x_test[:500], mnist.y_test[:500]
    network = models.trained()
    assert evaluate(network, images, labels).accuracy > 0.99
    for seed in (1, 2):
        assert evaluate(network, redrawn(images[:250], seed), labels[:250]).accuracy > 0.95


def test_our_network_for_colour_images():
    network = models.create("cifar_cnn")
    assert network.input_shape == (32, 32, 3)
    assert [as_word(layer) for layer in network.layers.values()] == OURS.split()
    pairs = [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]  # channels in and out
    expected = sum(9 * C * F + F + 2 * F for C, F in pairs) + (4 * 4 * 128 + 1) * 10
    assert network.parameter_count() == expected == 308_394
    assert sum(buffer.size for _, buffer in network.named_buffers()) == 2 * sum(F for _, F in pairs)


WHITENED = """
    Conv2d(24) ReLU
    Conv2d(48) ReLU BatchNorm MaxPool2d  Conv2d(48) ReLU BatchNorm
    Conv2d(96) ReLU BatchNorm MaxPool2d  Conv2d(96) ReLU BatchNorm
    Conv2d(192) ReLU BatchNorm MaxPool2d  Conv2d(192) ReLU BatchNorm
    GlobalAvgPool2d  Dense(10) LogSoftmax"""


def test_our_network_with_a_whitened_first_layer():
    network = models.create("whitened_cnn")
    assert [as_word(layer) for layer in network.layers.values()] == WHITENED.split()
    pairs = [(24, 48), (48, 48), (48, 96), (96, 96), (96, 192), (192, 192)]  # channels in and out
    expected = (4 * 3 + 1) * 24 + sum(9 * C * F + F + 2 * F for C, F in pairs) + (192 + 1) * 10
    assert network.parameter_count() == expected == 657_442
    assert models.create("whitened_cnn", input_shape=(28, 28, 1), classes=3).output_shape == (3,)
    assert models.create("whitened_cnn", input_shape=(9, 9, 3)).output_shape == (10,)
    whitened = [name for name, model in models.NETWORKS.items() if model.whitened]
    assert whitened == ["whitened_cnn", "wide_whitened_cnn"]


def test_the_wide_network_has_the_filters_of_its_source():
    network = models.create("wide_whitened_cnn")
    filters = [layer.filters for layer in network.layers.values() if isinstance(layer, Conv2d)]
    assert filters == [24, 64, 64, 256, 256, 256, 256]
    pairs = [(24, 64), (64, 64), (64, 256), (256, 256), (256, 256), (256, 256)]  # channels in and out
    expected = (4 * 3 + 1) * 24 + sum(9 * C * F + F + 2 * F for C, F in pairs) + (256 + 1) * 10
    assert network.parameter_count() == expected


def test_our_network_takes_other_images_and_classes():
    assert models.create("cifar_cnn", input_shape=(28, 28, 1), classes=3).output_shape == (3,)
    assert models.create("cifar_cnn", input_shape=(8, 8, 3)).output_shape == (10,)
    with pytest.raises(ShapeError, match="layer maxpool2d_3 does not fit"):
        models.create("cifar_cnn", input_shape=(7, 8, 3))


@pytest.mark.parametrize("backend_name", ["numpy", "numba"])
@pytest.mark.parametrize(("name", "shape"), [("cifar_cnn", (8, 8, 3)), ("digit_cnn", (18, 18, 1))])
def test_the_gradients_of_our_networks(backend_name, name, shape):
    with tinycnn.use_backend(backend_name):
        network = models.create(name, input_shape=shape, dtype=np.float64)
        for layer in network.layers.values():
            if isinstance(layer, Dropout):
                layer.eval()  # it draws a different mask in every call
        x = Tensor(np.random.default_rng(0).uniform(size=(3, *shape)), requires_grad=True)
        inputs = [x, *network.parameters()]
        result = gradcheck(lambda *_: ops.softmax_cross_entropy(network.logits(x), [1, 9, 4]), inputs, fast_mode=True)
        assert result.checked == len(inputs)


@pytest.mark.parametrize("backend_name", ["numpy", "numba"])
def test_our_network_learns_colours(backend_name):
    """After 40 steps it finds the brightest of three noisy channels in images that it was not trained on."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 96)
    images = rng.integers(0, 150, (96, 8, 8, 3), dtype=np.uint8)
    images[np.arange(96), :, :, labels] += 100
    with tinycnn.use_backend(backend_name):
        network = models.create("cifar_cnn", input_shape=(8, 8, 3), classes=3)
        augment = named(models.NETWORKS["cifar_cnn"].recipe("best").augment)
        trainer = Trainer(network, Adam(network.parameters()), batch_size=16, augment=augment)
        trainer.fit(images[:64], labels[:64], epochs=10)
        assert evaluate(network, images[64:], labels[64:]).accuracy > 0.9


def test_unknown_names_are_refused():
    with pytest.raises(SettingError, match="unknown model 'lenot': choose one of lenet, keras_cnn"):
        models.create("lenot")
    with pytest.raises(SettingError, match="unknown recipe 'worst'"):
        models.MODELS["lenet"].recipe("worst")


@pytest.mark.parametrize(
    ("name", "smallest", "culprit"),
    [
        ("lenet", 10, "maxpool2d_2"),
        ("keras_cnn", 10, "maxpool2d_2"),
        ("batchnorm_cnn", 18, "conv2d_3"),
        ("single_conv", 4, "maxpool2d_1"),
        ("three_conv", 22, "maxpool2d_3"),
    ],
)
def test_images_that_are_too_small_are_refused(name, smallest, culprit):
    assert models.create(name, input_shape=(smallest, smallest, 1)).output_shape == (10,)
    with pytest.raises(ShapeError, match=f"layer {culprit} does not fit") as caught:
        models.create(name, input_shape=(smallest - 1, smallest, 1))
    assert "larger images" in str(caught.value)


@each_model
def test_other_numbers_of_classes_and_channels(name):
    network = models.create(name, input_shape=(32, 30, 3), classes=7)
    x = np.random.default_rng(0).random((2, 32, 30, 3), np.float32)
    assert network.eval()(x).shape == (2, 7)
    last = [layer for layer in network.layers.values() if type(layer).__name__ == "Dense"][-1]
    assert last.units == 7
    assert network.parameters()[0].shape[2] == 3


@pytest.mark.parametrize("classes", [0, -1, 2.5])
def test_an_invalid_number_of_classes_is_refused(classes):
    with pytest.raises(SettingError, match="expected a positive integer"):
        models.create("lenet", classes=classes)


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(list(SEQUENCES)),
    shape=st.tuples(st.integers(1, 24), st.integers(1, 24), st.integers(1, 2)),
    classes=st.integers(1, 12),
)
def test_any_image_either_fits_or_is_refused(name, shape, classes):
    try:
        network = models.create(name, input_shape=shape, classes=classes)
        outcome = network.eval()(np.zeros((1, *shape), np.float32)).shape
    except ShapeError as error:
        outcome = str(error)
    assert outcome == (1, classes) or re.search(r"layer \w+_\d does not fit", outcome)


def test_float64_and_seeds():
    first, again, other = (models.create("lenet", seed=seed, dtype=np.float64).state_dict() for seed in (3, 3, 4))
    assert all(array.dtype == np.float64 for array in first.values())
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["dense_1.weight"], other["dense_1.weight"])


# ---------------------------------------------------------------------------------------------------------------- size


@pytest.mark.parametrize("name", models.NETWORKS)
def test_the_size_is_known_without_making_the_network(name):
    for dtype in (np.float32, np.float64):
        model = models.create(name, classes=3, dtype=dtype)
        made = sum(array.nbytes for array in model.state_dict().values())
        assert models.size_of(name, input_shape=model.input_shape, classes=3, dtype=dtype) == made


def test_the_size_of_a_network_that_does_not_fit_names_the_layer():
    for measure in (models.size_of, models.create):
        with pytest.raises(ShapeError, match=r"^layer conv2d_2 does not fit: .* 2x2 image"):
            measure("keras_cnn", input_shape=(6, 6, 1), classes=3)


def test_networks_that_are_too_large_take_no_memory(monkeypatch):
    """It took 12 GB before the network was refused. The number of bytes was computed by hand."""
    dataset = types.SimpleNamespace(input_shape=(1024, 1024, 3), num_classes=10)
    config = types.SimpleNamespace(model="batchnorm_cnn", seed=0)
    tracemalloc.start()
    try:
        with pytest.raises(SettingError, match="the network has 4,162,210,856 bytes; the limit of a model file"):
            make_model(config, dataset, None)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    monkeypatch.setattr(initial_values, "free_host_memory", lambda: 1 << 30)
    with pytest.raises(OutOfMemoryError, match=r"Dense: the weight \(67108864, 4\) takes 3.0 GiB while it is made"):
        Sequential(Flatten(), Dense(4), input_shape=(8192, 8192, 1))


def test_a_list_of_layers_says_how_it_becomes_a_network():
    layers = models.keras_cnn(3)
    words = re.escape("keras_cnn() is a list of layers; models.create('keras_cnn') is the network")
    assert isinstance(layers, list)
    assert [*layers[:1], *layers[1:]] == layers
    with pytest.raises(AttributeError, match=f"no attribute 'fit': {words}"):
        layers.fit(np.zeros((1, 28, 28, 1)), [0])
    with pytest.raises(TypeError, match=words):
        layers(np.zeros((1, 28, 28, 1)))
    assert copy.deepcopy(layers).made_by == pickle.loads(pickle.dumps(layers)).made_by == "keras_cnn"
    with pytest.raises(TypeError, match="lenet has no setting input_shape: pass `input_shape="):
        models.lenet(input_shape=(28, 28, 1))
    for name in (models.lenet, models.lenet()):
        with pytest.raises(SettingError, match=r"unknown model .*: pass its name, 'lenet'$"):
            models.create(name)
    with pytest.raises(AttributeError, match=r"'LeNet'; did you mean lenet\?$"):
        _ = models.LeNet
    with pytest.raises(AttributeError, match=r"'resnet18': choose one of NETWORKS for create\(name\), or build it"):
        _ = models.resnet18
