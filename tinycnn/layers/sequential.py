"""``Sequential``: layers one after the other, as one network.

The container itself is short: it names the layers, builds each for the output shape of the one before, and runs them in
order. What else a network can do stands in files of its own: ``fusion.py``, ``freezing.py``, ``heads.py``,
``metadata.py``, ``state.py`` and ``summary.py``.
"""

import copy
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
from tinycnn.layers.freezing import freeze_only
from tinycnn.layers.heads import head_name, replace_head
from tinycnn.layers.metadata import (
    Metadata,
    checked_class_names,
    checked_pictures,
    default_class_names,
    default_pictures,
)
from tinycnn.layers.state import by_layer, check_all_used, copied_state, load_state
from tinycnn.layers.summary import summary
from tinycnn.tensor import Tensor


class Sequential(Layer):
    """Layers one after the other, built for images of ``input_shape (H, W, C)`` (or rows ``(in,)``).

    ``seed`` fixes the initial weights and dropout masks, ``dtype`` is float32 or float64. Each layer gets a name from
    its class and its number (``conv2d_1``, ``dense_2``); parameters are called ``conv2d_1.weight``. ``fuse=False`` runs
    every layer by itself (see ``fusion.py``). ``state`` holds the initial values instead of random ones, as
    ``state_dict`` returns them: exactly these names, shapes and dtypes. Raises ShapeError, with the name of the layer,
    when the layers do not fit together.
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
        self._plan, self._metadata = fusion.PlanCache(), Metadata()

    def _build(self, rng: np.random.Generator, given: dict[str, np.ndarray] | None) -> Shape:
        """Build every layer for the output shape of the layer before; returns the last output shape."""
        shape, given_by_layer = self.input_shape, None if given is None else by_layer(given)
        for name, layer in self.layers.items():
            layer.given = None if given_by_layer is None else given_by_layer.pop(name, {})
            try:
                shape = layer.output_shape = layer.build(shape, rng, self.dtype)
                check_all_used(layer.given)
            except ShapeError as error:
                raise ShapeError(f"layer {name} does not fit: {error}") from None
            layer.given = None
        check_all_used(given_by_layer)
        return shape

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        """Check that this network, already built, fits as a layer of another one; raises ShapeError if not."""
        if (input_shape, dtype) != (self.input_shape, self.dtype):
            raise ShapeError(f"it was built for {self.dtype} {self.input_shape}, but gets {dtype} {input_shape}")
        return self.output_shape

    def forward(self, x: Tensor) -> Tensor:
        """``x (N, *input_shape)`` → ``(N, *output_shape)``."""
        return self._run(x, self._steps())

    def logits(self, x: Tensor) -> Tensor:
        """The scores before a final Softmax or LogSoftmax: ``(N, *input_shape)`` → ``(N, K)``."""
        steps, last = self._steps(), list(self.layers.values())[-1]
        return self._run(x, steps[:-1] if isinstance(last, Softmax | LogSoftmax) else steps)  # never fused

    def _steps(self) -> list[fusion.Step]:
        """The layers themselves, or fewer steps where the backend has fused kernels, which compute in float32."""
        layers = list(self.layers.values())
        return self._plan.steps(layers, get_backend()) if self.fuse and self.dtype == np.float32 else [*layers]

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

    def train(self, mode: bool = True) -> Self:
        for layer in self.layers.values():
            layer.train(mode)
        self.training = mode
        return self

    # ------------------------------------------------------------------------------------------------- saved state

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers on the host, by name."""
        return copied_state(self)

    def load_state_dict(self, state: dict[str, np.ndarray], strict: bool = True) -> None:
        """Copy values in, by name. ``strict``: raise ShapeError for a missing or unknown name instead of skipping it.

        Raises ShapeError for another shape or dtype in any case. Nothing is changed when an error is raised.
        """
        load_state(self, state, strict)

    def counters(self) -> dict[str, int]:
        """The counters of all layers, such as ``dropout_1.step``: checkpoints store them, model files do not."""
        found = ((name, layer.counters()) for name, layer in self.layers.items())
        return {f"{name}.{own}": value for name, counters in found for own, value in counters.items()}

    def load_counters(self, counters: dict[str, int]) -> None:
        super().load_counters(counters)
        for name, layer in self.layers.items():
            layer.load_counters({own: counters[f"{name}.{own}"] for own in layer.counters()})

    # -------------------------------------------------------------------------------------------- transfer learning

    def freeze_only(self, *names: str) -> Self:
        """Freeze the layers with these names, and unfreeze all others; ``conv2d_*`` matches all that begin so.

        Raises SettingError for a name that matches no layer with parameters.
        """
        freeze_only(self.layers, *names)
        return self

    def head(self) -> str:
        """The name of the last layer with parameters; raises SettingError unless it is a Dense layer."""
        return head_name(self.layers)

    def with_head(self, classes: int, *, seed: int = 0) -> "Sequential":
        """A copy for ``classes`` classes: its last Dense layer is new, everything else is as here, frozen or not.

        ``seed`` fixes the new weights and new dropout masks. Raises SettingError when the last layer with parameters is
        not a Dense layer, or ``classes`` is not a whole number above 0.
        """
        changed = copy.deepcopy(self)
        rng = np.random.default_rng(seed)
        changed.output_shape = replace_head(changed.layers, classes, self.input_shape, rng, self.dtype)
        changed._metadata.class_names = None  # those of the old classes
        return changed.train(self.training)

    # ----------------------------------------------------------------------------------------------------- metadata

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the K classes, by default their numbers. Kept in model files.

        Setting them raises SettingError unless they are K different printable names.
        """
        return self._metadata.class_names or default_class_names(self.output_shape)

    @class_names.setter
    def class_names(self, names: Iterable[str]) -> None:
        self._metadata.class_names = checked_class_names(names, self.output_shape)

    @property
    def pictures(self) -> str:
        """How a picture of any size becomes an input: ``drawing``, cut out and centred as in MNIST, or ``whole``.

        By default, networks for grey images take drawings. Kept in model files. None sets the default; setting anything
        else raises SettingError where it does not fit.
        """
        return self._metadata.pictures or default_pictures(self.input_shape)

    @pictures.setter
    def pictures(self, pictures: str | None) -> None:
        self._metadata.pictures = None if pictures is None else checked_pictures(pictures, self.input_shape)

    def metadata(self) -> dict[str, Any]:
        """``class_names`` and ``pictures``, each only if it was set; a model file stores them."""
        return self._metadata.given()

    # ------------------------------------------------------------------------------------------------------ display

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers.values()))}, input_shape={self.input_shape})"

    def parameter_count(self) -> int:
        """How many numbers the parameters hold, frozen ones included."""
        return sum(parameter.data.size for parameter in self.parameters())

    def summary(self) -> str:
        """A table: every layer with its output shape, parameters, operations and memory; the totals, the size."""
        buffers = sum(buffer.size for _, buffer in self.named_buffers())
        return summary(self.layers, self.input_shape, self.dtype, buffers)


def layer_names(layers: tuple[Layer, ...]) -> list[str]:
    """``conv2d_1, relu_1, conv2d_2, …``: the class of each layer and its number within the class."""
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
