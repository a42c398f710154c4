"""``Sequential``: layers one after the other, as one network."""

import copy
import difflib
import fnmatch
from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import Any, Self

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.errors import DtypeError, SettingError, ShapeError
from tinycnn.layers import fusion
from tinycnn.layers.activations import LogSoftmax, Softmax
from tinycnn.layers.base import Layer, Shape
from tinycnn.layers.dense import Dense
from tinycnn.layers.metadata import DRAWING, WHOLE, checked_class_names, checked_pictures
from tinycnn.layers.summary import summary
from tinycnn.tensor import Tensor


class Sequential(Layer):
    """Layers one after the other, built for images of ``input_shape (H, W, C)`` (or rows ``(in,)``).

    ``seed`` fixes the initial weights and dropout masks, ``dtype`` is float32 or float64. Each layer gets a name from
    its kind and place (``conv2d_1``, ``dense_2``); parameters are called ``conv2d_1.weight``. Raises ShapeError, naming
    the layer, when the layers do not fit together. ``fuse=False`` runs every layer by itself (see ``fusion.py``).
    ``state`` holds the values to start from, as ``state_dict`` gives them: exactly these names, shapes and dtypes.
    """

    def __init__(
        self,
        *layers: Layer,
        input_shape: Shape,
        seed: int = 0,
        dtype: Any = np.float32,
        fuse: bool = True,
        state: dict[str, np.ndarray] | None = None,
    ) -> None:
        super().__init__()
        self.fuse = fuse
        self.input_shape, self.dtype = _checked_shape(input_shape), _checked_dtype(dtype)
        self.layers = dict(zip(layer_names(layers), layers, strict=True))
        self.output_shape = self._build(np.random.default_rng(seed), state)
        self._class_names: tuple[str, ...] | None = None
        self._pictures: str | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the K answers are called: their numbers, until somebody gives them names. Kept in model files."""
        return self._class_names or tuple(map(str, range(self.output_shape[0] if len(self.output_shape) == 1 else 0)))

    @class_names.setter
    def class_names(self, names: Iterable[str]) -> None:
        self._class_names = checked_class_names(names, self.output_shape)

    @property
    def pictures(self) -> str:
        """How a picture of any size becomes an input: ``drawing``, cut out and centred as in MNIST, or ``whole``.

        Unless somebody has said so, networks for grey images take drawings. Kept in model files.
        """
        return self._pictures or (DRAWING if self.input_shape[2:] == (1,) else WHOLE)

    @pictures.setter
    def pictures(self, pictures: str | None) -> None:
        self._pictures = None if pictures is None else checked_pictures(pictures, self.input_shape)

    def meaning(self) -> dict[str, Any]:
        """``class_names`` and ``pictures`` as far as somebody has said them; what a model file keeps of them."""
        said = {"class_names": self._class_names, "pictures": self._pictures}
        return {name: value for name, value in said.items() if value is not None}

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        """As a layer of another network: it was built when it was made, so all that is left is to see that it fits."""
        if (input_shape, dtype) != (self.input_shape, self.dtype):
            raise ShapeError(f"it was built for {self.dtype} {self.input_shape}, but gets {dtype} {input_shape}")
        return self.output_shape

    def _build(self, rng: np.random.Generator, state: dict[str, np.ndarray] | None) -> Shape:
        shape, given = self.input_shape, None if state is None else _by_layer(state)
        for name, layer in self.layers.items():
            layer.given = None if given is None else given.pop(name, {})
            try:
                shape = layer.output_shape = layer.build(shape, rng, self.dtype)
                _check_used(layer.given)
            except ShapeError as error:
                raise ShapeError(f"layer {name} does not fit: {error}") from None
            layer.given = None
        _check_used(given)
        return shape

    def forward(self, x: Tensor) -> Tensor:
        """``x (N, *input_shape)`` → ``(N, *output_shape)``."""
        return self._run(x, self._steps(list(self.layers.values())))

    def logits(self, x: Tensor) -> Tensor:
        """The scores before a final Softmax or LogSoftmax: ``(N, *input_shape)`` → ``(N, K)``."""
        layers = list(self.layers.values())
        return self._run(x, self._steps(layers[:-1] if isinstance(layers[-1], Softmax | LogSoftmax) else layers))

    def _steps(self, layers: list[Layer]) -> list[fusion.Step]:
        """The layers themselves, or fewer steps where the backend has fused kernels (these compute in float32)."""
        backend = get_backend()
        return fusion.plan(layers, backend) if self.fuse and backend.fused and self.dtype == np.float32 else [*layers]

    def _run(self, x: Tensor, steps: list[fusion.Step]) -> Tensor:
        x = x if isinstance(x, Tensor) else Tensor(x)
        if x.shape[1:] != self.input_shape:
            expected = ", ".join(map(str, ("N", *self.input_shape)))
            raise ShapeError(f"the network takes images of shape ({expected}), got {x.shape}")
        for step in steps:
            x = step(x)
        return x

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        for name, layer in self.layers.items():
            yield from ((f"{name}.{own}", parameter) for own, parameter in layer.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        for name, layer in self.layers.items():
            yield from ((f"{name}.{own}", buffer) for own, buffer in layer.named_buffers())

    def freeze_only(self, *names: str) -> Self:
        """Freeze the layers called so, and no others; ``conv2d_*`` stands for all whose names begin so.

        Raises SettingError for a name that no layer with parameters has.
        """
        frozen = [name for pattern in names for name in self._with_parameters(pattern)]
        self.unfreeze()
        for name in frozen:
            self.layers[name].freeze()
        return self

    def _with_parameters(self, pattern: str) -> list[str]:
        """The layers with parameters whose names are as ``pattern`` says; SettingError when there are none."""
        there_are = [name for name, layer in self.layers.items() if layer.parameters()]
        found = fnmatch.filter(there_are, pattern)
        if not found:
            near = " or ".join(difflib.get_close_matches(pattern, there_are, n=2))
            meant = f" (did you mean {near}?)" if near else ""
            raise SettingError(f"no layer to freeze is called {pattern!r}{meant}; there are {', '.join(there_are)}")
        return found

    def head(self) -> str:
        """The name of the last layer with parameters; raises SettingError unless it is a Dense layer."""
        last = next((name for name in reversed(self.layers) if self.layers[name].parameters()), "nothing")
        if not isinstance(self.layers.get(last), Dense):
            raise SettingError(f"a head is a Dense layer, but the last that this network has to train is {last}")
        return last

    def with_head(self, classes: int, *, seed: int = 0) -> "Sequential":
        """A copy that answers with ``classes`` classes: its last Dense layer is fresh, all else as here, frozen or not.

        ``seed`` fixes the fresh weights and new dropout masks. Raises SettingError when the last layer with parameters
        is no Dense layer, or ``classes`` no whole number above 0.
        """
        name, changed = self.head(), copy.deepcopy(self)
        head = self.layers[name]
        changed.layers[name] = type(head)(**head.settings() | {"units": classes})
        shape, rng = self.input_shape, np.random.default_rng(seed)
        for layer in changed.layers.values():
            shape = layer.output_shape if layer.parameters() else layer.build(shape, rng, self.dtype)
            layer.output_shape = shape
        changed.output_shape, changed._class_names = shape, None  # what the answers mean is new, too
        return changed.train(self.training)

    def train(self, mode: bool = True) -> Self:
        for layer in self.layers.values():
            layer.train(mode)
        self.training = mode
        return self

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers on the host, by name."""
        backend = get_backend()
        arrays = {name: parameter.data for name, parameter in self.named_parameters()} | dict(self.named_buffers())
        return {name: np.array(backend.to_host(array)) for name, array in arrays.items()}

    def load_state_dict(self, state: dict[str, np.ndarray], strict: bool = True) -> None:
        """Copy values in, by name. ``strict``: raise ShapeError for a name that is missing or unknown, do not skip it.

        A shape that does not fit, or another dtype, is always an error. Nothing is changed when an error is raised.
        """
        targets = {name: parameter.data for name, parameter in self.named_parameters()} | dict(self.named_buffers())
        missing, unknown = targets.keys() - state.keys(), state.keys() - targets.keys()
        if strict and (missing or unknown):
            raise ShapeError(f"load_state_dict: missing {sorted(missing)}, unknown {sorted(unknown)}")
        common = [name for name in targets if name in state]
        for name in common:
            _check_same(name, np.asarray(state[name]), targets[name])
        for name in common:
            targets[name][...] = get_backend().asarray(np.asarray(state[name]))

    def counters(self) -> dict[str, int]:
        """Of all layers, ``dropout_1.step`` and so on; no part of ``state_dict``: predictions do not need them."""
        found = ((name, layer.counters()) for name, layer in self.layers.items())
        return {f"{name}.{own}": value for name, counters in found for own, value in counters.items()}

    def load_counters(self, counters: dict[str, int]) -> None:
        super().load_counters(counters)
        for name, layer in self.layers.items():
            layer.load_counters({own: counters[f"{name}.{own}"] for own in layer.counters()})

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers.values()))}, input_shape={self.input_shape})"

    def parameter_count(self) -> int:
        """How many numbers the parameters hold, frozen ones included."""
        return sum(parameter.data.size for parameter in self.parameters())

    def summary(self) -> str:
        """A table: every layer with its output shape, parameters, operations and memory; the totals, the size."""
        return summary(
            self.layers, self.input_shape, self.dtype, sum(buffer.size for _, buffer in self.named_buffers())
        )


