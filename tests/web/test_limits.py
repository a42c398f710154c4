"""Clients that are slow, silent, too many or no browsers at all: the server in a thread, with short time limits."""

import json
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress

import pytest

MISSING = "the page's packages are not installed: pip install -e '.[test]'"
pytest.importorskip("uvicorn", reason=MISSING)
pytest.importorskip("httpx2", reason=MISSING)

from starlette.responses import PlainTextResponse  # noqa: E402

from tests.support.web_helpers import small_model  # noqa: E402
from tests.web.test_decoder import JPEG, SLOW, patched  # noqa: E402
from tests.web.test_server import assert_secure  # noqa: E402
from tinycnn.web import app as web_app  # noqa: E402
from tinycnn.web import decoder as decoder_module  # noqa: E402
from tinycnn.web import server as module  # noqa: E402
from tinycnn.web.app import create_app  # noqa: E402
from tinycnn.web.decoder import Decoder  # noqa: E402
from tinycnn.web.predictions import Predictor  # noqa: E402
from tinycnn.web.request_picture import MAX_BODY, decode_picture  # noqa: E402
from tinycnn.web.server import make_server  # noqa: E402

SHORT_S = 0.1
SYSTEM = 1 << 16  # bytes that the system may buffer for the server, per connection
LARGE = 1 << 20  # more than that
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Running:
    """A server in a thread; ``with`` stops it."""

    def __init__(self, app, stop=lambda: None):
        self.server = make_server(app, stop)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SYSTEM)  # the connections inherit it
        self.address = self.listener.getsockname()
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]})

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()

    def connect(self, buffer=None):
        client = socket.socket()
        if buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(20)
        client.connect(self.address)
        return client

    def connections(self):
        return len(self.server.server_state.connections)

    def unsent(self):
        """Bytes that the system has not taken for any connection yet."""
        return sum(one.transport.get_write_buffer_size() for one in list(self.server.server_state.connections))


@pytest.fixture
def limits(monkeypatch):
    """Set time limits (the names of the constants) to a tenth of a second."""

    def shorten(*names):
        for name in names:
            monkeypatch.setattr(web_app if name == "BODY_TIMEOUT_S" else module, name, SHORT_S)

    return shorten


@contextmanager
def page(decode=decode_picture, stop=lambda: None):
    with Running(create_app(Predictor(small_model()), decode, ["localhost"]), stop) as running:
        yield running


def large(size=LARGE):
    return PlainTextResponse(bytes(size))


def until(condition):
    """Wait until ``condition()`` holds, for at most 10 s."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def settled(measure):
    """The value of ``measure()`` once it has been the same, and not 0, for a while."""
    values = [0]
    until(lambda: values.append(measure()) or set(values[-10:]) == {values[-1]} != {0})
    return values[-1]


def read_all(client):
    """Everything until the server closes the connection."""
    content = bytearray()
    with suppress(ConnectionResetError):
        while part := client.recv(1 << 20):
            content += part
    return bytes(content)


def parse(content):
    """Status, headers and JSON of one response."""
    head, _, body = content.partition(b"\r\n\r\n")
    first, *rows = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (row.partition(": ") for row in rows)}
    return int(first.split()[1]), headers, json.loads(body)


def assert_error(content, status, words):
    """That ``content`` is one error in the form of all errors, after which the connection closes."""
    found, headers, body = parse(content)
    assert found == status, content
    assert list(body) == ["error"]
    assert words in body["error"]
    assert headers["content-type"] == "application/json"
    assert headers["connection"] == "close"
    assert_secure(headers)


def predict(length, body=b""):
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n"
    return head.encode() + body


# ---------------------------------------------------------------------------------------------------- slow and silent


def test_clients_that_do_not_take_their_responses_are_disconnected(limits):
    """One reads nothing; one reads a little at a time; one sends more and more requests; one has hung up its side."""
    limits("WRITE_TIMEOUT_S")
    with Running(large()) as running, ExitStack() as stack:
        silent, slow, many, half = (stack.enter_context(running.connect(4096)) for _ in range(4))
        for one in (silent, slow, half):
            one.sendall(GET)
        many.sendall(GET * 100)
        half.shutdown(socket.SHUT_WR)
        until(lambda: running.connections() >= 3)
        while running.connections():
            slow.recv(100)
            time.sleep(SHORT_S / 10)
        until(lambda: running.connections() == 0)


def test_a_few_bytes_that_are_not_taken_are_enough_to_be_disconnected(limits):
    """Too few to fill asyncio's buffer: nothing would wait for them, and closing would wait for ever."""
    limits("IDLE_TIMEOUT_S")
    sizes = [LARGE]

    async def app(scope, receive, send):
        await large(sizes[-1])(scope, receive, send)

    with Running(app) as running, running.connect(4096) as first, running.connect(4096) as second:
        first.sendall(GET)
        sizes.append(LARGE - settled(running.unsent) + 30_000)
        first.close()
        until(lambda: running.connections() == 1)
        limits("WRITE_TIMEOUT_S")
        second.sendall(GET)
        unsent = []
        until(lambda: unsent.append(running.unsent()) or running.connections() == 0)
        assert 0 < max(unsent) < 1 << 16


