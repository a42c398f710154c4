"""The fusion step: which neighbouring layers of a ``Sequential`` the active backend can compute as one function.

``plan(layers, backend)`` turns a list of layers into a list of steps; each step takes a tensor and returns one. A layer
that no rule below covers is its own step. On a backend without fused kernels, with ``Sequential(fuse=False)``, or in
float64, every layer is, and the network runs as it is written.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from tinycnn.backends.array_types import Array, Pool
from tinycnn.backends.base import Backend
from tinycnn.backends.fused_kernels import FusedKernels
from tinycnn.distributed.sharding import current_shard
from tinycnn.layers.activations import ReLU
from tinycnn.layers.base import Layer
from tinycnn.layers.convolution import Conv2d
from tinycnn.layers.dense import Dense
from tinycnn.layers.normalization import BatchNorm
from tinycnn.layers.pooling import MaxPool2d
from tinycnn.ops.batch_norm import check_not_empty
from tinycnn.ops.fused import FusedConvFunction, FusedConvNormFunction, FusedDenseFunction, FusedNormFunction
from tinycnn.ops.running_statistics import update_statistics
from tinycnn.tensor import Tensor

Step = Callable[[Tensor], Tensor]
Rule = tuple[list[type[Layer]], Callable[..., Step]]  # layers covered, what makes the step
NO_POOL: Pool = ((1, 1), (1, 1))
MOST_PLACES = 254  # in a pool window: fused kernels note the winner in one byte


def plan(layers: Sequence[Layer], backend: Backend) -> list[Step]:
    """The steps that compute ``layers`` on ``backend``: at each place the first of the ``rules`` that fits."""
    return [step for step, _ in plan_with_layers(layers, backend)]


def plan_with_layers(layers: Sequence[Layer], backend: Backend) -> Iterator[tuple[Step, list[Layer]]]:
    """The steps, each with the layers that it covers."""
    rest, usable = list(layers), rules(_kernels(backend))
    while rest:
        step, used = _next_step(rest, usable)
        yield step, rest[:used]
        rest = rest[used:]


def _kernels(backend: Backend) -> FusedKernels:
    """The fused kernels that may be used now."""
    if current_shard() and not backend.fused_norm_over_ranks:
        return dataclasses.replace(backend.fused, norm_forward=None, conv_norm_forward=None)
    return backend.fused


def _next_step(layers: list[Layer], usable: list[Rule]) -> tuple[Step, int]:
    """The step that begins with the first layer, and how many layers it covers."""
    for kinds, make_step in usable:
        run = layers[: len(kinds)]
        if [type(layer) for layer in run] == kinds and all(map(_can_be_fused, run)):
            return make_step(*run), len(kinds)
    return layers[0], 1


def _can_be_fused(layer: Layer) -> bool:
    """What the fused kernels ask of a layer, beyond its kind."""
    match layer:
        case Conv2d() | Dense():
            return layer.bias
        case MaxPool2d():
            return layer.padding == (0, 0) and layer.kernel_size[0] * layer.kernel_size[1] <= MOST_PLACES
        case BatchNorm():
            return len(layer.output_shape) == 3
    return True


def conv_step(conv: Conv2d, relu: ReLU | None = None, pool: MaxPool2d | None = None) -> Step:
    """Convolution, then what is given."""
    weight, bias = conv.parameters()
    window = (pool.kernel_size, pool.stride) if pool else None
    return lambda x: FusedConvFunction(conv.stride, conv.padding, relu is not None, window)(x, weight, bias)


def dense_step(dense: Dense, relu: ReLU | None = None) -> Step:
    """Dense layer, then ReLU if given."""
    weight, bias = dense.parameters()
    return lambda x: FusedDenseFunction(relu is not None)(x, weight, bias)


def norm_step(norm: BatchNorm, pool: MaxPool2d | None = None) -> Step:
    """Batch normalisation, then max-pool if given."""
    gamma, beta = norm.parameters()
    window = (pool.kernel_size, pool.stride) if pool else NO_POOL

    def step(x: Tensor) -> Tensor:
        return _with_statistics(norm, FusedNormFunction(*_statistics(norm), norm.eps, window), x, gamma, beta)

    return step


def conv_norm_step(conv: Conv2d, relu: ReLU, norm: BatchNorm, pool: MaxPool2d | None = None) -> Step:
    """Convolution, ReLU and batch normalisation, then max-pool if given."""
    weight, bias, gamma, beta = *conv.parameters(), *norm.parameters()
    window = (pool.kernel_size, pool.stride) if pool else NO_POOL

    def step(x: Tensor) -> Tensor:
        function = FusedConvNormFunction(conv.stride, conv.padding, *_statistics(norm), norm.eps, window)
        return _with_statistics(norm, function, x, weight, bias, gamma, beta)

    return step


def _statistics(norm: BatchNorm) -> tuple[Array | None, Array | None]:
    """Those to normalise by: None and None for the batch's own."""
    buffers = norm.buffers_by_name
    return (None, None) if norm.uses_batch else (buffers["running_mean"], buffers["running_var"])


def _with_statistics(norm: BatchNorm, function: FusedNormFunction | FusedConvNormFunction, *inputs: Tensor) -> Tensor:
    """Run the function; where it uses the batch's statistics, let the running ones follow them."""
    if norm.uses_batch:
        check_not_empty(inputs[0])
    y = function(*inputs)
    if norm.uses_batch:
        update_statistics(**norm.buffers_by_name, mean=function.mean, var=function.var, momentum=norm.momentum)
    return y


def rules(fused: FusedKernels) -> list[Rule]:
    """Which layers become which step with these kernels, the longest run of layers first."""
    every: list[tuple[object, list[type[Layer]], Callable[..., Step]]] = [
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
    return [(kinds, make_step) for kernel, kinds, make_step in every if kernel]
