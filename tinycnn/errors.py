"""The exceptions that tinycnn raises deliberately: one family, which a program can distinguish from bugs.

Every message states what was received, what was expected, and what to do. It names arguments, in backticks. The checks
at the end raise SettingError for single values. They take the name of an argument without backticks.
"""

import math
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

MOST_LETTERS = 200  # of a text from a file in a message
NUMBER_THEM = "Number the classes: np.unique(labels, return_inverse=True)[1]."  # for labels that are not numbers


class TinyCNNError(Exception):
    """Base class of the errors below. Commands print its message without a traceback and exit with code 2."""


class ShapeError(TinyCNNError, ValueError):
    """Arrays whose shapes do not match, or an architecture whose layers do not."""


class DtypeError(TinyCNNError, TypeError):
    """A dtype that tinycnn does not compute with, or float32 mixed with float64."""


class AutogradError(TinyCNNError, RuntimeError):
    """A call of ``backward()`` that the graph does not allow."""


class BackendError(TinyCNNError, RuntimeError):
    """A backend that is unknown, not usable on this machine, or mixed with another one."""


class GradientError(TinyCNNError, AssertionError):
    """``gradcheck`` found an analytic gradient that differs from the numeric one."""


class KernelError(TinyCNNError, AssertionError):
    """``check_backend`` found a kernel that breaks the contract of backends."""


class DataError(TinyCNNError, ValueError):
    """A data set that is missing or damaged, or that does not hold what was expected."""


class FileFormatError(TinyCNNError, ValueError):
    """A model file that is damaged, malicious, or written by a newer tinycnn."""


class OutOfMemoryError(TinyCNNError, MemoryError):
    """A training step that needs more memory than there is."""


class RankLostError(TinyCNNError, ConnectionError):
    """One of several processes that train together no longer responds."""


class SettingError(TinyCNNError, ValueError):
    """An argument outside its range."""


class MissingPackageError(TinyCNNError, ImportError):
    """A package that is not installed, or that cannot be imported."""


@contextmanager
def requires(package: str, purpose: str) -> Iterator[None]:
    """Around an import: raises MissingPackageError, with the pip command, if an import in the block fails.

    ``package``: its name for pip. ``purpose``: the beginning of the sentence, for instance "drawing pictures".
    """
    try:
        yield
    except ImportError as error:
        raise MissingPackageError(f"{purpose} needs {package} ({error}): `pip install {package}`") from None


def in_words(error: BaseException) -> str:
    """The message of an error for people. For an OSError: its file and its reason, without the error number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return printable(f"{os.fsdecode(error.filename)}: {error.strerror}")
    return printable(str(error), keep="\n")


def shortened(value: object, most: int = MOST_LETTERS) -> str:
    """A value from a file, or the error of a library about it, as text for a message: on one line, escaped and cut.

    Text is quoted. Files may hold names of any length, with line breaks, that would forge a line of output.
    """
    text = str(value) if isinstance(value, BaseException) else repr(value)
    return printable(text if len(text) <= most else f"{text[:most]} …")


def printable(text: str, keep: str = "") -> str:
    """``text`` with control characters and characters that cannot be encoded escaped: file names may hold anything."""
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def in_shell(path: object) -> str:
    """A path, or another word, as it is written in a command: in quotes if it holds a space or another special sign."""
    return shlex.quote(printable(str(path)))


def _argument(name: str, value: Any) -> str:
    """An argument and its value in a message: "LeakyReLU: slope" → "LeakyReLU: `slope=nan`".

    Only names have backticks: options of commands and descriptions, as in "the first rate is 0", have none.
    """
    owner, separator, name = name.rpartition(": ")
    given = f"{name} is {shortened(value)}" if " " in name else f"{name}={shortened(value)}"
    return owner + separator + (f"`{given}`" if name.isidentifier() else given)


def in_range(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> float:
    """``value`` as a float; raises SettingError when it is NaN, infinite, or outside the given bounds."""
    bounds = {"above": above, "at least": at_least, "below": below, "at most": at_most}
    wanted = ", ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    fits = math.isfinite(number)
    fits = fits and (above is None or number > above) and (at_least is None or number >= at_least)
    fits = fits and (below is None or number < below) and (at_most is None or number <= at_most)
    if not fits:
        raise SettingError(f"{_argument(name, value)}: expected a number {wanted}".rstrip())
    return number


def whole_number(name: str, value: Any, *, at_least: int = 0) -> int:
    """``value`` as an int; raises SettingError for a fraction, a bool, and a number below ``at_least``."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < at_least:
        kinds = {0: "a non-negative integer", 1: "a positive integer"}
        wanted = kinds.get(at_least, f"an integer, at least {at_least}")
        raise SettingError(f"{_argument(name, value)}: expected {wanted}")
    return int(value)


def checked_bool(name: str, value: Any) -> bool:
    """``value``, unchanged; raises SettingError unless it is True or False."""
    if not isinstance(value, bool):
        raise SettingError(f"{_argument(name, value)}: expected True or False")
    return value
