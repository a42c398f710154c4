"""Ctrl-C and SIGTERM: during training a request to stop after the current step, otherwise the end of the command."""

import _thread
import signal
import sys
import threading
from types import FrameType
from typing import Any, Never, Self

from tinycnn.starting import SIGNALS

AGAIN_S = 0.02


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, as an exception that ends the command.

    A subclass of KeyboardInterrupt, so that code that handles Ctrl-C does too. After a KeyboardInterrupt itself in
    code that was compiled from a string, as Numba's is, Python ends by the signal, not with the command's exit code.
    """

    def __init__(self, number: int) -> None:
        self.number = signal.Signals(number)
        self.exit_code = 128 + number  # by shell convention: Ctrl-C 130, SIGTERM 143
        super().__init__(SIGNALS[self.number])


class Handlers:
    """Inside the ``with`` block, Ctrl-C and SIGTERM call ``_receive``; the previous handlers are restored on exit.

    Python allows handlers only in the main thread; in other threads, the block changes nothing.
    """

    def __init__(self) -> None:
        self.previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        raise NotImplementedError


class StopSignals(Handlers):
    """Inside ``with StopSignals() as stop``, ``stop()`` returns whether Ctrl-C or SIGTERM was received.

    A second signal ends the command at once (``Stopped``).
    """

    def __init__(self) -> None:
        super().__init__()
        self.number: int | None = None

    def __call__(self) -> bool:
        return self.number is not None

    def raise_if_received(self) -> None:
        """Raise ``Stopped`` if a signal was received."""
        if self.number is not None:
            raise Stopped(self.number)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise Stopped(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit code after the signal that was received."""
        return Stopped(self.number or signal.SIGINT).exit_code


class EndingSignals(Handlers):
    """Inside the block, Ctrl-C and SIGTERM raise ``Stopped``, and ``stopped`` holds the first one.

    Python drops an exception that is raised in a finalizer or in a callback of a C library. The signal is then sent
    again a moment later.
    """

    stopped: Stopped | None = None

    def __enter__(self) -> Self:
        self.hook, sys.unraisablehook = sys.unraisablehook, self._send_again
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        sys.unraisablehook = self.hook

    def _receive(self, number: int, frame: FrameType | None) -> Never:
        error = Stopped(number)
        self.stopped = self.stopped or error
        raise error

    def _send_again(self, dropped: "sys.UnraisableHookArgs") -> None:
        if isinstance(dropped.exc_value, Stopped):
            again = threading.Timer(AGAIN_S, _send, [dropped.exc_value.number])
            again.daemon = True
            again.start()
        else:
            self.hook(dropped)


def _send(number: signal.Signals) -> None:
    """Send a signal to the main thread, whose system calls it interrupts (on Windows: when they are done)."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        _thread.interrupt_main(number)
