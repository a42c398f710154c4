"""Fusion: which adjacent layers of a ``Sequential`` the active backend computes as one function.

``plan(layers, backend)`` turns a list of layers into a list of steps; each step takes a tensor and returns one. A layer
that matches no rule below is its own step. On a backend without fused kernels, with ``Sequential(fuse=False)``, or in
float64, every layer is its own step. Steps read the parameters, settings and modes of their layers when they run, so a
plan stays valid while layers are trained, frozen or switched to evaluation.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tinycnn.backends import get_backend
from tinycnn.backends.array_types import Array, Pool
from tinycnn.backends.base import Backend
from tinycnn.backends.fused_kernels import MAX_POOL_PIXELS, FusedKernels
from tinycnn.distributed.sharding import current_shard
from tinycnn.layers.activations import ReLU
from tinycnn.layers.base import Layer
from tinycnn.layers.convolution import Conv2d
from tinycnn.layers.dense import Dense
from tinycnn.layers.interface.one_number import note_one_number
from tinycnn.layers.normalization import BatchNorm
from tinycnn.layers.pooling import MaxPool2d
from tinycnn.ops.batch_norm import check_not_empty
from tinycnn.ops.fused import FusedConvFunction, FusedConvNormFunction, FusedDenseFunction, FusedNormFunction
from tinycnn.ops.running_statistics import update_statistics
from tinycnn.ops.windows.edges import even_padding
from tinycnn.ops.windows.padding import NO_PADS
from tinycnn.tensor import Tensor

Step = Callable[[Tensor], Tensor]
Rule = tuple[list[type[Layer]], Callable[..., Step]]  # classes of the layers, function that returns the step
NO_POOL: Pool = ((1, 1), (1, 1))


def plan(layers: Sequence[Layer], backend: Backend) -> list[Step]:
    """The steps that compute ``layers`` on ``backend``, each from the first rule in ``rules`` that matches."""
    return [step for step, _ in plan_with_layers(layers, backend)]


def plan_with_layers(layers: Sequence[Layer], backend: Backend) -> Iterator[tuple[Step, list[Layer]]]:
    """The steps, each with the layers that it covers."""
    rest, active_rules = list(layers), rules(_kernels(backend))
    while rest:
        step, used = _next_step(rest, active_rules)
        yield step, rest[:used]
        rest = rest[used:]


def _kernels(backend: Backend) -> FusedKernels:
    """The fused kernels that can currently be used."""
    if current_shard() and not backend.fused_norm_over_ranks:
        return dataclasses.replace(backend.fused, norm_forward=None, conv_norm_forward=None)
    return backend.fused


class PlanCache:
    """Caches the plan of a network, and rebuilds it when something that it depends on has changed.

    A plan depends on the layers, on the settings that fused kernels restrict, and on the kernels. A copied or unpickled
    network starts without a cached plan, because the steps refer to the original layers.
    """

    def __init__(self) -> None:
        self._cached: tuple[Any, list[Step]] = (None, [])

    def __reduce__(self) -> tuple[type["PlanCache"], tuple[()]]:
        return PlanCache, ()

    def steps(self, layers: Sequence[Layer], backend: Backend) -> list[Step]:
        """``plan(layers, backend)``, from the cache if it is still valid."""
        key = (_kernels(backend), *((layer, can_be_fused(layer)) for layer in layers))
        cached_key, steps = self._cached
        if cached_key != key:
            steps = plan(layers, backend)
            self._cached = key, steps
        return steps


def _next_step(layers: list[Layer], active_rules: list[Rule]) -> tuple[Step, int]:
    """The step that starts with the first layer, and the number of layers that it covers."""
    for layer_types, make_step in active_rules:
        run = layers[: len(layer_types)]
        if [type(layer) for layer in run] == layer_types and all(map(can_be_fused, run)):
            return make_step(*run), len(layer_types)
    return layers[0], 1


def can_be_fused(layer: Layer) -> bool:
    """Whether fused kernels support the settings of a layer."""
    match layer:
        case Conv2d():
            return layer.groups == 1 and layer.dilation == (1, 1)
        case Dense():
            return layer.bias
        case MaxPool2d():
            return layer.pads == NO_PADS and layer.kernel_size[0] * layer.kernel_size[1] <= MAX_POOL_PIXELS
        case BatchNorm():
            return len(layer.output_shape) == 3
    return True


def conv_step(conv: Conv2d, relu: ReLU | None = None, pool: MaxPool2d | None = None) -> Step:
    """Convolution, then ReLU and max-pool if given."""

    def step(x: Tensor) -> Tensor:
        x, padding = even_padding(x, conv.pads)
        function = FusedConvFunction(conv.stride, padding, relu is not None, _window(pool))
        return function(x, *_weight_and_bias(conv))

    return step


def dense_step(dense: Dense, relu: ReLU | None = None) -> Step:
    """Dense layer, then ReLU if given."""
    return lambda x: FusedDenseFunction(relu is not None)(x, *_arrays(dense))


def norm_step(norm: BatchNorm, pool: MaxPool2d | None = None) -> Step:
    """Batch normalisation, then max-pool if given."""

    def step(x: Tensor) -> Tensor:
        function = FusedNormFunction(*_statistics(norm), norm.eps, _window(pool) or NO_POOL)
        return _with_statistics(norm, function, x, *_arrays(norm))

    return step


def conv_norm_step(conv: Conv2d, relu: ReLU, norm: BatchNorm, pool: MaxPool2d | None = None) -> Step:
    """Convolution, ReLU and batch normalisation, then max-pool if given."""

    def step(x: Tensor) -> Tensor:
        window = _window(pool) or NO_POOL
        x, padding = even_padding(x, conv.pads)
        function = FusedConvNormFunction(conv.stride, padding, *_statistics(norm), norm.eps, window)
        return _with_statistics(norm, function, x, *_weight_and_bias(conv), *_arrays(norm))

    return step


def _arrays(layer: Layer) -> list[Tensor]:
    """The parameters of a layer without layers inside: ``parameters`` would look for some in every step."""
    return [*layer.parameters_by_name.values()]


def _weight_and_bias(conv: Conv2d) -> list[Tensor]:
    """The kernels add a bias: zeros where the layer has none, as before batch norm."""
    weight, *bias = _arrays(conv)
    return [weight, *(bias or [Tensor(get_backend().xp.zeros(conv.filters, weight.dtype))])]


def _window(pool: MaxPool2d | None) -> Pool | None:
    return (pool.kernel_size, pool.stride) if pool else None


def _statistics(norm: BatchNorm) -> tuple[Array | None, Array | None]:
    """Mean and variance for the normalisation; ``(None, None)`` for the batch statistics."""
    buffers = norm.buffers_by_name
    return (None, None) if norm.uses_batch else (buffers["running_mean"], buffers["running_var"])


def _with_statistics(norm: BatchNorm, function: FusedNormFunction | FusedConvNormFunction, *inputs: Tensor) -> Tensor:
    """Run ``function``, and update the running statistics if it uses the batch statistics."""
    if norm.uses_batch:
        check_not_empty(inputs[0])
        note_one_number((len(inputs[0]), *norm.input_shape[:-1]))
    y = function(*inputs)
    if norm.uses_batch:
        update_statistics(**norm.buffers_by_name, mean=function.mean, var=function.var, momentum=norm.momentum)
    return y


def rules(fused: FusedKernels) -> list[Rule]:
    """The fusion rules for these kernels; a longer sequence of layers precedes its prefixes."""
    candidates: list[tuple[object, list[type[Layer]], Callable[..., Step]]] = [
        (fused.conv_norm_forward, [Conv2d, ReLU, BatchNorm, MaxPool2d], conv_norm_step),
        (fused.conv_norm_forward, [Conv2d, ReLU, BatchNorm], conv_norm_step),
        (fused.conv_forward, [Conv2d, ReLU, MaxPool2d], conv_step),
        (fused.conv_forward, [Conv2d, ReLU], conv_step),
        (fused.conv_forward, [Conv2d], conv_step),
        (fused.norm_forward, [BatchNorm, MaxPool2d], norm_step),
        (fused.norm_forward, [BatchNorm], norm_step),
        (fused.dense_forward, [Dense, ReLU], dense_step),
        (fused.dense_forward, [Dense], dense_step),
    ]
    return [(layer_types, make_step) for kernel, layer_types, make_step in candidates if kernel]
