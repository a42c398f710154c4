"""What is assigned to a layer: attributes that nothing would read, and arrays in the place of others."""

from typing import Any

from tinycnn.backends.foreign_arrays import in_place_of
from tinycnn.errors import DtypeError, SettingError, ShapeError, shortened
from tinycnn.other_names.attributes import NoEffectError
from tinycnn.tensor import Tensor

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


class NamedArrays(dict[str, Any]):
    """The parameters or buffers of a layer by name, whose shapes and dtypes stay those that ``build`` gave them.

    An array that is assigned to a buffer is converted to its dtype. A missing name raises SettingError with the reason.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def __setitem__(self, name: str, value: Any) -> None:
        old = self.get(name)
        if isinstance(old, Tensor):
            _check_parameter(name, old, value)
        elif old is not None:
            value = in_place_of(name, old, value)
        super().__setitem__(name, value)

    def __missing__(self, name: str) -> Any:
        if self:
            raise SettingError(f"{self.kind} has no {name}, only {', '.join(self)}")
        raise SettingError(
            f"{self.kind} has no {name} yet: it is created when the layer is added to a network, "
            f"Sequential({self.kind}(...), input_shape=...)"
        )


def _check_parameter(name: str, old: Tensor, new: Any) -> None:
    """Raise an error unless ``new`` can take the place of a parameter, as one that two layers share does."""
    if not isinstance(new, Tensor):
        raise DtypeError(
            f"{name} = {type(new).__name__}: expected a Tensor; assign an array to the one that is there, "
            f"parameters_by_name[{name!r}].data = array"
        )
    if (new.shape, new.dtype) != (old.shape, old.dtype):
        raise ShapeError(f"{name} = {new.dtype} {new.shape}: expected {old.dtype} {old.shape}, as the layer was built")