def test_a_client_that_takes_its_response_slowly_but_in_time_gets_all_of_it():
    with Running(large()) as running, running.connect(4096) as client:
        client.sendall(GET)
        time.sleep(2 * SHORT_S)
        content = bytearray()
        while len(content) < LARGE:
            content += client.recv(1 << 20)
        (connection,) = running.server.server_state.connections
        until(lambda: connection.write_timer.cancelled())
        assert running.connections() == 1


def test_slow_and_silent_clients_are_disconnected_and_do_not_block_others(limits):
    """Before their first request; within its head, within its body, and after a body that was not asked for."""
    limits("HEAD_TIMEOUT_S")
    with page() as running, ExitStack() as stack:
        silent, half_a_head, other_route, after = (stack.enter_context(running.connect()) for _ in range(4))
        half_a_head.sendall(b"GET / HTTP/1.1\r\nHost:")
        other_route.sendall(predict(5000, b"x").replace(b"/predict", b"/nowhere"))
        after.sendall(GET)
        for end in (b"Host:", b" 1\r\nX"):  # bytes that arrive do not extend the time
            until(lambda: running.connections() == 4)
            half_a_head.sendall(end)
            time.sleep(SHORT_S / 3)
        assert read_all(silent) == b""
        assert read_all(half_a_head) == b""
        assert read_all(other_route).startswith(b"HTTP/1.1 404")
        assert b"<html" in read_all(after)
        until(lambda: running.connections() == 0)


def test_a_slow_body_gets_408(limits):
    limits("BODY_TIMEOUT_S")
    with page() as running, running.connect() as slow, running.connect() as other:
        slow.sendall(predict(5000, b"x"))
        other.sendall(GET)
        assert other.recv(100).startswith(b"HTTP/1.1 200")
        assert_error(read_all(slow), 408, "did not arrive within")


