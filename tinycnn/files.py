"""Files that are there whole or not at all: written under another name, brought to the disk, and then renamed.

A process that is killed leaves a file under such a name. The next that writes there removes it, once it has lain
unchanged for an hour and no living process holds its lock.
"""

import errno
import glob
import os
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

UNFINISHED = ".unfinished"  # how the name of a file ends that is being written
STALE_S = 3600.0
NO_FOLDERS = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES}  # a system that brings no folder to the disk


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that at any moment, also after a power cut, ``path`` holds the old content or the new.

    Raises OSError that names ``path``.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}; make it, or give another")
    remove_stale(path.parent, f".{glob.escape(path.name)}.*{UNFINISHED}")
    try:
        _write_and_rename(path, content)
        bring_to_disk(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


def _write_and_rename(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as file:
            try_lock(file.fileno())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def bring_to_disk(folder: Path) -> None:
    """Make a new name in ``folder`` last: it is a file of its own. Windows keeps its folders safe by itself."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Delete what ``write_atomically`` leaves in ``folder`` when the process is killed; nobody may be writing there."""
    for path in Path(folder).glob(f".*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def remove_stale(folder: str | os.PathLike[str], pattern: str) -> None:
    """Delete the files in ``folder`` that killed processes left: unchanged for an hour, and not in use."""
    for path in Path(folder).glob(pattern):
        with suppress(OSError):  # somebody was faster, or it is not ours
            if time.time() - path.stat().st_mtime > STALE_S and not _in_use(path):
                path.unlink()


def _in_use(path: Path) -> bool:
    with open(path, "rb") as file:
        return not try_lock(file.fileno())


def try_lock(descriptor: int) -> bool:
    """Claim an open file or folder until it is closed, also by the end of the process; False when another has it.

    Where there are no such locks (Windows, some network file systems) everybody gets it.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
