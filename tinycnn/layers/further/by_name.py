"""The layers of a network by name: a dictionary whose errors say how a layer is found."""

import difflib
from typing import TYPE_CHECKING, Any

from tinycnn.errors import SettingError, shortened
from tinycnn.layers.base import Layer
from tinycnn.other_names import NoEffectError

INSTEAD = "a network has the layers that it was created with; create a new Sequential, or call model.with_head(classes)"


class LayersByName(dict[str, Layer]):
    """``{"conv2d_1": layer, …}``. Any other key raises SettingError with the names that there are."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Called for an attribute that is missing, such as the name of a layer."""
            hint = f": use layers[{name!r}]" if name in self else ""
            raise AttributeError(f"'layers' has no attribute {name!r}{hint}")

    def __setitem__(self, name: str, layer: Layer) -> None:
        """Refuse another layer in the place of one, which would not be built for the shape of its input."""
        if name in self:
            raise NoEffectError(f"layers[{name!r}] = {shortened(layer, 60)} would have no effect: {INSTEAD}")
        super().__setitem__(name, layer)

    def __getitem__(self, key: Any) -> Layer:
        if isinstance(key, str) and key in self:
            return super().__getitem__(key)
        names = list(self)
        if isinstance(key, int | slice):
            where = f"[{key}]" if isinstance(key, int) else "[start:stop]"
            hint = f"write model.layers[{names[0]!r}], or list(model.layers.values()){where}"
        else:
            similar = difflib.get_close_matches(str(key), names, n=1)
            hint = f"did you mean {similar[0]}?" if similar else f"there are {', '.join(names)}"
        raise SettingError(f"layers are found by name, there is none {shortened(key)}: {hint}")
