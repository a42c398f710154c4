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
from tinycnn.train.predicting import predictions

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
        numbers = a_few_of_each(dataset.y_test, dataset.num_classes)
        images = np.asarray(dataset.x_test[numbers])
        with self.lock:
            probabilities = predictions(self.model, images)
        return {
            "name": DATA_SETS[dataset.name],
            "pictures": base64.b64encode(np.ascontiguousarray(images[:, :, :, 0]).tobytes()).decode(),
            "labels": dataset.y_test[numbers].tolist(),
            "numbers": numbers.tolist(),
            "probabilities": probabilities.tolist(),
        }


def fitting_data(model: Sequential) -> Dataset | None:
    """The first of DATA_SETS that is on this machine and has the classes and the image size of ``model``, or None."""
    for name in DATA_SETS:
        try:
            dataset = data.load(name, download=False)
        except (DataError, SettingError):  # it is not here, or damaged
            continue
        if dataset.class_names == tuple(model.class_names) and dataset.input_shape == model.input_shape:
            return dataset
    return None


def a_few_of_each(labels: np.ndarray, classes: int) -> np.ndarray:
    """The indices of up to PER_CLASS images of each class, drawn at random, always the same ones."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(labels == k) for k in range(classes)]
    return np.concatenate([np.sort(rng.permutation(each)[:PER_CLASS]) for each in members])
