"""Pictures of digits from any source become images like MNIST's."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tinycnn import data
from tinycnn.data import picture
from tinycnn.data.drawing import EmptyDrawingError, normalise, paper_level, read_drawing
from tinycnn.errors import DataError

SEVEN = [(0.2, 0.2), (0.8, 0.2), (0.4, 0.9)]


def draw(size=(280, 280), points=SEVEN, width=0.08, ink=0, paper=255, mode="L"):
    """An image with one line through ``points``, which are fractions of its shorter side."""
    image = Image.new(mode, size, paper)
    side = min(size)
    scaled = [(x * side, y * side) for x, y in points]
    ImageDraw.Draw(image).line(scaled, fill=ink, width=max(1, round(width * side)), joint="curve")
    return image


def encoded(image, kind="PNG", **options):
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pixels(image, kind="PNG", **options):
    """The input of a network, ``(28, 28)``."""
    found = read_drawing(encoded(image, kind, **options))
    assert (found.shape, found.dtype) == ((1, 28, 28, 1), np.uint8)
    return found[0, :, :, 0]


def difference(a, b):
    """Mean difference of two pictures in grey levels at their best alignment: the centre of mass may round up or down.

    Different digits differ by 20 or more.
    """
    places = [np.roll(a, (down, across), axis=(0, 1)) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    return min(np.abs(place.astype(float) - b).mean() for place in places)


REFERENCE = pixels(draw())


# --------------------------------------------------------------------------------------------------- size and place


def extent(picture):
    rows, columns = (np.flatnonzero((picture > 25).any(axis)) for axis in (1, 0))
    return rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1


def centre_of_mass(picture):
    mass, places = picture.astype(float), np.arange(28)
    return mass.sum(1) @ places / mass.sum(), mass.sum(0) @ places / mass.sum()


def test_the_longer_side_fills_twenty_pixels_and_the_shorter_keeps_its_share():
    height, width = extent(REFERENCE)
    assert height == 20
    assert width == pytest.approx(20 * (0.6 + 0.08) / (0.7 + 0.08), abs=1.5)


def test_the_centre_of_mass_is_the_pixel_that_mnist_takes():
    assert centre_of_mass(REFERENCE) == pytest.approx((14, 14), abs=0.55)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.8, 0.1), (0.1, 0.3)])
@pytest.mark.parametrize("scale", [0.6, 0.3, 0.1])
def test_position_and_size_on_the_sheet_do_not_change_the_result(shift, scale):
    points = [(0.05 + scale * x + shift[0], 0.05 + scale * y + shift[1]) for x, y in SEVEN]
    found = pixels(draw((1000, 700), points, width=0.08 * scale))
    assert difference(found, REFERENCE) < 8


def test_a_digit_with_its_mass_at_one_end_is_not_cropped():
    points = [(0.1, 0.1), (0.9, 0.1), (0.9, 0.2), (0.1, 0.2), (0.5, 0.15), (0.5, 0.95)]
    assert extent(pixels(draw(points=points, width=0.1)))[0] == 20


@pytest.mark.parametrize("points", [[(0.5, 0.1), (0.5, 0.9)], [(0.1, 0.5), (0.9, 0.5)]], ids=["one", "dash"])
def test_a_thin_line_keeps_its_length_and_width(points):
    assert sorted(extent(pixels(draw(points=points, width=0.04)))) == [pytest.approx(1, abs=1), 20]


def test_a_single_dot_is_not_empty():
    image = draw(points=[(0.5, 0.5), (0.51, 0.5)], width=0.01)
    assert pixels(image).max() == 255


@pytest.mark.parametrize("shape", [(32, 32), (14, 14), (28, 40), (3, 2)])
def test_other_input_shapes_are_filled_in_proportion(shape):
    found = read_drawing(encoded(draw()), shape)
    assert found.shape == (1, *shape, 1)
    height, _ = (np.flatnonzero((found[0, :, :, 0] > 25).any(axis)) for axis in (1, 0))
    assert 1 <= len(height) <= max(1, round(shape[0] * 20 / 28))


# ------------------------------------------------------------------------------------------------ colours and modes


def in_mode(mode):
    return draw().convert(mode)


DEPTH_16 = Image.fromarray(np.asarray(draw()).astype(np.uint16) * 257)
SAME = {
    "light on dark": lambda: pixels(draw(ink=255, paper=0)),
    "blue on yellow": lambda: pixels(draw(mode="RGB", ink=(20, 20, 120), paper=(250, 240, 120))),
    "yellow on blue": lambda: pixels(draw(mode="RGB", ink=(250, 240, 120), paper=(20, 20, 120))),
    "faint pencil": lambda: pixels(draw(ink=170, paper=230)),
    "black on transparent": lambda: pixels(draw(mode="RGBA", ink=(0, 0, 0, 255), paper=(0, 0, 0, 0))),
    "white on transparent": lambda: pixels(draw(mode="RGBA", ink=(255, 255, 255, 255), paper=(255, 255, 255, 0))),
    "black, transparent white": lambda: pixels(draw(mode="RGBA", ink=(0, 0, 0, 255), paper=(255, 255, 255, 0))),
    "one bit": lambda: pixels(in_mode("1")),
    "palette": lambda: pixels(in_mode("P")),
    "grey and alpha": lambda: pixels(in_mode("LA")),
    "palette, one colour transparent": lambda: pixels(in_mode("P"), "GIF", transparency=255),
    "CMYK": lambda: pixels(in_mode("CMYK"), "TIFF"),
    "sixteen bits": lambda: pixels(DEPTH_16),
    "floats": lambda: pixels(in_mode("F"), "TIFF"),
    "integers": lambda: pixels(in_mode("I"), "TIFF"),
    "JPEG": lambda: pixels(draw(), "JPEG", quality=60),
    "WebP": lambda: pixels(draw(), "WEBP", quality=60),
    "huge JPEG": lambda: pixels(draw((5000, 5000)), "JPEG"),
    "small": lambda: pixels(draw((56, 56))),
}


@pytest.mark.parametrize("found", SAME.values(), ids=SAME)
def test_colours_and_modes_do_not_change_the_digit(found):
    assert difference(found(), REFERENCE) < 8


def test_the_strokes_of_another_digit_differ():
    points = [(0.2, 0.2), (0.8, 0.2), (0.2, 0.9), (0.8, 0.9)]
    assert difference(pixels(draw(points=points)), REFERENCE) > 20


def test_a_thick_digit_that_fills_its_picture_is_not_background():
    image = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(image).ellipse((0, 0, 199, 199), fill=0)
    ImageDraw.Draw(image).ellipse((90, 60, 110, 140), fill=255)
    found = pixels(image)
    assert found[14, 6] == 255  # the ring
    assert found[14, 14] < 100  # its hole


def test_a_frame_around_the_sheet_is_not_background():
    image = draw(points=[(0.3, 0.3), (0.7, 0.3), (0.5, 0.8)])
    framed = Image.new("L", (image.width + 2, image.height + 2), 100)
    framed.paste(image, (1, 1))
    assert paper_level(np.asarray(framed) / 255) == 1.0


def test_a_card_with_transparent_corners_is_background():
    card = Image.new("RGBA", (280, 280), (0, 0, 0, 0))
    ImageDraw.Draw(card).rounded_rectangle((0, 0, 279, 279), 40, fill=(255, 255, 255, 255))
    card.paste(draw(), mask=Image.fromarray(255 - np.asarray(draw())))
    assert difference(pixels(card), REFERENCE) < 8


def photograph(seed=0, noise=0.03, ink=0.2):
    """A sheet lit from one side by a lamp, seen by a camera: shading, a bright spot, noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:600j, -1:1:800j]
    paper = 0.65 + 0.2 * x + 0.1 * y - 0.08 * (x * x + y * y)
    stroke = 1 - np.asarray(draw((800, 600)), float) / 255
    levels = paper * (1 - stroke * (1 - ink)) + rng.normal(0, noise, paper.shape)
    return Image.fromarray(np.uint8(255 * np.clip(levels, 0, 1)))


