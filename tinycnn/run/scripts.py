"""How a script ends where the library raises an error: with a sentence, as commands do."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tinycnn.errors import TinyCNNError, in_words
from tinycnn.run.option_names import OptionNames

EXPLAINED = (TinyCNNError, OSError, MemoryError)  # a sentence is enough; any other error is a bug, with a traceback


@contextmanager
def in_sentences(parser: argparse.ArgumentParser | None = None) -> Iterator[None]:
    """Around what a script does: an error of tinycnn, or of a file, becomes a sentence on stderr and exit code 2.

    The sentence names the options of ``parser`` instead of arguments.
    """
    try:
        yield
    except EXPLAINED as error:
        words = in_words(error) or "there is not enough memory"
        print(f"error: {OptionNames(parser)(words) if parser else words}", file=sys.stderr)
        raise SystemExit(2) from None
