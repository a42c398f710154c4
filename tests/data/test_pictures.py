"""A folder of pictures as a data set: the search, scaling, the split, and errors."""

import io
import os
import re
import struct
import sys
import tracemalloc
import unicodedata
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.support.memory_held import linux_only, output_of
from tinycnn import layers
from tinycnn.data import bands, is_folder, load, load_picture, load_pictures, picture, picture_cache, picture_folder
from tinycnn.data.picture import grey, read_picture
from tinycnn.errors import DataError, SettingError, in_words

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")


def pixels(seed, height=12, width=12, channels=3):
    """Smooth noise, which survives JPEG."""
    small = np.random.default_rng(seed).integers(0, 256, (3, 3, channels), np.uint8)
    image = Image.fromarray(small[:, :, 0] if channels == 1 else small)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def fill(folder, names, *, suffix=".png", seed=0, **size):
    """A folder with a picture for each of ``names``."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        pixels(seed + i, **size).save(folder / f"{name}{suffix}")
    return folder


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    """The cache of the user is left alone."""
    monkeypatch.setenv("TINYCNN_PICTURE_CACHE", "off")


@pytest.fixture
def pets(tmp_path):
    """Ten cats and five dogs, in colour."""
    fill(tmp_path / "pets" / "cat", range(10))
    fill(tmp_path / "pets" / "dog", range(5), seed=100)
    return tmp_path / "pets"


def refused(folder, **settings):
    with pytest.raises(DataError) as caught:
        load_pictures(folder, **settings)
    assert str(caught.value).startswith(f"{folder}: ")
    return str(caught.value).removeprefix(f"{folder}: ")


def as_stored(folder, dataset, size=32):
    """The files of the pictures in the data set, ``{part: {class/file}}``; checks that each occurs once."""
    found = {}
    for part in ("train", "test"):
        images, labels = getattr(dataset, f"x_{part}"), getattr(dataset, f"y_{part}")
        for image, label in zip(images, labels, strict=True):
            name = dataset.class_names[label]
            paths = [
                path for path in (folder / name).iterdir() if np.array_equal(read_picture(path, image.shape), image)
            ]
            assert len(paths) == 1
            found.setdefault(part, []).append(f"{name}/{paths[0].name}")
    assert len(set(found["train"] + found["test"])) == len(found["train"]) + len(found["test"])
    return {part: set(paths) for part, paths in found.items()}


# ----------------------------------------------------------------------------------------------------------- the search


def test_classes_are_folders(pets):
    dataset = load(pets)
    assert (dataset.name, dataset.class_names, dataset.input_shape) == ("pets", ("cat", "dog"), (32, 32, 3))
    assert dataset.pictures == "whole"
    assert np.bincount(dataset.y_train).tolist() == [8, 4]
    assert np.bincount(dataset.y_test).tolist() == [2, 1]
    assert len(as_stored(pets, dataset)["train"]) == 12
    assert dataset.source == f"{pets} (15 pictures, scaled to 32x32, in colour; 20 % of each class for testing, " \
        "chosen by their names)"  # fmt: skip
    assert dataset.notice is None


def test_the_order_is_shuffled_and_reproducible(pets, tmp_path):
    first, again, other = load_pictures(pets), load_pictures(pets), load_pictures(pets, seed=1)
    np.testing.assert_array_equal(first.x_train, again.x_train)
    assert 0 < np.count_nonzero(np.diff(first.y_train)) > 1  # the classes are mixed, so that --limit keeps some of each
    assert as_stored(pets, other)["test"] != as_stored(pets, first)["test"]
    pets.rename(tmp_path / "animals")  # the location of the folder does not matter
    np.testing.assert_array_equal(load_pictures(tmp_path / "animals").x_train, first.x_train)


def test_added_pictures_do_not_change_the_split_of_the_others(pets):
    before = as_stored(pets, load_pictures(pets))
    fill(pets / "cat", range(10, 15), seed=500)
    after = as_stored(pets, load_pictures(pets))
    moved = {path for path in before["train"] if path not in after["train"]}
    assert len(moved) <= 1  # the third test image of fifteen may be one of the old ones
    assert {path for path in after["test"] if path.startswith("dog")} == {
        p for p in before["test"] if p.startswith("dog")
    }


def test_the_split_of_a_picture_depends_on_its_class(tmp_path):
    """Otherwise files with the same number would be test images in every class."""
    fill(tmp_path / "pets" / "cat", range(10))
    fill(tmp_path / "pets" / "dog", range(10), seed=100)
    test = as_stored(tmp_path / "pets", load_pictures(tmp_path / "pets"))["test"]
    cats, dogs = ({path.removeprefix(name) for path in test if path.startswith(name)} for name in ("cat/", "dog/"))
    assert len(cats) == len(dogs) == 2
    assert cats != dogs


def test_folders_train_and_test_define_the_split(tmp_path):
    for part, count in (("train", 3), ("test", 2)):
        for k, name in enumerate(("cat", "dog")):
            fill(tmp_path / "pets" / part / name, range(count), seed=count * 10 + k * 100)
    (tmp_path / "pets" / "extra").mkdir()
    dataset = load_pictures(tmp_path / "pets")
    assert np.bincount(dataset.y_train).tolist() == [3, 3]
    assert np.bincount(dataset.y_test).tolist() == [2, 2]
    expected = {read_picture(path, (32, 32, 3)).tobytes() for path in (tmp_path / "pets" / "test").rglob("*.png")}
    assert {image.tobytes() for image in dataset.x_test} == expected
    assert "train and test as they are" in dataset.source
    assert dataset.notice.endswith(f"left out: {tmp_path / 'pets' / 'extra'}")


@pytest.mark.parametrize(
    ("train", "held"),
    [("train", "val"), ("training", "validation"), ("Train", "Valid"), ("train", "testing"), ("TRAIN", "TEST")],
)
def test_other_names_of_a_divided_folder(tmp_path, train, held):
    for kind in ("cat", "dog"):
        fill(tmp_path / train / kind, range(3))
        fill(tmp_path / held / kind, range(2))
    dataset = load_pictures(tmp_path)
    assert (len(dataset.x_train), len(dataset.x_test), dataset.class_names) == (6, 4, ("cat", "dog"))
    assert f"{train} and {held} as they are" in dataset.source
    assert dataset.notice is None
    with pytest.raises(SettingError, match=f"`test_fraction=0.3` has no effect on .*: the pictures in {held} are held"):
        load_pictures(tmp_path, test_fraction=0.3)


def test_a_third_part_is_not_dropped_silently(tmp_path):
    for part in ("train", "val", "test"):
        for kind in ("cat", "dog"):
            fill(tmp_path / part / kind, range(1 + len(part) % 3))
    dataset = load_pictures(tmp_path)
    assert (len(dataset.x_train), len(dataset.x_test)) == (6, 4)
    words = "NOTICE: the pictures in val are not used, because those in test are held out. For validation images, pass"
    assert dataset.notice.startswith(words)
    assert "of a class" not in dataset.notice


def test_train_without_test_is_a_class(tmp_path):
    fill(tmp_path / "vehicles" / "train", range(2))
    fill(tmp_path / "vehicles" / "car", range(2), seed=5)
    assert load_pictures(tmp_path / "vehicles").class_names == ("car", "train")


def test_composed_and_decomposed_accents_are_equal(tmp_path):
    """An accented letter is one code point or two: ``train`` is stored as on Linux, ``test`` as on macOS."""
    for part, form in (("train", "NFC"), ("test", "NFD"), ("mixed", "NFC"), ("mixed", "NFD")):
        for k, name in enumerate(("mésange", "geai")):
            fill(tmp_path / part / unicodedata.normalize(form, name), [f"{form}{i}" for i in range(3)], seed=k)
    assert len(list((tmp_path / "mixed").iterdir())) == 3  # the names of the mésanges do differ
    (tmp_path / "mixed").rename(tmp_path.with_name("mixed"))
    mixed = load_pictures(tmp_path.with_name("mixed"))
    assert load_pictures(tmp_path).class_names == mixed.class_names == ("geai", unicodedata.normalize("NFC", "mésange"))
    assert (np.bincount(mixed.y_train) + np.bincount(mixed.y_test)).tolist() == [6, 6]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_control_characters_in_file_names_are_escaped(pets):
    odd = pets.rename(pets.parent / os.fsdecode(b"odd\x1b[2J\xff"))
    (odd / "cat" / "no\npicture\x1b[31m.txt").write_text("")
    dataset = load_pictures(odd)
    assert dataset.name == r"odd\x1b[2J\udcff"
    assert dataset.notice.endswith(r"odd\x1b[2J\udcff/cat/no\npicture\x1b[31m.txt")
    assert dataset.source.isprintable()
    (odd / "cat" / "empty\x1b[2J.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load_pictures(odd)
    assert r"empty\x1b[2J.png: not an image" in str(caught.value)
    (odd / "cat" / "a\nerror: forged").mkdir()
    with pytest.raises(DataError, match=r"cat/a\\nerror: forged is a folder within a class") as nested:
        load_pictures(odd)
    assert str(nested.value).isprintable()
    (odd / "cat" / "a\nerror: forged").rmdir()
    assert in_words(caught.value).replace("\n", "").isprintable()


def test_numeric_class_names_are_sorted_as_numbers(tmp_path):
    for name in ("10", "9", "1"):
        fill(tmp_path / "numbers" / name, range(2))
    assert load_pictures(tmp_path / "numbers").class_names == ("1", "9", "10")


def test_formats_and_suffixes(tmp_path):
    for name in ("a", "b"):
        for suffix in (".PNG", ".Jpg", ".JPEG", ".webp", ".GIF", ".bmp", ".TIF", ".ppm", ".jfif", ".JPE"):
            fill(tmp_path / "all" / name, ["x"], suffix=suffix)
        pixels(0).save(tmp_path / "all" / name / "x.pjpeg", "JPEG")
        pixels(0).save(tmp_path / "all" / name / "jpeg.png", "JPEG")  # the content decides
    dataset = load_pictures(tmp_path / "all")
    assert len(dataset.x_train) + len(dataset.x_test) == 24
    assert dataset.notice is None


def test_hidden_files_and_other_files_are_ignored(pets):
    (pets / ".cache").mkdir()
    (pets / "cat" / ".thumbs").mkdir()
    (pets / "cat" / "._0.png").write_bytes(b"of another operating system")
    (pets / "cat" / ".DS_Store").write_bytes(b"")
    (pets / "README.md").write_text("pets")
    (pets / "cat" / "names.txt").write_text("Tom")
    dataset = load_pictures(pets)
    assert len(dataset.x_train) + len(dataset.x_test) == 15
    names = f"{pets / 'README.md'}, {pets / 'cat' / 'names.txt'}"
    assert dataset.notice == f"NOTICE: 2 files that are no pictures of a class were left out: {names}"
    (pets / "cat" / "names.txt").unlink()
    assert (
        load_pictures(pets).notice == f"NOTICE: a file that is no picture of a class was left out: {pets / 'README.md'}"
    )
    for i in range(20):
        (pets / f"{i}.txt").write_text("")
    assert load_pictures(pets).notice.endswith("and 16 more")


@needs_links
def test_links_are_followed_once_and_not_in_circles(pets, tmp_path):
    (pets / "cat").rename(tmp_path / "elsewhere")
    (pets / "cat").symlink_to(tmp_path / "elsewhere")
    assert load_pictures(pets).class_names == ("cat", "dog")
    (pets / "dog" / "all").symlink_to(pets)
    assert (
        refused(pets) == "dog/all is a folder within a class; move its pictures to dog. "
        "(Folders of training and test pictures, each with its classes, are called train and test, or val.)"
    )
    (pets / "dog" / "all").unlink()
    (pets / "dog" / "a.png").symlink_to("a.png")
    assert f"{pets / 'dog' / 'a.png'}: cannot be read (Too many levels of symbolic links)" in refused(pets)


def test_the_name_of_a_data_set_is_not_read_as_a_folder(pets, monkeypatch):
    monkeypatch.chdir(pets.parent)
    pets.rename(pets.parent / "digits")
    assert not is_folder("digits")
    assert load("digits").input_shape == (28, 28, 1)
    assert load("./digits", image_size=8).input_shape == (8, 8, 3)
    assert load("./digits", limit=3).x_train.shape == (3, 32, 32, 3)


# ------------------------------------------------------------------------------------------------------------- scaling


def test_the_centre_is_scaled_without_distortion(tmp_path):
    """Blue bars at both ends of a long picture are cropped; a red disc stays round."""
    picture = Image.new("RGB", (300, 100), "blue")
    picture.paste("red", (100, 0, 200, 100))
    picture.save(tmp_path / "long.png")
    assert (read_picture(tmp_path / "long.png", (10, 10, 3))[:, 1:9] == [255, 0, 0]).all()
    picture.rotate(90, expand=True).save(tmp_path / "high.png")
    assert (read_picture(tmp_path / "high.png", (10, 10, 3))[1:9] == [255, 0, 0]).all()
    assert (read_picture(tmp_path / "long.png", (10, 30, 3))[:, 12:18] == [255, 0, 0]).all()
    assert (read_picture(tmp_path / "long.png", (10, 30, 3))[:, [0, 29]] == [0, 0, 255]).all()


def test_scaling_averages(tmp_path):
    board = np.indices((64, 64)).sum(axis=0) % 2 * np.uint8(255)
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "board.png")
    small = read_picture(tmp_path / "board.png", (8, 8, 1))
    assert np.abs(small.astype(int) - 127).max() <= 4


def test_a_small_picture_is_made_larger(tmp_path):
    Image.new("RGB", (1, 1), (10, 20, 30)).save(tmp_path / "dot.png")
    assert (read_picture(tmp_path / "dot.png", (5, 5, 3)) == [10, 20, 30]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    upright = pixels(3, 60, 60)
    turns = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90"}
    turns |= {7: "TRANSVERSE", 8: "ROTATE_270"}  # how the camera stores it, so that the tag undoes it
    stored = upright.transpose(Image.Transpose[turns[orientation]]) if orientation > 1 else upright
    tag = Image.Exif()
    tag[0x0112] = orientation
    stored.save(tmp_path / "photo.jpg", quality=95, exif=tag)
    seen = read_picture(tmp_path / "photo.jpg", (60, 60, 3)).astype(int)
    assert np.abs(seen - np.asarray(upright)).mean() < 4
    assert np.abs(seen - np.asarray(ImageOps.mirror(upright))).mean() > 20  # the comparison can fail


def test_a_damaged_exif_block_is_ignored(tmp_path):
    """It raises no warning either, since the user could not fix the file."""
    pixels(3, 60, 60).save(tmp_path / "photo.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    with pytest.warns(UserWarning, match="Corrupt EXIF"), Image.open(tmp_path / "photo.jpg") as image:
        seen = np.asarray(image)
    np.testing.assert_array_equal(read_picture(tmp_path / "photo.jpg", (60, 60, 3)), seen)


def test_transparent_pixels_become_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_picture(tmp_path / "clear.png", (4, 4, 3)) == 255).all()


def test_grey_conversion_matches_pillow():
    rgb = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    np.testing.assert_array_equal(grey(rgb)[..., 0], np.asarray(Image.fromarray(rgb).convert("L")))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "I;16", "I", "F", "HSV"])
def test_every_pixel_mode_is_read(tmp_path, mode):
    image = Image.fromarray(np.asarray(pixels(0, channels=1)))
    made = Image.fromarray(np.asarray(image).astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    made.save(tmp_path / "x.tif") if mode not in ("PA", "HSV") else made.convert("RGB").save(tmp_path / "x.tif")
    seen = read_picture(tmp_path / "x.tif", (12, 12, 1))
    assert seen.shape == (12, 12, 1)
    assert np.corrcoef(seen.ravel(), np.asarray(image).ravel())[0, 1] > 0.5  # black and white are dithered


def sixteen_bits(*channels):
    """A PNG file of 16 bits for each of one to four channels ``(H, W)``; Pillow writes only those of one."""
    H, W = channels[0].shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[len(channels)]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in np.stack(channels, axis=2))
    parts = {b"IHDR": struct.pack(">IIBBBBB", W, H, 16, kind, 0, 0, 0), b"IDAT": zlib.compress(rows), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts.items()
    )


def test_sixteen_bits_are_read_as_eight():
    """From 100 to 200 of 255, whatever the darkest and the brightest pixel of the picture are."""
    ramp = np.tile(np.linspace(100, 200, 16).round().astype(np.uint16), (16, 1))
    deep, opaque = ramp * 257, np.full_like(ramp, 65535)
    for channels in ([deep], [deep, opaque], [deep] * 3, [*[deep] * 3, opaque]):
        seen = read_picture(sixteen_bits(*channels), (16, 16, 1))[..., 0]
        np.testing.assert_allclose(seen, ramp, atol=1 if len(channels) > 1 else 0)  # Pillow cuts the others off
    assert (read_picture(sixteen_bits(np.full((8, 8), 200)), (8, 8, 1)) == round(200 / 257)).all()  # almost black
    assert (read_picture(sixteen_bits(deep // 16), (16, 16, 1), pixels="0..4095")[..., 0] == ramp).all()
    with pytest.raises(DataError, match=r"numbers from 25700 to 51400, not 0\.\.4095; pass .*`pixels="):
        read_picture(sixteen_bits(deep), (16, 16, 1), pixels="0..4095")
    assert (read_picture(sixteen_bits(deep), (16, 16, 1), pixels="65535..0")[..., 0] == 255 - ramp).all()


def test_numbers_in_tiff_files(tmp_path):
    """32 bits have no fixed white: fractions, bytes or 16 bits, whichever holds the numbers of the picture."""
    ramp = np.tile(np.linspace(0, 200, 16, dtype=np.float32).round(), (16, 1))
    for numbers in (ramp / 255, ramp, ramp * 257, ramp.astype(np.int32), ramp.astype(np.int32) * 257):
        Image.fromarray(numbers).save(tmp_path / "x.tif")
        assert (read_picture(tmp_path / "x.tif", (16, 16, 1))[..., 0] == ramp).all()
    for low, high in ((-1, 200), (0, 70_000)):
        Image.fromarray(np.array([[low, high]], np.float32)).save(tmp_path / "x.tif")
        with pytest.raises(DataError, match=f'numbers from {low} to {high}.*`pixels="{low}..{high}"`'):
            read_picture(tmp_path / "x.tif", (1, 2, 1))
        assert read_picture(tmp_path / "x.tif", (1, 2, 1), pixels=f"{low}..{high}").ravel().tolist() == [0, 255]
    signalling = np.array([0x7FA00001], np.uint32).view(np.float32)[0]
    Image.fromarray(np.array([[signalling, np.inf, 1]], np.float32)).save(tmp_path / "x.tif")
    assert read_picture(tmp_path / "x.tif", (1, 3, 1)).ravel().tolist() == [0, 0, 255]


def test_pictures_of_twelve_bits_are_reported(tmp_path):
    for i in range(8):
        path = tmp_path / "x" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sixteen_bits(np.full((8, 8), 4000)))
    dark = load(tmp_path / "x")
    assert "the brightest pixel of all training images is 16 of 255" in dark.notice
    assert '`pixels="0..4095"`' in dark.notice
    bright = load(tmp_path / "x", pixels="0..4095")
    assert (bright.x_train == round(4000 / 4095 * 255)).all()
    assert bright.notice is None


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "CMYK", "I;16"])
@pytest.mark.parametrize("size", [(23, 90), (90, 23), (40, 40)])
def test_scaling_in_bands_gives_the_same_bytes(mode, size, monkeypatch):
    """Against Pillow's own function, on the whole picture, but for the order of its passes."""
    image = pixels(5, *size, channels=3)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode in ("RGBA", "LA"):
        image = image.convert(mode)
        image.putalpha(pixels(6, *size, channels=1))
    else:
        image = image.convert(mode)
    rgb = Image.fromarray((np.asarray(image) // 257).astype(np.uint8)) if mode == "I;16" else image
    if mode in ("RGBA", "LA"):
        rgb = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    shapes = (8, 8), (11, 30), (60, 60)
    expected = [
        np.asarray(ImageOps.fit(rgb.convert("RGB"), shape[::-1], Image.Resampling.BILINEAR)) for shape in shapes
    ]
    for shape, whole in zip(shapes, expected, strict=True):
        np.testing.assert_array_equal(picture.fitted(image, *shape), whole)
    monkeypatch.setattr(bands, "BAND", 300)
    monkeypatch.setattr(bands, "WHOLE", 0)
    for shape, whole in zip(shapes, expected, strict=True):
        np.testing.assert_allclose(picture.fitted(image, *shape).astype(int), whole, atol=1)


# ----------------------------------------------------------------------------------------------------- grey or colour


def test_grey_pictures_give_one_channel(tmp_path):
    """Also if they are stored with three channels, as photographs often are."""
    fill(tmp_path / "x" / "a", range(2), channels=1)
    for i in range(3):
        (tmp_path / "x" / "b").mkdir(exist_ok=True)
        pixels(i, channels=1).convert("RGB").save(tmp_path / "x" / "b" / f"{i}.jpg", quality=60)
    dataset = load_pictures(tmp_path / "x")
    assert dataset.input_shape == (32, 32, 1)
    assert ", grey;" in dataset.source
    assert load_pictures(tmp_path / "x", colour=True).input_shape == (32, 32, 3)


@pytest.mark.parametrize(("difference", "channels"), [(10, 1), (11, 3)])
def test_a_slight_tint_counts_as_grey(tmp_path, difference, channels):
    """Scanners and old photographs cause a tint."""
    for name in ("a", "b"):
        fill(tmp_path / "x" / name, range(2), channels=1)
    Image.fromarray(np.full((32, 32, 3), [90, 90, 90 + difference], np.uint8)).save(tmp_path / "x" / "b" / "tinged.png")
    assert load_pictures(tmp_path / "x").input_shape == (32, 32, channels)


def test_one_coloured_picture_is_enough(tmp_path):
    fill(tmp_path / "x" / "a", range(4), channels=1)
    fill(tmp_path / "x" / "b", range(3), channels=1)
    fill(tmp_path / "x" / "b", ["red"])
    coloured = load_pictures(tmp_path / "x", image_size=12)
    assert coloured.input_shape == (12, 12, 3)
    as_grey = load_pictures(tmp_path / "x", image_size=12, colour=False)
    np.testing.assert_array_equal(as_grey.x_train, grey(coloured.x_train))


# --------------------------------------------------------------------------------------------------------------- errors


WANTED = "expected at least two folders of pictures, one for each class; found"


def test_folders_without_classes_raise(tmp_path, pets):
    assert refused(tmp_path / "gone") == "there is no such folder."
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty") == f"{WANTED} none."
    fill(tmp_path / "flat", range(3))
    flat = "It holds 3 pictures itself: put them into such folders"
    assert refused(tmp_path / "flat") == f"{WANTED} none. {flat}, or give the folder above, {tmp_path.name}."
    fill(tmp_path / "unsorted" / "train", range(3))
    fill(tmp_path / "unsorted" / "test", range(3))
    assert refused(tmp_path / "unsorted") == f"train: {WANTED} none. {flat}."
    fill(tmp_path / "one" / "cat", range(3))
    assert refused(tmp_path / "one") == f"{WANTED} only one, cat."
    fill(tmp_path / "parted" / "train" / "cat", range(3))
    (tmp_path / "parted" / "test").mkdir()
    assert refused(tmp_path / "parted") == f"train: {WANTED} only one, cat."
    (pets / "fish").mkdir()
    assert refused(pets).startswith("fish holds no picture (.apng, .bmp, .gif, .jfif, .jpe, .jpeg, .jpg")


def test_classes_with_too_few_pictures_raise(pets):
    fill(pets / "fish", ["only"])
    assert refused(pets) == "the class fish has one picture; two are needed at least, to train and to test."
    fill(pets / "fish", ["other"])
    dataset = load_pictures(pets, test_fraction=0.99)
    assert np.bincount(dataset.y_train).tolist() == [1, 1, 1]  # at least one stays on each side
    assert np.bincount(load_pictures(pets, test_fraction=0.01).y_test).tolist() == [1, 1, 1]


def test_train_and_test_with_different_classes_raise(tmp_path):
    for place in ("train/cat", "train/dog", "test/cat", "test/fish"):
        fill(tmp_path / "x" / place, range(2))
    assert refused(tmp_path / "x").endswith("only one of them has: dog, fish.")


def test_the_error_names_all_unreadable_pictures(pets):
    (pets / "dog" / "torn.jpg").write_bytes((pets / "dog" / "0.png").read_bytes()[:50])
    (pets / "cat" / "text.png").write_text("hello")
    (pets / "cat" / "empty.gif").write_bytes(b"")
    message = refused(pets)
    assert message.startswith("3 of 18 pictures cannot be read; replace or remove them:\n  - ")
    for name in ("dog/torn.jpg", "cat/text.png", "cat/empty.gif"):
        assert f"{pets / name}: " in message
    for i in range(97):
        (pets / "cat" / f"bad{i}.png").write_bytes(b"")
    assert refused(pets).count("\n  - ") == 100
    (pets / "cat" / "bad97.png").write_bytes(b"")
    assert refused(pets).endswith("\n  - and 1 more")


def test_a_decompression_bomb_raises_without_taking_memory(pets):
    """24,000 x 24,000 pixels in 70 KB."""
    Image.new("1", (24_000, 24_000)).save(pets / "cat" / "bomb.png")
    tracemalloc.start()
    message = refused(pets)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert re.search(r"cat/bomb.png: it (has|declares more than) .* pixels", message)
    assert peak < 10 << 20


def one_tile(tile):
    """A TIFF file of 16x16 pixels in a tile of ``tile`` x ``tile``, of which the file holds nothing."""
    entries = [
        (256, 16),
        (257, 16),
        (258, 8),
        (259, 8),
        (262, 1),
        (277, 1),
        (322, tile),
        (323, tile),
        (324, 8),
        (325, 8),
    ]
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 16) + bytes(8) + struct.pack("<H", len(entries)) + tags + bytes(4)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def many_scans(side, count):
    """A progressive JPEG that repeats its last scan."""
    content = encoded(Image.new("L", (side, side)), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * count + content[-2:]


def larger_jpeg(content, side):
    """The same file, with another size in its header."""
    at = content.index(b"\xff\xc2") + 5
    return content[:at] + struct.pack(">HH", side, side) + content[at + 4 :]


def larger_webp(side):
    """A lossless WebP file with another size in its header."""
    content = encoded(Image.new("RGB", (16, 16)), "WEBP", lossless=True)
    at = content.index(b"VP8L") + 9
    sizes = int.from_bytes(content[at : at + 4], "little") & ~0xFFFFFFF | (side - 1) << 14 | (side - 1)
    return content[:at] + sizes.to_bytes(4, "little") + content[at + 4 :]


def one_strip(side):
    """A TIFF file with colours in a strip of ``side`` rows, of which it holds nothing."""
    entries = [(256, side), (257, side), (258, 8), (259, 5), (262, 2), (273, 8), (277, 3), (278, side), (279, 8)]
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 16) + bytes(8) + struct.pack("<H", len(entries)) + tags + bytes(4)


COSTLY = {  # each decodes to less than 64 million pixels
    "a tile": (lambda: one_tile(40_000), "decoding it takes 1,600,000,256 bytes, above 400,000,000"),
    "a strip": (
        lambda: one_strip(7600),
        "decoding it takes 404,320,000 bytes",
    ),
    "WebP": (lambda: larger_webp(5010), "decoding it takes 401,601,600 bytes"),
    "progressive": (
        lambda: larger_jpeg(encoded(Image.new("CMYK", (16, 16)), "JPEG", progressive=True), 7100),
        "decoding it takes 406,",
    ),
    "scans": (lambda: many_scans(2000, 1100), "its 1,106 scans take too long to decode"),
    "text": (lambda: b"P2\n5000 2000\n1\n" + b"0 " * 10_000_000, "PPM as text, larger than 16,777,216 bytes"),
}


@pytest.mark.parametrize("name", COSTLY)
def test_pictures_that_cost_too_much_are_refused_before_they_are_decoded(name, monkeypatch):
    make, told = COSTLY[name]
    content = make()
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded before the check"))
    monkeypatch.setattr("PIL.TiffImagePlugin.TiffImageFile.load", lambda self: pytest.fail("decoded before the check"))
    with pytest.raises(DataError, match=told):
        read_picture(content, (32, 32, 3))


def test_a_large_compressed_bmp_is_refused():
    width, height = 4000, 3000
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0) + bytes(1024)
    content = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(head)) + head
    with pytest.raises(DataError, match="compressed BMP, larger than 16,777,216 bytes"):
        read_picture(content + bytes([1, 7]) * 9_000_000, (8, 8, 1))


