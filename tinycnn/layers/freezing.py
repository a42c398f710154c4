"""Freezing by name: which layers of a network are trained and which are not."""

import difflib
import fnmatch
from collections.abc import Mapping

from tinycnn.errors import SettingError, shortened
from tinycnn.layers.base import Layer


def freeze_only(layers: Mapping[str, Layer], *patterns: str) -> None:
    """Freeze the layers whose names match one of ``patterns`` (``conv2d_*``), and unfreeze all others.

    Raises SettingError for a pattern that matches no layer with parameters; in that case nothing is changed.
    """
    frozen = {name for pattern in patterns for name in matching_names(layers, pattern)}
    for name, layer in layers.items():
        if name in frozen:
            layer.freeze()
        else:
            layer.unfreeze()


def matching_names(layers: Mapping[str, Layer], pattern: str) -> list[str]:
    """The layers with parameters whose names match ``pattern``; raises SettingError when there are none."""
    names = [name for name, layer in layers.items() if layer.parameters()]
    if not isinstance(pattern, str):
        raise SettingError(f"freeze_only takes names of layers, such as 'conv2d_1', got {shortened(pattern)}")
    found = fnmatch.filter(names, pattern)
    if not found:
        matches = " or ".join(difflib.get_close_matches(pattern, names, n=2))
        suggestion = f" (did you mean {matches}?)" if matches else ""
        raise SettingError(f"no layer with parameters matches {pattern!r}{suggestion}; available: {', '.join(names)}")
    return found
