"""A notice where batch norm is trained on a single number of each channel, as a batch of one image may leave it."""

import logging
import math

from tinycnn.distributed.sharding import current_shard

LOGGER = logging.getLogger("tinycnn.layers")
NOTE = (
    "note: BatchNorm was given a batch with one number for each channel, whose deviation is 0: nothing before it is "
    "trained by this batch, and its running variance moves towards 0; pass more images at once, or use LayerNorm()"
)
_noted: set[str] = set()


def note_one_number(places: tuple[int, ...]) -> None:
    """Log a sentence, once, if the batch that is normalised has one number per channel; ``places``: ``(N, H, W)``."""
    if math.prod(places) == 1 and NOTE not in _noted and current_shard() is None:
        _noted.add(NOTE)
        LOGGER.warning("%s", NOTE)


def is_noted() -> None:
    """Leave the sentence out: the same was said in the words of a run."""
    _noted.add(NOTE)
