"""The ``__init__`` arguments of layers: their names, and checks of their values."""

import inspect
from functools import cache
from numbers import Integral
from typing import Any

from tinycnn.errors import SettingError, shortened


@cache
def setting_names(kind: Any) -> tuple[str, ...]:
    """The names of the ``__init__`` arguments of a class; cached, because reading them takes longer than a step."""
    return tuple(inspect.signature(kind).parameters)


def checked_positive_int(layer: str, name: str, value: int) -> int:
    """``value`` as an int; raises SettingError unless it is a positive integer."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise SettingError(f"{layer}({name}={shortened(value)}): expected a positive integer")
    return int(value)


def checked_bool(layer: str, name: str, value: bool) -> bool:
    """``value``, unchanged; raises SettingError unless it is True or False."""
    if not isinstance(value, bool):
        raise SettingError(f"{layer}({name}={shortened(value)}): expected True or False")
    return value