@linux_only
def test_the_memory_of_a_large_picture(tmp_path):
    """Nine million pixels of a single number: nothing but them, at four bytes for each, and 60 MiB."""
    Image.new("F", (3000, 3000)).save(tmp_path / "x.tif", compression="tiff_lzw")
    Image.new("F", (9, 9)).save(tmp_path / "small.tif", compression="tiff_lzw")
    code = """
import sys
from tests.support.memory_held import held
from tinycnn.data.picture import read_picture
read_picture(sys.argv[2], (32, 32, 3))
before = held("VmHWM")
read_picture(sys.argv[1], (32, 32, 3))
print(held("VmHWM") - before)
"""
    assert float(output_of(code, tmp_path / "x.tif", tmp_path / "small.tif")) < 4 * 9e6 / 2**20 + 60


def test_decoders_write_nothing_to_the_terminal(capfd, tmp_path):
    content = bytearray(encoded(pixels(0, 64, 64), "TIFF", compression="tiff_lzw"))
    content[8:60] = b"\xff" * 52
    with pytest.raises(DataError, match="the image in it is damaged"):
        read_picture(bytes(content), (8, 8, 3))
    assert capfd.readouterr().err == ""
    os.write(2, b"still open")
    assert capfd.readouterr().err == "still open"


def test_more_pictures_than_fit_into_memory_raise(pets, monkeypatch):
    monkeypatch.setattr(picture_folder, "MAX_BYTES", 15 * 8 * 8 * 3)
    assert load_pictures(pets, image_size=8).input_shape == (8, 8, 3)
    assert "15 pictures of 9x9 are more than" in refused(pets, image_size=9)


