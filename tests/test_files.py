"""Files that are there whole or not at all: what reaches the disk in which order, and what killed processes leave."""

import errno
import os
import re
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinycnn.data import write_idx
from tinycnn.errors import SettingError, in_words, shortened
from tinycnn.files import (
    STALE_S,
    UNFINISHED,
    open_regular,
    remove_leftovers,
    remove_stale,
    try_lock,
    write_atomically,
)

LEFT = f".result.abcd1234{UNFINISHED}"


@pytest.fixture
def recorded(monkeypatch):
    """What ``os.fsync`` and ``os.replace`` are asked to do, in order."""
    calls, fsync, replace = [], os.fsync, os.replace

    def recording_fsync(descriptor):
        status = os.fstat(descriptor)
        calls.append(("folder", status.st_ino) if stat.S_ISDIR(status.st_mode) else ("file", status.st_size))
        fsync(descriptor)

    def recording_replace(source, target):
        calls.append(("rename", Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "replace", recording_replace)
    return calls


@pytest.mark.skipif(sys.platform == "win32", reason="Windows opens no folders")
def test_the_content_reaches_the_disk_before_its_name_and_the_name_before_we_go_on(recorded, tmp_path):
    write_atomically(tmp_path / "result", b"12345")
    assert recorded == [("file", 5), ("rename", "result"), ("folder", tmp_path.stat().st_ino)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows opens no folders")
@pytest.mark.parametrize(("number", "told"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_folder_that_cannot_be_brought_to_the_disk(number, told, tmp_path, monkeypatch):
    """A file system that knows nothing of the kind is fine; a disk that fails is not."""
    fsync = os.fsync

    def fails_for_folders(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fails_for_folders)
    if told:
        with pytest.raises(OSError, match="result") as caught:
            write_atomically(tmp_path / "result", b"new")
        assert caught.value.errno == number
    else:
        write_atomically(tmp_path / "result", b"new")
    assert (tmp_path / "result").read_bytes() == b"new"


def test_what_cannot_be_written_is_named(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically(tmp_path / "result", b"new")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "result"))
    assert in_words(caught.value) == f"{tmp_path / 'result'}: No space left on device"


@pytest.mark.parametrize("error", [OSError("refused"), OSError(5, "no file named"), SettingError("seed -1")])
def test_other_errors_keep_their_words(error):
    assert in_words(error) == str(error)


# --------------------------------------------------------------------------------------------- texts from outside


@pytest.mark.parametrize(
    "hostile", ["a\nerror: forged", "\x1b[31mred", "\u202egnp.exe", "\u2028", "\x00", "\udc80", "\r"]
)
def test_a_foreign_text_in_a_message_is_one_printable_line(hostile):
    for value in (hostile, ValueError(hostile), [hostile], {hostile: 1}, hostile.encode("utf-8", "surrogateescape")):
        assert shortened(value).isprintable()
    assert shortened("cat") == "'cat'"
    assert shortened(ValueError("bad cat")) == "bad cat"


def test_a_foreign_text_in_a_message_is_cut():
    assert shortened("x" * 500_000) == "'" + "x" * 199 + " …"
    assert shortened(ValueError("y" * 201), most=10) == "y" * 10 + " …"


# ------------------------------------------------------------------------------------------------ ordinary files only


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes among its files")
def test_pipes_sockets_devices_and_folders_are_refused_without_waiting(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # a short name: the address of a socket has at most 108 bytes
        listener.bind("socket")
        for name, reason in {
            "pipe": "a pipe, expected an ordinary file",
            "socket": "a socket, expected an ordinary file",
            "/dev/null": "a device, expected an ordinary file",
            ".": "a folder, expected a file",
            "missing": "No such file or directory",
            "a\0b": "not a possible name",
        }.items():
            with pytest.raises(OSError, match=re.escape(reason)) as caught:
                open_regular(name)
            assert caught.value.filename == name


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes among its files")
def test_a_pipe_that_takes_the_place_of_a_file_is_refused_without_waiting(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    ordinary = os.stat(path)
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr("tinycnn.files.os.stat", lambda name: ordinary)
    with pytest.raises(OSError, match="a pipe, expected an ordinary file"):
        open_regular(path)


def test_an_ordinary_file_is_read(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"content"


# ----------------------------------------------------------------------------------------------- as `open` would do


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes among its files")
def test_a_pipe_is_not_replaced_by_a_file_also_behind_a_link(tmp_path):
    """As root, a device would be: /dev/null, or /dev/stdout, which is a link."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match="a pipe, expected an ordinary file") as caught:
            write_atomically(tmp_path / name, b"new")
        assert caught.value.filename == str(tmp_path / name)
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_is_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("elsewhere/file")
    write_atomically(tmp_path / "link", b"new")
    assert ((tmp_path / "link").is_symlink(), (tmp_path / "elsewhere/file").read_bytes()) == (True, b"new")
    (tmp_path / "dangling").symlink_to("elsewhere/other")
    write_atomically(tmp_path / "dangling", b"other")
    assert sorted(os.listdir(tmp_path / "elsewhere")) == ["file", "other"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
@pytest.mark.parametrize("permissions", [0o600, 0o664])
def test_an_existing_file_keeps_its_permissions(permissions, tmp_path):
    path = tmp_path / "file"
    path.touch()
    path.chmod(permissions)
    write_atomically(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == permissions


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_a_new_file_has_the_permissions_of_the_process_whose_umask_does_not_change(tmp_path, monkeypatch):
    """Two threads that each set the umask to read it could leave it at 0, and every later file open to all."""
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "umask", lambda mask: pytest.fail("the umask belongs to all threads"))
            write_atomically(tmp_path / "file", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_a_write_protected_file_is_not_replaced(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"kept")
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="write-protected") as caught:
        write_atomically(path, b"new")
    assert (caught.value.filename, path.read_bytes()) == (str(path), b"kept")
    path.chmod(0o666)


def test_every_name_that_a_file_can_have_is_written(tmp_path):
    for name in ("x" * 255, "字" * 85):  # both 255 bytes in UTF-8
        write_atomically(tmp_path / name, b"content")
        assert (tmp_path / name).read_bytes() == b"content"
    with pytest.raises(OSError, match="not a possible name"):
        write_atomically("a\0b", b"content")


# ------------------------------------------------------------------------------------------ what killed processes leave


def aged(path, seconds):
    path.write_bytes(b"half")
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_the_next_write_removes_what_was_left_long_ago(tmp_path):
    """Of the same file only, of this name exactly, and nothing that may still be written."""
    old, young = aged(tmp_path / LEFT, STALE_S + 60), aged(tmp_path / f".result.young123{UNFINISHED}", STALE_S - 60)
    names = f".other.abcd1234{UNFINISHED}", "result.txt", ".result"
    others = [aged(tmp_path / name, 10 * STALE_S) for name in names]
    write_atomically(tmp_path / "result", b"whole")
    assert not old.exists()
    assert all(path.exists() for path in (young, *others))
    assert (tmp_path / "result").read_bytes() == b"whole"


def test_names_are_taken_literally(tmp_path):
    aged(tmp_path / LEFT, 10 * STALE_S)
    write_atomically(tmp_path / "r*", b"")
    assert (tmp_path / LEFT).exists()


CHILD = """
import sys
from tinycnn.files import try_lock
with open(sys.argv[1], "wb") as file:
    print(try_lock(file.fileno()), flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps open files by itself")
def test_what_a_living_process_writes_is_never_removed(tmp_path):
    """As after a night with the lid closed: old, but its writer goes on."""
    path = tmp_path / LEFT
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", CHILD, str(path)], text=True, **pipes) as child:
        assert child.stdout.readline() == "True\n"
        os.utime(path, (0, 0))
        remove_stale(tmp_path, "*")
        assert path.exists()
        child.communicate(timeout=60)
    remove_stale(tmp_path, "*")
    assert not path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_a_file_is_locked_while_it_is_written(tmp_path, monkeypatch):
    replace, seen = os.replace, []

    def look(descriptor):
        for path in tmp_path.glob(f".*{UNFINISHED}"):
            with open(path, "rb") as file:
                seen.append(try_lock(file.fileno()))

    monkeypatch.setattr(os, "fsync", look)
    write_atomically(tmp_path / "result", b"new")
    assert (seen, os.replace) == ([False], replace)


def test_a_folder_that_nobody_else_uses_is_swept_at_once(tmp_path):
    young, other = aged(tmp_path / LEFT, 0), aged(tmp_path / "result", 10 * STALE_S)
    remove_leftovers(tmp_path)
    assert (young.exists(), other.exists()) == (False, True)


def test_data_files_are_written_the_same_way(recorded, tmp_path):
    import numpy as np

    write_idx(tmp_path / "labels", np.arange(3, dtype=np.uint8))
    assert [call[0] for call in recorded[:2]] == ["file", "rename"]
