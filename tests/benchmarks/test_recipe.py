"""The comparison of recipes: what each row of the ablation leaves out, and which images judge."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.train_configs import config_of
from tinycnn import data
from tinycnn.errors import DataError

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
LEFT_OUT = {
    "nothing": set(),
    "augmentation": {"augment", "elastic", "fade_epochs"},
    "fading of the augmentation": {"fade_epochs"},
    "elastic distortion": {"elastic"},
    "average of the weights": {"average_weights"},
    "one-cycle rate": {"schedule", "lr"},
    "weight decay": {"weight_decay"},
}


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    spec = importlib.util.spec_from_file_location("recipe", FOLDER / "recipe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_row_leaves_out_what_it_names(recipe):
    whole = config_of("--model digit_cnn --recipe best").as_json()
    for name, words in recipe.ABLATION.items():
        config = config_of(["--model", "digit_cnn", "--recipe", "best", *words]).as_json()
        changed = {key for key in config if config[key] != whole[key]}
        assert changed == LEFT_OUT.get(name, changed), name
        assert changed or name == "nothing"
    assert set(LEFT_OUT) <= set(recipe.ABLATION)


@pytest.mark.parametrize("held_out", [0, 37])
def test_held_out_images_judge_and_are_not_trained_on(recipe, held_out, monkeypatch, capsys):
    digits, seen = data.load("digits"), []

    def run(words, training, judged, dataset):
        seen.append((words, training, judged))
        return {"seed": 0, "accuracy": 0.5, "accuracy_of_5_views": 0.75, "accuracy_of_9_views": 1, "seconds": 2}

    monkeypatch.setattr(recipe, "run", run)
    monkeypatch.setattr(recipe, "use_backend", lambda _: None)
    options = ["digit_cnn", "--dataset", "digits", "--seeds", "2", "--held-out", str(held_out), "--epochs", "3"]
    monkeypatch.setattr(sys, "argv", ["recipe.py", *options])
    recipe.main()
    assert [words for words, *_ in seen] == [
        ["--model", "digit_cnn", "--recipe", "best", "--seed", seed, "--epochs", "3"] for seed in "01"
    ]
    _, (x, y), (x_judged, y_judged) = seen[0]
    kept = len(digits.x_train) - held_out
    assert np.array_equal(x, digits.x_train[:kept])
    assert np.array_equal(y, digits.y_train[:kept])
    assert np.array_equal(x_judged, digits.x_train[kept:] if held_out else digits.x_test)
    assert np.array_equal(y_judged, digits.y_train[kept:] if held_out else digits.y_test)
    assert (
        "whole recipe: 50.000 ± 0.000 %, of 5 views 75.000 ± 0.000 %, of 9 views 100.000 ± 0.000 %, 2 s"
        in capsys.readouterr().out
    )


def test_each_accuracy_is_that_of_its_views(recipe, monkeypatch):
    found = {None: 0.1, "shift": 0.5, "shift_9": 0.9}
    monkeypatch.setattr(recipe, "make_trainer", lambda *_: SimpleNamespace(fit=lambda *_, epochs: None, why_eager=""))
    monkeypatch.setattr(recipe, "warm_up", lambda *_: None)
    monkeypatch.setattr(recipe, "evaluate", lambda *_, views=None: SimpleNamespace(accuracy=found[views], loss=0.0))
    digits = data.load("digits")
    examples = digits.x_train, digits.y_train
    result = recipe.run(["--model", "lenet", "--recipe", "best"], examples, examples, digits)
    names = ("accuracy", "accuracy_of_5_views", "accuracy_of_9_views")
    assert [result[name] for name in names] == list(found.values())


def test_finished_runs_are_taken_from_a_file_of_the_same_settings_only(recipe, tmp_path):
    settings, runs, file = {"model": "lenet", "options": []}, {"Adam": [{"seed": 0}]}, tmp_path / "runs.json"
    assert recipe.finished(None, "candidates", settings) == recipe.finished(file, "candidates", settings) == {}
    file.write_text(json.dumps({**settings, "candidates": runs}))
    assert recipe.finished(file, "candidates", settings) == runs
    for kind, others in (("left out", settings), ("candidates", {**settings, "model": "keras_cnn"})):
        with pytest.raises(SystemExit, match="runs of another model or with other options"):
            recipe.finished(file, kind, others)
    for damaged in ("", "{", "3", "[1]"):
        file.write_text(damaged)
        with pytest.raises(DataError, match=r"runs\.json: not a file of results; choose another file"):
            recipe.finished(file, "candidates", settings)


def test_each_candidate_trains_as_its_name_says(recipe):
    for name, words in recipe.CANDIDATES.items():
        config = config_of(["--model", "lenet", "--recipe", "best", *words])
        fades = "fading" if config.fade_epochs else ""
        said = [{"adam": "Adam", "sgd": "SGD"}[config.optimizer], f"rate {config.lr:g}", fades]
        assert ", ".join(filter(None, said)) == name
        assert (config.weight_decay, config.schedule) == (0.0005 * (config.optimizer == "sgd"), "one_cycle")
