"""Printing to standard output, which may be closed early, and the command line of this process."""

import os
import shutil
import sys
from pathlib import Path

CONSOLE_SCRIPT = "tinycnn"


def print_line(*words: object) -> None:
    """Print and flush; a closed standard output does not end the run."""
    try:
        print(*words, flush=True)
    except BrokenPipeError:
        discard_output()


def discard_output() -> None:
    """Send everything that is printed from now on to the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def counted(number: int, noun: str) -> str:
    """``1 epoch``, ``2 epochs``."""
    return f"{number} {noun}" + "s" * (number != 1)


def command_line() -> list[str]:
    """The command that started this process: ``tinycnn train``, ``python -m tinycnn train`` or ``python script.py``."""
    words = sys.orig_argv
    script = Path(words[1] if len(words) > 1 else "")
    if script.stem == CONSOLE_SCRIPT and len(words) == len(sys.argv) + 1:  # Python was started by the console script
        return [_as_typed(script), *words[2:]]
    return list(words)


def _as_typed(script: Path) -> str:
    """The name of the script if it is found on PATH, otherwise its path."""
    return script.stem if shutil.which(script.stem) == str(script) else str(script)
