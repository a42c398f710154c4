"""Downloading a published data set: mirrors are tried in order until one delivers the right bytes.

pooch downloads to a temporary file, compares the sha256 and only then renames the file, so neither a crash nor two
simultaneous processes leave a damaged file. This module adds a time limit: each mirror must respond within a few
seconds and must then deliver a minimum number of bytes per second, because one byte every nine seconds would satisfy
an ordinary timeout for days. All failing mirrors together take at most a minute.
"""

import importlib.util
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tinycnn.data.progress_bar import progress_bar
from tinycnn.data.sources import SOURCES, Source, SourceFile
from tinycnn.errors import DataError, printable
from tinycnn.files import remove_stale, try_lock

MIRRORS_VARIABLE = "TINYCNN_MIRRORS"  # base addresses separated by commas, used instead of the built-in ones
ANSWER_S = 4.0  # name look-up, connection and redirects together: three dead mirrors take 12 s
WINDOW_S = 12.0  # the speed is measured over such windows, so this is also the longest pause
LIMIT_S = 60.0  # lost to mirrors that fail, in total
MIN_BYTES_PER_S = 2048  # at a lower speed MNIST would take more than an hour
MAX_REDIRECTS = 5
CHUNK = 1 << 16
TEMPORARY = "tmp????????"  # pooch's names of incomplete files


def cache_folder(name: str) -> Path:
    """The folder for downloads of this data set, in the user's cache directory."""
    return Path(_pooch().os_cache("tinycnn")) / name


def download_files(name: str, folder: Path, mirrors: Sequence[str] | None = None) -> None:
    """Download the published files to ``folder``, except those that are already there and intact.

    Raises DataError, with the reason of each mirror, if none delivers.
    """
    source, patience = SOURCES[name], _Patience()
    remove_stale(folder, TEMPORARY)
    reasons = []
    for mirror in mirrors or _mirrors(source):
        try:
            patience.check()
            return _fetch_all(source, folder, mirror, patience)
        except _failures() as error:
            patience.lose()
            reasons.append(f"{mirror}: {_explain(error)}")
    raise DataError(f"{source.title} could not be downloaded.\n" + "\n".join(f"  - {reason}" for reason in reasons))


def _mirrors(source: Source) -> Sequence[str]:
    chosen = [base.strip() for base in os.environ.get(MIRRORS_VARIABLE, "").split(",")]
    return [base for base in chosen if base] or source.mirrors


class _Patience:
    """The time that failing mirrors may still take; it runs since the last success."""

    def __init__(self) -> None:
        self.left_s, self.since = LIMIT_S, time.monotonic()

    def check(self) -> None:
        """Raise ConnectionError if another mirror could exceed the time that is left; otherwise start its clock."""
        if self.left_s < ANSWER_S + WINDOW_S:
            raise ConnectionError(f"not asked: earlier mirrors took {LIMIT_S - self.left_s:.0f} s without success")
        self.reward()

    def reward(self) -> None:
        """Restart the clock: a window of time or a file succeeded, or its loss is counted."""
        self.since = time.monotonic()

    def lose(self) -> None:
        """The mirror failed: subtract the time since its last success."""
        self.left_s -= time.monotonic() - self.since
        self.reward()


def _fetch_all(source: Source, folder: Path, mirror: str, patience: _Patience) -> None:
    pooch = _pooch()
    pooch.get_logger().setLevel("WARNING")  # this module reports downloads itself
    for file in source.files:
        pooch.retrieve(
            url=f"{mirror.rstrip('/')}/{file.name}",
            known_hash=f"sha256:{file.gz_sha256}",
            fname=file.name,
            path=folder,
            downloader=_Downloader(file, patience),
        )
        patience.reward()


class _Downloader:
    """A callable for pooch that writes the content of one address to one file."""

    def __init__(self, file: SourceFile, patience: _Patience) -> None:
        self.file, self.patience = file, patience

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        response = _open(url)
        try:
            response.raise_for_status()
            with (
                open(output_file, "wb") as stream,
                _progress(url, self.file.gz_bytes) as advance,
                _watched(response.raw.shutdown, self.patience) as pace,
            ):
                try_lock(stream.fileno())
                for piece in _pieces(response, self.file.gz_bytes):
                    pace.received += len(piece)
                    stream.write(piece)
                    advance(len(piece))
        finally:
            response.close()


