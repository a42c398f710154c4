"""The script that measures accuracies on Fashion-MNIST and CIFAR-10, without its trainings."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tinycnn.data import Dataset


@pytest.fixture
def photographs(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    return importlib.import_module("photographs")


@pytest.fixture
def commands(photographs, monkeypatch):
    """The commands that are run; each writes the results of a run, and leaves a checkpoint."""
    run = []

    def main(arguments):
        run.append(arguments)
        folder = Path(arguments[arguments.index("--output") + 1])
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        (folder / "checkpoints" / "step-1.safetensors").touch()
        (folder / "metrics.json").write_text('{"options": {"epochs": 16}, "training_s": 2.5}')
        return 0

    x = np.zeros((12, 4, 4, 1), np.uint8)
    x[-3:] = 255
    dataset = Dataset("small", x, np.arange(12) % 2, x[:4], np.array([0, 1, 0, 1]), ("a", "b"), "here")
    monkeypatch.setattr(photographs.commands, "main", main)
    monkeypatch.setattr(photographs.data, "load", lambda name: dataset)
    monkeypatch.setattr(photographs, "HELD_OUT", 3)
    monkeypatch.setattr(photographs, "load", lambda path: path)
    scores = {None: 0.5, "mirror": 0.6, "mirror_and_shift": 0.75}
    monkeypatch.setattr(photographs, "evaluate", lambda *a, views=None: SimpleNamespace(accuracy=scores[views]))
    return run


def test_runs_are_continued_and_not_repeated(photographs, commands, tmp_path, capsys):
    arguments = ["--seeds", "0", "1", "--runs", str(tmp_path / "runs"), "--json", str(tmp_path / "found.json")]
    photographs.main([*arguments, "--epochs", "6", "--", "--lr", "0.05"])
    assert [line[line.index("--seed") + 1] for line in commands] == ["0", "1"]
    assert all(line[line.index("--lr") + 1] == "0.05" and "--resume" not in line for line in commands)
    assert all(line[line.index("--epochs") + 1] == "6" for line in commands)
    first, second = json.loads((tmp_path / "found.json").read_text())["runs"]
    assert (first["seed"], second["seed"], first["epochs"], first["s"]) == (0, 1, 16, 2.5)
    assert (first["plain"], first["mirror"], first["mirror_and_shift"]) == (0.5, 0.6, 0.75)
    assert "mirror_and_shift  0.7500 ± 0.0000 (2 seeds)" in capsys.readouterr().out
    photographs.main(arguments)
    assert len(commands) == 2
    (tmp_path / "found.json").unlink()
    photographs.main(arguments)
    assert all("--resume" in line for line in commands[2:])


def test_a_choice_does_not_see_the_test_images(photographs, commands, tmp_path):
    photographs.main(["--seeds", "0", "--held-out", "--runs", str(tmp_path / "runs")])
    (line,) = commands
    with np.load(line[line.index("--dataset") + 1]) as arrays:
        assert arrays["x_train"].shape == (9, 4, 4, 1)
        assert (arrays["x_train"] == 0).all()
        assert (arrays["x_test"] == 255).all()
        assert arrays["y_test"].tolist() == [1, 0, 1]