@pytest.mark.parametrize("seed", range(3))
def test_a_photograph_with_shading_and_noise_is_read(seed):
    assert difference(pixels(photograph(seed), "JPEG", quality=80), REFERENCE) < 8


def test_exif_orientation_is_applied():
    turned = draw().transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # display rotated by 90 degrees to the right
    assert difference(pixels(turned, "JPEG", exif=exif), REFERENCE) < 8


# --------------------------------------------------------------------------------------------------------- MNIST


def test_mnist_digits_hardly_change(mnist_folder):
    images = data.load("mnist", data_dir=mnist_folder).x_test[:300, :, :, 0]
    found = np.concatenate([normalise(image / 255) for image in images])[..., 0]
    changes = np.abs(found.astype(float) - images).mean(axis=(1, 2))
    assert np.mean(changes < 1) > 0.97  # in grey levels; a shift by one pixel would be 20


def test_inverted_and_enlarged_mnist_digits_are_recovered(mnist_folder):
    images = data.load("mnist", data_dir=mnist_folder).x_test[:100, :, :, 0]
    for image in images:
        large = Image.fromarray(255 - image).resize((300, 300), Image.Resampling.BICUBIC)
        assert difference(pixels(large), image) < 20


def tight(image):
    """The digit without any margin."""
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def thick(image):
    """Strokes wider by a pixel on each side."""
    wide = np.pad(image, 2)
    return np.max([np.roll(wide, (down, across), (0, 1)) for down in (-1, 0, 1) for across in (-1, 0, 1)], axis=0)


