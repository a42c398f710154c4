"""The folder that one run writes its results to: writable, and nobody else's while the run lasts."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tinycnn.errors import SettingError
from tinycnn.files import remove_leftovers, try_lock
from tinycnn.ranks import by_first


@contextmanager
def claimed(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A context in which ``folder`` exists and belongs to this process alone; gives its path.

    The claim is a lock of the operating system on the folder itself: it ends with the process, however that ends, and
    leaves no file behind. A folder that is empty in the end is taken away again. Raises SettingError when files cannot
    be written there, and when another process has claimed it. Where there are no such locks (Windows, some network
    file systems), only the first is checked. Of several ranks, rank 0 claims it for all.
    """
    path = Path(folder)
    with ExitStack() as claim:
        by_first(lambda: claim.enter_context(_claimed_here(path)))
        yield path


@contextmanager
def _claimed_here(path: Path) -> Iterator[None]:
    missing = [parent for parent in (path, *path.parents) if not parent.exists()]
    try:
        _make_writable(path)
        lock = _lock(path)
        try:
            remove_leftovers(path)
            yield
        finally:
            if lock is not None:
                os.close(lock)
    finally:
        with suppress(OSError):  # one that is not empty
            for parent in missing:
                parent.rmdir()


def _make_writable(path: Path) -> None:
    for parent in (path, *path.parents):
        if parent.exists() and not parent.is_dir():
            raise SettingError(f"--output {path}: {parent} is a file; give a folder, or move the file away")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise SettingError(f"--output {path}: cannot be written ({error.strerror}); give another folder") from None


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock until it is closed; None on Windows, which opens no folders."""
    if sys.platform == "win32":
        return None
    descriptor = os.open(path, os.O_RDONLY)
    if try_lock(descriptor):
        return descriptor
    os.close(descriptor)
    raise SettingError(f"--output {path}: another run is writing there; wait for it, or give another")
