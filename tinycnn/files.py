"""Atomic files: written under a temporary name, flushed to the disk, and then renamed; and reading ordinary files only.

A killed process leaves a temporary file. The next call that writes to the same path removes it if it has not changed
for an hour and no living process holds its lock.
"""

import errno
import glob
import os
import secrets
import stat
import sys
import time
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

UNFINISHED = ".unfinished"  # suffix of a temporary name
STALE_S = 3600.0
NO_FOLDERS = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES}  # from systems that cannot flush a folder
MOST_OF_NAME = 200  # bytes of a name that its temporary name repeats
FOR_ALL, FOR_OWNER = 0o666, 0o600  # permissions
ANY_MAY_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
NOT_A_NAME = "not a possible name"

KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
NON_BLOCKING = getattr(os, "O_NONBLOCK", 0)  # Windows has no such flag, and no named pipes among its files


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open an ordinary file for reading; raises OSError, which names it, for a folder, pipe, socket or device.

    Reading one of these could block, or never end. Opening does not block either, even if a pipe replaces the file.
    """
    try:
        _check_regular(os.stat(path), path)  # before it is opened, as opening a device can have effects
    except ValueError:  # a null character, or letters that the file system cannot encode
        raise OSError(errno.EINVAL, NOT_A_NAME, os.fspath(path)) from None
    return open(path, "rb", opener=_open_regular)


def _open_regular(name: str, flags: int) -> int:
    descriptor = os.open(name, flags | NON_BLOCKING)
    try:
        _check_regular(os.fstat(descriptor), name)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder, expected a file", os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "a special file")
        raise OSError(errno.EINVAL, f"{kind}, expected an ordinary file", os.fspath(path))


def write_atomically(path: str | os.PathLike[str], content: bytes | memoryview) -> None:
    """Write a file so that ``path`` always holds either the old or the new content, even after a power failure.

    As with ``open(path, "wb")``, a symbolic link is followed, and an existing file keeps its permissions. Raises
    OSError with ``path`` as its file name, also for a pipe, a device and a write-protected file, which do not change.
    """
    try:
        target, permissions = _target(Path(path))
        remove_stale(target.parent, f"{glob.escape(_temporary_prefix(target))}*{UNFINISHED}")
        _write_and_rename(target, content, permissions)
        flush_folder(target.parent)
    except ValueError:  # a null character, or letters that the file system cannot encode
        raise OSError(errno.EINVAL, NOT_A_NAME, os.fspath(path)) from None
    except OSError as error:
        if error.errno is None:  # a sentence of `_target`
            raise
        raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from None


def _target(path: Path) -> tuple[Path, int | None]:
    """The file that ``path`` leads to, and its permissions; None if it does not exist."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; give the name of a file")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {target.parent}; create it, or pass another path")
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return target, None
    _check_regular(status, path)
    if not status.st_mode & ANY_MAY_WRITE:
        raise PermissionError(errno.EACCES, "write-protected", path)
    return target, stat.S_IMODE(status.st_mode)


def _write_and_rename(path: Path, content: bytes | memoryview, permissions: int | None) -> None:
    temporary = path.with_name(f"{_temporary_prefix(path)}{secrets.token_hex(8)}{UNFINISHED}")
    first = FOR_ALL if permissions is None else FOR_OWNER  # less the umask, which cannot be read without changing it
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, first)) as file:
            try_lock(file.fileno())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if permissions is not None:
            os.chmod(temporary, permissions)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _temporary_prefix(path: Path) -> str:
    """The beginning of the temporary name; a longer one would exceed the 255 bytes that a name may have."""
    return f".{os.fsencode(path.name)[:MOST_OF_NAME].decode(errors='ignore')}."


def flush_folder(folder: Path) -> None:
    """Flush the entries of ``folder`` to the disk, which flushing a file does not. Windows does this automatically."""
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


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Delete temporary files of ``write_atomically`` in ``folder``; no process may be writing there."""
    for path in Path(folder).glob(f".*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def remove_stale(folder: str | os.PathLike[str], pattern: str) -> None:
    """Delete files in ``folder`` left by killed processes: unchanged for an hour, and not in use."""
    for path in Path(folder).glob(pattern):
        with suppress(OSError):  # deleted by another process, or owned by another user
            if time.time() - path.stat().st_mtime > STALE_S and not _in_use(path):
                path.unlink()


def _in_use(path: Path) -> bool:
    with open(path, "rb") as file:
        return not try_lock(file.fileno())


def try_lock(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed or the process ends; False if another process holds the lock.

    Without support for locks (Windows, some network file systems) the result is always True.
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
