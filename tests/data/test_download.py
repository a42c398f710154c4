"""Downloads from mirrors that refuse, stall, corrupt or break off: the next is tried, and every reason is reported."""

import errno
import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.data_helpers import STEMS, publish, refused_address, serving, tiny_arrays, write_set
from tinycnn.data import download as module
from tinycnn.data import load
from tinycnn.data.download import download_files
from tinycnn.data.sources import SOURCES
from tinycnn.errors import DataError

pooch = pytest.importorskip("pooch", reason="pooch, which downloads, is not installed: pip install pooch")

NAMES = [f"{stem}.gz" for stem in STEMS]


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("TINYCNN_DATA", raising=False)
    monkeypatch.delenv("TINYCNN_MIRRORS", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setattr(module, "ANSWER_S", 30.0)  # so that a busy machine does not fail a good mirror
    monkeypatch.setitem(SOURCES, "mnist", publish(write_set(tmp_path / "published", tiny_arrays()), "MNIST"))


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path / "published") as server:
        yield server


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "fetched"


def check_is_complete(folder, published):
    """Check that the folder holds the four published files and no temporary file."""
    assert sorted(os.listdir(folder)) == sorted(NAMES)
    for name in NAMES:
        assert (folder / name).read_bytes() == (published / name).read_bytes()


def test_a_good_mirror_delivers_all_files(server, folder, tmp_path, capfd):
    download_files("mnist", folder, [server.address("good")])
    check_is_complete(folder, tmp_path / "published")
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err.count("Downloading http://127.0.0.1") == 4


@pytest.mark.parametrize("behaviour", ["moved", "labelled"])
def test_unusual_but_correct_responses_are_accepted(server, folder, tmp_path, behaviour):
    download_files("mnist", folder, [server.address(behaviour)])
    check_is_complete(folder, tmp_path / "published")


BAD = {
    "html": r"only [0-9]+ instead of [0-9]+ bytes, beginning with b'<html>",
    "unavailable": "503",
    "corrupt": "does not match the known hash",
    "truncate": "IncompleteRead|only [0-9,]+ instead",
    "endless": "it sent more",
    "circle": "redirects",
    "mute": "no answer within",
    "stall": "too slow: 10 bytes in 0.3 s|timed out",
    "dribble": "too slow: [0-9]+ bytes in 0.3 s",
    "drip": "too slow: 0 bytes in 0.3 s|timed out",
    "elsewhere": "No connection adapters were found for 'file:",
    "garbage": "BadStatusLine|\\\\x00",
    "hang_up": "Remote end closed connection|Connection reset|aborted",
    "missing": "404",
    "empty": "only 0 instead of",
    "chunks": "it sent more",
}


IMPATIENT = {"mute": "ANSWER_S", "stall": "WINDOW_S", "dribble": "WINDOW_S", "drip": "WINDOW_S"}  # its timeout


@pytest.mark.parametrize("behaviour", BAD)
def test_a_bad_mirror_raises_with_the_reason_and_leaves_no_file(server, folder, behaviour, monkeypatch):
    if behaviour in IMPATIENT:
        monkeypatch.setattr(module, IMPATIENT[behaviour], 0.3)
    with pytest.raises(DataError, match=BAD[behaviour]) as caught:
        download_files("mnist", folder, [server.address(behaviour)])
    assert server.address(behaviour) in str(caught.value)
    assert list(folder.iterdir()) == []


def test_mirrors_are_tried_in_order_until_one_delivers(server, folder, tmp_path):
    mirrors = [refused_address(), *(server.address(behaviour) for behaviour in ("html", "corrupt", "good"))]
    download_files("mnist", folder, mirrors)
    check_is_complete(folder, tmp_path / "published")


def test_the_error_lists_every_mirror_with_its_reason(server, folder):
    mirrors = [refused_address(), server.address("unavailable"), "http://bad host/", "gopher://127.0.0.1/"]
    with pytest.raises(DataError, match="MNIST could not be downloaded") as caught:
        download_files("mnist", folder, mirrors)
    lines = str(caught.value).splitlines()[1:]
    assert [mirror in line for mirror, line in zip(mirrors, lines, strict=True)] == [True] * 4
    assert "refused" in lines[0].lower()


def test_only_damaged_files_are_downloaded_again(server, folder, tmp_path):
    download_files("mnist", folder, [server.address("good")])
    server.requests.clear()
    (folder / NAMES[2]).write_bytes(b"damaged")
    download_files("mnist", folder, [server.address("good")])
    assert server.requests == [f"/good/{NAMES[2]}"]
    check_is_complete(folder, tmp_path / "published")
    download_files("mnist", folder, [refused_address()])  # no file is missing, so no network is needed
    check_is_complete(folder, tmp_path / "published")