def enlarged(image):
    height, width = image.shape
    return np.asarray(Image.fromarray(image).resize((8 * width, 8 * height), Image.Resampling.BICUBIC))


CUT = {
    "tight": tight,
    "enlarged": lambda image: enlarged(tight(image)),
    "thick": lambda image: tight(thick(image)),
    "black and white": lambda image: np.where(tight(image) > 127, np.uint8(255), np.uint8(0)),
    "on grey paper": lambda image: np.uint8(50 + tight(image) * 0.6),
}


@pytest.mark.parametrize("kind", CUT)
def test_digits_without_a_margin_are_read(mnist_folder, kind):
    """They touch the edges, and can cover most of their picture. Compared with the same digit and a margin."""
    mnist = data.load("mnist", data_dir=mnist_folder)
    images = np.concatenate([mnist.x_test[:60], mnist.x_test[mnist.y_test == 1][:100]])[
        ..., 0
    ]  # ones have little paper
    wrong = 0
    for image in images:
        cut = CUT[kind](image)
        expected = normalise(np.pad(cut, 10, mode="constant", constant_values=cut.min()) / 255)[0, :, :, 0]
        for levels in (cut / 255, 1 - cut / 255):
            wrong += difference(normalise(levels)[0, :, :, 0], expected) > 20
    assert wrong <= 0.005 * 2 * len(images)


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("width", [0.3, 0.5, 0.7])
def test_a_slanted_stroke_that_covers_most_of_its_picture(width, ink):
    image = draw((60, 200), [(0.5 - width / 2, -0.5), (0.5 + width / 2, 4)], width, ink=ink, paper=255 - ink)
    assert np.mean(np.asarray(image) == ink) == pytest.approx(width, abs=0.1)
    with_margin = Image.new("L", (100, 240), 255 - ink)
    with_margin.paste(image, (20, 20))
    assert difference(pixels(image), pixels(with_margin)) < 8


# --------------------------------------------------------------------------------------------- empty and hostile files

