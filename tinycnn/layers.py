"""Layers: operations that own their parameters, and ``Sequential``, which chains them into a network.

A layer is built once, when the network is: it learns the shape of its input (without the batch axis), draws its
parameters, and answers the shape of its output. So a wrong architecture fails with one sentence before training starts.
"""

import inspect
import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from tinycnn import initializers, ops
from tinycnn.backends import get_backend
from tinycnn.backends.base import Array, Pair, window_grid
from tinycnn.errors import SettingError, ShapeError
from tinycnn.ops.windows import as_pair, check_pool_padding, check_window
from tinycnn.tensor import Tensor

Shape = tuple[int, ...]


class Layer:
    """Base class: parameters (trained), buffers (remembered), ``training`` mode, and the settings it was made with.

    A subclass stores its ``__init__`` arguments under their own names, and defines ``build`` and ``forward``.
    """

    registry: ClassVar[dict[str, type["Layer"]]] = {}  # the closed list of layers that a model file may name
    output_shape: Shape

    def __init__(self) -> None:
        self.parameters_by_name: dict[str, Tensor] = {}
        self.buffers_by_name: dict[str, Array] = {}
        self.training = True

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        """Draw the parameters for ``input_shape`` (without N) and return the output shape (without N)."""
        return input_shape

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.parameters_by_name.items()

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        yield from self.buffers_by_name.items()

    def parameters(self) -> list[Tensor]:
        return [parameter for _, parameter in self.named_parameters()]

    def train(self, mode: bool = True) -> "Layer":
        """Training mode: dropout drops, batch norm uses the batch."""
        self.training = mode
        return self

    def eval(self) -> "Layer":
        """Evaluation mode: dropout does nothing, batch norm uses its running statistics."""
        return self.train(False)

    def zero_grad(self) -> None:
        for parameter in self.parameters():
            parameter.zero_grad()

    def settings(self) -> dict[str, Any]:
        """The ``__init__`` arguments, as plain numbers and strings: enough to make the layer again."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.settings().items())})"

    def _add_parameter(self, name: str, values: np.ndarray, dtype: np.dtype) -> None:
        host = np.ascontiguousarray(values, dtype=dtype)
        self.parameters_by_name[name] = Tensor(get_backend().asarray(host), requires_grad=True)


def register_layer(cls: type[Layer]) -> type[Layer]:
    """Class decorator: allow model files to name this layer."""
    Layer.registry[cls.__name__] = cls
    return cls


@register_layer
class Conv2d(Layer):
    """``filters`` learned filters slide over the image: ``(H, W, C)`` → ``(OH, OW, filters)``. See ``ops/conv2d.py``."""

    def __init__(
        self,
        filters: int,
        kernel_size: int | Pair = 3,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        bias: bool = True,
        initializer: str = "he_normal",
    ) -> None:
        super().__init__()
        self.filters = positive("Conv2d", "filters", filters)
        self.kernel_size = as_pair(kernel_size, "kernel_size", minimum=1)
        self.stride = as_pair(stride, "stride", minimum=1)
        self.padding = as_pair(padding, "padding", minimum=0)
        self.bias, self.initializer = bias, initializer
        self._initialize = initializers.get(initializer)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        check_window("Conv2d", (1, *input_shape), self.kernel_size, self.stride, self.padding)
        weight_shape = (*self.kernel_size, input_shape[2], self.filters)  # (KH, KW, C, F)
        self._add_parameter("weight", self._initialize(weight_shape, rng), dtype)
        if self.bias:
            self._add_parameter("bias", np.zeros(self.filters), dtype)
        return (*window_grid((1, *input_shape), self.kernel_size, self.stride, self.padding), self.filters)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.parameters_by_name["weight"], self.parameters_by_name.get("bias")
        return ops.conv2d(x, weight, bias, stride=self.stride, padding=self.padding)


class _Pool2d(Layer):
    """What the two kinds of pooling share: ``(H, W, C)`` → ``(OH, OW, C)``; ``stride`` is ``kernel_size`` if None."""

    def __init__(
        self, kernel_size: int | Pair = 2, stride: int | Pair | None = None, padding: int | Pair = 0
    ) -> None:
        super().__init__()
        self.kernel_size = as_pair(kernel_size, "kernel_size", minimum=1)
        self.stride = self.kernel_size if stride is None else as_pair(stride, "stride", minimum=1)
        self.padding = as_pair(padding, "padding", minimum=0)
        check_pool_padding(type(self).__name__, self.kernel_size, self.padding)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        check_window(type(self).__name__, (1, *input_shape), self.kernel_size, self.stride, self.padding)
        return (*window_grid((1, *input_shape), self.kernel_size, self.stride, self.padding), input_shape[2])


@register_layer
class MaxPool2d(_Pool2d):
    """The largest value of each window. See ``ops/max_pool2d.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.max_pool2d(x, kernel_size=self.kernel_size, stride=self.stride, padding=self.padding)