def test_the_next_mirror_downloads_only_missing_files(server, folder, tmp_path):
    (server.folder / NAMES[3]).rename(server.folder / "gone")
    with pytest.raises(DataError):
        download_files("mnist", folder, [server.address("good")])
    (server.folder / "gone").rename(server.folder / NAMES[3])
    server.requests.clear()
    download_files("mnist", folder, [server.address("good")])
    assert server.requests == [f"/good/{NAMES[3]}"]


def test_load_downloads_once_from_the_mirrors_in_the_environment(server, tmp_path, monkeypatch):
    monkeypatch.setenv("TINYCNN_MIRRORS", f"{refused_address()}, {server.address('good')} ,")
    first = load("auto")
    assert (first.name, first.notice) == ("mnist", None)
    check_is_complete(tmp_path / "cache" / "tinycnn" / "mnist", tmp_path / "published")
    server.requests.clear()
    assert load("mnist").source == first.source
    assert server.requests == []


def test_load_repairs_a_damaged_cache(server, tmp_path, monkeypatch):
    monkeypatch.setenv("TINYCNN_MIRRORS", server.address("good"))
    cache = write_set(tmp_path / "cache" / "tinycnn" / "mnist", tiny_arrays())
    (cache / NAMES[0]).write_bytes(b"damaged")
    assert "(verified" in load("mnist").source
    check_is_complete(cache, tmp_path / "published")


def test_an_unwritable_cache_raises(server, tmp_path, monkeypatch):
    monkeypatch.setenv("TINYCNN_MIRRORS", server.address("good"))
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"Not a directory|File exists|cannot find"):
        load("mnist")
    assert load("auto").name == "digits"


@pytest.mark.parametrize(("amounts", "is_fast"), [([50, 50, 50], True), ([500, 5], False), ([5], False)])
def test_pace_is_judged_window_by_window(monkeypatch, amounts, is_fast):
    monkeypatch.setattr(module, "MIN_BYTES_PER_S", 2)
    monkeypatch.setattr(module, "WINDOW_S", 20)
    pace, seen = module._Pace(module._Patience()), []
    for amount in amounts:
        pace.received += amount
        seen.append(pace.judge())
    assert seen == [True] * (len(amounts) - 1) + [is_fast]


