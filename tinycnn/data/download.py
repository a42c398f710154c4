"""Fetching a published data set from its mirrors: the first mirror that delivers the right bytes wins.

pooch keeps the cache honest: it downloads to a temporary file, compares the sha256 and only then moves the file to its
name, so that neither a crash nor two processes at once leave a damaged file. What is added here is patience with a
limit: each mirror gets a few seconds to answer, and must then keep up a minimum pace, because a mirror that sends
one byte every nine seconds would satisfy any ordinary timeout for days.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tinycnn.data.sources import SOURCES, Source, SourceFile
from tinycnn.errors import DataError

MIRRORS_VARIABLE = "TINYCNN_MIRRORS"  # base addresses separated by commas, used instead of the built-in ones
ANSWER_S = 4.0  # name look-up, connection and redirects together: three dead mirrors cost 12 s
SILENCE_S = 10.0  # longest pause inside a download
WINDOW_S = 20.0  # the pace is judged over this time
MIN_BYTES_PER_S = 2048  # slower than that is given up: MNIST would take more than an hour
MAX_REDIRECTS = 5
CHUNK = 1 << 16


def cache_folder(name: str) -> Path:
    """Where downloads of this data set are kept: a folder in the user's cache directory."""
    return Path(_pooch().os_cache("tinycnn")) / name


def download_files(name: str, folder: Path, mirrors: Sequence[str] | None = None) -> None:
    """Make ``folder`` hold the published files; those already there and intact are not fetched again.

    Raises DataError that names each mirror with its reason when none delivers.
    """
    source = SOURCES[name]
    reasons = []
    for mirror in mirrors or _mirrors(source):
        try:
            return _fetch_all(source, folder, mirror)
        except _failures() as error:
            reasons.append(f"{mirror}: {_explain(error)}")
    raise DataError(f"{source.title} could not be downloaded.\n" + "\n".join(f"  - {reason}" for reason in reasons))


def _mirrors(source: Source) -> Sequence[str]:
    chosen = [base.strip() for base in os.environ.get(MIRRORS_VARIABLE, "").split(",")]
    return [base for base in chosen if base] or source.mirrors


def _fetch_all(source: Source, folder: Path, mirror: str) -> None:
    pooch = _pooch()
    pooch.get_logger().setLevel("WARNING")  # our own lines say what is fetched
    for file in source.files:
        pooch.retrieve(
            url=f"{mirror.rstrip('/')}/{file.name}",
            known_hash=f"sha256:{file.gz_sha256}",
            fname=file.name,
            path=folder,
            downloader=_Downloader(file),
        )


class _Downloader:
    """What pooch calls to write one address into one file."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        response = _open(url)
        try:
            response.raise_for_status()
            with open(output_file, "wb") as stream, _progress(url, self.file.gz_bytes) as advance:
                for piece in _pieces(response, self.file.gz_bytes):
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
            response = session.get(url, stream=True, timeout=(ANSWER_S, SILENCE_S), headers=headers)
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
    """The body in pieces as they arrive; ConnectionError unless it has the expected length and keeps up the pace."""
    pace = _Pace()
    received = 0
    first = b""
    while received <= expected and (piece := response.raw.read1(CHUNK, decode_content=False)):
        pace.advance(len(piece))
        received += len(piece)
        first = first or piece[:20]
        yield piece
    if received != expected:
        amount = "more" if received > expected else f"only {received:,}"
        raise ConnectionError(f"it sent {amount} instead of {expected:,} bytes, beginning with {first!r}")


class _Pace:
    """Judges each time window by itself, so that a fast beginning does not excuse a stall."""

    def __init__(self) -> None:
        self.start, self.received = time.monotonic(), 0

    def advance(self, n_bytes: int) -> None:
        """Count bytes that arrived; ConnectionError if the window that ends here brought too few."""
        self.received += n_bytes
        seconds = time.monotonic() - self.start
        if seconds < WINDOW_S:
            return
        if self.received < MIN_BYTES_PER_S * seconds:
            raise ConnectionError(f"too slow: {self.received:,} bytes in {seconds:.0f} s")
        self.start, self.received = self.start + seconds, 0


@contextmanager
def _progress(url: str, total: int) -> Iterator[Any]:
    """A bar where somebody can watch it, otherwise one line -> a function to call with the bytes that arrived."""
    if not sys.stderr.isatty():
        print(f"Downloading {url} ({total / 1e6:.1f} MB)", file=sys.stderr)
        yield lambda n_bytes: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=url.rpartition("/")[2], unit="B", unit_scale=True) as bar:
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
        import pooch
    except ImportError as error:
        raise DataError(f"downloading needs pooch ({error}). Run: pip install pooch") from None
    return pooch
