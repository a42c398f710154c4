"""The base class of all layers: parameters, buffers, training mode and settings.

A layer is built once, together with its network: ``build`` receives the shape of the input (without the batch axis),
draws the parameters, and returns the shape of the output. So a wrong architecture raises an error before training
starts.
"""

import inspect
from collections.abc import Iterator
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.errors import SettingError, ShapeError
from tinycnn.initializers import Initializer
from tinycnn.tensor import Tensor

Shape = tuple[int, ...]


class Layer:
    """Base class: parameters (trained), buffers (saved, not trained), ``training`` mode, and ``__init__`` arguments.

    A subclass stores its ``__init__`` arguments as attributes of the same names, and defines ``build`` and ``forward``.
    """

    registry: ClassVar[dict[str, type["Layer"]]] = {}  # the layers that a model file may name
    given: dict[str, np.ndarray] | None = None  # initial values by name; None: draw them
    output_shape: Shape

    def __init__(self) -> None:
        self.parameters_by_name: dict[str, Tensor] = _ByName(type(self).__name__)
        self.buffers_by_name: dict[str, Array] = _ByName(type(self).__name__)
        self.training = True

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        """Draw the parameters for ``input_shape`` (without N); returns the output shape (without N)."""
        return input_shape

    def forward(self, x: Tensor) -> Tensor:
        """``x (N, *input_shape)`` → ``(N, *output_shape)``; ``layer(x)`` calls it."""
        raise NotImplementedError

    def __call__(self, x: Tensor | Array) -> Tensor:
        return self.forward(x)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """The parameters, frozen ones included: ``("weight", tensor), ("bias", tensor)``."""
        yield from self.parameters_by_name.items()

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """The arrays that are saved but not trained, such as the running statistics of batch norm."""
        yield from self.buffers_by_name.items()

    def counters(self) -> dict[str, int]:
        """The whole numbers, by name, that the next training step depends on besides parameters and buffers."""
        return {}

    def load_counters(self, counters: dict[str, int]) -> None:
        """Continue where ``counters()`` was called; raises SettingError for other names or values."""
        names = self.counters().keys()
        if names != counters.keys() or not all(type(value) is int and value >= 0 for value in counters.values()):
            raise SettingError(f"load_counters: expected whole numbers called {sorted(names)}, got {counters}")

    def parameters(self) -> list[Tensor]:
        """All parameters, as an optimizer takes them; the optimizer leaves out the frozen ones."""
        return [parameter for _, parameter in self.named_parameters()]

    @property
    def frozen(self) -> bool:
        """Whether the layer has parameters and none of them is trained."""
        parameters = self.parameters()
        return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)

    def freeze(self) -> Self:
        """Stop training the parameters: no gradient is computed for them, and running statistics stay as they are.

        Create the optimizer afterwards. Raises SettingError before the layer is part of a network.
        """
        return self._set_trained(False)

    def unfreeze(self) -> Self:
        """Train the parameters again."""
        return self._set_trained(True)

    def _set_trained(self, trained: bool) -> Self:
        if not hasattr(self, "output_shape"):
            kind = type(self).__name__
            raise SettingError(
                f"{kind} has no parameters yet: put it into a network, Sequential({kind}(...)), then freeze it"
            )
        for parameter in self.parameters():
            parameter.requires_grad = trained
            parameter.grad = parameter.grad if trained else None
        return self

    def train(self, mode: bool = True) -> Self:
        """Training mode: dropout is active, batch norm uses the statistics of the batch."""
        self.training = mode
        return self

    def eval(self) -> Self:
        """Evaluation mode: dropout is inactive, batch norm uses its running statistics."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Drop the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def settings(self) -> dict[str, Any]:
        """The ``__init__`` arguments as plain numbers and strings, from which the layer can be created again."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.settings().items())})"

    def _add_parameter(
        self, name: str, shape: Shape, initialize: Initializer, rng: np.random.Generator, dtype: np.dtype
    ) -> None:
        """Add a parameter of ``shape`` with the initial values ``initialize(shape, rng)``."""
        self.parameters_by_name[name] = Tensor(
            self._initial_values(name, shape, initialize, rng, dtype), requires_grad=True
        )

    def _add_buffer(
        self, name: str, shape: Shape, initialize: Initializer, rng: np.random.Generator, dtype: np.dtype
    ) -> None:
        """Add a buffer of ``shape`` with the initial values ``initialize(shape, rng)``."""
        self.buffers_by_name[name] = self._initial_values(name, shape, initialize, rng, dtype)

    def _initial_values(
        self, name: str, shape: Shape, initialize: Initializer, rng: np.random.Generator, dtype: np.dtype
    ) -> Array:
        """The initial values; if some are given, a wrong shape raises an error before anything is allocated for it."""
        values = initialize(shape, rng) if self.given is None else _checked_values(self.given, name, shape, dtype)
        return get_backend().asarray(np.array(values, dtype, order="C"))


def _checked_values(given: dict[str, np.ndarray], name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
    """The values of ``name``, removed from ``given``; raises ShapeError unless they have this shape and dtype."""
    if name not in given:
        raise ShapeError(f"{name} is missing")
    values = given.pop(name)
    if (values.shape, values.dtype) != (shape, dtype):
        raise ShapeError(f"{name} is {values.dtype} {values.shape}, the settings require {dtype} {shape}")
    return values


class _ByName(dict[str, Any]):
    """The parameters or buffers of a layer by name; raises SettingError with the reason for a missing name."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def __missing__(self, name: str) -> Any:
        if self:
            raise SettingError(f"{self.kind} has no {name}, only {', '.join(self)}")
        raise SettingError(
            f"{self.kind} has no {name} yet: it is drawn when the layer becomes part of a network, "
            f"Sequential({self.kind}(...), input_shape=...)"
        )


def register_layer(cls: type[Layer]) -> type[Layer]:
    """Class decorator: allow model files to name this layer."""
    Layer.registry[cls.__name__] = cls
    return cls


def positive(layer: str, name: str, value: int) -> int:
    """``value`` as an int; raises SettingError unless it is a whole number above 0."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise SettingError(f"{layer}({name}={value!r}): expected a whole number above 0")
    return int(value)


def yes_or_no(layer: str, name: str, value: bool) -> bool:
    """``value`` itself; raises SettingError unless it is True or False."""
    if not isinstance(value, bool):
        raise SettingError(f"{layer}({name}={value!r}): expected True or False")
    return value
