"""Dropout, with the step counter that determines its masks."""

import numpy as np

from tinycnn import ops
from tinycnn.errors import in_range
from tinycnn.layers.base import Layer, Shape, register_layer
from tinycnn.tensor import Tensor


@register_layer
class Dropout(Layer):
    """In training, zero each value with probability ``p``, any shape → the same shape. See ``ops/dropout.py``.

    ``seed`` is drawn when the network is built, ``step`` counts the masks used; together they determine the next mask.
    Raises SettingError for ``p`` outside [0, 1).
    """

    allocates_output = False

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = in_range("Dropout: p", p, at_least=0, below=1)
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
