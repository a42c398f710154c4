"""The program that trains the network of the package: what it trains on, and that it writes a file that is read."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tinycnn
from tinycnn import data, models
from tinycnn.data.redrawn import redrawn

PROGRAM = Path(__file__).resolve().parents[2] / "examples" / "train_for_drawings.py"


@pytest.fixture
def program(monkeypatch):
    """The program as a module, with a recipe of two epochs."""
    spec = importlib.util.spec_from_file_location("train_for_drawings", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    short = replace(models.NETWORKS["digit_cnn"], best=replace(models.NETWORKS["digit_cnn"].best, epochs=2))
    monkeypatch.setitem(models.NETWORKS, "digit_cnn", short)
    return module


def test_it_trains_on_the_digits_and_on_redrawn_ones(program, monkeypatch):
    digits, given = data.load("digits"), []
    images, labels = digits.x_train[:20], digits.y_train[:20]

    class NoTrainer(program.Trainer):
        def fit(self, *arguments, **settings):
            given.append((arguments, settings))

    monkeypatch.setattr(program, "Trainer", NoTrainer)
    model, seconds = program.trained(images, labels, 4, quiet=True)
    (((x, y), settings),) = given
    assert np.array_equal(x, np.concatenate([images, redrawn(images, 4)]))
    assert np.array_equal(y, np.concatenate([labels, labels]))
    assert settings == {"epochs": 1, "progress": False}
    assert models.name_of(model) == "digit_cnn"
    assert seconds >= 0


def test_it_writes_a_model_file(program, monkeypatch, tmp_path, capsys):
    digits = data.load("digits")
    monkeypatch.setattr(program.data, "load", lambda *_, **__: digits)
    monkeypatch.setattr(program.tinycnn, "use_backend", lambda _: None)  # stays with NumPy
    words = ["--held-out", "100", "--limit", "24", "--quiet", "--output", str(tmp_path / "new" / "model.safetensors")]
    monkeypatch.setattr("sys.argv", ["train_for_drawings.py", *words])
    program.main()
    assert "of all 100 held-out images, trained in" in capsys.readouterr().out
    model = tinycnn.load(tmp_path / "new" / "model.safetensors")
    assert models.name_of(model) == "digit_cnn"
    assert model.pictures == "drawing"
