"""The benchmarks of the examples continue where they were stopped."""

import importlib.util
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import tinycnn
from tests.support.example_runner import EXAMPLES
from tinycnn.backends import threads

pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[bench]'")
FOLDER = EXAMPLES.parent / "benchmarks"


@pytest.fixture
def loaded(monkeypatch):
    """A function that imports a benchmark whose trainings return at once, and notes them."""

    def load(name, result):
        monkeypatch.syspath_prepend(str(FOLDER))
        spec = importlib.util.spec_from_file_location(f"{name}_benchmark", FOLDER / f"{name}.py")
        module, trained = importlib.util.module_from_spec(spec), []
        spec.loader.exec_module(module)
        parts = [np.zeros((3, 28, 28, 1), np.uint8), np.zeros(3, int)] * 2
        images = SimpleNamespace(**dict(zip(("x_train", "y_train", "x_test", "y_test"), parts, strict=True)))
        monkeypatch.setattr(module.data, "load", lambda *_, **__: images)
        for library in ("tinycnn", "torch"):
            monkeypatch.setattr(module, f"train_{library}", lambda *_, of=library: trained.append(of) or result)
        return module, trained

    before = threads.get_threads()
    yield load
    threads.set_threads(before)
    for name in ("machine", "torch_networks"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "words", "result"),
    [("example_networks", ["lenet5_1998"], (0.5, 1.0)), ("two_outputs", ["--limit", "4"], (np.zeros((10_000, 13)), 1))],
)
def test_trainings_of_the_file_are_not_repeated(name, words, result, loaded, tmp_path, capsys):
    module, trained = loaded(name, result)
    path = tmp_path / "runs.json"
    with tinycnn.use_backend("numpy"):
        module.main([*words, "--seeds", "1", "--threads", "1", "--json", str(path)])
        assert trained == ["tinycnn", "torch"]
        runs = json.loads(path.read_text())
        path.write_text(json.dumps(runs | {"runs": runs["runs"][:1]}))  # stopped after the first
        module.main([*words, "--seeds", "2", "--threads", "1", "--json", str(path)])
    assert trained == ["tinycnn", "torch", "torch", "tinycnn", "torch"]
    found = [(run["library"], run["seed"]) for run in json.loads(path.read_text())["runs"]]
    assert found == [("tinycnn", 0), ("pytorch", 0), ("tinycnn", 1), ("pytorch", 1)]
    assert "pytorch (2 seeds)" in capsys.readouterr().out
