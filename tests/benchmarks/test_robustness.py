"""The pens of the drawings benchmark are Pillow's filters, computed faster."""

import importlib

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tests.distributed.test_mpi import ROOT


@pytest.mark.parametrize("size", [3, 9, 17])
def test_the_highest_level_around_each_pixel(size, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    highest = importlib.import_module("robustness").highest
    levels = np.random.default_rng(0).integers(0, 256, (30, 41), dtype=np.uint8)
    image = Image.fromarray(levels)
    assert np.array_equal(highest(levels, size), np.asarray(image.filter(ImageFilter.MaxFilter(size))))
    assert np.array_equal(255 - highest(255 - levels, size), np.asarray(image.filter(ImageFilter.MinFilter(size))))
