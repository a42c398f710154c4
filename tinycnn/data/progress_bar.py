"""Progress of long work on data: a bar in a terminal, one line elsewhere."""

import sys
from typing import Any


def progress_bar(announcement: str, **settings: Any) -> Any:
    """A tqdm bar with these ``settings`` where stderr is a terminal; else prints ``announcement`` and returns None."""
    if sys.stderr.isatty():
        try:
            from tqdm.auto import tqdm
        except ImportError:
            announcement += " (a progress bar needs tqdm: `pip install tqdm`)"
        else:
            return tqdm(**settings)
    print(announcement, file=sys.stderr, flush=True)
    return None
