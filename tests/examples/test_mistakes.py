"""An example that finds no data, or is given a wrong file or number, ends with a sentence and exit code 2."""

import pytest

from tests.support.example_runner import run_example

FOLDER = "this is a folder; expected the name of a file"
MISTAKES = [
    ("depthwise_network.py", [], "$TINYCNN_DATA: "),
    ("lenet5_1998.py", [], "$TINYCNN_DATA: "),
    ("resnet8.py", [], "$TINYCNN_DATA: "),
    ("several_labels.py", [], "$TINYCNN_DATA: "),
    ("train_mnist.py", ["--data-dir", "nowhere"], "--data-dir: nowhere"),
    ("speedrun.py", ["--data-dir", "nowhere"], "--data-dir: nowhere"),
    ("speedrun.py", ["--seeds", "0"], "--seeds=0: expected a positive integer"),
    ("speedrun.py", ["--threads", "-1"], "--threads"),
    ("speedrun.py", ["--json", "."], f"--json .: {FOLDER}"),
    ("train_for_drawings.py", ["--data-dir", "nowhere"], "--data-dir: nowhere"),
    ("train_for_drawings.py", ["--output", "."], f"--output .: {FOLDER}"),
    ("transfer_learning.py", ["--data-dir", "nowhere"], "--data-dir: nowhere"),
    ("transfer_learning.py", ["--per-class", "0"], "--per-class=0: expected a positive integer"),
]


@pytest.mark.parametrize(("example", "words", "sentence"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_ends_with_a_sentence(example, words, sentence, tmp_path):
    done = run_example(example, *words, folder=tmp_path, mnist=tmp_path / "missing")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr
