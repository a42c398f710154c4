"""The fusion step: which neighbouring layers of a ``Sequential`` the active backend can compute as one function.

``plan(layers, backend)`` turns a list of layers into a list of steps; each step takes a tensor and returns one. A layer
that no rule below covers is its own step. On a backend without fused kernels, with ``Sequential(fuse=False)``, or in
float64, every layer is, and the network runs as it is written.
"""

from collections.abc import Callable, Collection, Sequence

from tinycnn.backends.base import Array, Backend
from tinycnn.layers.base import Layer
from tinycnn.layers.kinds import BatchNorm, Conv2d, Dense, MaxPool2d, ReLU
from tinycnn.ops.batch_norm import update_statistics
from tinycnn.ops.fused import FusedConvFunction, FusedConvNormFunction, FusedDenseFunction, FusedNormFunction, Pool
from tinycnn.tensor import Tensor

Step = Callable[[Tensor], Tensor]
NO_POOL: Pool = ((1, 1), (1, 1))
MOST_PLACES = 254  # fused kernels note the winner of a window in one byte


def plan(layers: Sequence[Layer], backend: Backend) -> list[Step]:
    """The steps that compute ``layers`` on ``backend``, longest fusion first."""
    steps: list[Step] = []
    rest = list(layers)
    while rest:
        step, used = _next_step(rest, backend.fused.keys())
        steps.append(step)
        rest = rest[used:]
    return steps


def _next_step(layers: list[Layer], kernels: Collection[str]) -> tuple[Step, int]:
    """The step that begins with the first layer, and how many layers it covers."""
    first, second, third, fourth = (*layers[:4], None, None, None)[:4]
    relu = isinstance(second, ReLU)
    conv_norm = relu and "conv_norm_forward" in kernels
    if conv_norm and isinstance(first, Conv2d) and first.bias and isinstance(third, BatchNorm):
        pool = _pool_of(fourth)
        return conv_norm_step(first, third, pool or NO_POOL), 3 + (pool is not None)
    if isinstance(first, Conv2d) and first.bias and "conv_forward" in kernels:
        pool = _pool_of(third) if relu else None
        return conv_step(first, relu, pool), 1 + relu + (pool is not None)
    if isinstance(first, BatchNorm) and len(first.output_shape) == 3 and "norm_forward" in kernels:
        pool = _pool_of(second)
        return norm_step(first, pool or NO_POOL), 1 + (pool is not None)
    if isinstance(first, Dense) and first.bias and "dense_forward" in kernels:
        return dense_step(first, relu), 1 + relu
    return layers[0], 1


def _pool_of(layer: Layer | None) -> Pool | None:
    """Window and stride of a max-pool that can be fused: one without padding and not too large."""
    if not isinstance(layer, MaxPool2d) or layer.padding != (0, 0):
        return None
    if layer.kernel_size[0] * layer.kernel_size[1] > MOST_PLACES:
        return None
    return layer.kernel_size, layer.stride


def conv_step(conv: Conv2d, relu: bool, pool: Pool | None) -> Step:
    """Convolution, ReLU if ``relu``, max-pool if ``pool``."""
    weight, bias = conv.parameters()
    return lambda x: FusedConvFunction(conv.stride, conv.padding, relu, pool)(x, weight, bias)


def dense_step(dense: Dense, relu: bool) -> Step:
    """Dense layer, ReLU if ``relu``."""
    weight, bias = dense.parameters()
    return lambda x: FusedDenseFunction(relu)(x, weight, bias)


def norm_step(norm: BatchNorm, pool: Pool) -> Step:
    """Batch normalisation and max-pool, of 1x1 where there is none."""
    gamma, beta = norm.parameters()

    def step(x: Tensor) -> Tensor:
        return _with_statistics(norm, FusedNormFunction(*_statistics(norm), norm.eps, pool), x, gamma, beta)

    return step


def conv_norm_step(conv: Conv2d, norm: BatchNorm, pool: Pool) -> Step:
    """Convolution, ReLU, batch normalisation and max-pool, of 1x1 where there is none."""
    weight, bias, gamma, beta = *conv.parameters(), *norm.parameters()

    def step(x: Tensor) -> Tensor:
        function = FusedConvNormFunction(conv.stride, conv.padding, *_statistics(norm), norm.eps, pool)
        return _with_statistics(norm, function, x, weight, bias, gamma, beta)

    return step


def _statistics(norm: BatchNorm) -> tuple[Array | None, Array | None]:
    """Those to normalise by: None and None, for the batch's own, in training."""
    buffers = norm.buffers_by_name
    return (None, None) if norm.training else (buffers["running_mean"], buffers["running_var"])


def _with_statistics(norm: BatchNorm, function: FusedNormFunction | FusedConvNormFunction, *inputs: Tensor) -> Tensor:
    """Run the function; in training, let the running statistics follow those it found."""
    y = function(*inputs)
    if norm.training:
        update_statistics(**norm.buffers_by_name, mean=function.mean, var=function.var, momentum=norm.momentum)
    return y