def _by_layer(state: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """``{"dense_1.weight": array}`` → ``{"dense_1": {"weight": array}}``."""
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name, array in state.items():
        layer, _, own = name.partition(".")
        parts.setdefault(layer, {})[own] = array
    return parts


def _check_used(given: dict[str, Any] | None) -> None:
    if given:
        raise ShapeError(f"nothing here is called {', '.join(map(repr, sorted(given)))[:200]}")


def layer_names(layers: tuple[Layer, ...]) -> list[str]:
    """``conv2d_1, relu_1, conv2d_2, …``: the kind of each layer and its number among its kind."""
    for layer in layers:
        if not isinstance(layer, Layer):
            raise SettingError(f"Sequential takes layers such as Conv2d(32), got {layer!r}")
    if not layers or len(set(layers)) < len(layers):
        raise SettingError(f"Sequential takes at least one layer, and each only once, got {list(layers)}")
    seen: dict[str, int] = {}
    names = []
    for kind in (type(layer).__name__.lower() for layer in layers):
        seen[kind] = seen.get(kind, 0) + 1
        names.append(f"{kind}_{seen[kind]}")
    return names


def _checked_shape(input_shape: Shape) -> Shape:
    shape = tuple(input_shape)
    if not shape or not all(isinstance(size, Integral) and size > 0 for size in shape):
        raise ShapeError(f"input_shape={input_shape!r}: expected whole numbers above 0, (H, W, C) or (in,)")
    return tuple(map(int, shape))


def _checked_dtype(dtype: Any) -> np.dtype:
    checked = np.dtype(dtype)
    if checked not in (np.float32, np.float64):
        raise DtypeError(f"dtype={checked}: a network computes in float32 or float64")
    return checked


def _check_same(name: str, value: np.ndarray, target: Array) -> None:
    if value.shape != target.shape or value.dtype != target.dtype:
        raise ShapeError(
            f"load_state_dict: {name} is {value.dtype} {value.shape}, the network has {target.dtype} {target.shape}"
        )
