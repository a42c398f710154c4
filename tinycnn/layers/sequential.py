"""``Sequential``: a network of consecutive layers.

The container itself is short: it names the layers, builds each for the output shape of the previous one, and runs them
in order. Other features of a network are in separate files: ``fusion.py``, ``freezing.py``, ``heads.py``,
``initial_values.py``, ``metadata.py``, ``state.py`` and ``summary.py``. The folder ``interface/`` has what no gradient
depends on: layers found by name, ``fit`` and ``predict``, arrays as inputs, and checks of mistaken uses.
"""

import copy
from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.errors import DtypeError, SettingError, ShapeError, shortened, whole_number
from tinycnn.layers import fusion
from tinycnn.layers.activations import LogSoftmax, Softmax
from tinycnn.layers.base import Layer, Shape
from tinycnn.layers.building import building
from tinycnn.layers.freezing import freeze_only
from tinycnn.layers.further.activations import Sigmoid
from tinycnn.layers.heads import head_name, last_layer, replace_head
from tinycnn.layers.initial_values import check_all_used
from tinycnn.layers.interface.built import check_each_once
from tinycnn.layers.interface.by_name import LayersByName
from tinycnn.layers.interface.fitting import Fitting
from tinycnn.layers.interface.inputs import as_input
from tinycnn.layers.metadata import (
    Metadata,
    checked_class_names,
    checked_outputs,
    checked_pictures,
    checked_pixels,
    default_class_names,
    default_outputs,
    default_pictures,
    default_pixels,
)
from tinycnn.layers.state import checked_state, copied_state, load_state
from tinycnn.layers.summary import summary
from tinycnn.other_names.arguments import named_arguments, not_a_layer
from tinycnn.tensor import Tensor


class NotBuiltError(SettingError, AttributeError):
    """A network that is not built has no shapes and parameters yet."""

    def __init__(self) -> None:
        super().__init__(
            "Sequential without `input_shape` is a part of another network: give `input_shape=(H, W, C)`, the shape of "
            "one image, or put it into a network that has one"
        )