def test_one_picture_at_a_time_is_in_memory(tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / "x" / name, range(20), height=400, width=400)
    load_pictures(tmp_path / "x")  # loads Pillow
    tracemalloc.start()
    load_pictures(tmp_path / "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 400 * 400 * 3 / 4  # of all pictures as they are


@pytest.mark.parametrize("size", [0, -1, 1025])
def test_sizes_out_of_range_raise(pets, size):
    with pytest.raises(SettingError, match="expected 1 to 1024 pixels"):
        load(pets, image_size=size)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_fractions_out_of_range_raise(pets, fraction):
    with pytest.raises(SettingError, match="test_fraction"):
        load_pictures(pets, test_fraction=fraction)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "x" * 101, os.fsdecode(b"\xff")])
def test_unprintable_or_long_class_names_raise(pets, name):
    fill(pets / "fish", range(2)).rename(pets / name)
    message = refused(pets)
    assert "cannot be the name of a class" in message
    assert message.isprintable()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the administrator may read everything")
def test_a_folder_without_read_permission_raises(pets):
    (pets / "cat").chmod(0)
    try:
        assert "Permission denied" in refused(pets)
    finally:
        (pets / "cat").chmod(0o755)


# ------------------------------------------------------------------------------------------------------------- progress


def test_reading_many_pictures_is_reported(pets, monkeypatch, capsys):
    load_pictures(pets)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(picture_folder, "MANY", 15)
    load_pictures(pets)
    assert capsys.readouterr().err == f"Reading 15 pictures in {pets}\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    load_pictures(pets)
    assert "reading pictures" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ the cache