@register_layer
class AvgPool2d(_Pool2d):
    """The mean of each window. See ``ops/avg_pool2d.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.avg_pool2d(x, kernel_size=self.kernel_size, stride=self.stride, padding=self.padding)


@register_layer
class Dense(Layer):
    """``units`` weighted sums of all inputs: ``(in,)`` → ``(units,)``. See ``ops/dense.py``."""

    def __init__(self, units: int, bias: bool = True, initializer: str = "he_normal") -> None:
        super().__init__()
        self.units, self.bias, self.initializer = positive("Dense", "units", units), bias, initializer
        self._initialize = initializers.get(initializer)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        if len(input_shape) != 1:
            raise ShapeError(f"Dense({self.units}) got inputs of shape {input_shape}, expected (in,); put Flatten() before it")
        self._add_parameter("weight", self._initialize((input_shape[0], self.units), rng), dtype)  # (in, out)
        if self.bias:
            self._add_parameter("bias", np.zeros(self.units), dtype)
        return (self.units,)

    def forward(self, x: Tensor) -> Tensor:
        return ops.dense(x, self.parameters_by_name["weight"], self.parameters_by_name.get("bias"))


@register_layer
class ReLU(Layer):
    """``max(x, 0)``. See ``ops/relu.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.relu(x)


@register_layer
class Flatten(Layer):
    """Images to rows: ``(H, W, C)`` → ``(H*W*C,)``."""

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        return (math.prod(input_shape),)

    def forward(self, x: Tensor) -> Tensor:
        return ops.flatten(x)


@register_layer
class Dropout(Layer):
    """In training, zero each value with probability ``p``. See ``ops/dropout.py``.

    ``seed`` is drawn when the network is built; ``step`` counts the masks used so far. Both together fix the next mask.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise SettingError(f"Dropout(p={p}): p must lie in [0, 1)")
        self.p = float(p)
        self.seed = self.step = 0

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        self.seed = int(rng.integers(2**63))
        return input_shape

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        self.step += 1
        return ops.dropout(x, p=self.p, key=(self.seed, self.step))


@register_layer
class BatchNorm(Layer):
    """Normalise each channel over the batch, then scale and shift: ``(..., C)`` → ``(..., C)``. See ``ops/batch_norm.py``.

    ``momentum`` is the weight of the new batch in the running statistics (PyTorch's meaning; Keras' 0.99 is 0.01 here).
    """

    def __init__(self, momentum: float = 0.1, eps: float = 1e-3) -> None:
        super().__init__()
        if not (0 <= momentum <= 1 and eps > 0):
            raise SettingError(f"BatchNorm(momentum={momentum}, eps={eps}): momentum must lie in [0, 1], eps above 0")
        self.momentum, self.eps = float(momentum), float(eps)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        channels = input_shape[-1]
        self._add_parameter("gamma", np.ones(channels), dtype)
        self._add_parameter("beta", np.zeros(channels), dtype)
        backend = get_backend()
        self.buffers_by_name["running_mean"] = backend.asarray(np.zeros(channels, dtype))
        self.buffers_by_name["running_var"] = backend.asarray(np.ones(channels, dtype))
        return input_shape

    def forward(self, x: Tensor) -> Tensor:
        return ops.batch_norm(
            x,
            self.parameters_by_name["gamma"],
            self.parameters_by_name["beta"],
            **self.buffers_by_name,
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )


@register_layer
class Rescaling(Layer):
    """``x * scale + offset``: lets a network take raw pixels, 0 to 255."""

    def __init__(self, scale: float, offset: float = 0.0) -> None:
        super().__init__()
        self.scale, self.offset = float(scale), float(offset)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.offset if self.offset else x * self.scale


@register_layer
class Softmax(Layer):
    """Probabilities over the last axis. See ``ops/softmax.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.softmax(x)


