"""The fusion step: which neighbouring layers of a ``Sequential`` the active backend can compute as one function.

``plan(layers, backend)`` turns a list of layers into a list of steps; each step takes a tensor and returns one. A layer
that no rule below covers is its own step. On a backend without fused kernels, with ``Sequential(fuse=False)``, or in
float64, every layer is, and the network runs as it is written.
"""

from collections.abc import Callable, Collection, Sequence

from tinycnn.backends.base import Backend
from tinycnn.layers.base import Layer
from tinycnn.layers.kinds import BatchNorm, Conv2d, Dense, MaxPool2d, ReLU
from tinycnn.ops.batch_norm import update_statistics
from tinycnn.ops.fused import FusedConvFunction, FusedDenseFunction, FusedNormFunction, Pool
from tinycnn.tensor import Tensor

Step = Callable[[Tensor], Tensor]
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
    first, following = layers[0], layers[1:3]
    if isinstance(first, Conv2d) and first.bias and "conv_forward" in kernels:
        relu = bool(following) and isinstance(following[0], ReLU)
        pool = _pool_of(following[1]) if relu and len(following) == 2 else None
        return conv_step(first, relu, pool), 1 + relu + (pool is not None)
    if isinstance(first, BatchNorm) and len(first.output_shape) == 3 and "norm_forward" in kernels:
        pool = _pool_of(following[0]) if following else None
        return norm_step(first, pool or ((1, 1), (1, 1))), 1 + (pool is not None)
    if isinstance(first, Dense) and first.bias and "dense_forward" in kernels:
        relu = bool(following) and isinstance(following[0], ReLU)
        return dense_step(first, relu), 1 + relu
    return first, 1


def _pool_of(layer: Layer) -> Pool | None:
    """Window and stride of a max-pool that can be fused: one without padding and not too large."""
    if not isinstance(layer, MaxPool2d) or layer.padding != (0, 0):
        return None
    if layer.kernel_size[0] * layer.kernel_size[1] > MOST_PLACES:
        return None
    return layer.kernel_size, layer.stride


def conv_step(conv: Conv2d, relu: bool, pool: Pool | None) -> Step:
    weight, bias = conv.parameters()
    return lambda x: FusedConvFunction(conv.stride, conv.padding, relu, pool)(x, weight, bias)


def dense_step(dense: Dense, relu: bool) -> Step:
    weight, bias = dense.parameters()
    return lambda x: FusedDenseFunction(relu)(x, weight, bias)


def norm_step(norm: BatchNorm, pool: Pool) -> Step:
    gamma, beta = norm.parameters()

    def step(x: Tensor) -> Tensor:
        statistics = (None, None) if norm.training else tuple(norm.buffers_by_name.values())
        normalise = FusedNormFunction(*statistics, norm.eps, pool)
        y = normalise(x, gamma, beta)
        if norm.training:
            update_statistics(*norm.buffers_by_name.values(), normalise.mean, normalise.var, norm.momentum)
        return y

    return step
