"""Activations with an operation in ``ops/activations/``."""

from tinycnn import ops
from tinycnn.errors import in_range
from tinycnn.layers.base import Layer, register_layer
from tinycnn.layers.interface.settings import checked_bool
from tinycnn.ops.activations.clip import checked_limits
from tinycnn.tensor import Tensor


@register_layer
class Tanh(Layer):
    """The hyperbolic tangent, any shape → the same shape. See ``ops/activations/tanh.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.tanh(x)


@register_layer
class Sigmoid(Layer):
    """``1 / (1 + e⁻ˣ)``, any shape → the same shape. See ``ops/activations/sigmoid.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.sigmoid(x)


@register_layer
class LeakyReLU(Layer):
    """``x`` where ``x > 0``, ``slope·x`` elsewhere, any shape → the same shape. See ``ops/activations/leaky_relu.py``.

    Raises SettingError for a slope that is not a finite number.
    """

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = in_range("LeakyReLU: slope", slope)

    def forward(self, x: Tensor) -> Tensor:
        return ops.leaky_relu(x, self.slope)


@register_layer
class ELU(Layer):
    """``x`` where ``x > 0``, ``alpha (eˣ - 1)`` elsewhere, any shape → the same shape. See ``ops/activations/elu.py``.

    Raises SettingError for an ``alpha`` that is not a finite number.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = in_range("ELU: alpha", alpha)

    def forward(self, x: Tensor) -> Tensor:
        return ops.elu(x, self.alpha)


@register_layer
class GELU(Layer):
    """``x Φ(x)`` with the normal distribution Φ, any shape → the same shape. See ``ops/activations/gelu.py``.

    ``approximate=True`` computes it with tanh, as GPT-2 does.
    """

    def __init__(self, approximate: bool = False) -> None:
        super().__init__()
        self.approximate = checked_bool("GELU", "approximate", approximate)

    def forward(self, x: Tensor) -> Tensor:
        return ops.gelu(x, self.approximate)


@register_layer
class SiLU(Layer):
    """``x / (1 + e⁻ˣ)``, also called swish, any shape → the same shape. See ``ops/activations/silu.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.silu(x)


@register_layer
class Softplus(Layer):
    """``log(1 + eˣ)``, any shape → the same shape. See ``ops/activations/softplus.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.softplus(x)


@register_layer
class Softsign(Layer):
    """``x / (1 + |x|)``, any shape → the same shape. See ``ops/activations/softsign.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.softsign(x)


@register_layer
class Abs(Layer):
    """``|x|``, any shape → the same shape. See ``ops/elementwise/abs.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.abs(x)


@register_layer
class HardSwish(Layer):
    """``x · min(max(x + 3, 0), 6) / 6``, any shape → the same shape. See ``ops/activations/hardswish.py``."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.hardswish(x)


@register_layer
class Clip(Layer):
    """``min(max(x, low), high)``, any shape → the same shape; ReLU6 is ``Clip(0, 6)``. See ``ops/activations/clip.py``.

    None: no limit on this side. Raises SettingError for limits that are not in increasing order, and without any.
    """

    def __init__(self, low: float | None = None, high: float | None = None) -> None:
        super().__init__()
        self.low, self.high = checked_limits("Clip", low, high)

    def forward(self, x: Tensor) -> Tensor:
        return ops.clip(x, self.low, self.high)
