"""The layers of a network: found by name or by number, and visited in order."""

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, overload

from tinycnn.errors import SettingError, shortened
from tinycnn.layers.base import Layer
from tinycnn.other_names.attributes import NoEffectError

INSTEAD = "a network has the layers that it was created with; create a new Sequential, or call model.with_head(classes)"


class LayersByName(dict[str, Layer]):
    """``{"conv2d_1": layer, …}``, which is also the sequence of its layers, as a Series of pandas is of its values.

    ``layers["conv2d_1"]``, ``layers[0]`` and ``layers[-1]`` are layers, ``layers[:-1]`` is a list of them, and
    ``for layer in layers`` visits them; ``keys()`` and ``items()`` have the names. Any other key raises SettingError
    with the names that there are.
    """

    def __iter__(self) -> Iterator[Layer]:  # type: ignore[override]
        return iter(self.values())

    def __reversed__(self) -> Iterator[Layer]:  # type: ignore[override]
        return reversed(self.values())

    def __contains__(self, one: object) -> bool:
        """Whether ``one`` is the name of a layer, or one of the layers."""
        return super().__contains__(one) or (isinstance(one, Layer) and one in self.values())

    @overload
    def __getitem__(self, key: str | int) -> Layer: ...
    @overload
    def __getitem__(self, key: slice) -> list[Layer]: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str) and key in self:
            return super().__getitem__(key)
        if isinstance(key, slice) or (isinstance(key, int) and -len(self) <= key < len(self)):
            return list(self.values())[key]
        names = list(self.keys())
        if isinstance(key, int):
            raise SettingError(f"layers[{key}]: there are {len(self)}, {', '.join(names)}")
        similar = difflib.get_close_matches(str(key), names, n=1)
        hint = f"did you mean {similar[0]}?" if similar else f"there are {', '.join(names)}"
        raise SettingError(f"layers are found by name, there is none {shortened(key)}: {hint}")

    def __setitem__(self, name: str, layer: Layer) -> None:
        """Refuse another layer in the place of one, which would not be built for the shape of its input."""
        if not isinstance(name, str) or name in self:
            raise NoEffectError(f"layers[{name!r}] = {shortened(layer, 60)} would have no effect: {INSTEAD}")
        super().__setitem__(name, layer)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Called for an attribute that is missing, such as the name of a layer."""
            hint = f": use layers[{name!r}]" if name in self else f": {INSTEAD}" if hasattr([], name) else ""
            raise AttributeError(f"'layers' has no attribute {name!r}{hint}")
