"""The minimal example is short, and it works."""

import re

import pytest

from tests.support.example_runner import EXAMPLES, run_example


def test_it_fits_on_one_screen():
    assert len((EXAMPLES / "minimal.py").read_text(encoding="utf-8").splitlines()) <= 50


def accuracy(process):
    assert process.returncode == 0, process.stderr
    found = re.search(r"^test accuracy (0\.\d{4}|1\.0000) on ([\d,]+) images$", process.stdout, re.MULTILINE)
    assert found, process.stdout
    return float(found[1]), found[2]


def test_without_mnist_it_learns_the_bundled_digits(tmp_path):
    process = run_example("minimal.py", folder=tmp_path)
    reached, count = accuracy(process)
    assert count == "360"
    assert "this is NOT MNIST" in process.stdout
    # Guessing gives 0.10 ± 0.016. The 22 steps of its one epoch give about 0.85; a gradient that is wrong in any layer,
    # or labels that do not belong to their images, stay far below 0.7.
    assert reached > 0.7


def test_with_mnist_it_reaches_its_accuracy(tmp_path, mnist_folder):
    process = run_example("minimal.py", folder=tmp_path, mnist=mnist_folder)
    reached, count = accuracy(process)
    assert count == "10,000"
    assert "training on mnist" in process.stdout
    assert reached > 0.97


@pytest.mark.parametrize("name", ["minimal.py", "train_mnist.py"])
def test_examples_have_a_docstring(name):
    assert (EXAMPLES / name).read_text(encoding="utf-8").startswith('"""')
