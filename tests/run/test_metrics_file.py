"""``metrics.json`` may be edited, damaged or another program's: every wrong value is named, without a traceback."""

import copy
import json
import os

import numpy as np
import pytest

from tests.report.test_report import RESULTS
from tests.support.train_configs import config_of
from tinycnn.commands import main
from tinycnn.errors import FileFormatError
from tinycnn.metrics import class_scores
from tinycnn.report.page import page
from tinycnn.report.pictures import used_augmentation
from tinycnn.run.metrics_file import read_metrics
from tinycnn.run.results import replaced_run
from tinycnn.train.history import EpochResult

MISSING = object()
WRONG = [
    MISSING,
    None,
    True,
    False,
    -1,
    0,
    3.5,
    10**400,
    float("nan"),
    float("inf"),
    -1e200,
    "",
    "words\n",
    [],
    [[1]],
    {},
]
WRONG += [{"a": 1}, "\ud800", "x" * 10_000]
VALID = RESULTS | {"options": config_of("--dataset digits --augment affine").as_json()}
VALID |= {
    "epochs": [
        RESULTS["epochs"][0]
        | {"validation_loss": 0.5, "validation_accuracy": 0.5, "learning_rate": 0.1, "metrics": {"top_3": 0.9}}
        for _ in range(2)
    ]
}


def places(value, path=()):
    """The path to every value in nested objects and lists."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


def edited(place, wrong):
    """VALID with another value at ``place``, or without it."""
    results = inside = copy.deepcopy(VALID)
    *above, last = place
    for key in above:
        inside = inside[key]
    if wrong is MISSING:
        del inside[last]
    else:
        inside[last] = wrong
    return results


def draw_what_needs_no_network(results):
    """Everything that ``report`` makes of the file itself."""
    for epoch in results["epochs"]:
        EpochResult(**epoch)
    used_augmentation(results["options"])
    page(results, [], [], "", class_scores(np.eye(2, dtype=int)), ("a", "b"))


def refusal_of(path):
    """Why the file is refused; "" if it is read and everything is made of it."""
    try:
        draw_what_needs_no_network(read_metrics(path))
    except FileFormatError as refused:
        return str(refused)
    return ""


def test_every_value_of_another_kind_is_refused_in_a_sentence_or_harmless(tmp_path):
    path, outcomes = tmp_path / "metrics.json", {"read": 0, "refused": 0}
    for place in places(VALID):
        for wrong in WRONG:
            path.write_text(json.dumps(edited(place, wrong)))
            replaced_run(tmp_path, {"seed": 1})
            refusal = refusal_of(path)
            outcomes["refused" if refusal else "read"] += 1
            assert refusal == "" or refusal.startswith(f"{path}: not the metrics of a training run, or edited: '")
            assert len(refusal) < 600 + len(str(path))
            assert refusal.isprintable()
    assert min(outcomes.values()) > 300


@pytest.mark.parametrize(
    ("place", "wrong", "words"),
    [
        (("epochs", 1, "train_loss"), "low", "'epochs[1].train_loss' is 'low', expected a number"),
        (("epochs", 0, "epoch"), True, "'epochs[0].epoch' is True, expected a non-negative integer"),
        (("epochs", 0), 3, "'epochs[0]' is 3, expected an object"),
        (("epochs", 0, "epoch_s"), MISSING, "'epochs[0].epoch_s' is missing"),
        (
            ("epochs", 1, "validation_loss"),
            None,
            "'epochs[1]' and the first epoch differ in whether they have validation",
        ),
        (("test_accuracy",), 1.5, "'test_accuracy' is 1.5, expected a number from 0 to 1"),
        (("options", "limit"), "all", "'options.limit' is 'all', expected a non-negative integer or null"),
        (("options", "augment"), "rotate", "'options.augment' is 'rotate', expected one of affine"),
        (("options", "dataset"), MISSING, "'options.dataset' is missing"),
        (("versions", "tinycnn"), 1, "'versions.tinycnn' is 1, expected a text"),
        (("versions",), [], "'versions' is [], expected an object"),
        (("working_folder",), 3, "'working_folder' is 3, expected a text"),
    ],
)
def test_the_wrong_value_is_named(place, wrong, words, tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps(edited(place, wrong)))
    with pytest.raises(FileFormatError) as refused:
        read_metrics(tmp_path / "metrics.json")
    assert words in str(refused.value)


def test_results_of_an_older_version_are_read(tmp_path):
    older = edited(("options", "colour"), MISSING)
    del older["working_folder"]
    for name in ("image_size", "elastic", "augment"):
        del older["options"][name]
    (tmp_path / "metrics.json").write_text(json.dumps(older))
    assert read_metrics(tmp_path / "metrics.json") == older


def test_files_that_are_not_json_or_not_files(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tinycnn.run.metrics_file.MOST_BYTES", 1_000_000)
    path = tmp_path / "metrics.json"
    for content, words in [
        (b"[" * 100_000, "not JSON (nested too deeply); it may be damaged"),
        (b'{"a": ' * 100_000, "not JSON (nested too deeply); it may be damaged"),
        (b"\xff\xfe{", "not JSON ("),
        (b"1" * 5000, "not JSON ("),
        (b"", "not JSON ("),
        (b" " * 1_000_001, "not JSON (more than 1,000,000 bytes)"),
    ]:
        path.write_bytes(content)
        assert "whose metrics.json cannot be read; it will be kept" in replaced_run(tmp_path, {"seed": 1})
        assert main(["report", str(tmp_path)]) == 2
        assert words in capsys.readouterr().err
    path.unlink()
    assert replaced_run(tmp_path, {"seed": 1}) is None
    path.mkdir()
    assert main(["report", str(tmp_path)]) == 2
    assert "metrics.json: cannot be read: a folder, expected a file" in capsys.readouterr().err
    if hasattr(os, "mkfifo"):
        path.rmdir()
        os.mkfifo(path)
        assert main(["report", str(tmp_path)]) == 2
        assert "metrics.json: cannot be read: a pipe, expected an ordinary file" in capsys.readouterr().err


def test_names_of_an_earlier_run_cannot_forge_a_line(tmp_path):
    results = {"options": {"seed": 1, "a\nNOTICE: forged": 2, "b" * 1000: 3}, "test_accuracy": 0.5}
    (tmp_path / "metrics.json").write_text(json.dumps(results))
    replaced = replaced_run(tmp_path, {"seed": 2})
    assert replaced.isprintable()
    assert len(replaced) < 300 + len(str(tmp_path))
    assert r"different 'a\nNOTICE: forged'" in replaced
    assert replaced.count("`seed`") == 1
