"""The output folder holds the complete results of one run, earlier or new, and never a mixture."""

import os
import shutil

import pytest

from tinycnn.errors import SettingError
from tinycnn.run.folder import keep_earlier, locked_folder, replacing, results_in

OLD = {"metrics.json": "old", "model.safetensors": "old", "model_best.safetensors": "old", "filters_a.png": "old"}
OLD |= {"report.html": "old", "misclassified_5.png": "old", "graph.svg": "old"}
OTHERS = {"mine.png": "mine", "notes.txt": "mine", "checkpoints/step-1.safetensors": "mine"}
NEW = {"metrics.json": "new", "model.safetensors": "new", "history.csv": "new"}


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def content(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, OLD | OTHERS)
    return tmp_path


def test_new_results_replace_all_earlier_ones_and_nothing_else(folder):
    assert {path.name for path in results_in(folder)} == OLD.keys()
    with replacing(folder) as place:
        write(place, NEW)
        assert content(folder).items() >= (OLD | OTHERS).items()
    assert content(folder) == NEW | OTHERS
    assert not any(path.name.startswith(".") for path in folder.iterdir())


def earlier_in(folder):
    """The content of each folder of earlier results."""
    return [content(kept) for kept in sorted((folder / "earlier").iterdir())]


def test_earlier_results_with_another_network_are_kept(folder):
    os.utime(folder / "metrics.json", (0, 0))
    replace(folder, keeping=True)
    assert earlier_in(folder) == [OLD]
    assert {name: text for name, text in content(folder).items() if "earlier" not in name} == NEW | OTHERS
    replace(folder, keeping=True)  # the same network: nothing would be lost
    assert earlier_in(folder) == [OLD]
    write(folder, {"metrics.json": "other", "model.safetensors": "other"})
    os.utime(folder / "metrics.json", (0, 0))  # at the same moment
    replace(folder, keeping=True)
    assert earlier_in(folder) == [OLD, NEW | {"metrics.json": "other", "model.safetensors": "other"}]


def test_the_best_network_of_an_earlier_run_is_kept_too(tmp_path):
    write(tmp_path, NEW | {"model_best.safetensors": "best"})
    replace(tmp_path, keeping=True)
    assert earlier_in(tmp_path) == [NEW | {"model_best.safetensors": "best"}]


def test_a_file_with_the_name_of_the_folder_of_earlier_results(folder):
    write(folder, {"earlier": "mine"})
    with pytest.raises(SettingError, match="earlier is not a folder; move it away"), locked_folder(folder):
        pass


def test_a_folder_without_results_keeps_files_with_the_names_of_results(tmp_path):
    write(tmp_path, {"first_images.png": "mine", "graph.svg": "mine"})
    with replacing(tmp_path) as place:
        write(place, NEW)
    assert content(tmp_path) == NEW | {"first_images.png": "mine", "graph.svg": "mine"}


def test_files_that_no_run_wrote_are_kept_too(tmp_path):
    """A network that a program saved here, or a picture that will be drawn; not a copy of what is written."""
    mine = {"model.safetensors": "mine", "curves.png": "mine"}
    write(tmp_path, mine | {"history.csv": "new", "notes.txt": "mine"})
    replace(tmp_path, keeping=True)
    assert earlier_in(tmp_path) == [mine | {"history.csv": "new"}]
    rest = {name: text for name, text in content(tmp_path).items() if "earlier" not in name}
    assert rest == NEW | {"notes.txt": "mine"}


def test_a_live_history_is_not_kept_beside_the_same_history(tmp_path):
    """``--csv DIR/history.csv`` in the output folder."""
    write(tmp_path, {"history.csv": "new"})
    replace(tmp_path, keeping=True)
    assert content(tmp_path) == NEW


def fail_after_writing(place, error):
    write(place, {"metrics.json": "new"})
    raise error


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_exception_before_the_end_changes_nothing(folder, error):
    with pytest.raises(error), replacing(folder) as place:
        fail_after_writing(place, error)
    assert content(folder) == OLD | OTHERS
    assert sorted(os.listdir(folder)) == sorted({name.partition("/")[0] for name in OLD | OTHERS})


class Killed(BaseException):
    """Simulates the end of the process."""


def killed_at(moment, monkeypatch):
    """Raise Killed at the ``moment``-th change of a folder and at every later one."""
    changes = 0

    def dying(original):
        def change(*arguments, **settings):
            nonlocal changes
            changes += 1
            if changes >= moment:
                raise Killed
            return original(*arguments, **settings)

        return change

    for name in ("mkdir", "rename", "replace", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    monkeypatch.setattr(shutil, "rmtree", dying(shutil.rmtree))


def killed_at_every_moment(tmp_path, keeping=False):
    """Yield what a folder holds after each moment at which ``replace`` can be killed, once the next run locked it."""
    for moment in range(1, 100):
        folder = tmp_path / str(moment)
        write(folder, OLD | OTHERS)
        with pytest.MonkeyPatch.context() as monkeypatch:
            killed_at(moment, monkeypatch)
            try:
                replace(folder, keeping)
            except Killed:
                pass
            else:
                return
        with locked_folder(folder):
            found = content(folder)
        yield found


def test_a_process_that_is_killed_at_any_moment_leaves_no_mixture(tmp_path):
    found = list(killed_at_every_moment(tmp_path))
    assert all(one in (OLD | OTHERS, NEW | OTHERS) for one in found)
    # One mkdir and one rename come first, then a change per old file, per new file, and for the two temporary names.
    ends = [one["metrics.json"] for one in found]
    assert ends == ["old"] * 2 + ["new"] * (1 + len(OLD) + 1 + len(NEW) + 1)


def test_a_process_that_is_killed_while_it_keeps_earlier_results_loses_none(tmp_path):
    every = list(killed_at_every_moment(tmp_path, keeping=True))
    for found in every:
        kept = [text for name, text in found.items() if name.startswith("earlier")]
        assert (found["metrics.json"], len(kept)) in (("old", 0), ("new", len(OLD)))
        assert set(kept) <= {"old"}
    assert len(every) >= len(OLD) + len(NEW)


def replace(folder, keeping=False):
    with replacing(folder) as place:
        for name, text in NEW.items():
            (place / name).write_text(text)
        if keeping:
            keep_earlier(folder, place)
