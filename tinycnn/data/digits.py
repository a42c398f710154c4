"""The fallback where MNIST is not available: 1,797 handwritten digits of 8x8 pixels that scikit-learn contains.

They are scaled like MNIST, to 20x20 pixels in the middle of 28x28, so that every model accepts them.
Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI.
"""

import gzip
import importlib.util
from contextlib import suppress
from pathlib import Path

import numpy as np

from tinycnn.data.dataset import Dataset
from tinycnn.errors import DataError

SMALL, BOX, FULL = 8, 20, 28  # side lengths: the bundled digit, the scaled digit, the image
TOP = 16  # the maximum of a bundled digit
TEST_EVERY = 5  # every fifth image of each class is a test image: 360 of 1,797
SEED = 0


def load_digits(notice: str | None = None) -> Dataset:
    """The bundled digits -> Dataset of 1,437 training and 360 test images (28, 28, 1); always the same split."""
    images, labels = _bundled()
    images = enlarge(images)  # (N, 28, 28)
    train, test = stratified_split(labels)
    return Dataset(
        name="digits",
        x_train=images[train],
        y_train=labels[train],
        x_test=images[test],
        y_test=labels[test],
        class_names=tuple("0123456789"),
        source=f"the {len(labels):,} digits bundled with scikit-learn, scaled from 8x8 to 28x28",
        notice=notice,
        pictures="drawing",
    )


def enlarge(images: np.ndarray) -> np.ndarray:
    """Digits (N, 8, 8) with values 0..16 -> (N, 28, 28) uint8: bilinear to 20x20, in the middle of a black image.

    Integer arithmetic (weights are tenths) makes every machine round in the same way.
    """
    weights = _bilinear_tenths()
    hundredths = weights @ images.astype(np.int64) @ weights.T  # (N, 20, 20)
    scale = 100 * TOP
    box = (hundredths * 255 + scale // 2) // scale  # rounded to the nearest grey level
    margin = (FULL - BOX) // 2
    return np.pad(box.astype(np.uint8), ((0, 0), (margin, margin), (margin, margin)))  # (N, 28, 28)


def stratified_split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) -> shuffled indices of the training and the test images; the split is the same for each class."""
    rng = np.random.default_rng(SEED)
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    is_test = np.arange(len(labels)) % TEST_EVERY == 0
    return rng.permutation(by_class[~is_test]), rng.permutation(by_class[is_test])


def _bilinear_tenths() -> np.ndarray:
    """Weights (20, 8) in tenths: the centre of output pixel i lies at (i + 0.5) * 8/20 - 0.5 = (4 i - 3)/10."""
    weights = np.zeros((BOX, SMALL), np.int64)
    for i in range(BOX):
        tenths = min(max(4 * i - 3, 0), 10 * (SMALL - 1))  # border pixels extend outwards
        left, part = divmod(tenths, 10)
        weights[i, left] += 10 - part
        weights[i, min(left + 1, SMALL - 1)] += part
    return weights


def _bundled() -> tuple[np.ndarray, np.ndarray]:
    """Digits (N, 8, 8) and labels (N,), from scikit-learn's file: importing scikit-learn would take a second."""
    spec = importlib.util.find_spec("sklearn")
    folder = Path(next(iter((spec and spec.submodule_search_locations) or ()), ""))
    with suppress(OSError), gzip.open(folder / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        rows = np.loadtxt(file, delimiter=",")  # (N, 64 + 1)
        return rows[:, :-1].reshape(-1, SMALL, SMALL), rows[:, -1].astype(np.int64)
    try:  # the file has another place in this version
        from sklearn import datasets
    except ImportError as error:
        raise DataError(f"the data set digits needs scikit-learn ({error}): `pip install scikit-learn`") from None
    bunch = datasets.load_digits()
    return bunch.images, bunch.target.astype(np.int64)