def _open(url: str) -> Any:
    """Request ``url`` in a helper thread -> response; ConnectionError if there is none within ANSWER_S.

    A thread is needed because neither a name look-up nor a chain of redirects takes a timeout.
    """
    answer: Future[Any] = Future()
    threading.Thread(target=_request, args=(url, answer), daemon=True).start()
    try:
        return answer.result(timeout=ANSWER_S)
    except TimeoutError:
        if answer.cancel():
            raise ConnectionError(f"no answer within {ANSWER_S:g} s") from None
        return answer.result()  # it arrived at this moment


def _request(url: str, answer: Future[Any]) -> None:
    import requests

    try:
        with requests.Session() as session:
            session.max_redirects = MAX_REDIRECTS
            headers = {"Accept-Encoding": "identity"}  # the unchanged .gz: its hash is known
            response = session.get(url, stream=True, timeout=(ANSWER_S, WINDOW_S), headers=headers)
    except Exception as error:
        _deliver(answer.set_exception, error)
    else:
        if not _deliver(answer.set_result, response):
            response.close()


def _deliver(setter: Any, value: object) -> bool:
    """Pass a result to the waiting thread; False if it no longer waits."""
    try:
        setter(value)
    except InvalidStateError:
        return False
    return True


def _pieces(response: Any, expected: int) -> Iterator[bytes]:
    """The body in pieces as they arrive; ConnectionError unless it has the expected length."""
    received = 0
    first = b""
    while received <= expected and (piece := response.raw.read1(CHUNK, decode_content=False)):
        received += len(piece)
        first = first or piece[:20]
        yield piece
    if received != expected:
        amount = "more" if received > expected else f"only {received:,}"
        raise ConnectionError(f"it sent {amount} instead of {expected:,} bytes, beginning with {first!r}")


class _Pace:
    """Measures the speed of each window of time separately, so that a fast start does not hide a stall."""

    def __init__(self, patience: _Patience) -> None:
        self.patience, self.received = patience, 0
        self.failure: str | None = None

    def judge(self) -> bool:
        """Whether the window that ends now delivered enough bytes; the next one begins."""
        received, self.received = self.received, 0
        if received < MIN_BYTES_PER_S * WINDOW_S:
            self.failure = f"too slow: {received:,} bytes in {WINDOW_S:g} s"
            return False
        self.patience.reward()
        return True


@contextmanager
def _watched(hang_up: Callable[[], None], patience: _Patience) -> Iterator[_Pace]:
    """A context that raises ConnectionError if the download is too slow: a thread measures it, and disconnects.

    The downloading thread cannot do this: it may block inside a header line that a mirror sends byte by byte.
    """
    pace, over = _Pace(patience), threading.Event()

    def watch() -> None:
        while not over.wait(WINDOW_S):
            if not pace.judge():
                with suppress(OSError, RuntimeError, ValueError):  # the connection is closed already
                    hang_up()
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield pace
    except Exception as error:
        if pace.failure is None:
            raise
        raise ConnectionError(pace.failure) from error
    finally:
        over.set()


@contextmanager
def _progress(url: str, total: int) -> Iterator[Any]:
    """A bar in a terminal, otherwise one line -> a function to call with the number of bytes received."""
    announcement = f"Downloading {url} ({total / 1e6:.1f} MB)"
    bar = progress_bar(announcement, total=total, desc=url.rpartition("/")[2], unit="B", unit_scale=True)
    if bar is None:
        yield lambda n_bytes: None
        return
    with bar:
        yield bar.update


def _failures() -> tuple[type[Exception], ...]:
    """The exceptions of a bad mirror or network. ValueError: a wrong hash, or a malformed address."""
    from urllib3.exceptions import HTTPError

    return (OSError, ValueError, HTTPError)  # requests' own exceptions are OSErrors


def _explain(error: Exception) -> str:
    """The innermost reason, on one line: requests wraps urllib3, which wraps the operating system."""
    inner = error.args[0] if error.args else error
    return printable(" ".join(str(getattr(inner, "reason", None) or error).split())[:300])


def _pooch() -> Any:
    try:
        for name in ("requests", "urllib3"):  # loaded later than pooch, in a thread
            if importlib.util.find_spec(name) is None:
                raise ImportError(f"No module named {name!r}")
        import pooch
    except ImportError as error:
        raise DataError(f"downloading needs pooch ({error}): `pip install pooch`") from None
    return pooch
