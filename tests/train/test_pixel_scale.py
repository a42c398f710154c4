"""Floats on another scale than bytes: a note at ``fit``, with the layer that does the same to bytes."""

import logging

import numpy as np
import pytest

from tinycnn import Sequential
from tinycnn.errors import DataError
from tinycnn.layers import Dense, Flatten, Normalization, Rescaling
from tinycnn.train.pixel_scale import layer_for

LABELS = np.arange(8) % 3
BYTES_ = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 1), np.uint8)
BYTES_[0, 0, :2, 0] = 0, 255
STANDARDISED = ((BYTES_ / 255 - 0.1307) / 0.3081).astype(np.float32)
FRACTIONS = (BYTES_ / 255).astype(np.float32)


def network(*first, shape=(6, 6, 1)):
    return Sequential(*first, Flatten(), Dense(3), input_shape=shape)


def notes(caplog, images, *first, **settings):
    """What ``fit`` logs about the scale of its images."""
    caplog.set_level(logging.WARNING)
    network(*first, shape=images.shape[1:]).fit(images, LABELS, progress=False, **settings)
    return [one.message for one in caplog.records if "images" in one.message]


def test_the_layer_that_is_named_makes_these_floats_of_bytes(caplog):
    (note,) = notes(caplog, STANDARDISED)
    assert note.startswith("note: the training images are floats from -0.4242 to 2.821, but bytes and picture files")
    assert "are taken as 0..1, so they will be read differently: put Rescaling(" in note
    layer = eval(note.partition("put ")[2].partition(" in front")[0], {"Rescaling": Rescaling})
    np.testing.assert_allclose(BYTES_ * layer.scale + layer.offset, STANDARDISED, atol=1e-5)


def test_channels_with_scales_of_their_own_get_a_normalization():
    rng, mean, std = np.random.default_rng(0), np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = rng.integers(0, 256, (4, 9, 9, 3), np.uint8)
    pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255
    images = ((pixels / 255 - mean) / std).astype(np.float32)
    layer = eval(layer_for(images), {"Normalization": Normalization})
    np.testing.assert_allclose((pixels - np.array(layer.mean)) / np.array(layer.std), images, atol=1e-5)


def test_floats_that_are_not_256_levels_get_no_numbers(caplog):
    noise = np.random.default_rng(0).normal(size=(8, 6, 6, 1)).astype(np.float32)
    (note,) = notes(caplog, noise)
    assert note.endswith("one for each channel, and pass bytes or floats from 0 to 1")


@pytest.mark.parametrize("images", [BYTES_, FRACTIONS, FRACTIONS * np.float32(1.0005)])
def test_bytes_and_fractions_get_no_note(images, caplog):
    assert notes(caplog, images) == []


def test_rows_of_numbers_get_no_note(caplog):
    assert notes(caplog, STANDARDISED.reshape(8, 36)) == []


def test_fractions_for_a_network_that_takes_bytes_get_a_note(caplog):
    (note,) = notes(caplog, FRACTIONS, Rescaling(1 / 255))
    assert "are taken as 0..255, so they will be read differently: pass bytes to fit" in note


@pytest.mark.parametrize("images", [STANDARDISED, STANDARDISED / 10, FRACTIONS * np.float32(65535)])
def test_a_network_that_takes_bytes_reports_negative_and_large_floats(images, caplog):
    """Only floats up to 1 were reported."""
    (note,) = notes(caplog, images, Rescaling(1 / 255))
    assert "are taken as 0..255, so they will be read differently: put Rescaling(" in note
    layer = eval(note.partition("put ")[2].partition(" in front")[0], {"Rescaling": Rescaling})
    np.testing.assert_allclose(BYTES_ * layer.scale + layer.offset, images, rtol=1e-5, atol=1e-5)


def test_what_a_network_that_takes_bytes_is_to_get_instead_of_noise(caplog):
    noise = np.random.default_rng(0).normal(size=(8, 6, 6, 1)).astype(np.float32)
    (note,) = notes(caplog, noise, Rescaling(1 / 255))
    assert note.endswith("one for each channel, and pass bytes")


@pytest.mark.parametrize("images", [BYTES_ + np.float32(0.001), BYTES_ - np.float32(0.1)])
def test_floats_up_to_255_get_no_note_where_bytes_are_taken(images, caplog):
    assert notes(caplog, images, Rescaling(1 / 255)) == []


def test_bytes_beside_negative_floats_are_an_error_where_bytes_are_taken():
    model = network(Rescaling(1 / 255))
    with pytest.raises(DataError, match=r"those for validation bytes, which are taken as 0\.\.255: prepare"):
        model.fit(STANDARDISED, LABELS, validation=(BYTES_, LABELS), progress=False)


@pytest.mark.parametrize(("ours", "theirs"), [(STANDARDISED, BYTES_), (BYTES_, STANDARDISED)])
def test_bytes_beside_other_floats_are_an_error(ours, theirs):
    words = {"u": "bytes, which are taken as 0..1", "f": "floats from -0.4242 to 2.821"}
    message = f"training are {words[ours.dtype.kind]}, those for validation {words[theirs.dtype.kind]}: prepare both"
    with pytest.raises(DataError, match=message):
        network().fit(ours, LABELS, validation=(theirs, LABELS), progress=False)


def test_bytes_beside_fractions_are_the_same_scale(caplog):
    assert notes(caplog, BYTES_, validation=(FRACTIONS, LABELS)) == []
    assert notes(caplog, FRACTIONS, validation=(BYTES_, LABELS)) == []


def test_floats_on_two_scales_get_a_note(caplog):
    _, note = notes(caplog, STANDARDISED, validation=(FRACTIONS, LABELS))
    assert note == (
        "note: the images for training are floats from -0.4242 to 2.821, those for validation floats from 0 to 1: "
        "were both prepared in the same way?"
    )