class Clock:
    """A clock that advances only when a test sets ``now``."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    monkeypatch.setattr(module, "ANSWER_S", 4.0)
    return clock


def tried_of(mirrors, clock, monkeypatch, folder):
    """The mirrors that are tried: ``{mirror: (seconds until it fails, number of windows with progress)}`` → names."""
    tried = []

    def fetch(source, folder, mirror, patience):
        tried.append(mirror)
        seconds, good = mirrors[mirror]
        for _ in range(good):
            clock.now += seconds / (good + 1)
            patience.reward()
        clock.now += seconds / (good + 1)
        raise ConnectionError("too slow")

    monkeypatch.setattr(module, "_fetch_all", fetch)
    with pytest.raises(DataError) as caught:
        download_files("mnist", folder, list(mirrors))
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == len(mirrors)
    assert all("not asked: earlier mirrors took" in line for line in lines[len(tried) :])
    return tried


def test_all_mirrors_together_wait_less_than_a_minute(clock, folder, monkeypatch):
    dribbling = {f"mirror{i}": (15.9, 0) for i in range(6)}  # just below the timeout of each
    assert len(tried_of(dribbling, clock, monkeypatch, folder)) == 3
    assert clock.now < 1000 + 60


def test_mirrors_that_fail_immediately_are_all_tried(clock, folder, monkeypatch):
    refusing = {f"mirror{i}": (0.2, 0) for i in range(50)}
    assert len(tried_of(refusing, clock, monkeypatch, folder)) == 50


def test_time_with_progress_does_not_count_as_waiting(clock, folder, monkeypatch):
    """Mirrors deliver for minutes, then break off: only the time after the last good window counts."""
    breaking_off = {f"mirror{i}": (120.0, 9) for i in range(6)}  # twelve seconds lost by each
    assert len(tried_of(breaking_off, clock, monkeypatch, folder)) == 4


def test_slow_mirrors_end_in_time(server, folder, monkeypatch):
    for name, seconds in (("ANSWER_S", 1.0), ("WINDOW_S", 0.3), ("LIMIT_S", 2.0)):
        monkeypatch.setattr(module, name, seconds)
    mirrors = [server.address(behaviour) for behaviour in ("drip", "dribble", "stall", "drip", "dribble", "good")]
    began = time.monotonic()
    with pytest.raises(DataError, match="not asked"):
        download_files("mnist", folder, mirrors)
    assert time.monotonic() - began < 30  # a busy machine may be late


def test_old_temporary_files_are_removed(server, folder, tmp_path):
    folder.mkdir()
    for name, age in (("tmp0123abcd", 7200), ("tmpyoung_01", 60)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    download_files("mnist", folder, [server.address("good")])
    assert sorted(set(os.listdir(folder)) - set(NAMES)) == ["tmpyoung_01"]


def test_temporary_files_of_pooch_match_the_pattern(folder):
    """If pooch changed its names, old temporary files would no longer be removed."""
    seen = []

    def look(url, output_file, pooch):
        seen.append(Path(output_file))
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        pooch.retrieve("http://example.invalid/a", known_hash=None, fname="a", path=folder, downloader=look)
    assert [path.parent for path in seen] == [folder]
    assert seen[0].match(module.TEMPORARY)


def test_an_endless_response_is_not_read_to_the_end():
    class EndlessResponse:
        reads = 0
        raw = property(lambda self: self)

        def read1(self, size, decode_content):
            self.reads += 1
            return b"x" * 10 if self.reads <= 3 else pytest.fail("it reads on")

    with pytest.raises(ConnectionError, match="it sent more instead of 25 bytes"):
        list(module._pieces(EndlessResponse(), 25))


def test_a_hanging_name_look_up_ends_after_the_timeout(folder, monkeypatch):
    """The request blocks during the whole test; the error is raised nevertheless."""
    release = threading.Event()
    monkeypatch.setattr(module, "_request", lambda url, answer: release.wait(60))
    monkeypatch.setattr(module, "ANSWER_S", 0.05)
    try:
        with pytest.raises(DataError, match="no answer within"):
            download_files("mnist", folder, ["http://example.invalid/"])
        assert not release.is_set()
    finally:
        release.set()


def test_a_late_response_is_closed(monkeypatch):
    closed = threading.Event()

    class LateResponse:
        def close(self):
            closed.set()

    def slow_get(session, url, **settings):
        time.sleep(0.2)
        return LateResponse()

    monkeypatch.setattr("requests.Session.get", slow_get)
    monkeypatch.setattr(module, "ANSWER_S", 0.01)
    with pytest.raises(ConnectionError, match="no answer"):
        module._open("http://127.0.0.1/")
    assert closed.wait(10)


def test_timeouts_add_up_to_less_than_the_documented_limits():
    """Unpatched: stalling mirrors take at most 60 s, all three are tried, and unreachable ones take at most 15 s."""
    code = "from tinycnn.data import download as d; print(d.ANSWER_S, d.WINDOW_S, d.LIMIT_S)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    answer, window, limit = map(float, result.stdout.split())
    assert limit <= 60
    assert 3 * (answer + window) <= limit
    assert 3 * answer < 15


CHILD = """
import sys
from pathlib import Path
from tests.support.data_helpers import publish
from tinycnn.data.sources import SOURCES
from tinycnn.data.download import download_files
SOURCES["mnist"] = publish(Path(sys.argv[1]), "MNIST")
download_files("mnist", Path(sys.argv[2]), [sys.argv[3]])
"""


def test_two_processes_download_concurrently(server, folder, tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    arguments = [sys.executable, "-c", CHILD, str(tmp_path / "published"), str(folder), server.address("good")]
    children = [subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    errors = [child.communicate(timeout=120)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], errors
    check_is_complete(folder, tmp_path / "published")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_download_leaves_no_partial_file(server, folder, tmp_path):
    """The partial file has a temporary name, is never read, and does not prevent the next attempt."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    arguments = [sys.executable, "-c", CHILD, str(tmp_path / "published"), str(folder), server.address("stall")]
    with subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list(folder.glob("*")):
            time.sleep(0.02)
        child.kill()
    begun = list(folder.iterdir())
    assert len(begun) == 1
    assert not {path.name for path in begun} & set(NAMES)
    download_files("mnist", folder, [server.address("good")])
    for path in begun:
        path.unlink()
    check_is_complete(folder, tmp_path / "published")


def test_a_full_disk_raises_and_leaves_no_partial_file(server, folder, monkeypatch):
    def full(*arguments, **settings):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "open", full, raising=False)
    with pytest.raises(DataError, match="No space left on device"):
        download_files("mnist", folder, [server.address("good")])
    assert list(folder.iterdir()) == []


def test_progress_bar_on_a_terminal(server, folder, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    download_files("mnist", folder, [server.address("good")])
    error_output = capsys.readouterr().err
    assert "100%" in error_output
    assert NAMES[0] in error_output


def test_the_server_serves_the_published_files(server, tmp_path):
    """The server's path ``good`` must deliver the published bytes, and ``corrupt`` others."""
    import requests

    good, corrupt = (requests.get(server.address(b) + NAMES[0], timeout=5).content for b in ("good", "corrupt"))
    expected = SOURCES["mnist"].files[0].gz_sha256
    assert hashlib.sha256(good).hexdigest() == expected
    assert hashlib.sha256(corrupt).hexdigest() != expected
    assert len(good) == len(corrupt)
