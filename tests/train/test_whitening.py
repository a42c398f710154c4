"""Whitening filters: what they compute, and the layer that gets them."""

import numpy as np
import pytest

import tinycnn
from tinycnn import optim
from tinycnn.data.stored import StoredImages
from tinycnn.errors import DataError, SettingError
from tinycnn.layers import Conv2d, Dense, Flatten, ReLU, Sequential
from tinycnn.saving.model_file import load
from tinycnn.train import Trainer
from tinycnn.train.whitening import patch_statistics, whiten, whitening_filters


def photographs(count=40, size=8, channels=3, seed=0):
    """Images whose adjacent pixels are alike, as in photographs: smoothed noise, with some noise added."""
    rng = np.random.default_rng(seed)
    rough = rng.normal(size=(count, size + 4, size + 4, channels))
    smooth = sum(rough[:, i : i + size, j : j + size] for i in range(4) for j in range(4)) / 4
    return np.clip(128 + 40 * smooth + 4 * rng.normal(size=smooth.shape), 0, 255).astype(np.uint8)


def network(filters=24, channels=3, **settings):
    layers = Conv2d(filters, 2, **settings), ReLU(), Flatten(), Dense(3)
    return Sequential(*layers, input_shape=(8, 8, channels), seed=1)


def outputs(model, images):
    """The outputs of the first layer, one row for each patch, ``(n, F)``."""
    layer = next(iter(model.layers.values()))
    y = tinycnn.get_backend().to_host(layer(tinycnn.Tensor((images / np.float32(255)).astype(np.float32))).data)
    return y.reshape(-1, y.shape[-1]).astype(np.float64)


@pytest.mark.usefixtures("backend")
def test_the_outputs_have_mean_zero_variance_one_and_no_correlation():
    images = photographs()
    before = outputs(network(), images)[:, :12]
    assert np.abs(np.corrcoef(before.T) - np.eye(12)).max() > 0.5  # otherwise there would be nothing to show
    after = outputs(whiten(network(), images, eps=0.0), images)
    covariance = after[:, :12].T @ after[:, :12] / len(after)
    np.testing.assert_allclose(covariance, np.eye(12), atol=5e-3)
    np.testing.assert_allclose(after[:, :12].mean(axis=0), 0, atol=5e-3)
    np.testing.assert_allclose(after[:, 12:], -after[:, :12], atol=1e-3)  # relu(w) - relu(-w) = w


def test_the_statistics_are_those_of_all_patches():
    images = photographs(count=230)
    patches = np.array([
        image[i : i + 2, j : j + 3].ravel() / 51 for image in images for i in range(7) for j in range(6)
    ])  # fmt: skip
    mean, covariance = patch_statistics(images, (2, 3), 1 / 51)
    np.testing.assert_allclose(mean, patches.mean(axis=0))
    np.testing.assert_allclose(covariance, np.cov(patches.T, bias=True), atol=1e-10)


def test_small_variances_are_not_amplified_without_limit():
    covariance = np.diag([4.0, 1e-12])
    np.testing.assert_allclose(np.abs(whitening_filters(covariance, 0.01)), [[4.01**-0.5, 0], [0, 10]], rtol=1e-6)


def test_constant_images_give_finite_filters():
    model = whiten(network(), np.full((5, 8, 8, 3), 77, np.uint8))
    assert all(np.isfinite(values).all() for values in model.state_dict().values())


def test_grey_images_need_fewer_filters_and_the_others_are_kept():
    images, random = photographs(channels=1), network(filters=10, channels=1)
    model = whiten(network(filters=10, channels=1), images, eps=0.0)
    after = outputs(model, images)
    np.testing.assert_allclose(np.cov(after[:, :4].T), np.eye(4), atol=5e-3)
    kept, weight = (one.state_dict()["conv2d_1.weight"] for one in (random, model))
    assert np.array_equal(weight[..., 8:], kept[..., 8:])


def test_the_layer_is_frozen_and_saved(tmp_path):
    images = photographs()
    model = whiten(network(), images)
    before = model.state_dict()
    Trainer(model, optim.Muon(model.parameters()), batch_size=8).fit(images, np.arange(40) % 3, epochs=1)
    after = model.state_dict()
    changed = {name for name, values in after.items() if not np.array_equal(values, before[name])}
    assert changed == {"dense_1.weight", "dense_1.bias"}
    tinycnn.save(model, tmp_path / "model.safetensors")
    assert np.array_equal(
        load(tmp_path / "model.safetensors").state_dict()["conv2d_1.weight"], before["conv2d_1.weight"]
    )


def test_images_on_disk_and_floats_give_the_same_filters(tmp_path):
    images = photographs()
    np.save(tmp_path / "x.npy", images)
    expected, *others = (
        whiten(network(), x).state_dict()["conv2d_1.weight"]
        for x in (images, StoredImages(tmp_path / "x.npy"), images / np.float32(255))
    )
    for found in others:
        np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-3)


@pytest.mark.parametrize(
    "model",
    [network(filters=23), network(bias=False), Sequential(Flatten(), Dense(3), input_shape=(8, 8, 3))],
    ids=["few filters", "no bias", "no convolution"],
)
def test_other_first_layers_are_refused(model):
    with pytest.raises(SettingError, match=r"whiten: the first layer is .*expected Conv2d with a bias and at least 24"):
        whiten(model, photographs())


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="the network takes"):
        whiten(network(), photographs(channels=1))
