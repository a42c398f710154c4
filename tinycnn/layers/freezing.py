"""Freezing by name: which layers of a network are trained and which are not."""

import difflib
import fnmatch
from collections.abc import Mapping

from tinycnn.errors import SettingError, shortened
from tinycnn.layers.base import Layer


def freeze_only(layers: Mapping[str, Layer], *patterns: str) -> None:
    """Freeze the layers whose names match one of ``patterns`` (``conv2d_*``), and unfreeze all others.

    A layer inside another has a name such as ``residual_1.body.conv2d_1``. Raises SettingError for a pattern that
    matches no layer with parameters; in that case nothing is changed.
    """
    everything = dict(layers)
    for name, layer in layers.items():
        everything |= {f"{name}.{inner_name}": inner for inner_name, inner in layer.all_layers()}
    frozen = {name for pattern in patterns for name in matching_names(everything, pattern)}
    for layer in layers.values():
        layer.unfreeze()
    for name in frozen:
        everything[name].freeze()


def matching_names(layers: Mapping[str, Layer], pattern: str) -> list[str]:
    """The layers with parameters whose names match ``pattern``; raises SettingError when there are none."""
    names = [name for name, layer in layers.items() if layer.parameters()]
    if not isinstance(pattern, str):
        raise SettingError(f"freeze_only takes names of layers, such as 'conv2d_1', got {shortened(pattern)}")
    found = fnmatch.filter(names, pattern)
    if not found:
        matches = " or ".join(difflib.get_close_matches(pattern, names, n=2))
        suggestion = f" (did you mean {matches}?)" if matches else ""
        outer = ", ".join(name for name in names if "." not in name)
        raise SettingError(f"no layer with parameters matches {pattern!r}{suggestion}; available: {outer}")
    return found
