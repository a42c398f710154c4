"""The base class of all layers: parameters, buffers, training mode and settings.

A layer is built once, together with its network: ``build`` receives the shape of the input (without the batch axis),
initialises the parameters, and returns the shape of the output. An invalid architecture therefore raises an error
before training starts.

A layer may contain others: ``self.conv = Conv2d(8)`` in its ``__init__`` is enough. They are built with it, and
parameters, modes, freezing and files reach them under their names, as in ``conv.weight``.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import numpy as np

from tinycnn.backends.base import Array
from tinycnn.errors import SettingError
from tinycnn.initializers import Initializer
from tinycnn.layers.building import build_at_first_call, build_by_a_run
from tinycnn.layers.initial_values import State, initial_array
from tinycnn.layers.interface.assigned import NamedArrays, check_assigned
from tinycnn.layers.interface.returned import as_output
from tinycnn.layers.interface.settings import setting_names
from tinycnn.other_names.arguments import NamedArguments
from tinycnn.other_names.attributes import LAYER_ATTRIBUTES, LAYER_NO_EFFECT, CheckedAttributes, NoEffectError
from tinycnn.tensor import Tensor

Shape = tuple[int, ...]


class Layer(NamedArguments, CheckedAttributes):
    """Base class: parameters (trained), buffers (saved, not trained), ``training`` mode, and ``__init__`` arguments.

    A subclass stores its ``__init__`` arguments as attributes of the same names, and defines ``build`` and ``forward``.
    Attributes that are layers are layers inside it.

    ``torch_arrays`` states how PyTorch stores arrays that differ in name or layout, ``{"gamma": ("weight", None)}`` or
    ``{"weight": ("weight", (3, 2, 0, 1))}``: the name there, and our axes in PyTorch's order (None: the same).
    """

    registry: ClassVar[dict[str, type["Layer"]]] = {}  # the layers that model files may contain
    torch_arrays: ClassVar[dict[str, tuple[str, tuple[int, ...] | None]]] = {}
    foreign_attributes: ClassVar[dict[str, str]] = LAYER_ATTRIBUTES  # of Keras and PyTorch: errors say what to use
    ignored_attributes: ClassVar[dict[str, str]] = LAYER_NO_EFFECT  # nothing reads them, so assigning them is an error
    allocates_output: ClassVar[bool] = True  # False: forward returns its input, or an inner layer's output, unchanged
    initial_values: State | None = None  # by name; None: initialise randomly
    input_shape: Shape  # both without N, set when the layer is built
    output_shape: Shape

    def __init__(self) -> None:
        self.parameters_by_name: dict[str, Tensor] = NamedArrays(type(self).__name__)
        self.buffers_by_name: dict[str, Array] = NamedArrays(type(self).__name__)
        self.training = True

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        """Create the parameters for ``input_shape`` (without N); returns the output shape (without N).

        By default, there are none, and the shape stays the same; a layer with others inside runs ``forward`` on one
        image of zeros, in evaluation mode, and each inner layer is built at its first call.
        """
        return build_by_a_run(self, input_shape, rng, dtype) if self.sublayers() else input_shape

    def _add_parameter(
        self, name: str, shape: Shape, initialize: Initializer, rng: np.random.Generator, dtype: np.dtype
    ) -> None:
        """Add a parameter of ``shape`` with the initial values ``initialize(shape, rng)``."""
        values = initial_array(self, name, shape, initialize, rng, dtype)
        self.parameters_by_name.update({name: Tensor(values, requires_grad=True)})

    def _add_buffer(
        self, name: str, shape: Shape, initialize: Initializer, rng: np.random.Generator, dtype: np.dtype
    ) -> None:
        """Add a buffer of ``shape`` with the initial values ``initialize(shape, rng)``."""
        self.buffers_by_name.update({name: initial_array(self, name, shape, initialize, rng, dtype)})

    def forward(self, x: Tensor) -> Tensor:
        """``x (N, *input_shape)`` → ``(N, *output_shape)``; ``layer(x)`` calls it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, x: Tensor | Array) -> Tensor:
        x = x if isinstance(x, Tensor) else Tensor(x)
        build_at_first_call(self, x.shape[1:])
        return as_output(self, x, self.forward(x))

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """The parameters, frozen ones included: ``("weight", tensor), ("bias", tensor)``."""
        yield from self.parameters_by_name.items()
        for name, layer in self.sublayers().items():
            yield from ((f"{name}.{local_name}", parameter) for local_name, parameter in layer.named_parameters())

    def parameters(self) -> list[Tensor]:
        """All parameters, as an optimizer expects them; the optimizer skips the frozen ones."""
        return [parameter for _, parameter in self.named_parameters()]

    def zero_grad(self) -> None:
        """Clear the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def train(self, mode: bool = True) -> Self:
        """Training mode: dropout is active, batch norm uses the statistics of the batch."""
        for layer in self.sublayers().values():
            layer.train(mode)
        vars(self)["training"] = mode  # `sublayers` stays as it is
        return self

    def eval(self) -> Self:
        """Evaluation mode: dropout is inactive, batch norm uses its running statistics."""
        return self.train(False)

    # ------------------------------------------------------------------------------------------- layers inside this one

    def sublayers(self) -> dict[str, "Layer"]:
        """The layers directly inside this one, by name: its attributes, and those in attributes that are lists.

        ``self.conv`` is ``conv``, ``self.blocks[0]`` is ``blocks_1``.
        """
        inner = self.__dict__.get("_sublayers")
        if inner is None:
            found = {layer: name for name, layer in reversed([*_layers_in(vars(self))])}  # a shared one: its first name
            inner = {name: layer for layer, name in reversed(found.items())}
            if "output_shape" in self.__dict__:
                self.__dict__["_sublayers"] = inner  # cached: each training step reads it several times
        return inner

    def all_layers(self) -> Iterator[tuple[str, "Layer"]]:
        """Every layer inside this one, at any depth, by its full name: ``residual_1``, ``residual_1.body``, …"""
        for name, layer in self.sublayers().items():
            yield name, layer
            yield from ((f"{name}.{inner_name}", inner) for inner_name, inner in layer.all_layers())

    def __setattr__(self, name: str, value: Any) -> None:
        check_assigned(self, name, value)
        if name == "training" and "output_shape" in vars(self):
            self.train(bool(value))  # with the layers inside
            return
        super().__setattr__(name, value)
        vars(self).pop("_sublayers", None)

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """The arrays that are saved but not trained, such as the running statistics of batch norm."""
        yield from self.buffers_by_name.items()
        for name, layer in self.sublayers().items():
            yield from ((f"{name}.{local_name}", buffer) for local_name, buffer in layer.named_buffers())

    # --------------------------------------------------------------------------------------------------------- freezing

    @property
    def frozen(self) -> bool:
        """Whether the layer has parameters and none of them is trained."""
        parameters = self.parameters()
        return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)

    @frozen.setter
    def frozen(self, value: bool) -> None:
        raise NoEffectError(f"{type(self).__name__}.frozen cannot be assigned: call freeze() or unfreeze()")

    def freeze(self) -> Self:
        """Stop training the parameters: no gradient is computed for them, and running statistics are not updated.

        Create the optimizer afterwards. Raises SettingError if the layer is not yet part of a network.
        """
        return self._set_trainable(False)

    def unfreeze(self) -> Self:
        """Train the parameters again."""
        return self._set_trainable(True)

    def _set_trainable(self, trainable: bool) -> Self:
        if not hasattr(self, "output_shape"):
            kind = type(self).__name__
            raise SettingError(
                f"{kind} has no parameters yet: add it to a network, Sequential({kind}(...)), then freeze it"
            )
        for parameter in self.parameters():
            parameter.requires_grad = trainable
            parameter.grad = parameter.grad if trainable else None
        return self

    # -------------------------------------------------------------------------------------------- files and checkpoints

    def settings(self) -> dict[str, Any]:
        """The ``__init__`` arguments, from which the layer can be recreated: numbers, strings, tuples and layers."""
        kind: Any = type(self)
        return {name: getattr(self, name) for name in setting_names(kind)}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Self:
        """A new layer with these ``settings()``."""
        return cls(**settings)

    def counters(self) -> dict[str, int]:
        """The integers, by name, that affect the next training step in addition to parameters and buffers.

        ``dropout_1.step`` is one. Checkpoints store them, model files do not.
        """
        found = ((name, layer.counters()) for name, layer in self.sublayers().items())
        return {f"{name}.{local_name}": value for name, counters in found for local_name, value in counters.items()}

    def load_counters(self, counters: dict[str, int]) -> None:
        """Restore the result of ``counters()``; raises SettingError for unexpected names or invalid values."""
        names = self.counters().keys()
        if not isinstance(counters, dict):
            raise SettingError(f"load_counters: expected a dictionary, got a {type(counters).__name__}")
        if names != counters.keys() or not all(type(value) is int and value >= 0 for value in counters.values()):
            raise SettingError(f"load_counters: expected integers named {sorted(names)}, got {counters}")
        for name, layer in self.sublayers().items():
            layer.load_counters({local_name: counters[f"{name}.{local_name}"] for local_name in layer.counters()})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.settings().items())})"

    # ------------------------------------------------------------------------------------- hooks for layers of your own

    def __init_subclass__(cls, **settings: Any) -> None:
        """Raise SettingError for a class with ``call``, the ``forward`` of Keras."""
        super().__init_subclass__(**settings)
        if "call" in vars(cls) and "forward" not in vars(cls):
            raise SettingError(f"{cls.__name__}.call would never be called: name it forward")

    def flops(self, input_shape: Shape) -> int | None:
        """Floating-point operations for one image, without those of the layers inside; None if they are unknown.

        ``summary.py`` counts the layers of this package, a layer of your own defines this method.
        """
        return None

    def onnx_nodes(self, graph: Any, name: str, x: str) -> str | None:
        """Add the ONNX nodes of a layer of your own, and return the name of their result; None: there are none.

        ``x`` is the name of the input; images are ``(N, C, H, W)`` in the file. ``graph.add("Softplus", name, [x])``
        adds a node and returns ``name``, ``graph.constant(f"{name}.weight", array)`` adds an array and returns its
        name, ``graph.add_layer(f"{name}.conv", self.conv, x)`` adds an inner layer. ``graph.shape`` is the input shape,
        channels last, without N.
        """
        return None


def _layers_in(attributes: dict[str, Any]) -> Iterator[tuple[str, Layer]]:
    """The layers among the attributes of a layer, and in lists, tuples and dictionaries of layers, with their names."""
    for name, value in attributes.items():
        if isinstance(value, Layer):
            yield name, value
        elif isinstance(value, list | tuple) and all(isinstance(one, Layer) for one in value):
            yield from ((f"{name}_{number}", layer) for number, layer in enumerate(value, start=1))
        elif isinstance(value, dict) and all(isinstance(one, Layer) for one in value.values()):
            yield from ((f"{name}_{key}", layer) for key, layer in value.items())


def register_layer(cls: type[Layer]) -> type[Layer]:
    """Class decorator: register this layer, so that model files may contain it."""
    Layer.registry[cls.__name__] = cls
    return cls
