"""Work after the last training step, which Ctrl-C and SIGTERM end at once: its state has been saved before."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Never

from tinycnn.run.stop_signals import SIGNALS, StopSignals


class InterruptedWorkError(BaseException):
    """Ctrl-C or SIGTERM was received; ``exit_code`` is 130 or 143. No ``except Exception`` stops it."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


@contextmanager
def interruptible(stop: StopSignals) -> Iterator[None]:
    """Inside the block, Ctrl-C and SIGTERM raise InterruptedWorkError, also if ``stop`` has received one before.

    Where a library swallows the exception, it is raised at the end of the block.
    """
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> Never:
        received.append(128 + number)
        raise InterruptedWorkError(128 + number)

    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.signal(number, receive) for number in SIGNALS}
    try:
        if stop():
            raise InterruptedWorkError(stop.exit_code)
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if received:
        raise InterruptedWorkError(received[0])
