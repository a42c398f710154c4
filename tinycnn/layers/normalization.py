"""Normalisation: layers that shift and scale every channel to mean 0 and variance 1."""

import numpy as np

from tinycnn import initializers, ops
from tinycnn.errors import in_range
from tinycnn.layers.base import Layer, Shape, register_layer
from tinycnn.layers.interface.one_number import note_one_number
from tinycnn.tensor import Tensor


@register_layer
class BatchNorm(Layer):
    """Normalise each channel over the batch, scale, shift: ``(..., C)`` → ``(..., C)``. See ``ops/batch_norm.py``.

    ``momentum`` is the weight of the new batch in the running statistics, as in PyTorch; 0.99 in Keras is
    0.01 here. A frozen layer uses its running statistics even in training mode, and does not update them. Raises
    SettingError for ``momentum`` outside [0, 1] or ``eps`` that is not positive.
    """

    def __init__(self, momentum: float = 0.1, eps: float = 1e-3) -> None:
        super().__init__()
        self.momentum = in_range("BatchNorm: momentum", momentum, at_least=0, at_most=1)
        self.eps = in_range("BatchNorm: eps", eps, above=0)

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        channels = input_shape[-1:]
        self._add_parameter("gamma", channels, initializers.ones, rng, dtype)
        self._add_parameter("beta", channels, initializers.zeros, rng, dtype)
        self._add_buffer("running_mean", channels, initializers.zeros, rng, dtype)
        self._add_buffer("running_var", channels, initializers.ones, rng, dtype)
        return input_shape

    @property
    def uses_batch(self) -> bool:
        """Whether the layer normalises with the statistics of the batch and updates its running statistics."""
        return self.training and not self.frozen

    def forward(self, x: Tensor) -> Tensor:
        if self.uses_batch:
            note_one_number(x.shape[:-1])
        return ops.batch_norm(
            x,
            self.parameters_by_name["gamma"],
            self.parameters_by_name["beta"],
            **self.buffers_by_name,
            training=self.uses_batch,
            momentum=self.momentum,
            eps=self.eps,
        )
