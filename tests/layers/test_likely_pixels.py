"""A note where images are given on another scale than the first constants of a network show."""

import logging

import numpy as np
import pytest

from tinycnn import Sequential
from tinycnn.layers import BatchNorm, Dense, Flatten, Normalization, Rescaling
from tinycnn.train.evaluation import predict_logits

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 1), np.uint8)
FRACTIONS = (PIXELS / 255).astype(np.float32)
LABELS = np.arange(8) % 3
ASK = {
    "predict": lambda model, images: model.predict(images),
    "call": lambda model, images: model(images),
    "logits": lambda model, images: model.logits(images),
    "evaluate": lambda model, images: model.evaluate(images, LABELS),
    "predict_logits": predict_logits,
    "fit": lambda model, images: model.fit(images, LABELS, epochs=1, progress=False),
}


def network(*first, shape=(6, 6, 1)):
    return Sequential(*first, Flatten(), Dense(3), input_shape=shape)


def notes(caplog):
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.mark.parametrize("ask", ASK.values(), ids=list(ASK))
def test_bytes_for_constants_that_are_made_for_fractions_get_one_note(ask, caplog):
    model = network(Rescaling(1 / 0.25, -0.5 / 0.25))  # Normalize(0.5, 0.25), with which it was trained elsewhere
    for images in (PIXELS, PIXELS.astype(np.int64)):
        ask(model, images)
        assert len(notes(caplog)) == 1
    model(images)
    assert notes(caplog) == [
        "note: bytes are taken as they are, 0 to 255, but the network subtracts 0.5 from them: set model.pixels = "
        "'0..1' if the network takes pixels 0..1, or '0..255' if this is right"
    ]


def with_statistics(mean, variance):
    model = network(BatchNorm())
    arrays = {"running_mean": np.full(1, mean, np.float32), "running_var": np.full(1, variance, np.float32)}
    model.load_state_dict({f"batchnorm_1.{name}": array for name, array in arrays.items()}, strict=False)
    return model


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: network(Rescaling(1, -127.5)), "divided by 255, but the network subtracts 127.5 from them"),
        (lambda: network(Flatten(), Rescaling(1 / 255)), "divided by 255, but the network multiplies them by 0.003922"),
        (lambda: network(Sequential(Rescaling(1 / 255))), "divided by 255, but the network multiplies them by"),
        (lambda: with_statistics(33, 6000), "divided by 255, but its batch norm has seen a mean of 33"),
    ],
)
def test_constants_that_are_made_for_bytes_get_one_too(model, words, caplog):
    model().predict(PIXELS)
    (note,) = notes(caplog)
    assert words in note


def test_a_range_that_is_stated_counts(caplog):
    for pixels in ("0..1", "0..255"):
        model = network(Rescaling(4, -2))
        model.pixels = pixels
        model.predict(PIXELS)
        model(PIXELS)
    assert notes(caplog) == []


@pytest.mark.parametrize(
    ("first", "images"),
    [
        ([], PIXELS),
        ([Rescaling(1 / 255)], PIXELS),
        ([Rescaling(0.0127284, -0.424213)], PIXELS),  # Normalize(0.1307, 0.3081) of bytes
        ([Normalization(0.1307, 0.3081)], PIXELS),
        ([Normalization(0.1307, 0.3081)], FRACTIONS),
        ([Rescaling(4, -2)], FRACTIONS),  # right, whatever the default for bytes is
        ([Rescaling(1 / 255)], PIXELS.astype(np.float32)),
        ([Rescaling(1 / 255)], np.zeros_like(FRACTIONS)),  # black as bytes, too
        ([BatchNorm()], PIXELS),
    ],
)
def test_images_on_the_scale_of_the_constants_get_no_note(first, images, caplog):
    model = network(*first)
    model.predict(images)
    model(images)
    assert notes(caplog) == []


@pytest.mark.parametrize("ask", [ask for name, ask in ASK.items() if name != "fit"])  # fit has a note of its own
def test_fractions_for_constants_that_are_made_for_bytes_get_one_note(ask, caplog):
    model = network(Rescaling(1 / 255))
    for _ in range(2):
        ask(model, FRACTIONS)
    assert notes(caplog) == [
        "note: the images are floats from 0 to 1, but the network takes pixels 0..255, for which they are almost "
        "black: pass the bytes themselves, or multiply them by 255"
    ]


def test_fit_names_the_setting_where_the_default_is_in_doubt(caplog):
    network(Rescaling(4, -2)).fit(FRACTIONS, LABELS, epochs=1, progress=False)
    (note,) = notes(caplog)
    assert note.endswith("bytes and picture files are taken as 0..255, so they will be read differently: set "
                         "model.pixels = '0..1'")  # fmt: skip


def test_other_arrays_than_pictures_get_no_note(caplog):
    model = Sequential(Rescaling(4, -2), Dense(3), input_shape=(36,))
    model.predict(PIXELS.reshape(8, 36))
    network(Rescaling(4, -2), shape=(6, 6, 2)).predict(np.repeat(PIXELS, 2, axis=3))
    assert notes(caplog) == []
