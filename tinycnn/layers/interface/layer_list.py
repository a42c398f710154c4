"""The list of layers that a function such as `models.lenet` returns: its errors say how it becomes a network."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec

from tinycnn.layers.base import Layer
from tinycnn.other_names.arguments import explained

P = ParamSpec("P")


class LayerList(list[Layer]):
    """A list of layers, and the name of the function that returned it."""

    made_by = ""

    def _instead(self) -> str:
        return f"{self.made_by}() is a list of layers; models.create({self.made_by!r}) is the network"

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Raise TypeError: layers that are not built compute nothing."""
        raise TypeError(self._instead())

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Called for an attribute that a list does not have, such as ``fit``."""
            raise AttributeError(f"'list' object has no attribute {name!r}: {self._instead()}")


def layer_list(function: Callable[P, list[Layer]]) -> Callable[P, list[Layer]]:
    """The same function, whose list says how it becomes a network."""
    checked = explained(function)

    @functools.wraps(function)
    def listed(*given: P.args, **named: P.kwargs) -> list[Layer]:
        layers = LayerList(checked(*given, **named))
        layers.made_by = function.__name__
        return layers

    return listed
