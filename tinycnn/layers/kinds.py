"""The layers: operations of ``ops/`` that own their parameters."""

import math

import numpy as np

from tinycnn import initializers, ops
from tinycnn.backends.base import Pair, window_grid
from tinycnn.errors import SettingError, ShapeError
from tinycnn.layers.base import Layer, Shape, positive, register_layer, yes_or_no
from tinycnn.ops.windows import as_pair, check_window, pool_window
from tinycnn.tensor import Tensor


@register_layer
class Conv2d(Layer):
    """Learned filters slide over the image: ``(H, W, C)`` → ``(OH, OW, filters)``. See ``ops/conv2d.py``.

    Raises SettingError for settings out of range, ShapeError when the window does not fit into the image.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Pair = 3,
        *,
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
        self.bias, self.initializer = yes_or_no("Conv2d", "bias", bias), initializer
        self._initialize = initializers.get(initializer)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        check_window("Conv2d", (1, *input_shape), self.kernel_size, self.stride, self.padding)
        weight_shape = (*self.kernel_size, input_shape[2], self.filters)  # (KH, KW, C, F)
        self._add_parameter("weight", weight_shape, self._initialize, rng, dtype)
        if self.bias:
            self._add_parameter("bias", (self.filters,), initializers.zeros, rng, dtype)
        return (*window_grid((1, *input_shape), self.kernel_size, self.stride, self.padding), self.filters)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.parameters_by_name["weight"], self.parameters_by_name.get("bias")
        return ops.conv2d(x, weight, bias, stride=self.stride, padding=self.padding)


class _Pool2d(Layer):
    """What the two kinds of pooling share: ``(H, W, C)`` → ``(OH, OW, C)``; ``stride`` is ``kernel_size`` if None."""

    def __init__(self, kernel_size: int | Pair = 2, stride: int | Pair | None = None, padding: int | Pair = 0) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = pool_window(type(self).__name__, kernel_size, stride, padding)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        check_window(type(self).__name__, (1, *input_shape), self.kernel_size, self.stride, self.padding)
        return (*window_grid((1, *input_shape), self.kernel_size, self.stride, self.padding), input_shape[2])


@register_layer
class MaxPool2d(_Pool2d):
    """The largest value of each window: ``(H, W, C)`` → ``(OH, OW, C)``. See ``ops/max_pool2d.py``.

    ``stride`` is ``kernel_size`` if None. Raises SettingError and ShapeError as Conv2d does.
    """

    def forward(self, x: Tensor) -> Tensor:
        return ops.max_pool2d(x, kernel_size=self.kernel_size, stride=self.stride, padding=self.padding)


@register_layer
class AvgPool2d(_Pool2d):
    """The mean of each window: ``(H, W, C)`` → ``(OH, OW, C)``. See ``ops/avg_pool2d.py``; arguments as MaxPool2d."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.avg_pool2d(x, kernel_size=self.kernel_size, stride=self.stride, padding=self.padding)


@register_layer
class Dense(Layer):
    """``units`` weighted sums of all inputs: ``(in,)`` → ``(units,)``. See ``ops/dense.py``.

    Raises SettingError for ``units`` below 1, ShapeError for images that nobody has flattened.
    """

    def __init__(self, units: int, bias: bool = True, initializer: str = "he_normal") -> None:
        super().__init__()
        self.units, self.bias = positive("Dense", "units", units), yes_or_no("Dense", "bias", bias)
        self.initializer = initializer
        self._initialize = initializers.get(initializer)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        if len(input_shape) != 1:
            raise ShapeError(f"Dense({self.units}) got shape {input_shape}, expected (in,); put Flatten() before it")
        self._add_parameter("weight", (input_shape[0], self.units), self._initialize, rng, dtype)  # (in, out)
        if self.bias:
            self._add_parameter("bias", (self.units,), initializers.zeros, rng, dtype)
        return (self.units,)

    def forward(self, x: Tensor) -> Tensor:
        return ops.dense(x, self.parameters_by_name["weight"], self.parameters_by_name.get("bias"))


@register_layer
class ReLU(Layer):
    """``max(x, 0)``, any shape → the same shape. See ``ops/relu.py``."""

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
    """In training, zero each value with probability ``p``, any shape → the same shape. See ``ops/dropout.py``.

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
        self.step = self.step + 1
        return ops.dropout(x, p=self.p, key=(self.seed, self.step))

    def counters(self) -> dict[str, int]:
        return {"seed": self.seed, "step": self.step}

    def load_counters(self, counters: dict[str, int]) -> None:
        super().load_counters(counters)
        self.seed, self.step = counters["seed"], counters["step"]


@register_layer
class BatchNorm(Layer):
    """Normalise each channel over the batch, scale, shift: ``(..., C)`` → ``(..., C)``. See ``ops/batch_norm.py``.

    ``momentum`` is the weight of the new batch in the running statistics (PyTorch's meaning; Keras' 0.99 is 0.01 here).
    Frozen, it normalises by its running statistics, in training too, and does not move them.
    """

    def __init__(self, momentum: float = 0.1, eps: float = 1e-3) -> None:
        super().__init__()
        if not (0 <= momentum <= 1 and 0 < eps < math.inf):
            raise SettingError(f"BatchNorm(momentum={momentum}, eps={eps}): momentum must lie in [0, 1], eps above 0")
        self.momentum, self.eps = float(momentum), float(eps)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        channels = input_shape[-1:]
        self._add_parameter("gamma", channels, initializers.ones, rng, dtype)
        self._add_parameter("beta", channels, initializers.zeros, rng, dtype)
        self._add_buffer("running_mean", channels, initializers.zeros, rng, dtype)
        self._add_buffer("running_var", channels, initializers.ones, rng, dtype)
        return input_shape

    @property
    def uses_batch(self) -> bool:
        """Whether it normalises by the statistics of the batch, and the running ones follow."""
        return self.training and not self.frozen

    def forward(self, x: Tensor) -> Tensor:
        return ops.batch_norm(
            x,
            self.parameters_by_name["gamma"],
            self.parameters_by_name["beta"],
            **self.buffers_by_name,
            training=self.uses_batch,
            momentum=self.momentum,
            eps=self.eps,
        )


@register_layer
class Rescaling(Layer):
    """``x * scale + offset``, any shape → the same shape: lets a network take raw pixels, 0 to 255."""

    def __init__(self, scale: float, offset: float = 0.0) -> None:
        super().__init__()
        self.scale, self.offset = float(scale), float(offset)
        if not (math.isfinite(self.scale) and math.isfinite(self.offset)):
            raise SettingError(f"Rescaling(scale={scale}, offset={offset}): expected finite numbers")

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.offset if self.offset else x * self.scale


@register_layer
class Softmax(Layer):
    """Probabilities over the last axis: ``(..., K)`` → ``(..., K)``. See ``ops/softmax.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.softmax(x)


@register_layer
class LogSoftmax(Layer):
    """Logarithms of probabilities over the last axis: ``(..., K)`` → ``(..., K)``. See ``ops/softmax.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.log_softmax(x)
