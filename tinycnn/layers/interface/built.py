"""Checks of layers that are put into a network: the shape that ``build`` returns, and that no layer is there twice."""

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from tinycnn.errors import SettingError, shortened


def built_shape(layer: Any, shape: Any) -> tuple[int, ...]:
    """``shape``, which ``layer.build`` returned; raises SettingError unless it is one of positive integers."""
    sizes = shape if isinstance(shape, tuple | list) else ()
    if not sizes or not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
        wanted = "expected the shape of its output without N, as in `return input_shape`"
        raise SettingError(f"{type(layer).__name__}.build returned {shortened(shape)}: {wanted}")
    return tuple(map(int, sizes))


def check_each_once(kind: str, layers: Iterable[Any]) -> None:
    """Raise SettingError unless there is a layer, and each is there once; ``kind``: what contains them."""
    layers = list(layers)
    if not layers:
        raise SettingError(f"{kind} takes at least one layer, such as {kind}(Flatten(), Dense(10))")
    places: dict[Any, int] = {}
    for place, layer in enumerate(layers, start=1):
        for one in (layer, *(inner for _, inner in layer.all_layers())):
            if one in places:
                again = shortened(one, 60)
                both = f"in layers {places[one]} and {place}" if places[one] != place else f"twice in layer {place}"
                raise SettingError(
                    f"{kind} takes no layer twice, and the same {again} is {both}: create another one for each "
                    "place; to use the same weights twice, write a layer of your own whose forward calls it twice"
                )
            places[one] = place
