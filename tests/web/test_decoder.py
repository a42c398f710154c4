"""Pictures are decoded in processes of their own, which do not outlive a limit of time or memory."""

import os
import sys
import threading
import time
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinycnn.data.drawing import EmptyDrawingError
from tinycnn.errors import DataError
from tinycnn.web import decoder as module
from tinycnn.web.decoder import MAX_MEMORY, Decoder, DecodingError, StoppedError, Worker, reply_to
from tinycnn.web.request_picture import decode_picture

SHAPE = (28, 28)
PIXELS = "application/json", b'{"pixels": [[0, 255, 0], [0, 255, 0], [0, 255, 0]]}', SHAPE


def png():
    pixels = np.full((60, 60), 255, np.uint8)
    pixels[20:40, 28:32] = 0
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return "image/png", stream.getvalue(), SHAPE


JPEG = "image/jpeg", b"\xff\xd8\xff", SHAPE
NOISY = 'print("noise", os.write(1, b"noise"), flush=True) or decode(*request)'
SLOW = 'time.sleep(100) if request[0] == "image/jpeg" else decode(*request)'


def patched(decode):
    """The arguments of Python for a process that evaluates ``decode`` where others do ``decode(*request)``."""
    assert module.COMMAND[1] == "-c"
    imports = "import os, time; from tinycnn.web import decoder; decode = decoder.decode_picture"
    return [*module.COMMAND[:2], f"{imports}\ndecoder.decode_picture = lambda *request: {decode}\ndecoder.work()"]


@contextmanager
def decoding(**options):
    decoder = Decoder(**options)
    try:
        yield decoder
    finally:
        decoder.stop()
    assert not decoder.workers


def test_a_process_decodes_what_this_one_does_and_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "COMMAND", patched(NOISY))  # what it prints does not get between the pictures
    (tmp_path / "pickle.py").write_text("raise SystemExit")  # a process must not import it
    monkeypatch.chdir(tmp_path)
    with decoding() as decoder:
        decoder.start()
        (worker,) = decoder.workers
        for request in (PIXELS, png(), (*png()[:2], (8, 6, 3))):  # the last: a whole picture
            assert np.array_equal(decoder.decode(*request), decode_picture(*request))
        with pytest.raises(EmptyDrawingError, match="nothing is drawn"):
            decoder.decode("application/json", b'{"pixels": [[7]]}', SHAPE)
        with pytest.raises(DataError, match="not JSON") as caught:
            decoder.decode("application/json", b"{", SHAPE)
        assert not isinstance(caught.value, DecodingError)
        assert decoder.workers == {worker}
        if sys.platform == "linux":
            assert os.getsid(worker.process.pid) == worker.process.pid  # Ctrl-C in the terminal does not reach it
            (line,) = (row for row in process_limits(worker) if row.startswith("Max address space"))
            assert MAX_MEMORY < int(line.split()[3]) < 3 * MAX_MEMORY
        worker.process.kill()  # as a system without memory does
        worker.process.wait()
        assert np.array_equal(decoder.decode(*PIXELS), decode_picture(*PIXELS))
        assert worker not in decoder.workers


def process_limits(worker):
    return Path(f"/proc/{worker.process.pid}/limits").read_text().splitlines()


def test_a_picture_that_takes_too_long_is_given_up_and_the_next_one_is_decoded(monkeypatch):
    monkeypatch.setattr(module, "COMMAND", patched(SLOW))
    with decoding(limit_s=60) as decoder:
        assert decoder.decode(*PIXELS).shape == (1, 28, 28, 1)
        (worker,) = decoder.workers
        decoder.limit_s = 0.1
        start = time.perf_counter()
        with pytest.raises(DecodingError, match=r"takes more than 0\.1 seconds; save it again"):
            decoder.decode(*JPEG)
        assert time.perf_counter() - start < 3
        assert worker.process.returncode is not None
        decoder.limit_s = 60
        assert decoder.decode(*PIXELS).shape == (1, 28, 28, 1)


def test_stopping_ends_a_decoding_at_once(monkeypatch):
    monkeypatch.setattr(module, "COMMAND", patched(SLOW))
    with decoding(limit_s=60) as decoder:
        assert decoder.decode(*PIXELS).shape == (1, 28, 28, 1)
        (worker,) = decoder.workers
        timer = threading.Timer(0.1, decoder.stop)
        timer.start()
        start = time.perf_counter()
        with pytest.raises(StoppedError):
            decoder.decode(*JPEG)
        assert time.perf_counter() - start < 3
        timer.join()
        assert worker.process.returncode is not None
        with pytest.raises(StoppedError):
            decoder.decode(*PIXELS)


def test_a_reply_that_comes_with_the_end_of_the_time_is_not_used(monkeypatch):
    """Its process has been told to end, and would fail with the next picture."""
    with decoding() as decoder:
        decoder.start()

        def exchange(self, request):
            self.process.wait()
            return "a picture"

        monkeypatch.setattr(Worker, "_exchange", exchange)
        (worker,) = decoder.workers
        with pytest.raises(DecodingError, match="seconds"):
            worker.ask(PIXELS, 0.0)


def test_a_process_that_does_not_start_is_not_the_picture_s_fault(monkeypatch):
    monkeypatch.setattr(module, "COMMAND", ["-S", "-E", "-c", "raise SystemExit(1)"])
    with decoding() as decoder, pytest.raises(RuntimeError, match="does not start"):
        decoder.decode(*PIXELS)


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [(MemoryError(), DataError, "1,073,741,824 bytes"), (KeyError("x"), RuntimeError, "x")],
)
def test_what_the_decoder_raises_is_returned(monkeypatch, raised, kind, message):
    def fail(*_):
        raise raised

    monkeypatch.setattr(module, "decode_picture", fail)
    reply = reply_to(*PIXELS)
    assert type(reply) is kind
    assert message in str(reply)
