"""The pictures on which a trained network is measured: all, or those held out, with classes by their names."""

import re

import numpy as np
import pytest
from PIL import Image

import tinycnn
from tinycnn import layers, metrics, models
from tinycnn.commands import main
from tinycnn.data import load_pictures, load_pictures_for
from tinycnn.data.measured_pictures import measured_pictures
from tinycnn.errors import DataError, SettingError

NAMES = ("cat", "cow", "dog")
GREY = {"cat": 10, "cow": 120, "dog": 230}


def fill(folder, **counts):
    """So many pictures of each class, with the grey of its name and one of their own in the corner."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            image = Image.new("L", (9, 9), GREY.get(name, 60))
            image.putpixel((4, 4), i)
            image.save(folder / name / f"{i}.png")
    return folder


def measured(folder, names=NAMES, **settings):
    return measured_pictures(folder, names, image_size=9, colour=False, **settings)


def counts(found, classes=3):
    """The number of pictures of each class; checks that each picture has the grey of its class."""
    for image, label in zip(found.images, found.labels, strict=True):
        assert image[0, 0, 0] == GREY[NAMES[label]]
    return np.bincount(found.labels, minlength=classes).tolist()


def test_those_that_training_holds_out_are_measured_and_counted(tmp_path):
    """230 pictures, of which 46 are held out, were called "all 46"."""
    fill(tmp_path / "pets", cat=10, cow=5, dog=20)
    found, trained = measured(tmp_path / "pets"), load_pictures(tmp_path / "pets", image_size=9)
    assert counts(found) == [2, 1, 4]
    assert found.which == (
        "7 of the 35 pets pictures, every fifth of each class, which training holds out; `all_pictures=True` measures "
        "all"
    )
    assert {image.tobytes() for image in found.images} == {image.tobytes() for image in trained.x_test}
    assert found.notice is None


def test_all_pictures_can_be_measured(tmp_path):
    found = measured(fill(tmp_path / "pets", cat=10, cow=5, dog=20), all_pictures=True)
    assert counts(found) == [10, 5, 20]
    assert (found.which, found.notice) == ("all 35 pets pictures", None)


@pytest.mark.parametrize("all_pictures", [False, True])
def test_a_class_of_the_network_may_be_missing(all_pictures, tmp_path):
    """Classes are found by their names: without cow, dog is still the third."""
    found = measured(fill(tmp_path / "pets", cat=5, dog=5), all_pictures=all_pictures)
    assert counts(found) == ([5, 0, 5] if all_pictures else [1, 0, 1])
    assert found.notice == "NOTICE: no picture of the class 'cow'"
    found = measured(fill(tmp_path / "one", dog=1, cat=0), all_pictures=all_pictures)
    assert counts(found) == [0, 0, 1]
    assert found.notice == "NOTICE: no picture of the classes 'cat', 'cow'"


def test_a_folder_with_only_test_in_it(tmp_path):
    fill(tmp_path / "pets" / "test", cat=3, dog=4)
    for all_pictures in (False, True):
        found = measured(tmp_path / "pets", all_pictures=all_pictures)
        assert (counts(found), found.which) == ([3, 0, 4], "all 7 pets pictures in test")


def test_the_parts_of_a_divided_folder(tmp_path):
    """``train`` and ``test`` need not hold the same classes, as they must in training."""
    for part, pictures in {
        "Train": {"cat": 6, "cow": 6, "dog": 6},
        "Test": {"cat": 2, "dog": 1},
        "val": {"cow": 1},
    }.items():
        fill(tmp_path / "pets" / part, **pictures)
    (tmp_path / "pets" / "notes.txt").touch()
    found = measured(tmp_path / "pets")
    assert (counts(found), found.which) == ([2, 0, 1], "all 3 pets pictures in Test")
    assert "notes.txt" in found.notice
    found = measured(tmp_path / "pets", all_pictures=True)
    assert (counts(found), found.which) == ([8, 7, 7], "all 22 pets pictures in Train and Test and val")


def test_without_test_those_in_val_are_held_out(tmp_path):
    fill(tmp_path / "pets" / "train", cat=6, dog=6)
    fill(tmp_path / "pets" / "val", cat=2, dog=1)
    found = measured(tmp_path / "pets")
    assert (counts(found), found.which) == ([2, 0, 1], "all 3 pets pictures in val")


def test_classes_that_the_network_does_not_have_are_refused_by_name(tmp_path):
    folder = fill(tmp_path / "pets", cat=2, cow=2, wolf=2, zebra=2)
    with pytest.raises(DataError) as caught:
        measured(folder)
    assert str(caught.value) == (
        f"{folder}: the network has no class 'wolf', 'zebra'; its classes are 'cat', 'cow', 'dog'. Rename these "
        "folders, or take them out of it."
    )


def test_numbers_agree_with_as_many_names(tmp_path):
    """The classes of arrays are called 0, 1, 2; numbers among themselves are compared as names are."""
    folder = fill(tmp_path / "pets", cat=1, cow=2, dog=3)
    assert counts(measured(folder, ("0", "1", "2"), all_pictures=True)) == [1, 2, 3]
    numbered = fill(tmp_path / "numbers", **{"10": 1, "9": 2})
    assert measured(numbered, ("cat", "cow"), all_pictures=True).labels.tolist().count(0) == 2
    assert measured(numbered, ("8", "9", "10"), all_pictures=True).labels.tolist() == [2, 1, 1]
    with pytest.raises(DataError, match="no class '10', '9'; its classes are '0', '1', '2'"):
        measured(numbered, ("0", "1", "2"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "expected folders of pictures, one for each class; found none"),
        ({"cat": 0}, "there is no picture in the folders of the classes"),
    ],
)
def test_a_folder_without_pictures_is_refused(content, words, tmp_path):
    (tmp_path / "pets").mkdir()
    fill(tmp_path / "pets", **content)
    with pytest.raises(DataError, match=words):
        measured(tmp_path / "pets")


def test_dark_pictures_are_noticed(tmp_path):
    folder = fill(tmp_path / "pets", cat=2)
    assert "NOTICE: the brightest pixel of all pictures is 10 of 255" in measured(folder, all_pictures=True).notice
    assert "brightest" not in measured(folder, all_pictures=True, pixels="0..255").notice


# ---------------------------------------------------------------------------------------------------------- from Python


def network(input_shape=(9, 9, 3)):
    """One that standardises its inputs, with random weights and a class that no folder has."""
    normalised = layers.Normalization((0.4, 0.5, 0.6), (0.2, 0.3, 0.2))
    model = tinycnn.Sequential(normalised, layers.Flatten(), layers.Dense(4), input_shape=input_shape, seed=3)
    model.class_names = ("bird", *NAMES)
    return model


@pytest.mark.parametrize("all_pictures", [False, True])
def test_python_and_the_command_measure_the_same(all_pictures, tmp_path, capsys):
    folder, model = fill(tmp_path / "pets", cat=5, cow=10, dog=15), network()
    tinycnn.save(model, tmp_path / "model.safetensors")
    found = load_pictures_for(folder, model, all_pictures=all_pictures)
    counted = [0, 5, 10, 15] if all_pictures else [0, 1, 2, 3]
    assert np.bincount(found.labels, minlength=4).tolist() == counted
    assert (found.images.dtype, found.images.shape, found.labels.dtype) == (
        np.uint8,
        (sum(counted), 9, 9, 3),
        np.int64,
    )
    assert [int(image[0, 0, 0]) for image in found.images] == [GREY[model.class_names[k]] for k in found.labels]
    scores = model.evaluate(found.images, found.labels)

    words = ["evaluate", str(tmp_path / "model.safetensors"), "--dataset", str(folder)]
    assert main([*words, *["--all-pictures"] * all_pictures]) == 0
    printed = capsys.readouterr()
    first = printed.out.splitlines()[0]
    assert first.startswith(f"accuracy {metrics.percent(scores.accuracy)}, loss {scores.loss:.4f} on ")
    assert first.endswith(found.which.replace("`all_pictures=True`", "--all-pictures"))
    assert printed.err == f"{found.notice}\n" == "NOTICE: no picture of the class 'bird'\n"


def test_pictures_get_the_channels_and_the_size_of_the_network(tmp_path):
    """Grey pictures, in colour for a network that takes colour; a folder in which all are measured needs one class."""
    folder = fill(tmp_path / "pets", cat=1)
    for channels in (1, 3):
        model = models.create("lenet", input_shape=(20, 20, channels), classes=3)
        model.class_names = NAMES
        assert load_pictures_for(str(folder), model, all_pictures=True).images.shape == (1, 20, 20, channels)


def test_a_network_for_drawings_gets_a_notice(tmp_path):
    model = models.create("lenet", classes=3)
    model.class_names, model.pictures = NAMES, "drawing"
    notice = load_pictures_for(fill(tmp_path / "pets", cat=5, cow=5, dog=5), model).notice
    assert "the pictures are scaled as they are; `tinycnn predict` cuts out the digit in each" in notice


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"folder": "nowhere"}, DataError, "nowhere: there is no such folder."),
        ({"folder": __file__}, DataError, f"{__file__}: there is no such folder."),
        ({"folder": 3}, SettingError, "`folder` is 3: expected the path of a folder of pictures"),
        (
            {"model": "a.safetensors"},
            SettingError,
            "`model` is 'a.safetensors': expected a network; load it with tinycnn.load",
        ),
        ({"model": None}, SettingError, "`model` is None: expected a network"),
        (
            {"model": network((9, 8, 3))},
            SettingError,
            "the model takes inputs (9, 8, 3), expected square pictures, (H, H, 1 or 3)",
        ),
        ({"all_pictures": "yes"}, SettingError, "`all_pictures='yes'`: expected True or False"),
        ({"pixels": "0-255"}, SettingError, "`pixels"),
    ],
)
def test_mistakes_are_named(change, error, words, tmp_path):
    given = {"folder": fill(tmp_path / "pets", cat=1), "model": network()} | change
    with pytest.raises(error, match="^" + re.escape(words)):
        load_pictures_for(**given)


def test_folders_of_other_classes_are_refused_from_python(tmp_path):
    with pytest.raises(DataError, match="no class 'wolf'; its classes are 'bird', 'cat', 'cow', 'dog'"):
        load_pictures_for(fill(tmp_path / "pets", cat=1, wolf=1), network(), all_pictures=True)
