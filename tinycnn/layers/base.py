"""The base class of all layers: parameters, buffers, training mode and settings.

A layer is built once, together with its network: ``build`` receives the shape of the input (without the batch axis),
initialises the parameters, and returns the shape of the output. An invalid architecture therefore raises an error
before training starts.
"""

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.backends.host_memory import free_host_memory
from tinycnn.errors import OutOfMemoryError, SettingError, ShapeError, shortened
from tinycnn.initializers import Initializer
from tinycnn.tensor import Tensor

Shape = tuple[int, ...]
LARGE = 1 << 28  # bytes; the free memory is checked before larger arrays are created
_without_memory: ContextVar[bool] = ContextVar("without_memory", default=False)


@contextmanager
def arrays_without_memory() -> Iterator[None]:
    """Inside the block, the parameters and buffers of new layers are zeros that take no memory, for their sizes."""
    token = _without_memory.set(True)
    try:
        yield
    finally:
        _without_memory.reset(token)


class Layer:
    """Base class: parameters (trained), buffers (saved, not trained), ``training`` mode, and ``__init__`` arguments.

    A subclass stores its ``__init__`` arguments as attributes of the same names, and defines ``build`` and ``forward``.
    """

    registry: ClassVar[dict[str, type["Layer"]]] = {}  # the layers that model files may contain
    initial_values: dict[str, np.ndarray] | None = None  # by name; None: initialise randomly
    output_shape: Shape

    def __init__(self) -> None:
        self.parameters_by_name: dict[str, Tensor] = _NamedArrays(type(self).__name__)
        self.buffers_by_name: dict[str, Array] = _NamedArrays(type(self).__name__)
        self.training = True

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        """Create the parameters for ``input_shape`` (without N); returns the output shape (without N)."""
        return input_shape

    def forward(self, x: Tensor) -> Tensor:
        """``x (N, *input_shape)`` → ``(N, *output_shape)``; ``layer(x)`` calls it."""
        raise NotImplementedError

    def __call__(self, x: Tensor | Array) -> Tensor:
        return self.forward(x if isinstance(x, Tensor) else Tensor(x))

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """The parameters, frozen ones included: ``("weight", tensor), ("bias", tensor)``."""
        yield from self.parameters_by_name.items()

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """The arrays that are saved but not trained, such as the running statistics of batch norm."""
        yield from self.buffers_by_name.items()

    def counters(self) -> dict[str, int]:
        """The integers, by name, that affect the next training step in addition to parameters and buffers."""
        return {}

    def load_counters(self, counters: dict[str, int]) -> None:
        """Restore the result of ``counters()``; raises SettingError for unexpected names or invalid values."""
        names = self.counters().keys()
        if not isinstance(counters, dict):
            raise SettingError(f"load_counters: expected a dictionary, got a {type(counters).__name__}")
        if names != counters.keys() or not all(type(value) is int and value >= 0 for value in counters.values()):
            raise SettingError(f"load_counters: expected integers named {sorted(names)}, got {counters}")

    def parameters(self) -> list[Tensor]:
        """All parameters, as an optimizer expects them; the optimizer skips the frozen ones."""
        return [parameter for _, parameter in self.named_parameters()]

    @property
    def frozen(self) -> bool:
        """Whether the layer has parameters and none of them is trained."""
        parameters = self.parameters()
        return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)

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

    def train(self, mode: bool = True) -> Self:
        """Training mode: dropout is active, batch norm uses the statistics of the batch."""
        self.training = mode
        return self

    def eval(self) -> Self:
        """Evaluation mode: dropout is inactive, batch norm uses its running statistics."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Clear the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def settings(self) -> dict[str, Any]:
        """The ``__init__`` arguments as plain numbers and strings, from which the layer can be recreated."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.settings().items())})"

    def _add_parameter(
        self, name: str, shape: Shape, initialize: Initializer, rng: np.random.Generator, dtype: np.dtype
    ) -> None:
        """Add a parameter of ``shape`` with the initial values ``initialize(shape, rng)``."""
        self.parameters_by_name[name] = Tensor(
            self._create_values(name, shape, initialize, rng, dtype), requires_grad=True
        )

    def _add_buffer(
        self, name: str, shape: Shape, initialize: Initializer, rng: np.random.Generator, dtype: np.dtype
    ) -> None:
        """Add a buffer of ``shape`` with the initial values ``initialize(shape, rng)``."""
        self.buffers_by_name[name] = self._create_values(name, shape, initialize, rng, dtype)

    def _create_values(
        self, name: str, shape: Shape, initialize: Initializer, rng: np.random.Generator, dtype: np.dtype
    ) -> Array:
        """The initial values; a given array of the wrong shape raises ShapeError before memory is allocated.

        Raises OutOfMemoryError, before memory is allocated, for an array that does not fit.
        """
        if _without_memory.get():
            return np.broadcast_to(np.zeros((), dtype), shape)
        given = self.initial_values
        needed = math.prod(shape) * (dtype.itemsize + 8)  # initializers draw in float64
        if given is None and needed > LARGE and needed > (free_host_memory() or needed):
            raise OutOfMemoryError(
                f"{type(self).__name__}: the {name} {shape} takes {needed / 2**30:.1f} GiB while it is made, and less "
                "is free: use smaller images, or layers with fewer outputs"
            )
        values = initialize(shape, rng) if given is None else _checked_values(given, name, shape, dtype)
        return get_backend().asarray(np.array(values, dtype, order="C"))


def _checked_values(given: dict[str, np.ndarray], name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
    """The values of ``name``, removed from ``given``; raises ShapeError unless they have ``shape`` and ``dtype``."""
    if name not in given:
        raise ShapeError(f"{name} is missing")
    values = given.pop(name)
    if (values.shape, values.dtype) != (shape, dtype):
        raise ShapeError(f"{name} is {values.dtype} {values.shape}, the settings require {dtype} {shape}")
    return values


class _NamedArrays(dict[str, Any]):
    """The parameters or buffers of a layer by name; a missing name raises SettingError with the reason."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def __missing__(self, name: str) -> Any:
        if self:
            raise SettingError(f"{self.kind} has no {name}, only {', '.join(self)}")
        raise SettingError(
            f"{self.kind} has no {name} yet: it is created when the layer is added to a network, "
            f"Sequential({self.kind}(...), input_shape=...)"
        )


def register_layer(cls: type[Layer]) -> type[Layer]:
    """Class decorator: register this layer, so that model files may contain it."""
    Layer.registry[cls.__name__] = cls
    return cls


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
