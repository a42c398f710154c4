"""Initial weights: small random numbers, scaled so that signals neither vanish nor explode from layer to layer.

A unit sums ``fan_in`` inputs, so its variance grows with ``fan_in``; in the backward pass the gradient sums ``fan_out``
outputs. Glorot balances both. He compensates for the half that ReLU removes. A convolution weight ``(KH, KW, C, F)``
has ``fan_in = KH*KW*C`` and ``fan_out = KH*KW*F``. Every initializer is called as ``init(shape, rng)`` and draws in
float64 from a ``numpy.random.Generator`` on the host, so the initial weights are the same on every backend.
"""

import math
import sys
from collections.abc import Callable
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from tinycnn.errors import SettingError, ShapeError, shortened
from tinycnn.other_names.modules import missing_name, public_names

Initializer = Callable[[tuple[int, ...], np.random.Generator], np.ndarray]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """``(fan_in, fan_out)`` of a weight ``(..., in, out)``."""
    if len(_checked_shape(shape)) < 2:
        raise ShapeError(f"the shape of a weight is (..., in, out), got {shape}")
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def glorot_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Uniform weights in ±√(6 / (fan_in + fan_out)). Source: Glorot, Bengio, 2010; the default of Keras."""
    limit = math.sqrt(6 / max(sum(fans(shape)), 1))
    return _checked(rng).uniform(-limit, limit, shape)


def he_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Normal weights with variance 2 / fan_in. Source: He et al., "Delving deep into rectifiers", 2015."""
    return _checked(rng).normal(0, math.sqrt(2 / max(fans(shape)[0], 1)), shape)


def he_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Uniform weights in ±√(6 / fan_in), which have the variance 2 / fan_in too. Source: as ``he_normal``."""
    limit = math.sqrt(6 / max(fans(shape)[0], 1))
    return _checked(rng).uniform(-limit, limit, shape)


def zeros(shape: tuple[int, ...], rng: np.random.Generator | None = None) -> np.ndarray:
    """All zeros: right for biases, wrong for weights, because every unit would learn the same."""
    return np.zeros(_checked_shape(shape))


def ones(shape: tuple[int, ...], rng: np.random.Generator | None = None) -> np.ndarray:
    """All ones: the initial scale of batch norm."""
    return np.ones(_checked_shape(shape))


def _checked_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or not all(isinstance(size, Integral) and 0 <= size < 1 << 48 for size in shape):
        raise ShapeError(f"a shape is a tuple of numbers of elements, got {shortened(shape)}")
    return shape


def _checked(rng: np.random.Generator) -> np.random.Generator:
    if not isinstance(rng, np.random.Generator):
        raise SettingError(f"an initializer draws from np.random.default_rng(seed), got {shortened(rng)}")
    return rng


INITIALIZERS: dict[str, Initializer] = {
    "glorot_uniform": glorot_uniform,
    "he_normal": he_normal,
    "he_uniform": he_uniform,
    "zeros": zeros,
}


def get(name: str) -> Initializer:
    """The initializer called ``name``; raises SettingError with the list of names for an unknown one."""
    if not isinstance(name, str) or name not in INITIALIZERS:
        raise SettingError(f"unknown initializer {shortened(name)}: choose one of {', '.join(INITIALIZERS)}")
    return INITIALIZERS[name]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing_name(__name__, name, public_names(sys.modules[__name__]))