@pytest.fixture
def kept(pets, tmp_path, monkeypatch):
    """Every folder counts as a large one; returns the function that loads ``pets`` and says how often it decoded."""
    monkeypatch.setenv("TINYCNN_PICTURE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(picture_folder, "MANY", 15)
    decoded = []
    monkeypatch.setattr(
        picture_folder, "read_picture", lambda path, *a, **k: decoded.append(path) or read_picture(path, *a, **k)
    )

    def loaded(**settings):
        decoded.clear()
        return load_pictures(pets, **settings), len(decoded)

    return loaded


def entries(tmp_path):
    return sorted((tmp_path / "cache").iterdir())


def test_unchanged_pictures_are_decoded_once(kept, tmp_path, pets):
    before = sorted(pets.rglob("*"))
    first, decoded = kept()
    assert decoded == 15
    second, decoded = kept()
    assert decoded == 0
    for part in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(first, part), getattr(second, part))
    (file,) = entries(tmp_path)
    assert second.source == first.source[:-1] + f"; their pixels from the cache {file})"
    assert file.stat().st_size == 64 + 15 * 32 * 32 * 3
    assert sorted(pets.rglob("*")) == before  # nothing is written into the folder
    assert kept(image_size=8)[1] == 15  # which has an entry of its own
    assert kept()[1] == kept(image_size=8)[1] == 0
    assert kept(colour=False)[0].input_shape == (32, 32, 1)