class Sequential(Fitting, Layer):
    """A network of consecutive layers, built for images of ``input_shape (H, W, C)`` (or rows ``(in,)``).

    ``seed`` determines the initial weights and dropout masks, ``dtype`` is float32 or float64. Each layer is named by
    its class and number (``conv2d_1``, ``dense_2``); parameters have names such as ``conv2d_1.weight``. ``fuse=False``
    runs every layer separately (see ``fusion.py``). ``state`` provides the initial values instead of random ones; it
    must have exactly the names, shapes and dtypes that ``state_dict`` returns. Raises ShapeError, naming the layer,
    when the layers are incompatible.

    Without ``input_shape``, the network is a part of a layer or of another network, which builds it: ``seed``,
    ``dtype`` and ``state`` are then those of the outer one.
    """

    allocates_output = False

    def __init__(
        self,
        *layers: Layer,
        input_shape: Shape | None = None,
        seed: int = 0,
        dtype: Any = np.float32,
        fuse: bool = True,
        state: dict[str, np.ndarray] | None = None,
    ) -> None:
        super().__init__()
        self.fuse = fuse
        self.layers = LayersByName(zip(layer_names(layers), layers, strict=True))
        self._plan, self._metadata = fusion.PlanCache(), Metadata()
        if not fuse:
            for inner in (inner for _, inner in self.all_layers() if isinstance(inner, Sequential)):
                inner.fuse = False
        self.is_part = input_shape is None  # of a layer or network, which builds it
        if input_shape is not None:
            self.input_shape, self.dtype = _checked_shape(input_shape), _checked_dtype(dtype)
            self.initial_values = None if state is None else checked_state(state)
            self.output_shape = self._build(np.random.default_rng(whole_number("seed", seed)))
            check_all_used(self.initial_values)
            self.initial_values = None
        elif state is not None:
            raise SettingError("Sequential: `state` needs `input_shape`, the shape of one image (H, W, C)")

    def sublayers(self) -> dict[str, Layer]:
        return dict(self.layers.items())

    def flops(self, input_shape: Shape) -> int:
        return 0  # its layers are counted separately

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        if "output_shape" not in vars(self):
            raise NotBuiltError  # an optimizer made from an empty list would train nothing
        return super().named_parameters()

    def _build(self, rng: np.random.Generator) -> Shape:
        """Build every layer for the output shape of the previous layer; returns the last output shape."""
        shape = self.input_shape
        with building(self, rng, self.dtype) as build_inner:
            for layer in self.layers.values():
                shape = build_inner(layer, shape)
        return shape

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        """Build a network without an input shape; one that has its own must be for the same images and dtype.

        Raises ShapeError if it is not.
        """
        if not self.is_part and (input_shape, dtype) != (self.input_shape, self.dtype):
            raise ShapeError(f"it was built for {self.dtype} {self.input_shape}, but receives {dtype} {input_shape}")
        if self.is_part or self.initial_values:
            self.input_shape, self.dtype = input_shape, dtype
            self.output_shape = self._build(rng)
        return self.output_shape

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Called for an attribute that is missing, such as the shapes of a part that is not built."""
            needs_shape = isinstance(getattr(type(self), name, None), property)
            if name in ("input_shape", "output_shape", "dtype") or needs_shape:
                raise NotBuiltError
            return super().__getattr__(name)

    def __call__(self, x: Tensor | Array) -> Tensor:
        """``x (N, *input_shape)`` → ``(N, *output_shape)``, for an array as ``predict`` takes it, or a Tensor.

        An array is converted to ``dtype``, and integers are bytes, which are divided by 255 unless ``pixels`` is
        ``0..255``. Raises DataError where ``predict`` does. A Tensor is taken as it is.
        """
        return super().__call__(as_input(self, x))

    def forward(self, x: Tensor) -> Tensor:
        """``x (N, *input_shape)`` → ``(N, *output_shape)``."""
        return self._run(x, self._steps())

    def logits(self, x: Tensor) -> Tensor:
        """The scores before a final Softmax, LogSoftmax or Sigmoid: ``(N, *input_shape)`` → ``(N, K)``."""
        steps, last = self._steps(), self.layers[-1]
        if isinstance(last, Sequential):
            return last.logits(self._run(x, steps[:-1]))
        without_last = isinstance(last, Softmax | LogSoftmax | Sigmoid)  # no fused step contains one of these
        return self._run(x, steps[:-1] if without_last else steps)

    def _steps(self) -> list[fusion.Step]:
        """The layers themselves, or a shorter list of fused steps if the backend has fused kernels (float32 only)."""
        layers = list(self.layers.values())
        return self._plan.steps(layers, get_backend()) if self.fuse and self.dtype == np.float32 else [*layers]

    def _run(self, x: Tensor, steps: list[fusion.Step]) -> Tensor:
        x = as_input(self, x)
        if x.shape[1:] != self.input_shape:
            expected = ", ".join(map(str, ("N", *self.input_shape)))
            raise ShapeError(f"the network takes images of shape ({expected}), got {x.shape}")
        for step in steps:
            x = step(x)
        return x

    # ------------------------------------------------------------------------------------------------- saved state

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers on the host, by name."""
        return copied_state(self)

    def load_state_dict(self, state: dict[str, np.ndarray], strict: bool = True) -> None:
        """Load values by name. ``strict``: raise ShapeError for a missing or unknown name instead of skipping it.

        Always raises ShapeError for a different shape or dtype, and if no name is known. Nothing is changed when an
        error is raised.
        """
        load_state(self, state, strict)

    # -------------------------------------------------------------------------------------------- transfer learning

    def freeze_only(self, *names: str) -> Self:
        """Freeze the layers with these names, and unfreeze all others; ``conv2d_*`` matches by prefix.

        Raises SettingError for a name that matches no layer with parameters.
        """
        freeze_only(self.layers, *names)
        return self

    def head(self) -> str:
        """The name of the last layer with parameters; raises SettingError unless it is a Dense layer."""
        return head_name(self.layers)

    @named_arguments
    def with_head(self, classes: int, *, seed: int = 0) -> "Sequential":
        """A copy for ``classes`` classes: its last Dense layer is new; all else, frozen layers included, is copied.

        ``seed`` determines the new weights and dropout masks. Raises SettingError when the last layer with parameters
        is not a Dense layer, or ``classes`` is not a positive integer.
        """
        changed = copy.deepcopy(self)
        rng = np.random.default_rng(whole_number("seed", seed))
        changed.output_shape = replace_head(changed.layers, classes, self.input_shape, rng, self.dtype)
        changed._metadata = Metadata()  # the names belong to the old classes, and `fit` states the rest anew
        changed._metadata.pixels = self._metadata.pixels
        return changed.train(self.training)

    # ----------------------------------------------------------------------------------------------------- metadata

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the K classes, by default their numbers. Stored in model files.

        Setting them raises SettingError unless they are K distinct printable names. A network with a single output that
        is a label, see ``outputs``, has two classes.
        """
        return self._metadata.class_names or default_class_names(self.output_shape, self.outputs)

    @class_names.setter
    def class_names(self, names: Iterable[str]) -> None:
        self._metadata.class_names = checked_class_names(names, self.output_shape)

    @property
    def outputs(self) -> str:
        """What the K outputs mean: ``classes`` (an image is of one), ``labels`` (each is yes or no), or ``numbers``.

        The commands and `tinycnn.train.predictions` make probabilities of them accordingly. ``fit`` states it by the
        loss. The default is ``labels`` after a final Sigmoid, ``numbers`` for a single output without one, and
        otherwise ``classes``. Stored in model files. None restores the default; an invalid value raises SettingError.
        """
        names = self._metadata.class_names
        return self._metadata.outputs or default_outputs(last_layer(self.layers), self.output_shape, names)

    @outputs.setter
    def outputs(self, outputs: str | None) -> None:
        last = last_layer(self.layers)
        self._metadata.outputs = None if outputs is None else checked_outputs(outputs, last, self.output_shape)

    @property
    def pictures(self) -> str:
        """How an image of any size becomes an input: ``drawing`` (cropped and centred as in MNIST) or ``whole``.

        ``fit`` states it for greyscale images, if it is not set: ``drawing`` if the training images have the size and
        the place of MNIST's. The default is ``drawing`` for ten digits in grey, otherwise ``whole``. Stored in model
        files. None restores the default; an invalid value raises SettingError.
        """
        return self._metadata.pictures or default_pictures(self.input_shape, self.class_names)

    @pictures.setter
    def pictures(self, pictures: str | None) -> None:
        self._metadata.pictures = None if pictures is None else checked_pictures(pictures, self.input_shape)

    @property
    def pixels(self) -> str:
        """The numbers that the network takes for black and white: ``0..1`` (bytes divided by 255), ``0..255``, ...

        The default is ``0..255`` if the network starts with a Rescaling layer that multiplies, otherwise ``0..1``.
        Stored in model files. None restores the default; an invalid value raises SettingError.
        """
        return self._metadata.pixels or default_pixels(next(iter(self.layers.values())))

    @pixels.setter
    def pixels(self, pixels: str | None) -> None:
        self._metadata.pixels = None if pixels is None else checked_pixels(pixels)

    def metadata(self) -> dict[str, Any]:
        """``class_names``, ``outputs``, ``pictures`` and ``pixels``, each only if it is set, as in model files."""
        return self._metadata.as_dict()

    # ------------------------------------------------------------------------------------------------------ display

    def __repr__(self) -> str:
        shape = [] if self.is_part else [f"input_shape={self.input_shape}"]
        return f"Sequential({', '.join([*map(repr, self.layers.values()), *shape])})"

    def parameter_count(self) -> int:
        """The total number of parameter values, including frozen ones."""
        return sum(parameter.data.size for parameter in self.parameters())

    def summary(self) -> str:
        """A table of the output shape, parameters, operations and memory of each layer, with totals and size."""
        buffers = sum(buffer.size for _, buffer in self.named_buffers())
        return summary(self.layers, self.input_shape, self.dtype, buffers)


def layer_names(layers: tuple[Layer, ...], container: str = "Sequential") -> list[str]:
    """``conv2d_1, relu_1, conv2d_2, …``: the class of each layer and its number within the class.

    ``container``: the class that contains the layers, for messages.
    """
    for layer in layers:
        if not isinstance(layer, Layer):
            raise SettingError(
                f"{container} takes layers such as Conv2d(32), got {shortened(layer)}{not_a_layer(layer, container)}"
            )
    check_each_once(container, layers)
    seen: dict[str, int] = {}
    names = []
    for name in (type(layer).__name__.lower() for layer in layers):
        seen[name] = seen.get(name, 0) + 1
        names.append(f"{name}_{seen[name]}")
    return names


def _checked_shape(input_shape: Shape) -> Shape:
    shape = tuple(input_shape) if isinstance(input_shape, tuple | list) else ()
    if not shape or not all(isinstance(size, Integral) and size > 0 for size in shape):
        raise ShapeError(f"`input_shape={shortened(input_shape)}`: expected positive integers, (H, W, C) or (in,)")
    return tuple(map(int, shape))


def _checked_dtype(dtype: Any) -> np.dtype:
    try:
        checked = np.dtype(dtype)
    except TypeError:
        raise DtypeError(f"`dtype={shortened(dtype)}`: expected float32 or float64") from None
    if checked not in (np.float32, np.float64):
        raise DtypeError(f"`dtype={checked}`: expected float32 or float64")
    return checked
