"""The example of several labels: its length, its labels, and that it learns the bundled digits."""

import runpy

import numpy as np

from tests.support.example_runner import EXAMPLES
from tinycnn.optim import Adam
from tinycnn.train import Trainer, evaluate

EXAMPLE = runpy.run_path(str(EXAMPLES / "several_labels.py"))


def test_it_is_short():
    assert len((EXAMPLES / "several_labels.py").read_text(encoding="utf-8").splitlines()) <= 60


def test_the_labels_are_those_of_the_two_halves():
    """Image i is filled with the number i, and shows the digit i."""
    images = np.repeat(np.arange(10, dtype=np.uint8), 28 * 28).reshape(10, 28, 28, 1)
    pictures, labels = EXAMPLE["pairs"](images, np.arange(10), 200, seed=0)
    assert pictures.shape == (200, 28, 56, 1)
    for picture, label in zip(pictures, labels, strict=True):
        a, b = int(picture[0, 0, 0]), int(picture[0, 28, 0])
        assert set(np.flatnonzero(label[:10])) == {a, b}
        assert label[10:].tolist() == [(a + b) % 2 == 0, a > b, a == b]
    assert labels[:, 12].any()


def test_both_outputs_learn():
    """Bright and dark halves instead of digits, which a few steps tell apart."""
    images = np.repeat(np.array([0, 250], np.uint8), 28 * 28).reshape(2, 28, 28, 1)
    training = EXAMPLE["pairs"](images, np.arange(2), 32, seed=0)
    model = EXAMPLE["network"]()
    before = evaluate(model, *training, loss=EXAMPLE["LOSS"])
    Trainer(model, Adam(model.parameters(), 3e-3), batch_size=8, loss=EXAMPLE["LOSS"]).fit(*training, epochs=3)
    after = evaluate(model, *training, loss=EXAMPLE["LOSS"])
    assert after.loss < before.loss / 2
    assert after.accuracy > 0.8
