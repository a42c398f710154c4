"""A script that is given a wrong folder, file or number ends with a sentence and exit code 2, as a command does."""

import argparse
import importlib
import json
from pathlib import Path

import pytest

from tests.support.example_runner import run_python
from tinycnn.errors import DataError

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
FOLDER = "is a folder: expected the name of a file"
NEEDS_TORCH = ("example_networks.py", "two_outputs.py")

MISTAKES = [
    ("ablation.py", ["--data-dir", "nowhere"], "--data-dir: nowhere"),
    ("ablation.py", ["--seeds", "0"], "argument --seeds: got '0', expected a positive integer"),
    ("ablation.py", ["--json", "."], FOLDER),
    ("augmented_steps.py", [], "$TINYCNN_DATA: "),
    ("cutout.py", ["no_such_folder"], "unknown data set 'no_such_folder'"),
    ("cutout.py", ["."], "expected at least two folders of pictures"),
    ("cuda_resources.py", ["--json", "."], FOLDER),
    ("example_networks.py", ["resnet8", "--data-dir", "nowhere"], "--data-dir: nowhere"),
    ("kernels.py", ["--rounds", "-1"], "got '-1', expected a positive integer"),
    ("photographs.py", ["--dataset", "nowhere", "--runs", "runs"], "unknown data set 'nowhere'"),
    ("networks.py", ["--data-dir", "nowhere"], "--data-dir: nowhere"),
    ("networks.py", ["--json", "."], FOLDER),
    ("recipe.py", ["lenet", "--data-dir", "nowhere"], "--data-dir: nowhere"),
    ("recipe.py", ["lenet", "--seeds", "0"], "got '0', expected a positive integer"),
    ("recipe.py", ["lenet", "--json", "."], FOLDER),
    ("robustness.py", ["--data-dir", "nowhere"], "--data-dir: nowhere"),
    ("robustness.py", ["--output", "."], FOLDER),
    ("scaling.py", ["--backend", "nowhere"], "unknown backend 'nowhere'"),
    ("step_table.py", ["--threads", "1", "0"], "got '0', expected a positive integer"),
    ("train_step.py", ["--backend", "nowhere"], "invalid choice: 'nowhere'"),
    ("train_step.py", ["--json", "."], FOLDER),
    ("two_outputs.py", ["--data-dir", "nowhere"], "--data-dir: nowhere"),
]


@pytest.mark.parametrize(("script", "words", "sentence"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_ends_with_a_sentence(script, words, sentence, tmp_path):
    if script in NEEDS_TORCH:
        pytest.importorskip("torch")
    done = run_python(BENCHMARKS / script, *words, folder=tmp_path, mnist=tmp_path / "missing")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    assert sentence in done.stderr


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("machine")


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "3", '{"results": []}'])
def test_a_file_of_something_else_is_not_continued(content, machine, tmp_path):
    path = tmp_path / "found.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"found\.json: not a file of results with runs; choose another file"):
        machine.runs_in(path)
    path.write_text(json.dumps({"runs": [{"seed": 1}]}))
    assert machine.runs_in(path) == [{"seed": 1}]
    assert machine.runs_in(tmp_path / "new.json") == machine.runs_in(None) == []


def test_the_file_for_the_results_is_checked_before_the_measurement(machine, tmp_path):
    file = tmp_path / "file"
    file.touch()
    for wrong, words in ((tmp_path, "is a folder"), (file / "found.json", f"{file} is not a folder")):
        with pytest.raises(argparse.ArgumentTypeError, match=words):
            machine.result_file(str(wrong))
    for right in (file, tmp_path / "new" / "found.json"):
        assert machine.result_file(str(right)) == right


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "", "many"])
def test_counts_are_positive(text, machine):
    with pytest.raises(argparse.ArgumentTypeError, match=f"^got '{text}', expected a positive integer$"):
        machine.positive(text)
    assert machine.positive("12") == 12