@register_layer
class LogSoftmax(Layer):
    """Logarithms of probabilities over the last axis. See ``ops/softmax.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.log_softmax(x)


class Sequential(Layer):
    """Layers one after the other, built for images of ``input_shape (H, W, C)`` (or rows ``(in,)``).

    ``seed`` fixes the initial weights and dropout masks, ``dtype`` is float32 or float64. Each layer gets a name from its
    kind and place (``conv2d_1``, ``dense_2``); parameters are called ``conv2d_1.weight``. Raises ShapeError, naming the
    layer, when the layers do not fit together.
    """

    def __init__(self, *layers: Layer, input_shape: Shape, seed: int = 0, dtype: Any = np.float32) -> None:
        super().__init__()
        self.input_shape, self.dtype = tuple(input_shape), np.dtype(dtype)
        self.layers = dict(zip(layer_names(layers), layers, strict=True))
        self.output_shape = self._build(np.random.default_rng(seed))

    def _build(self, rng: np.random.Generator) -> Shape:
        shape = self.input_shape
        for name, layer in self.layers.items():
            try:
                shape = layer.output_shape = layer.build(shape, rng, self.dtype)
            except ShapeError as error:
                raise ShapeError(f"layer {name} does not fit: {error}") from None
        return shape

    def forward(self, x: Tensor) -> Tensor:
        """``x (N, *input_shape)`` → ``(N, *output_shape)``."""
        return self._run(x, list(self.layers.values()))

    def logits(self, x: Tensor) -> Tensor:
        """The scores before a final Softmax or LogSoftmax: ``(N, *input_shape)`` → ``(N, K)``."""
        layers = list(self.layers.values())
        return self._run(x, layers[:-1] if isinstance(layers[-1], Softmax | LogSoftmax) else layers)

    def _run(self, x: Tensor, layers: list[Layer]) -> Tensor:
        x = x if isinstance(x, Tensor) else Tensor(x)
        if x.shape[1:] != self.input_shape:
            raise ShapeError(f"the network takes images of shape (N, {', '.join(map(str, self.input_shape))}), got {x.shape}")
        for layer in layers:
            x = layer(x)
        return x

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        for name, layer in self.layers.items():
            yield from ((f"{name}.{own}", parameter) for own, parameter in layer.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        for name, layer in self.layers.items():
            yield from ((f"{name}.{own}", buffer) for own, buffer in layer.named_buffers())

    def train(self, mode: bool = True) -> "Sequential":
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
        """Copy values in, by name. ``strict``: raise ShapeError when a name is missing or unknown, instead of skipping it.

        A shape that does not fit, or another dtype, is always an error. Nothing is changed when an error is raised.
        """
        targets = {name: parameter.data for name, parameter in self.named_parameters()} | dict(self.named_buffers())
        missing, unknown = targets.keys() - state.keys(), state.keys() - targets.keys()
        if strict and (missing or unknown):
            raise ShapeError(f"load_state_dict: missing {sorted(missing)}, unknown {sorted(unknown)}")
        common = [name for name in targets if name in state]
        for name in common:
            _check_same(name, state[name], targets[name])
        for name in common:
            targets[name][...] = get_backend().asarray(np.asarray(state[name]))

    def parameter_count(self) -> int:
        return sum(parameter.data.size for parameter in self.parameters())

    def summary(self) -> str:
        """A table: every layer with its output shape and number of parameters, the totals, the size in memory."""
        rows = [("layer", "output shape", "parameters"), ("input", str(("N", *self.input_shape)).replace("'", ""), "")]
        for name, layer in self.layers.items():
            count = sum(parameter.data.size for parameter in layer.parameters())
            rows.append((f"{name} {_short(layer)}", str(("N", *layer.output_shape)).replace("'", ""), f"{count:,}"))
        buffers = sum(buffer.size for _, buffer in self.named_buffers())
        size_kib = (self.parameter_count() + buffers) * self.dtype.itemsize / 1024
        total = f"{self.parameter_count():,} trainable parameters"
        total += f" and {buffers:,} running statistics" if buffers else ""
        return "\n".join([*_table(rows), f"{total}, {self.dtype}, {size_kib:,.1f} KiB"])


def layer_names(layers: tuple[Layer, ...]) -> list[str]:
    """``conv2d_1, relu_1, conv2d_2, …``: the kind of each layer and its number among its kind."""
    seen: dict[str, int] = {}
    for layer in layers:
        if not isinstance(layer, Layer):
            raise SettingError(f"Sequential takes layers such as Conv2d(32), got {layer!r}")
    names = []
    for kind in (type(layer).__name__.lower() for layer in layers):
        seen[kind] = seen.get(kind, 0) + 1
        names.append(f"{kind}_{seen[kind]}")
    return names


def positive(layer: str, name: str, value: int) -> int:
    """``value`` as it is; raises SettingError unless it is a whole number above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingError(f"{layer}({name}={value!r}): expected a whole number above 0")
    return value


def _check_same(name: str, value: np.ndarray, target: Array) -> None:
    if value.shape != target.shape or value.dtype != target.dtype:
        raise ShapeError(
            f"load_state_dict: {name} is {value.dtype} {value.shape}, the network has {target.dtype} {target.shape}"
        )


def _short(layer: Layer) -> str:
    """The settings worth a place in the summary: those of windows and dropout."""
    shown = {"kernel_size": "x".join, "p": str}
    settings = {k: v for k, v in layer.settings().items() if k in shown}
    return " ".join("x".join(map(str, v)) if isinstance(v, tuple) else f"{k}={v}" for k, v in settings.items())


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    """Rows of text as aligned lines, with rules below the head and at the end."""
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}".rstrip() for a, b, c in rows]
    rule = "-" * (sum(widths) + 4)
    return [lines[0], rule, *lines[1:], rule]
