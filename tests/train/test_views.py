"""Test-time augmentation: views by hand, their mean, and its scores."""

import itertools

import numpy as np
import pytest

from tests.train.test_trainer import make_trainer, sides
from tinycnn import metrics
from tinycnn.errors import SettingError
from tinycnn.layers import Dense, Flatten, Sequential
from tinycnn.train.evaluation import evaluate, pixel_batches, predict_logits
from tinycnn.train.views import VIEWS, maps_of, view

BYTES = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 2), dtype=np.uint8)
MODEL = Sequential(Flatten(), Dense(2), input_shape=(4, 5, 2))


def moved(images, down=0, right=0):
    """With zeros where nothing was."""
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return padded[:, 2 - down : 2 - down + images.shape[1], 2 - right : 2 - right + images.shape[2]]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, BYTES),
        ({"mirrored": True}, BYTES[:, :, ::-1]),
        ({"down": 1}, moved(BYTES, down=1)),
        ({"right": -2}, moved(BYTES, right=-2)),
        ({"mirrored": True, "down": -1, "right": 1}, moved(BYTES[:, :, ::-1], down=-1, right=1)),
    ],
    ids=str,
)
def test_views_of_pixels(backend, settings, expected):
    (seen,) = pixel_batches(MODEL, BYTES, view(**settings))
    np.testing.assert_allclose(backend.to_host(seen), expected / 255, rtol=1e-6)


def test_the_names_stand_for_these_views():
    assert {name: len(maps) for name, maps in VIEWS.items()} == {
        "mirror": 2,
        "shift": 5,
        "shift_9": 9,
        "mirror_and_shift": 10,
    }
    assert {tuple(by) for by in VIEWS["shift_9"][:, :, 2]} == set(itertools.product((-1, 0, 1), repeat=2))
    for maps in VIEWS.values():
        assert np.array_equal(maps[0], view())
        assert len({array.tobytes() for array in maps}) == len(maps)


def test_predictions_are_the_mean_of_those_of_the_views():
    trainer, (images, labels) = make_trainer(), sides(40)
    trainer.fit(images, labels, epochs=1)
    plain, mirrored = (predict_logits(trainer.model, array) for array in (images, images[:, :, ::-1]))
    both = predict_logits(trainer.model, images, views="mirror")
    np.testing.assert_allclose(both, (plain + mirrored) / 2, rtol=1e-4, atol=1e-5)
    geometric = np.sqrt(metrics.probabilities(plain) * metrics.probabilities(mirrored))
    np.testing.assert_allclose(metrics.probabilities(both), geometric / geometric.sum(axis=1, keepdims=True), rtol=1e-4)
    assert np.array_equal(predict_logits(trainer.model, images, views=np.stack([view()])), plain)
    scores = evaluate(trainer.model, images, labels, views="mirror")
    assert scores.accuracy == (both.argmax(axis=1) == labels).mean()
    assert scores.loss != evaluate(trainer.model, images, labels).loss


@pytest.mark.parametrize("views", ["turn", np.zeros((0, 2, 3)), np.zeros((2, 3)), np.full((1, 2, 3), np.nan), 3])
def test_what_is_no_view(views):
    with pytest.raises(SettingError, match="expected mirror, shift, shift_9, mirror_and_shift, or an array"):
        maps_of(views)
