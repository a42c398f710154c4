"""The output folder of a run: locked during the run, and containing the results of one run only.

The results of an earlier run move to a folder inside, ``earlier/DATE_TIME``, unless the new networks are the same.
So do files that no run wrote and that have the name of a result, such as the ``model.safetensors`` of a script.
"""

import filecmp
import fnmatch
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tinycnn.distributed.communicator import on_rank_0
from tinycnn.errors import SettingError, printable
from tinycnn.files import flush_folder, remove_leftovers, try_lock
from tinycnn.train.checkpoint import BEST_FILE

METRICS = "metrics.json"  # every run writes it: a folder without it contains no earlier results
RESULTS = ["history.csv", "model.safetensors", BEST_FILE, "report.html", "graph.svg", "graph.mmd"]
RESULTS += ["augmentation.png", "class_distribution.png", "confusion_matrix.png", "curves.png", "first_images.png"]
RESULTS += ["example_?.png", "feature_maps.png", "filters_*.png", "histograms.png", "misclassified.png"]
RESULTS += ["misclassified_?.png", "precision_recall.png", "predictions.png", "saliency.png"]
CHECKPOINTS = "checkpoints"
EARLIER = "earlier"  # the folder of results that were replaced
KEEP = ".keep"  # a file beside new results: the name of the folder for the earlier ones
STAGED, WHOLE, MOVING = ".results.new", ".results.whole", ".results.moving"  # temporary folders for results


@contextmanager
def locked_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Create ``folder`` and hold its lock inside the block; yields the path.

    The lock is an operating-system lock on the folder itself: it is released when the process ends, even if killed, and
    leaves no file behind. A folder that is empty at the end is removed. Raises SettingError when files cannot be
    written there, and when another process holds the lock. Where folders cannot be locked (Windows, some network file
    systems), only write access is checked. In a distributed run, rank 0 takes the lock for all ranks.
    """
    path = Path(folder)
    with ExitStack() as claim:
        on_rank_0(lambda: claim.enter_context(_locked_folder_here(path)))
        yield path


@contextmanager
def _locked_folder_here(path: Path) -> Iterator[None]:
    missing = [parent for parent in (path, *path.parents) if not parent.exists()]
    try:
        _make_writable(path)
        lock = _lock(path)
        try:
            remove_leftovers(path)
            finish_replacement(path)
            _check_kinds(path)
            yield
        finally:
            if lock is not None:
                os.close(lock)
    finally:
        with suppress(OSError):  # a folder that is not empty
            for parent in missing:
                parent.rmdir()


def _make_writable(path: Path) -> None:
    name = printable(str(path))
    for parent in (path, *path.parents):
        if parent.exists() and not parent.is_dir():
            taken = printable(str(parent))
            raise SettingError(f"--output {name}: {taken} is a file; choose another folder, or move the file")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise SettingError(f"--output {name}: cannot be written ({error.strerror}); choose another folder") from None


def _check_kinds(folder: Path) -> None:
    """Raise SettingError where something that is not a file has the name of a result, before anything is computed.

    ``CHECKPOINTS`` and ``EARLIER`` must be folders in which files can be written.
    """
    output = f"--output {printable(str(folder))}"
    names = {name for pattern in [METRICS, *RESULTS] for name in fnmatch.filter(os.listdir(folder), pattern)}
    for path in (folder / name for name in sorted(names)):
        if path.is_dir() or not path.is_file():
            kind = "a folder" if path.is_dir() else "not an ordinary file"
            raise SettingError(f"{output}: {printable(str(path))} is {kind}; move it away, or choose another folder")
    for inner in (folder / CHECKPOINTS, folder / EARLIER):
        shown = printable(str(inner))
        if not os.path.lexists(inner):
            continue
        if not inner.is_dir():
            raise SettingError(f"{output}: {shown} is not a folder; move it away, or choose another folder")
        try:
            with tempfile.TemporaryFile(dir=inner):
                pass
        except OSError as error:
            reason = error.strerror
            raise SettingError(f"{output}: {shown} cannot be written ({reason}); choose another folder") from None


def _lock(path: Path) -> int | None:
    """A file descriptor that holds the lock until it is closed; None on Windows, which cannot open folders."""
    if sys.platform == "win32":
        return None
    descriptor = os.open(path, os.O_RDONLY)
    if try_lock(descriptor):
        return descriptor
    os.close(descriptor)
    raise SettingError(
        f"--output {printable(str(path))}: another run is using it; wait for it, or choose another folder"
    )


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder; when the block ends, its files replace all earlier results in ``folder``.

    After an exception, or when the process is killed, the earlier results are unchanged. Other files are kept. Inside
    the block, ``keep_earlier`` has the earlier results moved instead of deleted.
    """
    staged = folder / STAGED
    staged.mkdir()
    try:
        yield staged
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    staged.rename(folder / WHOLE)  # from here on they are the results, even if the process is killed
    flush_folder(folder)
    finish_replacement(folder)


def keep_earlier(folder: Path, staged: Path) -> Path | None:
    """Let `replacing` move the earlier results into the folder that is returned; also files that only have their names.

    None if nothing would be lost: if there are none, and if the networks of an earlier run, or all files that no run
    wrote, are the same in ``staged``, byte for byte.
    """
    earlier = named_as_results(folder)
    compared = [path for path in results_in(folder) if path.suffix == ".safetensors"] or earlier
    if all(_is_same(path, staged / path.name) for path in compared):
        return None
    written = time.localtime(min(max(earlier[-1].stat().st_mtime, 0), time.time()))
    name = moment = time.strftime("%Y-%m-%d_%H-%M-%S", written)
    number = 1
    while os.path.lexists(folder / EARLIER / name):
        number += 1
        name = f"{moment}_{number}"
    (staged / KEEP).write_text(name, encoding="ascii")
    return folder / EARLIER / name


def _is_same(path: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(path, other, shallow=False)


def finish_replacement(folder: Path) -> None:
    """Replace earlier results with complete new ones, or finish a replacement that was interrupted."""
    staged, whole, moving = (folder / name for name in (STAGED, WHOLE, MOVING))
    shutil.rmtree(staged, ignore_errors=True)
    if whole.is_dir():
        keep = whole / KEEP
        if keep.is_file():
            kept = folder / EARLIER / Path(keep.read_text(encoding="ascii")).name
            kept.mkdir(parents=True, exist_ok=True)
            for path in named_as_results(folder):
                path.replace(kept / path.name)
            flush_folder(kept)
            keep.unlink()
        for path in results_in(folder):
            path.unlink()
        flush_folder(folder)
        whole.rename(moving)
    if moving.is_dir():
        for path in list(moving.iterdir()):
            path.replace(folder / path.name)
        moving.rmdir()


def results_in(folder: Path) -> list[Path]:
    """The files in ``folder`` that an earlier run wrote: results, plots, report.html, and ``METRICS`` last."""
    return named_as_results(folder) if (folder / METRICS).is_file() else []


def named_as_results(folder: Path) -> list[Path]:
    """The files in ``folder`` that have the name of a result, even if no run wrote them; ``METRICS`` last."""
    return [path for pattern in [*RESULTS, METRICS] for path in folder.glob(pattern) if path.is_file()]
