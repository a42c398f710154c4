"""``tinycnn runs`` and ``tinycnn lr-find``."""

import copy
import json
import re

import pytest

from tests.report.test_report import RESULTS
from tests.support.in_process import run_here
from tests.support.train_configs import config_of
from tinycnn.run.comparison import COLUMNS, differences, find_runs, rows

PNG = b"\x89PNG"


def write_run(folder, options, **changed):
    folder.mkdir(parents=True)
    settings = config_of(f"--dataset digits --recipe author {options}").as_json()
    metrics = copy.deepcopy(RESULTS) | {"options": settings} | changed
    (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture
def folder(tmp_path):
    """Three runs, one of them deeper, and one with an unreadable file."""
    epoch = RESULTS["epochs"][0]
    validated = [epoch | {"epoch": n, "validation_loss": 1 / n, "validation_accuracy": n / 10} for n in (1, 2, 3)]
    write_run(tmp_path / "a", "--lr 0.01 --threads 1", test_accuracy=0.875)
    write_run(tmp_path / "later" / "b", "--lr 0.02 --threads 2", test_accuracy=0.9, epochs=validated)
    write_run(tmp_path / "<c>", "--lr 0.01 --no-augment", test_accuracy=0.5)
    return tmp_path


def test_the_table_begins_with_the_best(folder):
    assert run_here("runs", ".", "--no-page", "--page", "a.html", folder=folder).returncode == 2
    process = run_here("runs", ".", "--no-page", folder=folder)
    assert (process.returncode, process.stderr) == (0, "")
    head, *lines = process.stdout.splitlines()[:4]
    assert re.split(r"\s{2,}", head) == list(COLUMNS)
    assert [line.split()[0] for line in lines] == ["later/b", "a", "<c>"]
    assert "90.00 %" in lines[0]
    assert "30.00 %, epoch 3" in lines[0]
    assert "87.50 %" in lines[1]
    assert not (folder / "runs.html").exists()


def test_only_options_that_differ_and_have_an_effect_are_shown(folder):
    runs, failures = find_runs(folder)
    assert failures == []
    assert differences(runs) == [["augment", "–", "–", "no"], ["lr", "0.02", "0.01", "0.01"]]
    assert [row[0] for row in rows(runs)] == ["later/b", "a", "<c>"]
    assert differences(runs[:1]) == []


def test_the_page_shows_curves_and_escapes_names(folder):
    process = run_here("runs", ".", folder=folder)
    page = (folder / "runs.html").read_text()
    assert process.stdout.endswith("\nwritten   runs.html\n")
    assert "&lt;c&gt;" in page
    assert "<c>" not in page
    assert "data:image/png;base64," in page
    assert page.count("<tr>") == 1 + 3 + 1 + 2


def test_a_run_that_cannot_be_read_is_reported(folder):
    (folder / "a" / "metrics.json").write_text("{}")
    process = run_here("runs", ".", folder=folder)
    assert process.returncode == 1
    assert re.fullmatch(r"not read: a/metrics\.json: not the metrics of a training run, .*\n", process.stderr)
    assert "not the metrics of a training run" in (folder / "runs.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [(["."], "error: . contains no results of a run: train one with `tinycnn train`\n"), ([], "runs: no such folder")],
)
def test_without_runs_there_is_nothing_to_compare(words, message, tmp_path):
    process = run_here("runs", *words, folder=tmp_path)
    assert process.returncode == 2
    assert message in process.stderr


def test_the_learning_rate_finder_draws_and_suggests(tmp_path):
    words = ["--dataset", "digits", "--model", "lenet", "--backend", "numpy", "--limit", "64"]
    words += ["--batch-size", "8", "--steps", "12", "--lowest", "1e-5"]
    process = run_here("lr-find", *words, folder=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert re.search(r"^lenet on digits, \w+, batch 8, backend numpy: 12 steps$", process.stdout, re.MULTILINE)
    suggested = r"^(most of the fall of the loss is done at .*: try --lr |no rate is suggested: .*--)"
    assert re.search(suggested, process.stdout, re.MULTILINE)
    assert (tmp_path / "lr_find.png").read_bytes().startswith(PNG)


def test_without_a_fall_the_finder_names_the_options(tmp_path):
    words = ["--dataset", "digits", "--model", "lenet", "--backend", "numpy", "--limit", "64", "--batch-size", "8"]
    process = run_here("lr-find", *words, "--steps", "12", "--highest", "1e-5", folder=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert "no rate is suggested: the loss does not fall clearly, compared with its noise: " in process.stdout
    assert " --highest or --batch-size, or more --steps\n" in process.stdout


def test_a_wrong_sweep_names_the_option(tmp_path):
    process = run_here("lr-find", "--dataset", "digits", "--backend", "numpy", "--steps", "3", folder=tmp_path)
    assert process.returncode == 2
    assert "steps" in process.stderr
    assert not (tmp_path / "lr_find.png").exists()
