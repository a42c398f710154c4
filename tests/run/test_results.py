"""What ``metrics.json`` records about the machine."""

from pathlib import Path

import numba
import pytest

from tinycnn import backends
from tinycnn.backends import use_backend
from tinycnn.backends.numpy_backend import NumpyBackend
from tinycnn.run.folder import EARLIER
from tinycnn.run.results import started_in, versions, working_folder


def test_the_working_folder_is_relative_to_the_output(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for output, expected in {"out": "..", "runs/a": "../..", "../out": "../work", ".": "."}.items():
        assert Path(working_folder(Path(output))) == Path(expected)


@pytest.mark.parametrize("output", ["out", "runs/a", "../out", "."])
def test_results_that_were_moved_were_started_in_the_same_folder(output, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    metrics = {"working_folder": working_folder(Path(output))}
    for place in (Path(output), Path(output) / EARLIER / "2026-01-31_12-00-00"):
        place.mkdir(parents=True, exist_ok=True)
        assert Path(started_in(place, metrics)).resolve() == tmp_path / "work"
        monkeypatch.chdir(place)
        assert Path(started_in(Path(), metrics)).resolve() == tmp_path / "work"
        monkeypatch.chdir(tmp_path / "work")


class NamedAfterModule(NumpyBackend):
    """A backend from another package, whose name is that of a module without a version."""

    name = "this"


@pytest.mark.parametrize(("name", "others"), [("numpy", {}), ("numba", {"numba": numba.__version__}), ("this", {})])
def test_versions_of_the_libraries_that_compute(name, others, monkeypatch):
    monkeypatch.setattr(backends, "_LOADERS", backends._LOADERS | {"this": NamedAfterModule})
    monkeypatch.setattr(backends, "_loaded", dict(backends._loaded))
    with use_backend(name):
        found = versions()
    assert {library: found[library] for library in found.keys() - {"tinycnn", "python", "numpy"}} == others
