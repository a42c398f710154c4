"""Ctrl-C and SIGTERM as a wish instead of a blow: the step under way is finished, and the state saved."""

import signal
import threading
from types import FrameType
from typing import Any, Self

SIGNALS = signal.SIGINT, signal.SIGTERM


class StopSignals:
    """Inside ``with StopSignals() as stop``, ``stop()`` tells whether Ctrl-C or SIGTERM has come.

    A second one ends the process at once (KeyboardInterrupt, SystemExit). The handlers before are back after the block.
    Python allows handlers in the main thread only: elsewhere nothing changes, and ``stop()`` is False for ever.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.previous: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        return self.number is not None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that ended by the signal: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + (self.number or signal.SIGINT)