BLANK = {
    "white": Image.new("L", (280, 280), 255),
    "black": Image.new("RGB", (280, 280)),
    "transparent": Image.new("RGBA", (280, 280)),
    "one pixel": Image.new("L", (1, 1), 7),
    "a large number everywhere": Image.new("F", (28, 28), 1e30),
    "a small number everywhere": Image.new("F", (28, 28), -1e-30),
    "nearly even": Image.fromarray(np.uint8(200 + np.arange(280 * 280).reshape(280, 280) % 3)),
}


@pytest.mark.parametrize("image", BLANK.values(), ids=BLANK)
def test_an_empty_sheet_raises_empty_drawing_error(image):
    with pytest.raises(EmptyDrawingError, match="nothing is drawn"):
        read_drawing(encoded(image, "TIFF" if image.mode == "F" else "PNG"))


def png_that_declares(width, height):
    """A PNG of 60 bytes that declares any size."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


HOSTILE = {
    "empty file": (b"", "not an image"),
    "text": (b"seven", "not an image"),
    "PostScript, which would start a program": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "a decompression bomb": (png_that_declares(50_000, 50_000), "make it smaller"),
    "between the two limits": (png_that_declares(10_000, 12_000), "make it smaller"),
    "just too large": (png_that_declares(8_001, 8_000), "make it smaller"),
    "cut off": (encoded(draw())[:200], "damaged"),
    "half a JPEG": (encoded(draw(), "JPEG")[:1500], "damaged"),
}


@pytest.mark.parametrize(("content", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_image_raises_data_error(content, message):
    with pytest.raises(DataError, match=message) as caught:
        read_drawing(content)
    assert not isinstance(caught.value, EmptyDrawingError)


def test_the_error_names_the_file(tmp_path):
    path = tmp_path / "seven.png"
    with pytest.raises(DataError, match=r"seven\.png: there is no such file"):
        read_drawing(path)
    path.write_bytes(encoded(BLANK["white"]))
    with pytest.raises(EmptyDrawingError, match=r"seven\.png: nothing is drawn"):
        read_drawing(str(path))
    path.write_bytes(encoded(draw()))
    assert np.array_equal(read_drawing(path)[0, :, :, 0], REFERENCE)


def test_the_name_of_the_file_is_escaped(tmp_path):
    with pytest.raises(DataError, match=r"a\\nerror: forged: there is no such file") as caught:
        read_drawing(tmp_path / "a\nerror: forged")
    assert str(caught.value).isprintable()


def test_a_file_larger_than_any_picture_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "MAX_FILE", 100)
    path = tmp_path / "large.png"
    path.write_bytes(bytes(101))
    with pytest.raises(DataError, match="larger than 100 bytes"):
        read_drawing(Path(path))


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_damaged_files_raise_nothing_but_data_errors(tail, at, value):
    content = bytearray(encoded(draw((40, 40)), "GIF"))
    content[at % len(content)] = value
    for damaged in (bytes(content), bytes(content[:at]) + tail, b"GIF89a" + tail, b"\x89PNG\r\n\x1a\n" + tail):
        try:
            found = read_drawing(damaged)
        except DataError as error:
            assert str(error).startswith("the image: ")  # noqa: PT017  (both outcomes are valid)
        else:
            assert found.shape == (1, 28, 28, 1)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.3, 1.0]))
@settings(max_examples=200, deadline=None)
def test_any_grey_levels_give_a_picture_or_empty_drawing_error(height, width, seed, share):
    rng = np.random.default_rng(seed)
    levels = np.where(rng.random((height, width)) < share, rng.random((height, width)), 1.0)
    before = levels.copy()
    try:
        found = normalise(levels)[0, :, :, 0]
    except EmptyDrawingError:
        return
    finally:
        assert np.array_equal(levels, before)
    assert found.max() > 0
    assert max(extent(found)) <= 20


@given(st.integers(1, 3000), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_extreme_proportions_give_a_picture(length, breadth):
    levels = np.ones((breadth, length), np.float64)
    levels[breadth // 2, : max(1, length // 3)] = 0
    if (levels == 0).mean() < 0.5:
        assert normalise(levels).max() == 255
