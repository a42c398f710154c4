"""The test images that the walk offers: a few of each class, from a data set on this machine that fits the network.

Nothing is downloaded. The first request reads the data set; afterwards only the images that are offered are kept.
"""

import base64
import threading
from typing import Any

import numpy as np

from tinycnn import data
from tinycnn.data.dataset import Dataset
from tinycnn.errors import DataError, SettingError
from tinycnn.layers import Sequential
from tinycnn.layers.metadata import DIGITS
from tinycnn.train.predicting import predictions
from tinycnn.web.digit_names import class_of_each_digit

DATA_SETS = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "digits": "the digits in scikit-learn"}
PER_CLASS = 10


class SampleImages:
    """Images for one network; ``lock`` is that of its predictions."""

    def __init__(self, model: Sequential, lock: threading.Lock) -> None:
        self.model, self.lock = model, lock
        self.reading = threading.Lock()
        self.found: dict[str, Any] | None = None

    def describe(self) -> dict[str, Any]:
        """The images as values for JSON: ``name`` of the data set, or "" where none fits, and parallel lists.

        ``pictures``: N·H·W bytes in base64; ``labels``, ``numbers`` (in the test set) and ``probabilities (N, K)``.
        """
        with self.reading:
            if self.found is None:
                dataset = fitting_data(self.model)
                self.found = self._described(dataset) if dataset else {"name": "", "pictures": "", "labels": []}
            return self.found

    def _described(self, dataset: Dataset) -> dict[str, Any]:
        labels = labels_for(self.model, dataset)
        numbers = a_few_of_each(labels, len(self.model.class_names))
        images = np.asarray(dataset.x_test[numbers])
        with self.lock:
            probabilities = predictions(self.model, images)
        return {
            "name": DATA_SETS[dataset.name],
            "pictures": base64.b64encode(np.ascontiguousarray(images[:, :, :, 0]).tobytes()).decode(),
            "labels": labels[numbers].tolist(),
            "numbers": numbers.tolist(),
            "probabilities": probabilities.tolist(),
        }


def fitting_data(model: Sequential) -> Dataset | None:
    """The first of DATA_SETS on this machine with the classes and the image size of ``model``, or None.

    Images of digits also fit a network whose classes are named after digits: see `class_of_each_digit`.
    """
    names = tuple(model.class_names)
    for name in DATA_SETS:
        try:
            dataset = data.load(name, download=False)
        except (DataError, SettingError):  # it is not here, or damaged
            continue
        fits = dataset.class_names == names or (dataset.class_names == DIGITS and class_of_each_digit(names))
        if fits and dataset.input_shape == model.input_shape:
            return dataset
    return None


def labels_for(model: Sequential, dataset: Dataset) -> np.ndarray:
    """The class that each test image has for ``model``, ``(N,)``; -1 for a digit that is none of its classes."""
    if dataset.class_names == tuple(model.class_names):
        return dataset.y_test
    classes = class_of_each_digit(model.class_names)
    return np.array([classes.get(digit, -1) for digit in range(len(DIGITS))])[dataset.y_test]


def a_few_of_each(labels: np.ndarray, classes: int) -> np.ndarray:
    """The indices of up to PER_CLASS images of each class, drawn at random, always the same ones."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(labels == k) for k in range(classes)]
    return np.concatenate([np.sort(rng.permutation(each)[:PER_CLASS]) for each in members])
