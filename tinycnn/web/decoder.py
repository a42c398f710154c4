"""Decodes pictures in processes of their own, which are ended when a picture takes too long or too much memory.

`tinycnn.data.picture` refuses pictures that are known to be costly; this module bounds the time and the memory of any
picture. A thread cannot be ended. The processes are kept for the next pictures, and import no large library but NumPy
and Pillow. ``concurrent.futures`` cannot end a single task, and ``anyio.to_process`` counts the start of a process as a
part of its first task.
"""

import contextlib
import os
import pickle
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn.errors import DataError
from tinycnn.web.request_picture import decode_picture

PLACES = 2  # pictures that are decoded at the same time
LIMIT_S = 3.0  # the slowest ordinary pictures, of 4,000,000 pixels, take half a second
START_LIMIT_S = 60.0
MAX_MEMORY = 1 << 30  # bytes that a process may take beyond its own; enforced on Linux only

COMMAND = ["-P", "-c", "from tinycnn.web.decoder import work; work()"]  # -P: no modules from the working directory
OWN_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # the equivalent of start_new_session on Windows


class DecodingError(DataError):
    """Decoding a picture took too long, or ended the process that did it."""


class StoppedError(Exception):
    """The server is stopping, and decodes no more pictures."""


class Decoder:
    """Processes that decode pictures, for many threads. One is started when none is idle."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self.limit_s, self.stopped = limit_s, False
        self.workers, self.idle = set[Worker](), list[Worker]()
        self._lock = threading.Lock()

    def decode(self, kind: str, body: bytes, shape: tuple[int, ...]) -> np.ndarray:
        """The result or the error of `decode_picture`; raises DecodingError beyond the limits."""
        worker = self._take()
        try:
            worker.wait_until_ready()
            return worker.ask((kind, body, shape), self.limit_s)
        except (DecodingError, RuntimeError):
            if self.stopped:
                raise StoppedError from None
            raise
        finally:
            self._put_back(worker)

    def start(self) -> None:
        """Start a process now, so that the first picture does not wait for it."""
        self._put_back(self._take())

    def stop(self) -> None:
        """End all processes. From now on, `decode` raises StoppedError."""
        with self._lock:
            self.stopped = True
            for worker in self.workers:
                worker.process.kill()
            while self.idle:
                self._drop(self.idle.pop())

    def _take(self) -> "Worker":
        with self._lock:
            if self.stopped:
                raise StoppedError
            while self.idle:
                worker = self.idle.pop()
                if worker.is_running():
                    return worker
                self._drop(worker)
            worker = Worker()
            self.workers.add(worker)
            return worker

    def _put_back(self, worker: "Worker") -> None:
        with self._lock:
            if worker.is_running() and not self.stopped:
                self.idle.append(worker)
            else:
                self._drop(worker)

    def _drop(self, worker: "Worker") -> None:
        self.workers.discard(worker)
        worker.end()


class Worker:
    """A process that runs `work`: it receives pictures through its input and returns arrays through its output."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders print their warnings
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C reaches the server only
            creationflags=OWN_GROUP,
        )
        self.is_ready = False

    def wait_until_ready(self) -> None:
        """Wait for the imports of a new process; raises RuntimeError if it does not start."""
        if not self.is_ready:
            try:
                self.ask(None, START_LIMIT_S)
            except DecodingError:
                raise RuntimeError("the process that decodes pictures does not start") from None
            self.is_ready = True

    def ask(self, request: tuple[str, bytes, tuple[int, ...]] | None, limit_s: float) -> Any:
        """The result of the process for ``request``, or its error; DecodingError if it takes more than ``limit_s``."""
        late = threading.Event()

        def end_late() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(limit_s, end_late)
        timer.start()
        try:
            reply = self._exchange(request)
        finally:
            timer.cancel()
            timer.join()  # the timer cannot end the process any more while it decodes the next picture
        if late.is_set():
            reply = DecodingError(f"decoding the picture takes more than {limit_s:g} seconds; save it again.")
        if isinstance(reply, DecodingError):
            self.process.kill()
            self.process.wait()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _exchange(self, request: Any) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        try:
            pickle.dump(request, self.process.stdin)
            self.process.stdin.flush()
            return pickle.load(self.process.stdout)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            return DecodingError("the picture ends the process that decodes it; save it again.")

    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def end(self) -> None:
        """End the process, and close its pipes."""
        self.process.kill()
        with contextlib.suppress(OSError), self.process:  # a pipe may hold data that the process did not read
            pass


def work() -> None:
    """The process: decode one picture after another from the standard input, until it ends."""
    receive, send = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of a decoder does not mix with the arrays
    limit_memory()
    while True:
        try:
            request = pickle.load(receive)
        except EOFError:
            return
        pickle.dump(request and reply_to(*request), send)
        send.flush()


def reply_to(kind: str, body: bytes, shape: tuple[int, ...]) -> np.ndarray | Exception:
    """The picture, or the error for the request."""
    try:
        return decode_picture(kind, body, shape)
    except DataError as error:
        return error
    except MemoryError:
        return DataError(f"decoding the picture takes more than {MAX_MEMORY:,} bytes; make it smaller.")
    except Exception:
        return RuntimeError(traceback.format_exc())


def limit_memory() -> None:
    """Limit the address space of this process to its present size and ``MAX_MEMORY``."""
    if sys.platform == "linux":
        import resource

        present = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit, hard = present + MAX_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
