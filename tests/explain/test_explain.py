"""``tinycnn.explain``: activations and gradients are correct, and computing them leaves the network unchanged."""

import numpy as np
import pytest

import tinycnn
from tinycnn import explain, models, no_grad
from tinycnn.data.stored import StoredImages
from tinycnn.errors import SettingError, ShapeError
from tinycnn.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU, Sequential, Softmax


@pytest.fixture
def model(backend):
    """A small network of 9x8 images in two channels, five classes, on each backend."""
    layers = [Conv2d(4), ReLU(), BatchNorm(), MaxPool2d(), Flatten(), Dense(6), Dropout(0.5), Dense(5), Softmax()]
    return Sequential(*layers, input_shape=(9, 8, 2), dtype=np.float64)


IMAGES = np.random.default_rng(0).integers(0, 256, (7, 9, 8, 2), np.uint8)
LABELS = np.arange(7) % 5


def test_activations_are_the_outputs_of_the_layers(model):
    outputs = explain.activations(model, IMAGES[0])
    assert list(outputs) == list(model.layers.keys())
    assert {name: out.shape for name, out in outputs.items()} == {n: la.output_shape for n, la in model.layers.items()}
    with no_grad():
        whole = model.eval()(explain.as_input(model, IMAGES[:1])).numpy()[0]
    np.testing.assert_allclose(outputs["softmax_1"], whole, rtol=1e-12)
    assert outputs["softmax_1"].sum() == pytest.approx(1)
    assert (outputs["relu_1"] == np.maximum(outputs["conv2d_1"], 0)).all()


@pytest.mark.parametrize("label", [0, 3, None])
def test_saliency_is_the_slope_of_the_score(model, label):
    image, step = IMAGES[1], 1e-3
    gradient = explain.saliency(model, image, label)
    assert gradient.shape == image.shape
    x = explain.as_input(model, image[np.newaxis])

    def score(x):
        with no_grad():
            scores = explain.plain_logits(model.eval(), x).numpy()[0]
        return scores[label if label is not None else scores.argmax()]

    for place in [(0, 0, 0), (4, 5, 1), (7, 2, 0)]:
        up, down = x.numpy().copy(), x.numpy().copy()
        up[0][place] += step
        down[0][place] -= step
        slope = (score(tinycnn.Tensor(up)) - score(tinycnn.Tensor(down))) / (2 * step)
        assert gradient[place] == pytest.approx(slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("label", [-1, 5])
def test_saliency_of_an_unknown_class_is_refused(model, label):
    with pytest.raises(SettingError, match="expected 0 to 4"):
        explain.saliency(model, IMAGES[0], label)


def test_the_gradients_are_those_of_a_training_step(model):
    gradients = explain.step_gradients(model, IMAGES, LABELS)
    logits = explain.plain_logits(model.train(), explain.as_input(model, IMAGES))
    tinycnn.ops.softmax_cross_entropy(logits, LABELS).backward()
    assert list(gradients) == [name for name, _ in model.named_parameters()]
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(gradients[name], tinycnn.get_backend().to_host(parameter.grad))


def test_images_on_the_disk_are_read(model, tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    stored = StoredImages(tmp_path / "images.npy")
    expected = explain.step_gradients(model, IMAGES, LABELS)
    for name, gradient in explain.step_gradients(model, stored, LABELS).items():
        np.testing.assert_array_equal(gradient, expected[name])
    assert explain.as_input(model, stored).shape == IMAGES.shape


@pytest.mark.parametrize("training", [True, False])
def test_explain_leaves_the_network_unchanged(model, training):
    model.train(training)
    model.parameters()[0].grad = "untouched"
    before, dropout = model.state_dict(), model.layers["dropout_1"]
    explain.activations(model, IMAGES[0])
    explain.saliency(model, IMAGES[0])
    model.parameters()[0].grad = None
    explain.step_gradients(model, IMAGES, LABELS)
    assert all((before[name] == after).all() for name, after in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert (model.training, dropout.training, dropout.step) == (training, training, 0)


def test_the_mode_is_restored_after_an_error(model):
    model.train()
    with pytest.raises(ShapeError, match=r"images have shape \(1, 28, 28, 1\), the network takes \(N, 9, 8, 2\)"):
        explain.activations(model, np.zeros((28, 28, 1), np.uint8))
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", models.NETWORKS)
def test_explain_works_for_every_network(backend, name):
    model = models.create(name)
    image = np.random.default_rng(1).integers(0, 256, model.input_shape, np.uint8)
    assert all(np.isfinite(output).all() for output in explain.activations(model, image).values())
    assert np.abs(explain.saliency(model, image)).max() > 0
