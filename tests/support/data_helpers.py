"""Small stand-ins for the published data sets, and a server on this machine that misbehaves on demand."""

import gzip
import hashlib
import io
import os
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn.data.sources import Source, SourceFile
from tinycnn.errors import DataError

STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def real_mnist() -> Path | None:
    """The folder with the real MNIST files on this machine, if there is one."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "mnist"
    for folder in (os.environ.get("TINYCNN_DATA"), beside):
        if folder and (Path(folder) / f"{STEMS[0]}.gz").is_file():
            return Path(folder)
    return None


def tiny_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """30 training and 12 test images of 6x5 random pixels, by file name."""
    rng = np.random.default_rng(seed)
    counts = (30, 30, 12, 12)
    return {
        stem: rng.integers(0, 10, n, np.uint8) if "labels" in stem else rng.integers(0, 256, (n, 6, 5), np.uint8)
        for stem, n in zip(STEMS, counts, strict=True)
    }


def raw_idx(array: np.ndarray) -> bytes:
    """An IDX file written without the code under test."""
    return b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_set(folder: Path, arrays: dict[str, np.ndarray], suffix: str = ".gz") -> Path:
    """Write the four files, compressed if the suffix is .gz."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, array in arrays.items():
        content = raw_idx(array)
        (folder / f"{stem}{suffix}").write_bytes(gzip.compress(content) if suffix == ".gz" else content)
    return folder


def publish(folder: Path, title: str, *, contents_known: bool = True) -> Source:
    """A Source that declares the .gz files in ``folder`` as the published ones."""
    files = []
    for stem in STEMS:
        packed = (folder / f"{stem}.gz").read_bytes()
        content = hashlib.sha256(gzip.decompress(packed)).hexdigest() if contents_known else None
        rank = 3 if "images" in stem else 1
        files.append(SourceFile(stem, rank, len(packed), hashlib.sha256(packed).hexdigest(), content))
    return Source(title, tuple(files), ("http://127.0.0.1:9/",), tuple("0123456789"))


def returned_or_raised(function: Callable[..., Any], *args: object) -> Any:
    """The return value of the call, or the DataError that it raises; any other exception fails the test."""
    try:
        return function(*args)
    except DataError as error:
        return error


class Handler(BaseHTTPRequestHandler):
    """The first part of the path selects the behaviour, the second the requested file."""

    server: "Server"

    def do_GET(self) -> None:
        _, behaviour, name = self.path.split("/", 2)
        self.server.requests.append(self.path)
        getattr(self, f"do_{behaviour}")((self.server.folder / name).read_bytes())

    def send(self, body: bytes, status: int = 200, announced: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_good(self, body: bytes) -> None:
        self.send(body)

    def do_labelled(self, body: bytes) -> None:
        self.send(body, Content_Encoding="gzip")  # a wrong but common header, on which clients decompress

    def do_moved(self, body: bytes) -> None:
        self.send(b"", 302, Location=self.path.replace("/moved/", "/good/"))

    def do_circle(self, body: bytes) -> None:
        self.send(b"", 302, Location=self.path)

    def do_elsewhere(self, body: bytes) -> None:
        self.send(b"", 302, Location="file:///etc/passwd")

    def do_garbage(self, body: bytes) -> None:
        self.wfile.write(b"\0\1\2 this is not HTTP\r\n\r\n")

    def do_hang_up(self, body: bytes) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)

    def do_missing(self, body: bytes) -> None:
        self.send(b"", 404)

    def do_empty(self, body: bytes) -> None:
        self.send(b"")

    def do_chunks(self, body: bytes) -> None:
        """Send endless chunks without a total length."""
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while not self.server.closing.is_set():
            self.wfile.write(b"1000\r\n" + bytes(0x1000) + b"\r\n")

    def do_html(self, body: bytes) -> None:
        self.send(b"<html>Please log in to the hotel network</html>")

    def do_unavailable(self, body: bytes) -> None:
        self.send(b"", 503)

    def do_corrupt(self, body: bytes) -> None:
        self.send(body[:-1] + bytes([body[-1] ^ 1]))

    def do_truncate(self, body: bytes) -> None:
        self.send(body[: len(body) // 2], announced=len(body))

    def do_endless(self, body: bytes) -> None:
        self.send(body + b"more")

    def do_mute(self, body: bytes) -> None:
        self.server.closing.wait(30)  # the connection is open, but no response comes

    def do_stall(self, body: bytes) -> None:
        self.send(body[:10], announced=len(body))
        self.server.closing.wait(30)

    def do_dribble(self, body: bytes) -> None:
        self.send(b"", announced=len(body))
        for byte in body:
            self.wfile.write(bytes([byte]))
            if self.server.closing.wait(0.05):
                return

    def do_drip(self, body: bytes) -> None:
        """Send the line with the length of a chunk, and never end it."""
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while not self.server.closing.wait(0.05):
            self.wfile.write(b"0")

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""


class Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing the server waits for its threads

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.requests: list[str] = []
        self.closing = threading.Event()

    def address(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{behaviour}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: the tests let clients hang up during a response."""


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server for the files in ``folder``; on exit its threads have ended and its sockets are closed."""
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join(60)


def refused_address() -> str:
    """An address at which no server listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def zipped(*names: str) -> bytes:
    """A zip archive that holds empty files of these names, as bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return content.getvalue()
