"""What every layer is: parameters, buffers, a mode, and the settings it was made with.

A layer is built once, when the network is: it learns the shape of its input (without the batch axis), draws its
parameters, and answers the shape of its output. So a wrong architecture fails with one sentence before training starts.
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
    """Base class: parameters (trained), buffers (remembered), ``training`` mode, and the settings it was made with.

    A subclass stores its ``__init__`` arguments under their own names, and defines ``build`` and ``forward``.
    """

    registry: ClassVar[dict[str, type["Layer"]]] = {}  # the closed list of layers that a model file may name
    given: dict[str, np.ndarray] | None = None  # values to start from, by name; None: draw them
    output_shape: Shape

    def __init__(self) -> None:
        self.parameters_by_name: dict[str, Tensor] = _ByName(type(self).__name__)
        self.buffers_by_name: dict[str, Array] = _ByName(type(self).__name__)
        self.training = True

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        """Draw the parameters for ``input_shape`` (without N) and return the output shape (without N)."""
        return input_shape

    def forward(self, x: Tensor) -> Tensor:
        """``x (N, *input_shape)`` → ``(N, *output_shape)``; ``layer(x)`` calls it."""
        raise NotImplementedError

    def __call__(self, x: Tensor | Array) -> Tensor:
        return self.forward(x)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """What is trained, unless frozen: ``("weight", tensor), ("bias", tensor)``."""
        yield from self.parameters_by_name.items()

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """What is remembered, and saved, but not trained: the running statistics of batch norm."""
        yield from self.buffers_by_name.items()

    def counters(self) -> dict[str, int]:
        """What else decides the next training step, beside parameters and buffers: whole numbers, by name."""
        return {}

    def load_counters(self, counters: dict[str, int]) -> None:
        """Continue where ``counters()`` was taken; raises SettingError for other names or for no whole numbers."""
        ours = self.counters()
        if ours.keys() != counters.keys() or not all(type(value) is int and value >= 0 for value in counters.values()):
            raise SettingError(f"load_counters: expected whole numbers called {sorted(ours)}, got {counters}")

    def parameters(self) -> list[Tensor]:
        """The tensors to train, as an optimizer takes them; it leaves the frozen ones out."""
        return [parameter for _, parameter in self.named_parameters()]

    @property
    def frozen(self) -> bool:
        """Whether there are parameters, and none of them is trained."""
        parameters = self.parameters()
        return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)

    def freeze(self) -> Self:
        """Train the parameters no longer: no gradient is computed for them, and running statistics stay as they are.

        Raises SettingError before the layer is part of a network. Make the optimizer afterwards: it takes what is left.
        """
        return self._set_trained(False)

    def unfreeze(self) -> Self:
        """Train the parameters again."""
        return self._set_trained(True)

    def _set_trained(self, trained: bool) -> Self:
        if not hasattr(self, "output_shape"):
            kind = type(self).__name__
            raise SettingError(
                f"{kind} has no parameters yet: make a network of it, Sequential({kind}(...)), then freeze"
            )
        for parameter in self.parameters():
            parameter.requires_grad = trained
            parameter.grad = parameter.grad if trained else None
        return self

    def train(self, mode: bool = True) -> Self:
        """Training mode: dropout drops, batch norm uses the batch."""
        self.training = mode
        return self

    def eval(self) -> Self:
        """Evaluation mode: dropout does nothing, batch norm uses its running statistics."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def settings(self) -> dict[str, Any]:
        """The ``__init__`` arguments, as plain numbers and strings: enough to make the layer again."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.settings().items())})"

    def _add_parameter(
        self, name: str, shape: Shape, initialize: Initializer, rng: np.random.Generator, dtype: np.dtype
    ) -> None:
        """A trained array of ``shape``, which begins as ``initialize(shape, rng)``."""
        self.parameters_by_name[name] = Tensor(self._start(name, shape, initialize, rng, dtype), requires_grad=True)

    def _add_buffer(
        self, name: str, shape: Shape, initialize: Initializer, rng: np.random.Generator, dtype: np.dtype
    ) -> None:
        """A remembered array of ``shape``, which begins as ``initialize(shape, rng)``."""
        self.buffers_by_name[name] = self._start(name, shape, initialize, rng, dtype)

    def _start(
        self, name: str, shape: Shape, initialize: Initializer, rng: np.random.Generator, dtype: np.dtype
    ) -> Array:
        """The given values, if there are any: then nothing is allocated for a shape that is not theirs."""
        values = initialize(shape, rng) if self.given is None else _take(self.given, name, shape, dtype)
        return get_backend().asarray(np.array(values, dtype, order="C"))


def _take(given: dict[str, np.ndarray], name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
    """The values of ``name``, removed from ``given``; raises ShapeError unless they have this shape and dtype."""
    if name not in given:
        raise ShapeError(f"{name} is missing")
    values = given.pop(name)
    if (values.shape, values.dtype) != (shape, dtype):
        raise ShapeError(f"{name} is {values.dtype} {values.shape}, the settings ask for {dtype} {shape}")
    return values


class _ByName(dict[str, Any]):
    """What a layer holds, by name; asked for what is not there, it says why."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def __missing__(self, name: str) -> Any:
        if self:
            raise SettingError(f"{self.kind} has no {name}, only {', '.join(self)}")
        raise SettingError(
            f"{self.kind} has no {name} yet: it is drawn when a network is made of the layer, "
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