def changed_content(pets):
    pixels(77).save(pets / "cat" / "3.png")


def changed_time(pets):
    os.utime(pets / "dog" / "1.png", ns=(5, 5))


def same_size_and_time(pets):
    path = pets / "dog" / "1.png"
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def renamed(pets):
    (pets / "cat" / "3.png").rename(pets / "cat" / "33.png")


def removed(pets):
    (pets / "cat" / "3.png").unlink()
    pixels(99).save(pets / "cat" / "new.png")


@pytest.mark.parametrize("change", [changed_content, changed_time, same_size_and_time, renamed, removed])
def test_a_changed_folder_is_decoded_again(kept, tmp_path, pets, change):
    if change is same_size_and_time and sys.platform == "win32":
        pytest.skip("Windows has no time of the last change of a file's entry")
    kept()
    change(pets)
    dataset, decoded = kept()
    assert decoded == 15
    assert kept()[1] == 0
    assert len(entries(tmp_path)) == 1  # the old pixels are replaced
    assert len(as_stored(pets, dataset)["train"]) == 12


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


def emptied(file):
    file.write_bytes(b"")


def flipped(file):
    content = bytearray(file.read_bytes())
    content[-9] ^= 4
    file.write_bytes(content)


def flipped_header(file):
    content = bytearray(file.read_bytes())
    content[40] ^= 4
    file.write_bytes(content)


