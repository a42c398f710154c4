"""The race to 99 %: its options, its summary and its result file, on a few of the bundled digits."""

import json
import sys
from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest

from tests.support.example_runner import load_example
from tinycnn import data

FEW = 160


@pytest.fixture
def example(monkeypatch):
    """The example, with MNIST replaced by bundled digits, and as few held out as there are."""
    digits = data.load("digits")
    few = replace(digits, x_train=digits.x_train[:FEW], y_train=digits.y_train[:FEW])
    monkeypatch.setattr(data, "load", lambda name, data_dir: few)
    monkeypatch.setattr("sys.path", [*sys.path])
    module = load_example("speedrun")
    monkeypatch.setattr(module, "HELD_OUT", 60)
    return module


def test_it_reports_every_seed_and_writes_the_machine(example, capsys, tmp_path):
    path = tmp_path / "found.json"
    assert example.main(["--backend", "numpy", "--seeds", "2", "--json", str(path)]) == 0
    first, second, summary = capsys.readouterr().out.splitlines()
    found = json.loads(path.read_text(encoding="utf-8"))
    accuracies = [run["accuracy"] for run in found["runs"]]
    assert [(run["library"], run["seed"]) for run in found["runs"]] == [("tinycnn", 0), ("tinycnn", 1)]
    for line, accuracy in zip((first, second), accuracies, strict=True):
        assert f"tinycnn {accuracy:.2%} in " in line
    mean, spread = np.mean(accuracies), np.std(accuracies, ddof=1)
    assert summary.startswith(f"tinycnn: {mean:.2%} ± {spread:.2%} of 360 images, 0 of 2 seeds at 99% or more; median ")
    assert found["machine"]["processor"]
    assert found["command"].startswith("python ")


def test_held_out_images_are_training_images_that_are_not_trained_on(example, tmp_path):
    whole = data.load("mnist", data_dir=None)
    for crop, side in ((0, 28), (2, 24)):
        mnist = example.images(parsed(held_out=True), crop)
        assert mnist.x_train.shape == (FEW - 60, side, side, 1)
        assert np.array_equal(mnist.y_test, whole.y_train[-60:])
        inner = whole.x_train[:, crop : 28 - crop, crop : 28 - crop]
        assert np.array_equal(mnist.x_train, inner[:-60])
        assert np.array_equal(mnist.x_test, inner[-60:])
    assert np.array_equal(example.images(parsed(held_out=False), 0).x_test, whole.x_test)


def parsed(**options):
    return Namespace(data_dir=None, **options)


def test_both_networks_are_made_and_their_rates_end_low(example):
    parameters = {"small": 38_538, "keras_cnn": 225_034}
    for name, recipe in example.RECIPES.items():
        mnist = example.images(parsed(held_out=False), recipe.crop)
        assert example.network(recipe, mnist, 0).parameter_count() == parameters[name]
        steps = example.steps_of(recipe, 60_000)
        assert steps == recipe.epochs * 469
        rates = [recipe.schedule(steps)(step) for step in range(steps)]
        assert max(rates) == pytest.approx(1, abs=0.02)
        assert rates[0] < 0.05
        assert rates[-1] < 0.01
