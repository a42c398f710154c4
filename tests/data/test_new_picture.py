"""`load_picture` takes files, Pillow images and arrays; all give what the file on disk gives."""

import io
import logging

import numpy as np
import pytest
from PIL import Image

from tinycnn import Sequential, data
from tinycnn.errors import DataError, SettingError
from tinycnn.layers import Dense, Flatten

RGB = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
GREY = RGB[:, :, 0]


def network(channels, pictures="whole"):
    model = Sequential(Flatten(), Dense(3), input_shape=(8, 8, channels))
    model.pictures = pictures
    return model


def as_png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file  # at its end, as people pass it


@pytest.mark.parametrize(
    "source",
    [
        RGB,
        Image.fromarray(RGB),
        as_png(RGB),
        as_png(RGB).getvalue(),
        bytearray(as_png(RGB).getvalue()),
        (RGB / 255).astype(np.float32),
        RGB.astype(np.int64),
        RGB.astype(np.float32),
        np.concatenate([RGB, np.full((8, 8, 1), 255, np.uint8)], axis=2),
        RGB[:, ::-1][:, ::-1],
    ],
    ids=lambda source: type(source).__name__,
)
def test_colours_from_anything(source):
    np.testing.assert_array_equal(data.load_picture(source, network(3)), RGB[np.newaxis])


@pytest.mark.parametrize(
    "source", [GREY, GREY[..., None], GREY / 255, GREY.astype(np.uint16) * 257, Image.fromarray(GREY)]
)
def test_grey_from_anything(source):
    np.testing.assert_array_equal(data.load_picture(source, network(1)), GREY[np.newaxis, ..., np.newaxis])


def test_truth_values_are_black_and_white():
    np.testing.assert_array_equal(data.load_picture(GREY > 99, network(1))[0, ..., 0], np.where(GREY > 99, 255, 0))


def test_numbers_of_one_channel_take_a_range():
    found = data.load_picture(GREY.astype(np.int32) * 16, network(1), pixels="0..4080")
    np.testing.assert_array_equal(found[0, ..., 0], GREY)


def test_a_drawing_is_cut_out_of_an_array_as_of_a_file():
    sheet = np.full((60, 60), 255, np.uint8)
    sheet[10:50, 27:33] = 0
    model = network(1, "drawing")
    found = data.load_picture(sheet, model)
    np.testing.assert_array_equal(found, data.load_picture(as_png(sheet), model))
    assert found.max() == 255


def test_a_pillow_image_is_turned_and_stays_as_it_is():
    image = Image.fromarray(RGB)
    image.getexif()[274] = 3  # upside down
    np.testing.assert_array_equal(data.load_picture(image, network(3))[0], RGB[::-1, ::-1])
    np.testing.assert_array_equal(np.asarray(image), RGB)


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        (3, SettingError, "`source` is 3: expected a path, the bytes of a picture file, an open file, a Pillow image"),
        (None, SettingError, "`source` is None: expected a path"),
        (io.StringIO("x"), SettingError, 'open it with mode "rb"'),
        (RGB[np.newaxis], SettingError, r"an array uint8 \(1, 8, 8, 3\): expected one picture"),
        (RGB[:, :, :2], SettingError, r"\(8, 8, 2\): expected one picture"),
        (RGB + 0.5, SettingError, "from 0.5 to 249.5: expected bytes, 0 to 255, or floats from 0 to 1"),
        (RGB[:0], SettingError, "expected one picture"),
        (io.BytesIO(b"no picture"), DataError, "the picture: not an image that can be read"),
    ],
)
def test_what_is_no_picture(source, kind, message):
    with pytest.raises(kind, match=message):
        data.load_picture(source, network(3))


def test_a_guess_is_noted_once(caplog):
    caplog.set_level(logging.WARNING)
    model = network(1)
    data.load_picture(GREY, model)
    model.pictures = None
    for _ in range(2):
        data.load_picture(GREY, model)
    assert [one.message.partition(", so")[2][:27] for one in caplog.records] == [' model.pictures is "whole";']
