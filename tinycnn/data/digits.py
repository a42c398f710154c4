"""The stand-in when MNIST cannot be had: 1,797 real handwritten digits of 8x8 pixels that come with scikit-learn.

They are scaled like MNIST: the digit fills 20x20 pixels in the middle of 28x28, so that every model takes them.
Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI.
"""

import numpy as np

from tinycnn.data.dataset import Dataset
from tinycnn.errors import DataError

SMALL, BOX, FULL = 8, 20, 28  # sides: the bundled digit, the digit inside the picture, the picture
TOP = 16  # the brightest value of a bundled digit
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
    """Digits (N, 8, 8) with values 0..16 -> (N, 28, 28) uint8: bilinear to 20x20, in the middle of a black square.

    In whole numbers (weights are tenths), so that every machine rounds the same way.
    """
    weights = _bilinear_tenths()
    hundredths = weights @ images.astype(np.int64) @ weights.T  # (N, 20, 20)
    scale = 100 * TOP
    box = (hundredths * 255 + scale // 2) // scale  # rounded to the nearest grey level
    margin = (FULL - BOX) // 2
    return np.pad(box.astype(np.uint8), ((0, 0), (margin, margin), (margin, margin)))  # (N, 28, 28)


def stratified_split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) -> indices of the training and of the test images, shuffled; each class is cut in proportion."""
    rng = np.random.default_rng(SEED)
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    is_test = np.arange(len(labels)) % TEST_EVERY == 0
    return rng.permutation(by_class[~is_test]), rng.permutation(by_class[is_test])


def _bilinear_tenths() -> np.ndarray:
    """Weights (20, 8) in tenths: the centre of output pixel i lies at (i + 0.5) * 8/20 - 0.5 = (4 i - 3)/10."""
    weights = np.zeros((BOX, SMALL), np.int64)
    for i in range(BOX):
        tenths = min(max(4 * i - 3, 0), 10 * (SMALL - 1))  # the border pixels are continued outwards
        left, part = divmod(tenths, 10)
        weights[i, left] += 10 - part
        weights[i, min(left + 1, SMALL - 1)] += part
    return weights


def _bundled() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn import datasets
    except ImportError as error:
        raise DataError(f"the digits come with scikit-learn ({error}). Run: pip install scikit-learn") from None
    bunch = datasets.load_digits()
    return bunch.images, bunch.target.astype(np.int64)
