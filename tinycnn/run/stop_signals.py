"""Ctrl-C and SIGTERM as a request to stop: the current step is completed and the state saved."""

import signal
import threading
from types import FrameType
from typing import Any, Self

SIGNALS = signal.SIGINT, signal.SIGTERM


class StopSignals:
    """Inside ``with StopSignals() as stop``, ``stop()`` returns whether Ctrl-C or SIGTERM was received.

    A second signal ends the process at once (KeyboardInterrupt, SystemExit). The previous handlers are restored on
    exit. Python allows handlers only in the main thread; in other threads, ``stop()`` is always False.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.previous: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        return self.number is not None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit code after a signal, by shell convention: Ctrl-C 130, SIGTERM 143."""
        return 128 + (self.number or signal.SIGINT)
