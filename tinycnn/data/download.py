"""Fetching a published data set from its mirrors: the first mirror that delivers the right bytes wins.

pooch keeps the cache honest: it downloads to a temporary file, compares the sha256 and only then moves the file to its
name, so that neither a crash nor two processes at once leave a damaged file. What is added here is patience with a
limit: each mirror gets a few seconds to answer, and must then keep up a minimum pace, because a mirror that sends
one byte every nine seconds would satisfy any ordinary timeout for days. All mirrors together waste at most a minute.
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
from tinycnn.errors import DataError
from tinycnn.files import remove_stale, try_lock

MIRRORS_VARIABLE = "TINYCNN_MIRRORS"  # base addresses separated by commas, used instead of the built-in ones
ANSWER_S = 4.0  # name look-up, connection and redirects together: three dead mirrors cost 12 s
WINDOW_S = 12.0  # the pace is judged at the end of each, so this is the longest pause, too
LIMIT_S = 60.0  # of waiting in vain, for all mirrors together
MIN_BYTES_PER_S = 2048  # slower than that is given up: MNIST would take more than an hour
MAX_REDIRECTS = 5
CHUNK = 1 << 16
TEMPORARY = "tmp????????"  # what pooch calls a file that is not whole


def cache_folder(name: str) -> Path:
    """Where downloads of this data set are kept: a folder in the user's cache directory."""
    return Path(_pooch().os_cache("tinycnn")) / name


def download_files(name: str, folder: Path, mirrors: Sequence[str] | None = None) -> None:
    """Make ``folder`` hold the published files; those already there and intact are not fetched again.

    Raises DataError that names each mirror with its reason when none delivers.
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
    """How much longer mirrors may be waited for in vain: from the last time that one of them was good for something."""

    def __init__(self) -> None:
        self.left_s, self.since = LIMIT_S, time.monotonic()

    def check(self) -> None:
        """Raise ConnectionError when one more mirror could take longer than is left; the next seconds are its own."""
        if self.left_s < ANSWER_S + WINDOW_S:
            raise ConnectionError(f"not asked: the mirrors before took {LIMIT_S - self.left_s:.0f} s in vain")
        self.reward()

    def reward(self) -> None:
        """A window of time or a file was good (or is paid for): count anew."""
        self.since = time.monotonic()

    def lose(self) -> None:
        """The mirror failed: the time since it was last good is lost."""
        self.left_s -= time.monotonic() - self.since
        self.reward()


def _fetch_all(source: Source, folder: Path, mirror: str, patience: _Patience) -> None:
    pooch = _pooch()
    pooch.get_logger().setLevel("WARNING")  # our own lines say what is fetched
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
    """What pooch calls to write one address into one file."""

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
    """Ask for ``url`` in a helper thread -> response; ConnectionError when there is none within ANSWER_S.

    A thread, because no timeout can be given to a name look-up, nor to a chain of redirects as a whole.
    """
    answer: Future[Any] = Future()
    threading.Thread(target=_request, args=(url, answer), daemon=True).start()
    try:
        return answer.result(timeout=ANSWER_S)
    except TimeoutError:
        if answer.cancel():
            raise ConnectionError(f"no answer within {ANSWER_S:g} s") from None
        return answer.result()  # it came in that very moment


def _request(url: str, answer: Future[Any]) -> None:
    import requests

    try:
        with requests.Session() as session:
            session.max_redirects = MAX_REDIRECTS
            headers = {"Accept-Encoding": "identity"}  # the .gz as it is: its hash is known
            response = session.get(url, stream=True, timeout=(ANSWER_S, WINDOW_S), headers=headers)
    except Exception as error:
        _deliver(answer.set_exception, error)
    else:
        if not _deliver(answer.set_result, response):
            response.close()


def _deliver(setter: Any, value: object) -> bool:
    """Hand a result over; False if nobody waits for it any more."""
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
    """Judges each window of time by itself, so that a fast beginning does not excuse a stall."""

    def __init__(self, patience: _Patience) -> None:
        self.patience, self.received = patience, 0
        self.verdict: str | None = None

    def judge(self) -> bool:
        """Whether the window that ends now brought enough; the next one begins."""
        received, self.received = self.received, 0
        if received < MIN_BYTES_PER_S * WINDOW_S:
            self.verdict = f"too slow: {received:,} bytes in {WINDOW_S:g} s"
            return False
        self.patience.reward()
        return True


@contextmanager
def _watched(hang_up: Callable[[], None], patience: _Patience) -> Iterator[_Pace]:
    """A context that ends with ConnectionError where the pace is too slow: a thread watches, and hangs up.

    Whoever waits for bytes cannot watch: he may wait inside a line that a mirror sends byte by byte.
    """
    pace, over = _Pace(patience), threading.Event()

    def watch() -> None:
        while not over.wait(WINDOW_S):
            if not pace.judge():
                with suppress(OSError, RuntimeError, ValueError):  # the other side was faster
                    hang_up()
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield pace
    except Exception as error:
        if pace.verdict is None:
            raise
        raise ConnectionError(pace.verdict) from error
    finally:
        over.set()


@contextmanager
def _progress(url: str, total: int) -> Iterator[Any]:
    """A bar where somebody can watch it, otherwise one line -> a function to call with the bytes that arrived."""
    announcement = f"Downloading {url} ({total / 1e6:.1f} MB)"
    bar = progress_bar(announcement, total=total, desc=url.rpartition("/")[2], unit="B", unit_scale=True)
    if bar is None:
        yield lambda n_bytes: None
        return
    with bar:
        yield bar.update


def _failures() -> tuple[type[Exception], ...]:
    """What a bad mirror or network can raise. ValueError: pooch found another hash, or the address is malformed."""
    from urllib3.exceptions import HTTPError

    return (OSError, ValueError, HTTPError)  # requests' own exceptions are OSErrors


def _explain(error: Exception) -> str:
    """The innermost reason, on one line: requests wraps urllib3, which wraps the operating system."""
    inner = error.args[0] if error.args else error
    return " ".join(str(getattr(inner, "reason", None) or error).split())[:300]


def _pooch() -> Any:
    try:
        for name in ("requests", "urllib3"):  # loaded later than pooch, in a thread
            if importlib.util.find_spec(name) is None:
                raise ImportError(f"No module named {name!r}")
        import pooch
    except ImportError as error:
        raise DataError(f"downloading needs pooch ({error}). Run: pip install pooch") from None
    return pooch
