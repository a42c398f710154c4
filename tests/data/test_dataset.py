"""Dataset, labels, and the validation split."""

import dataclasses

import numpy as np
import pytest

from tinycnn.data import Dataset, class_counts, one_hot, split_validation
from tinycnn.errors import DataError, SettingError


def make(**changes):
    fields = {
        "name": "test",
        "x_train": np.zeros((4, 6, 5), np.uint8),
        "y_train": np.array([0, 1, 2, 0], np.uint8),
        "x_test": np.zeros((2, 6, 5), np.uint8),
        "y_test": np.array([2, 1]),
        "class_names": ("a", "b", "c"),
        "source": "here",
    }
    return Dataset(**(fields | changes))


def test_dataset_normalises_shapes_and_label_types():
    dataset = make()
    assert dataset.x_train.shape == (4, 6, 5, 1)
    assert dataset.x_test.shape == (2, 6, 5, 1)
    assert dataset.y_train.dtype == dataset.y_test.dtype == np.int64
    assert dataset.input_shape == (6, 5, 1)
    assert dataset.num_classes == 3
    assert dataset.notice is None


def test_colour_images_are_not_changed():
    dataset = make(x_train=np.zeros((4, 6, 5, 3), np.uint8), x_test=np.zeros((2, 6, 5, 3), np.uint8))
    assert dataset.input_shape == (6, 5, 3)


def test_dataset_is_frozen_and_short_to_print():
    dataset = make()
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "other"
    assert repr(dataset) == "<Dataset test: 4 training and 2 test images of (6, 5, 1), 3 classes>"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"x_train": np.zeros((4, 6, 5))}, "x_train: got float64"),
        ({"x_test": np.zeros((2, 30), np.uint8)}, r"x_test: .*\(2, 30\)"),
        ({"x_train": np.zeros((0, 6, 5), np.uint8), "y_train": np.zeros(0, int)}, "x_train.*at least one image"),
        ({"x_test": np.zeros((2, 0, 5), np.uint8)}, "x_test.*no pixel"),
        ({"y_train": np.zeros(3, int)}, "4 images, y_train 3 labels"),
        ({"y_test": np.zeros(2)}, "y_test: got float64"),
        ({"y_test": np.zeros((2, 1), int)}, "y_test: got int64 of shape"),
        ({"y_train": np.array([0, 1, 2, 3])}, "y_train: values from 0 to 3; expected 0 to 2"),
        ({"y_test": np.array([-1, 0])}, "y_test: values from -1"),
        ({"x_test": np.zeros((2, 5, 6), np.uint8)}, "expected the same"),
    ],
)
def test_invalid_arrays_raise(changes, reason):
    with pytest.raises(DataError, match=reason):
        make(**changes)


def test_one_hot():
    np.testing.assert_array_equal(one_hot(np.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])
    assert one_hot(np.array([2, 0]), 3).dtype == np.float32
    assert one_hot(np.zeros(0, int), 3).shape == (0, 3)


def test_class_counts_includes_classes_that_do_not_occur():
    np.testing.assert_array_equal(class_counts(np.array([2, 0, 2], np.uint8), 4), [1, 0, 2, 0])


@pytest.mark.parametrize("function", [one_hot, class_counts])
def test_labels_outside_the_range_raise(function):
    for labels in ([0, 3], [-1, 0], [0.0, 1.0]):
        with pytest.raises(DataError):
            function(np.array(labels), 3)
    with pytest.raises(SettingError, match="num_classes"):
        function(np.zeros(0, int), 0)


def test_split_keeps_every_image_once_and_with_its_label():
    x = np.arange(50 * 2).reshape(50, 2)
    y = np.arange(50)
    x_train, y_train, x_val, y_val = split_validation(x, y, 0.2, seed=1)
    assert (len(x_train), len(x_val)) == (40, 10)
    np.testing.assert_array_equal(np.sort(np.concatenate([y_train, y_val])), y)
    np.testing.assert_array_equal(x[np.concatenate([y_train, y_val])], np.concatenate([x_train, x_val]))


def test_split_depends_on_its_seed():
    x, y = np.zeros((50, 2)), np.arange(50)
    first, again, other = (split_validation(x, y, 0.2, seed=seed)[3] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)
    assert set(first) != set(range(10))


@pytest.mark.parametrize(
    ("count", "fraction", "n_val"), [(10, 0, 0), (10, 0.25, 2), (1, 0, 0), (2, 0.3, 1), (3, 0.99, 2)]
)
def test_split_sizes(count, fraction, n_val):
    _, y_train, _, y_val = split_validation(np.zeros((count, 2)), np.zeros(count), fraction, seed=0)
    assert (len(y_train), len(y_val)) == (count - n_val, n_val)


@pytest.mark.parametrize(("count", "fraction"), [(10, 0.04), (4, 0.1), (1, 0.9)])
def test_a_split_without_validation_images_raises(count, fraction):
    """Without an error, a run would silently have no validation score."""
    with pytest.raises(SettingError, match=f"{fraction} of {count} images sets none aside"):
        split_validation(np.zeros((count, 2)), np.zeros(count), fraction, seed=0)


@pytest.mark.parametrize("fraction", [1, 1.5, -0.1, float("nan")])
def test_split_fraction_out_of_range_raises(fraction):
    with pytest.raises(SettingError, match="fraction"):
        split_validation(np.zeros((4, 2)), np.zeros(4), fraction, seed=0)


@pytest.mark.parametrize(("n_images", "n_labels"), [(4, 3), (0, 0)])
def test_split_with_different_counts_raises(n_images, n_labels):
    with pytest.raises(DataError):
        split_validation(np.zeros((n_images, 2)), np.zeros(n_labels), 0.5, seed=0)
