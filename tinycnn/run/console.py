"""The standard streams of this process, and its command line.

A stream may be closed, lead to a full disk or to a pipe whose reader has ended, or lack a letter in its encoding.
"""

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CONSOLE_SCRIPT = "tinycnn"
STANDARD_OUTPUT = "standard output"  # the file name in errors of print


def print_line(*words: object) -> None:
    """Print and flush. If that fails, the run continues without standard output."""
    try:
        print(*words, flush=True)
    except OSError as error:
        discard_output()
        if not isinstance(error, BrokenPipeError):
            print(f"the run continues without standard output ({error.strerror})", file=sys.stderr, flush=True)


def discard_output() -> None:
    """Send everything that is printed from now on to the null device."""
    with suppress(OSError), open(os.devnull, "wb") as null:  # OSError: standard output is not a file
        os.dup2(null.fileno(), sys.stdout.fileno())


@contextmanager
def standard_streams() -> Iterator[None]:
    """Inside the block, printing raises no error on standard error, and only OSError on standard output.

    What cannot be printed on standard error is lost. The OSError has the file name ``STANDARD_OUTPUT``. A stream that
    was closed when the process started is the null device. A letter that the encoding lacks is printed as an escape.
    """
    open_missing_descriptors()
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as null:
        streams: Any = _Stream(sys.stdout or null, STANDARD_OUTPUT), _Stream(sys.stderr or null)
        sys.stdout, sys.stderr = streams
        try:
            yield
        finally:
            if (sys.stdout, sys.stderr) == streams:  # otherwise this process has become a rank that prints nothing
                sys.stdout, sys.stderr = before


def open_missing_descriptors() -> None:
    """Open the null device where a standard stream is closed.

    Otherwise the next file would get the number of the stream, and whatever a library prints would be written into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


class _Stream:
    """A text stream around ``stream``. An error in writing becomes OSError with the file name ``name``, if given."""

    def __init__(self, stream: Any, name: str = "") -> None:
        self.stream, self.name = stream, name
        if getattr(stream, "errors", "") == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        with self._named_errors():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._named_errors():
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: the stream was closed in this process
            if self.name:
                number = getattr(error, "errno", None) or errno.EBADF
                raise OSError(number, os.strerror(number), self.name) from None


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
