"""The exceptions tinycnn raises on purpose: one family, so that a program can tell its user's mistake from a bug.

Every message says what came, what was expected, and what to do now.
"""

import os


class TinyCNNError(Exception):
    """Base of all errors below; command lines print its message without a traceback and exit with code 2."""


class ShapeError(TinyCNNError, ValueError):
    """Arrays whose shapes (or an architecture whose layers) do not fit together."""


class DtypeError(TinyCNNError, TypeError):
    """A dtype tinycnn does not compute with, or float32 mixed with float64."""


class AutogradError(TinyCNNError, RuntimeError):
    """``backward()`` asked for what the graph cannot give."""


class BackendError(TinyCNNError, RuntimeError):
    """A backend that is unknown, missing on this machine, or mixed with another one."""


class GradientError(TinyCNNError, AssertionError):
    """``gradcheck`` found an analytic gradient that differs from the numeric one."""


class KernelError(TinyCNNError, AssertionError):
    """``check_backend`` found a kernel that breaks the contract of backends."""


class DataError(TinyCNNError, ValueError):
    """A data set that is missing, damaged, or not what it says it is."""


class FileFormatError(TinyCNNError, ValueError):
    """A model file that is damaged, hostile, or from a newer tinycnn."""


class OutOfMemoryError(TinyCNNError, MemoryError):
    """A training step that needs more memory than there is."""


class RankLostError(TinyCNNError, ConnectionError):
    """One of several processes that train together does not answer any more."""


class SettingError(TinyCNNError, ValueError):
    """An option or argument outside its range."""


def in_words(error: BaseException) -> str:
    """The message of an error for people: of an OSError its file and its reason, without a number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return printable(f"{os.fsdecode(error.filename)}: {error.strerror}")
    return printable(str(error), keep="\n")


def printable(text: str, keep: str = "") -> str:
    """``text`` with what would steer a terminal, or cannot be encoded, spelt out: names of files hold anything."""
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)