def test_clients_that_send_a_large_body_before_they_read_see_the_refusal():
    length = MAX_BODY + (1 << 22)
    with page() as running:
        for head in (predict(length), predict(5).replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")):
            with running.connect() as client:
                client.sendall(head + (b"%x\r\n" % length if b"chunked" in head else b""))
                client.sendall(bytes(length))
                client.sendall(b"\r\n0\r\n\r\n" if b"chunked" in head else b"")
                assert_error(read_all(client), 413, "larger than 1,048,576 bytes")
        with running.connect() as client:
            client.sendall(predict(web_app.MAX_RECEIVED + 1))
            assert_error(read_all(client), 413, "larger than 1,048,576 bytes")


def test_an_idle_connection_is_closed(limits):
    limits("IDLE_TIMEOUT_S")
    with page() as running, running.connect() as client:
        start = time.perf_counter()
        client.sendall(GET * 2)  # the second in advance
        assert read_all(client).count(b"HTTP/1.1 200") == 2
        assert time.perf_counter() - start < module.HEAD_TIMEOUT_S / 2


def test_a_client_that_hangs_up_its_side_or_altogether_leaves_no_connection():
    with page() as running:
        for content in (b"", b"GET", GET, predict(5000, b"x")):
            with running.connect() as client:
                client.sendall(content)
                client.shutdown(socket.SHUT_WR)
                read_all(client)
            with running.connect() as client:
                client.sendall(content)
        until(lambda: running.connections() == 0)


# ----------------------------------------------------------------------------------------- errors below the application


NOT_HTTP = {
    "no HTTP": b"\x16\x03\x01 hello\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "a long head": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000,
    "a negative length": predict("-5"),
    "no chunk": predict(5).replace(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"no number\r\n",
}


def test_what_is_not_http_gets_400_as_json(caplog):
    with page() as running:
        for content in NOT_HTTP.values():
            with running.connect() as client:
                client.sendall(content)
                assert_error(read_all(client), 400, "not a request in HTTP/1.1")
        until(lambda: running.connections() == 0)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_garbage_after_a_response_closes_the_connection(caplog):
    chunked = b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with page() as running, running.connect() as client:
        client.sendall(chunked)
        assert client.recv(100).startswith(b"HTTP/1.1 404")
        client.sendall(b"no number\r\n")
        until(lambda: running.connections() == 0)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_further_connections_get_503_and_many_more_are_closed(monkeypatch):
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 2)
    with page() as running, ExitStack() as stack:
        first, second, third, fourth = (stack.enter_context(running.connect()) for _ in range(4))
        until(lambda: running.connections() == 4)
        with running.connect() as fifth:
            assert read_all(fifth) == b""
        for one in (third, fourth):
            one.sendall(GET)
            assert_error(read_all(one), 503, "too many connections")
        for one in (first, second):
            one.sendall(GET)
            assert one.recv(100).startswith(b"HTTP/1.1 200")
        until(lambda: running.connections() == 2)
        first.close()
        until(lambda: running.connections() == 1)
        with running.connect() as client:
            client.sendall(GET)
            assert client.recv(100).startswith(b"HTTP/1.1 200")


# ---------------------------------------------------------------------------------------------------------- stopping


def test_stopping_ends_decodings_and_uploads_with_503(limits, caplog, monkeypatch):
    limits("STOP_TIMEOUT_S")
    monkeypatch.setattr(decoder_module, "COMMAND", patched(SLOW))
    decoder = Decoder(limit_s=60)
    body = JPEG[1]
    with page(decoder.decode, decoder.stop) as running, running.connect() as decoding, running.connect() as sending:
        decoding.sendall(predict(len(body), body))
        sending.sendall(predict(5000, b"x"))
        until(lambda: any(worker.is_ready for worker in decoder.workers))
        start = time.perf_counter()
        running.server.should_exit = True
        for one in (decoding, sending):
            assert_error(read_all(one), 503, "the server is stopping")
        running.thread.join(10)
        assert time.perf_counter() - start < 3
        until(lambda: not decoder.workers)
    assert [record for record in caplog.records if record.exc_info] == []  # no traceback


def test_a_picture_that_takes_too_long_is_refused_while_others_are_served(monkeypatch):
    monkeypatch.setattr(decoder_module, "COMMAND", patched(SLOW))
    decoder = Decoder(limit_s=0.3)
    body = JPEG[1]
    with page(decoder.decode, decoder.stop) as running, running.connect() as one, running.connect() as other:
        one.sendall(predict(len(body), body).replace(b"Host", b"Connection: close\r\nHost"))
        until(lambda: any(worker.is_ready for worker in decoder.workers))
        other.sendall(GET)
        assert other.recv(100).startswith(b"HTTP/1.1 200")
        assert_error(read_all(one), 400, "takes more than 0.3 seconds")
