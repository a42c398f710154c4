"""Each method against what it says, on networks so simple that the result is known."""

import numpy as np
import pytest

from tinycnn import explain
from tinycnn.errors import SettingError
from tinycnn.explain.saliency import enlarged, map_layer
from tinycnn.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential, Softmax

IMAGE = np.random.default_rng(0).integers(0, 256, (9, 8, 1), np.uint8)


def linear():
    return Sequential(Flatten(), Dense(3, bias=False), input_shape=(9, 8, 1), dtype=np.float64)


def without_biases():
    layers = [Conv2d(4, bias=False), ReLU(), MaxPool2d(), Flatten(), Dense(3, bias=False), Softmax()]
    return Sequential(*layers, input_shape=(9, 8, 1), dtype=np.float64)


def score(model, image, label):
    return explain.plain_logits(model.eval(), explain.as_input(model, image[None])).numpy()[0, label]


def test_input_times_gradient_adds_up_to_the_score(backend):
    model = without_biases()
    contributions = explain.input_times_gradient(model, IMAGE, 1)
    assert contributions.shape == IMAGE.shape
    assert contributions.sum() == pytest.approx(score(model, IMAGE, 1), rel=1e-9)
    assert (contributions[IMAGE == 0] == 0).all()


def test_smooth_grad_without_noise_is_the_gradient(backend):
    model = without_biases()
    plain = explain.saliency(model, IMAGE, 2)
    np.testing.assert_allclose(explain.smooth_grad(model, IMAGE, 2, samples=3, noise=0), plain, rtol=1e-9)
    noisy = explain.smooth_grad(model, IMAGE, 2)
    assert not np.allclose(noisy, plain)
    np.testing.assert_array_equal(noisy, explain.smooth_grad(model, IMAGE, 2))
    np.testing.assert_allclose(explain.smooth_grad(linear(), IMAGE, 0), explain.saliency(linear(), IMAGE, 0), rtol=1e-9)


def test_grad_cam_by_hand(backend):
    """The score is the sum of one map: its weight is 1 everywhere, so the result is that map, enlarged."""
    model = Sequential(Conv2d(2), ReLU(), Flatten(), Dense(2, bias=False), input_shape=(9, 8, 1), dtype=np.float64)
    weight = model.layers["dense_1"].parameters_by_name["weight"]
    values = np.zeros(weight.shape)
    values[0::2, 1] = 1.0  # class 1: the sum of map 0
    values[1::2, 0] = -1.0  # class 0: minus the sum of map 1
    weight.data = backend.asarray(values)
    maps = explain.activations(model, IMAGE)["relu_1"]
    np.testing.assert_allclose(explain.grad_cam(model, IMAGE, 1), enlarged(maps[:, :, 0], (9, 8)), rtol=1e-9)
    assert (explain.grad_cam(model, IMAGE, 0) == 0).all()  # only what raises the score
    assert explain.grad_cam(model, IMAGE, 1, layer="conv2d_1").shape == (9, 8)
    with pytest.raises(SettingError, match="expected one whose output is an image: conv2d_1, relu_1"):
        explain.grad_cam(model, IMAGE, 1, layer="dense_1")


def test_the_layer_of_grad_cam_has_maps_that_show_something():
    layers = [Conv2d(4), ReLU(), MaxPool2d(), MaxPool2d(3), Flatten(), Dense(3)]
    assert map_layer(Sequential(*layers, input_shape=(9, 8, 1))) == "maxpool2d_1"
    assert map_layer(linear()) == ""


def test_occlusion_of_a_linear_network(backend):
    """Covering a patch removes what its pixels contribute."""
    model = linear()
    parts = explain.input_times_gradient(model, IMAGE, 2)[:, :, 0]
    found = explain.occlusion(model, IMAGE, 2, patch=3)
    padded = np.pad(parts, 1)
    expected = sum(padded[h : h + 9, w : w + 8] for h in range(3) for w in range(3))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(explain.occlusion(model, IMAGE, 2, patch=1), parts, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("settings", [{"patch": 4, "paper": 90}, {"patch": 3, "label": 0}])
def test_occlusion_is_what_one_prediction_per_place_gives(backend, settings):
    """float32, so that fused kernels compute it where the backend has them."""
    layers = [Conv2d(4), ReLU(), MaxPool2d(), Flatten(), Dense(3), Softmax()]
    model = Sequential(*layers, input_shape=(9, 8, 1))
    patch, paper, label = settings["patch"], settings.get("paper", 0), settings.get("label", 1)
    covered = np.repeat(IMAGE[None], 72, axis=0)
    for one, place in zip(covered, np.ndindex(9, 8), strict=True):
        rows, columns = (slice(max(0, i - patch // 2), i - patch // 2 + patch) for i in place)
        one[rows, columns] = paper
    scores = explain.plain_logits(model.eval(), explain.as_input(model, covered)).numpy()[:, label]
    expected = (score(model, IMAGE, label) - scores).reshape(9, 8)
    found = explain.occlusion(model, IMAGE, **{"label": 1} | settings)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_occlusion_reads_no_picture_that_a_patch_leaves_as_it_is(monkeypatch):
    """Of a drawing, most patches cover only paper: nothing to compute, and exactly 0."""
    model, image, read = without_biases(), np.zeros((9, 8, 1), np.uint8), []
    image[4, 3] = 200
    logits = model.logits
    monkeypatch.setattr(model, "logits", lambda x: (read.append(len(x.numpy())), logits(x))[1])
    found = explain.occlusion(model, image, 1, patch=3)
    assert sum(read) == 1 + 9  # the whole picture, and the nine patches that reach the pixel
    outside = np.ones((9, 8), bool)
    outside[3:6, 2:5] = False
    assert (found[outside] == 0).all()
    assert found[~outside] == pytest.approx([score(model, image, 1)] * 9, rel=1e-12)


def test_enlarged_keeps_the_corners_and_straight_lines():
    ramp = np.arange(3.0)[:, None] + 10 * np.arange(2.0)
    large = enlarged(ramp, (5, 4))
    np.testing.assert_allclose(large[[0, 0, -1, -1], [0, -1, 0, -1]], [0, 10, 2, 12])
    np.testing.assert_allclose(large[:, 0], [0, 0.5, 1, 1.5, 2])
    np.testing.assert_allclose(enlarged(np.array([[7.0]]), (2, 3)), 7)


def test_all_methods_together():
    maps = explain.saliency_methods(without_biases(), IMAGE)
    assert list(maps) == ["gradient", "input × gradient", "SmoothGrad", "Grad-CAM", "occlusion"]
    assert all(each.shape == (9, 8) for each in maps.values())
    assert "Grad-CAM" not in explain.saliency_methods(linear(), IMAGE)


@pytest.mark.parametrize("method", ["saliency", "input_times_gradient", "smooth_grad", "grad_cam", "occlusion"])
def test_an_unknown_class_is_refused(method):
    with pytest.raises(SettingError, match=f"{method}: label 3, expected 0 to 2"):
        getattr(explain, method)(without_biases(), IMAGE, 3)
