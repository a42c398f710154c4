"""Ctrl-C and SIGTERM while the command ``tinycnn`` loads its modules, and after its ``main`` has returned.

Importing this module sets their handlers if this process was started as ``tinycnn``, ``python -m tinycnn`` or
``train_mnist.py``; ``import tinycnn`` in any other program changes nothing. No unsaved work exists at these times.
This module imports as little as possible, so that the handlers are set early.
"""

import os
import signal
import sys

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
PROGRAMS = ("tinycnn", "train_mnist")


def is_command(script: str, command_line: list[str]) -> bool:
    """Whether a process is the command. ``script``: its ``sys.argv[0]``, "-m" while Python looks for a module."""
    if script == "-m":
        return "tinycnn" in command_line[command_line.index("-m") + 1 :][:1]
    return os.path.splitext(os.path.basename(script))[0] in PROGRAMS


def end_now(number: int, frame: object) -> None:
    """End this process with one word on stderr, and with 130 or 143."""
    try:
        os.write(2, f"{SIGNALS[signal.Signals(number)]}\n".encode())
    finally:
        os._exit(128 + number)


if is_command(sys.argv[0] if sys.argv else "", sys.orig_argv):
    for one in SIGNALS:
        signal.signal(one, end_now)
