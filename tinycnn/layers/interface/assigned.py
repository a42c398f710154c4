"""Attributes of a layer that cannot be assigned, because nothing would read the new value."""

from typing import Any

from tinycnn.errors import shortened
from tinycnn.other_names.attributes import NoEffectError

BUILT = ("units", "filters", "kernel_size", "bias", "initializer")  # settings that only `build` reads


def check_assigned(layer: Any, name: str, value: Any) -> None:
    """Raise NoEffectError for ``layer.name = value`` that would leave what the layer computes as it is."""
    attributes = vars(layer)
    is_built = "output_shape" in attributes
    if name in attributes.get("parameters_by_name", ()) or name in attributes.get("buffers_by_name", ()):
        instead = f'call model.load_state_dict({{"layer.{name}": array}}, strict=False), with the name of the layer'
    elif name in BUILT and is_built and attributes["parameters_by_name"]:
        instead = "the parameters have their shapes already; create a new network, or call model.with_head(classes)"
    elif name == "activation" and isinstance(value, str) and is_built and name not in attributes:
        instead = "create a new network with a layer such as ReLU() after this one"
    else:
        return
    raise NoEffectError(f"{type(layer).__name__}.{name} = {shortened(value, 60)} would have no effect: {instead}")
