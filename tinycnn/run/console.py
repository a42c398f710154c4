"""Printing for people, who may go away, as after ``| head``."""

import os
import sys


def tell(*words: object) -> None:
    """Print at once; when nobody reads any more, that is no reason to lose a run."""
    try:
        print(*words, flush=True)
    except BrokenPipeError:
        discard_output()


def discard_output() -> None:
    """From now on, what is printed goes nowhere, without an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def counted(number: int, what: str) -> str:
    """``1 epoch``, ``2 epochs``."""
    return f"{number} {what}" + "s" * (number != 1)