def a_folder(file):
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("damage", [cut, emptied, flipped, flipped_header])
def test_a_damaged_cache_is_noticed_and_replaced(kept, tmp_path, damage):
    first, _ = kept()
    (file,) = entries(tmp_path)
    damage(file)
    second, decoded = kept()
    assert decoded == 15
    np.testing.assert_array_equal(first.x_train, second.x_train)
    assert kept()[1] == 0


def test_a_cache_that_cannot_be_written_is_a_notice(kept, tmp_path):
    kept()
    a_folder(*entries(tmp_path))
    dataset, decoded = kept()
    assert decoded == 15
    assert dataset.notice.startswith("NOTICE: the pixels cannot be kept for the next run: ")


def test_the_cache_is_switched_off(kept, tmp_path, monkeypatch):
    monkeypatch.setenv("TINYCNN_PICTURE_CACHE", "off")
    assert [kept()[1], kept()[1]] == [15, 15]
    assert not (tmp_path / "cache").exists()
    monkeypatch.setenv("TINYCNN_PICTURE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(picture_folder, "MANY", 16)  # few pictures are decoded in a moment
    assert [kept()[1], kept()[1]] == [15, 15]


def test_without_the_package_that_knows_the_place_nothing_is_kept(kept, monkeypatch):
    monkeypatch.delenv("TINYCNN_PICTURE_CACHE")
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert [kept()[1], kept()[1]] == [15, 15]


def test_another_version_of_the_decoder_decodes_again(kept, monkeypatch):
    kept()
    monkeypatch.setattr("PIL.__version__", "0.0")
    assert kept()[1] == 15


def test_the_cache_has_a_limit(kept, tmp_path, monkeypatch):
    """The entries that were not used for longest are deleted."""
    size = [64 + 15 * side * side * 3 for side in (8, 9, 10)]
    monkeypatch.setattr(picture_cache, "MOST", sum(size) - 1)
    for side in (8, 9):
        kept(image_size=side)
    for file, seconds in zip(sorted(entries(tmp_path), key=lambda path: path.stat().st_size), (100, 50), strict=True):
        os.utime(file, (seconds, seconds))
    assert kept(image_size=9)[1] == 0  # used: 8 is older now
    kept(image_size=10)
    assert [kept(image_size=side)[1] for side in (9, 10, 8)] == [0, 0, 15]
    monkeypatch.setattr(picture_cache, "MOST", 64)
    assert [kept(image_size=11)[1], kept(image_size=11)[1]] == [15, 15]  # larger than the limit


def test_two_processes_replace_the_file_as_a_whole(kept, tmp_path, monkeypatch):
    """Until one has written everything, the other finds no file."""
    found, replace = [], os.replace

    def replaced(source, target):
        if not found:
            found.append(None)
            found[0] = kept()[1]  # another process, before the file has its name
        replace(source, target)

    monkeypatch.setattr("tinycnn.files.os.replace", replaced)
    kept()
    assert found == [15]
    assert kept()[1] == 0
    assert len(entries(tmp_path)) == 1  # no temporary file is left


def test_a_wrongly_read_picture_is_detected(pets, monkeypatch):
    monkeypatch.setattr(picture, "fitted", lambda image, H, W, pixels: np.zeros((H, W, 3), np.uint8))
    dataset = load_pictures(pets, colour=True)
    with pytest.raises(AssertionError):
        as_stored(pets, dataset)


def network(*input_shape):
    return layers.Sequential(layers.Flatten(), layers.Dense(2), input_shape=input_shape)


@pytest.mark.parametrize("colour", [True, False])
def test_a_new_picture_is_prepared_like_those_of_the_folder(pets, colour):
    dataset = load_pictures(pets, image_size=8, colour=colour)
    model = network(8, 8, 3 if colour else 1)
    model.pictures = dataset.pictures
    for part in ("cat", "dog"):
        for path in (pets / part).iterdir():
            image = load_picture(path, model)  # (1, 8, 8, C)
            assert image.dtype == np.uint8
            assert any((image[0] == known).all() for known in [*dataset.x_train, *dataset.x_test])
            np.testing.assert_array_equal(load_picture(path.read_bytes(), model), image)
    assert model.predict(image).shape == (1, 2)


def test_a_new_drawing_is_prepared_as_a_digit(tmp_path):
    Image.new("L", (90, 60), 255).save(tmp_path / "empty.png")
    sheet = Image.new("L", (90, 60), 255)
    for left in (20, 60):
        sheet.paste(0, (left, 10, left + 6, 50))
    sheet.save(tmp_path / "eleven.png")
    model = network(28, 28, 1)
    model.pictures = "drawing"
    assert load_picture(tmp_path / "eleven.png", model).shape == (2, 28, 28, 1)
    with pytest.raises(DataError):
        load_picture(tmp_path / "empty.png", model)


def test_a_new_picture_is_refused_for_a_network_that_takes_none(pets):
    path = next((pets / "cat").iterdir())
    with pytest.raises(SettingError, match=r"takes inputs \(8, 8, 2\), expected pictures: \(H, W, 1\) or \(H, W, 3\)"):
        load_picture(path, network(8, 8, 2))


def test_the_range_of_a_deep_new_picture_can_be_stated(tmp_path):
    Image.fromarray(np.full((9, 9), 4095, np.uint16)).save(tmp_path / "deep.png")
    model = network(9, 9, 1)
    model.pictures = "whole"
    assert load_picture(tmp_path / "deep.png", model, pixels="0..4095").min() == 255
    assert load_picture(tmp_path / "deep.png", model).max() == 16
