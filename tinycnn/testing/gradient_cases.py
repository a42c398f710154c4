"""The gradient cases: for every Function of the package, calls over its settings, and the shapes of the inputs.

``python -m tinycnn gradcheck`` runs them, and the tests run them on every backend. A new operation adds its cases here:
a test fails for a Function without one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from tinycnn import ops, tensor
from tinycnn.backends import get_backend
from tinycnn.backends.base import window_grid
from tinycnn.ops.activations.clip import ClipFunction
from tinycnn.ops.activations.elu import ELUFunction
from tinycnn.ops.activations.gelu import GELUFunction, TanhGELUFunction
from tinycnn.ops.activations.hardswish import HardSwishFunction
from tinycnn.ops.activations.leaky_relu import LeakyReLUFunction
from tinycnn.ops.activations.sigmoid import SigmoidFunction
from tinycnn.ops.activations.silu import SiLUFunction
from tinycnn.ops.activations.softplus import SoftplusFunction
from tinycnn.ops.activations.softsign import SoftsignFunction
from tinycnn.ops.activations.tanh import TanhFunction
from tinycnn.ops.avg_pool2d import AvgPool2dFunction
from tinycnn.ops.batch_norm import BatchNormFunction, FixedBatchNormFunction
from tinycnn.ops.conv2d import Conv2dFunction
from tinycnn.ops.convolutions.depthwise import DepthwiseConv2dFunction
from tinycnn.ops.convolutions.grouped import GroupedConv2dFunction
from tinycnn.ops.convolutions.transposed import ConvTranspose2dFunction
from tinycnn.ops.dense import DenseFunction
from tinycnn.ops.dropout import DropoutFunction
from tinycnn.ops.elementwise.abs import AbsFunction
from tinycnn.ops.elementwise.extrema import MaximumFunction, MinimumFunction
from tinycnn.ops.elementwise.sqrt import SqrtFunction
from tinycnn.ops.losses.binary_cross_entropy import BinaryCrossEntropyFunction
from tinycnn.ops.losses.l1_loss import AbsoluteErrorFunction
from tinycnn.ops.losses.mse_loss import SquaredErrorFunction
from tinycnn.ops.max_pool2d import MaxPool2dFunction
from tinycnn.ops.normalization.standardize import StandardizeFunction
from tinycnn.ops.relu import ReLUFunction
from tinycnn.ops.shapes.concatenate import ConcatenateFunction
from tinycnn.ops.shapes.pad import PadFunction
from tinycnn.ops.shapes.upsample2d import Upsample2dFunction
from tinycnn.ops.softmax import LogSoftmaxFunction, SoftmaxFunction
from tinycnn.ops.softmax_cross_entropy import NLLLossFunction, SoftmaxCrossEntropyFunction
from tinycnn.tensor import Function, Tensor

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers."""
    return rng.normal(size=shape)


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers from 0.5 to 2."""
    return rng.uniform(0.5, 2, size=shape)


def rounded(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Whole numbers from -2 to 2: many ties, and many zeros for ReLU."""
    return rng.integers(-2, 3, size=shape).astype(np.float64)


@dataclass(frozen=True)
class Case:
    """``call(*tensors)`` runs ``function`` on inputs of ``shapes`` with values from ``draw``."""

    function: type[Function]
    label: str
    call: Callable[..., Tensor]
    shapes: tuple[tuple[int, ...], ...]
    draw: Draw = normal

    def __str__(self) -> str:
        return f"{self.function.__name__}-{self.label}"

    def inputs(self, seed: int = 0) -> list[Tensor]:
        """Fresh float64 leaves on the active backend."""
        rng = np.random.default_rng(seed)
        return [Tensor(np.asarray(self.draw(rng, shape)), requires_grad=True) for shape in self.shapes]


def window_settings(kernels: list, strides: list, paddings: list, image: tuple[int, int]) -> Iterator[dict]:
    """All combinations for which at least one window fits into the image."""
    for kernel_size, stride, padding in product(kernels, strides, paddings):
        if min(window_grid((1, *image), kernel_size, stride, padding)) >= 1:
            yield {"kernel_size": kernel_size, "stride": stride, "padding": padding}


def conv2d_cases() -> Iterator[Case]:
    """Windows, strides, paddings, channels, with and without bias."""
    kernels = [(1, 1), (2, 2), (3, 3), (2, 3), (3, 1)]
    grids = window_settings(kernels, [(1, 1), (2, 2), (2, 1), (3, 3)], [(0, 0), (1, 1), (1, 0), (2, 3)], (5, 4))
    for settings, (C, F), bias in product(grids, [(1, 1), (2, 3)], [True, False]):
        kernel_size = settings["kernel_size"]
        windows = {name: settings[name] for name in ("stride", "padding")}
        shapes = ((2, 5, 4, C), (*kernel_size, C, F), (F,))[: 2 + bias]
        label = f"{kernel_size}-{windows}-{C}to{F}{'-bias' * bias}"
        yield Case(Conv2dFunction, label, lambda *x, w=windows: ops.conv2d(*x, **w), shapes)


def pool_cases() -> Iterator[Case]:
    """Both kinds of pooling, on random numbers and on ties."""
    kernels = [(1, 1), (2, 2), (3, 3), (2, 3), (3, 2)]
    pools = ((MaxPool2dFunction, ops.max_pool2d), (AvgPool2dFunction, ops.avg_pool2d))
    for settings in window_settings(kernels, [(1, 1), (2, 2), (1, 2), (3, 3)], [(0, 0), (1, 1), (1, 0)], (5, 6)):
        if any(2 * pad > size for pad, size in zip(settings["padding"], settings["kernel_size"], strict=True)):
            continue
        for (function, pool), draw in product(pools, (normal, rounded)):
            yield Case(
                function, f"{settings}-{draw.__name__}", lambda x, s=settings, p=pool: p(x, **s), ((2, 5, 6, 2),), draw
            )


WINDOWS: list[dict[str, Any]] = [
    {},
    {"padding": "same"},
    {"stride": 2, "padding": "same"},
    {"stride": (1, 3), "padding": ((0, 2), (1, 0))},
    {"dilation": 2, "padding": "same"},
    {"dilation": (1, 3), "padding": ((2, 1), (0, 2)), "stride": (2, 1)},
]


def window_cases() -> Iterator[Case]:
    """Groups, gaps between the pixels of a filter, and padding that differs between opposite sides."""
    for settings, groups, bias in product(WINDOWS, (1, 2, 4), (True, False)):
        function = {1: Conv2dFunction, 2: GroupedConv2dFunction, 4: DepthwiseConv2dFunction}[groups]
        label, all_settings = f"{settings}-{groups} groups{'-bias' * bias}", settings | {"groups": groups}
        shapes = ((2, 5, 6, 4), (3, 2, 4 // groups, 8), (8,))[: 2 + bias]
        yield Case(function, label, lambda *x, s=all_settings: ops.conv2d(*x, **s), shapes)
    pools: tuple[tuple[type[Function], Callable[..., Tensor], dict[str, Any]], ...] = (
        (MaxPool2dFunction, ops.max_pool2d, {"padding": "same"}),
        (MaxPool2dFunction, ops.max_pool2d, {"padding": (1, 0), "ceil_mode": True}),
        (MaxPool2dFunction, ops.max_pool2d, {"padding": ((1, 0), (1, 0))}),
        (AvgPool2dFunction, ops.avg_pool2d, {"padding": "same"}),
        (AvgPool2dFunction, ops.avg_pool2d, {"padding": ((1, 0), (0, 1))}),
        (AvgPool2dFunction, ops.avg_pool2d, {"padding": (1, 0), "ceil_mode": True}),
        (AvgPool2dFunction, ops.avg_pool2d, {"padding": (1, 0), "ceil_mode": True, "count_include_pad": False}),
    )
    for (function, pool, settings), draw in product(pools, (normal, rounded)):
        call = partial(pool, kernel_size=3, stride=2, **settings)
        yield Case(function, f"{pool.__name__}-{settings}-{draw.__name__}", call, ((2, 5, 6, 2),), draw)


TRANSPOSED: list[dict[str, Any]] = [
    {},
    {"stride": 2},
    {"stride": (2, 3), "padding": (1, 0)},
    {"stride": (3, 2), "padding": ((0, 2), (1, 0)), "output_padding": (2, 1)},
    {"stride": (4, 1), "padding": "same"},
    {"padding": "same"},
]


def transposed_cases() -> Iterator[Case]:
    """Transposed convolution: windows that overlap, touch, or leave gaps, with and without bias."""
    for settings, bias in product(TRANSPOSED, (True, False)):
        shapes = ((2, 3, 2, 3), (3, 2, 4, 3), (4,))[: 2 + bias]
        call = partial(ops.conv_transpose2d, **settings)
        yield Case(ConvTranspose2dFunction, f"{settings}{'-bias' * bias}", call, shapes)


def dense_cases() -> Iterator[Case]:
    """Shapes that include ones and an empty batch, with and without bias."""
    for (N, inputs, outputs), bias in product([(1, 1, 1), (3, 4, 2), (5, 1, 3), (1, 6, 1), (0, 2, 3)], [True, False]):
        shapes = ((N, inputs), (inputs, outputs), (outputs,))[: 2 + bias]
        yield Case(DenseFunction, f"{N}x{inputs}to{outputs}{'-bias' * bias}", ops.dense, shapes)


def elementwise_cases() -> Iterator[Case]:
    """Elementwise functions, over shapes."""
    for shape, draw in product([(), (7,), (3, 4), (2, 3, 2), (1, 3, 2, 2), (0, 3)], [normal, rounded]):
        yield Case(ReLUFunction, f"{shape}-{draw.__name__}", ops.relu, (shape,), draw)
    for shape in [(), (5,), (2, 3), (0, 2)]:
        yield Case(tensor.Exp, f"{shape}", lambda x: x.exp(), (shape,))
        yield Case(tensor.Log, f"{shape}", lambda x: x.log(), (shape,), positive)
    for shape, p, key in product([(9,), (3, 4), (2, 3, 2, 2)], [0.2, 0.5, 0.9], [(0, 0), (2**62, 2**33)]):
        settings = {"p": p, "key": key}
        yield Case(DropoutFunction, f"{shape}-{settings}", lambda x, s=settings: ops.dropout(x, **s), (shape,))


SMOOTH: dict[type[Function], Callable[..., Tensor]] = {
    TanhFunction: ops.tanh,
    SigmoidFunction: ops.sigmoid,
    SiLUFunction: ops.silu,
    SoftplusFunction: ops.softplus,
    SoftsignFunction: ops.softsign,
    GELUFunction: ops.gelu,
    TanhGELUFunction: lambda x: ops.gelu(x, approximate=True),
}
WITH_KINKS: dict[type[Function], tuple[Callable[..., Tensor], list[dict]]] = {
    LeakyReLUFunction: (ops.leaky_relu, [{}, {"slope": 0.2}, {"slope": 1.5}, {"slope": -0.5}]),
    ELUFunction: (ops.elu, [{}, {"alpha": 0.5}, {"alpha": 1.5}]),
    ClipFunction: (ops.clip, [{"low": -1.0}, {"high": 0.3}, {"low": -1.0, "high": 1.5}]),
    HardSwishFunction: (ops.hardswish, [{}]),
}


def activation_cases() -> Iterator[Case]:
    """Activations over shapes, on random numbers, and on whole numbers if they have kinks there."""
    for shape, (function, call) in product([(), (7,), (2, 3, 2), (0, 3)], SMOOTH.items()):
        yield Case(function, f"{shape}", call, (shape,))
    for function, (call, settings) in WITH_KINKS.items():
        for shape, setting, draw in product([(), (2, 3, 2), (0, 3)], settings, [normal, rounded]):
            label = f"{shape}-{setting}-{draw.__name__}"
            yield Case(function, label, lambda x, c=call, s=setting: c(x, **s), (shape,), draw)


def spread(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers from -6 to 6, on both sides of the kinks of hard swish."""
    return rng.uniform(-6, 6, size=shape)


def further_elementwise_cases() -> Iterator[Case]:
    """Activations far from 0, and functions of one or two elements."""
    yield Case(HardSwishFunction, "spread", ops.hardswish, ((5, 7),), spread)
    for function, call in SMOOTH.items():
        yield Case(function, "spread", call, ((5, 7),), spread)
    for shape in [(), (2, 3), (0, 2)]:
        yield Case(AbsFunction, f"{shape}", ops.abs, (shape,))
        yield Case(SqrtFunction, f"{shape}", ops.sqrt, (shape,), positive)
    for function, call in ((MaximumFunction, ops.maximum), (MinimumFunction, ops.minimum)):
        for a, b in BROADCASTS:
            yield Case(function, f"{a}{b}", call, (a, b))
        yield Case(function, "with itself", lambda x, call=call: call(x, x), ((2, 3),))
        yield Case(function, "with a number", lambda x, call=call: call(0.2, x), ((2, 3),))


def softmax_cases() -> Iterator[Case]:
    """Softmax and the losses, with labels as integers, one-hot and smooth."""
    for shape in [(4,), (1, 1), (3, 5), (2, 3, 4), (2, 1, 2, 3)]:
        yield Case(SoftmaxFunction, f"{shape}", ops.softmax, (shape,))
        yield Case(LogSoftmaxFunction, f"{shape}", ops.log_softmax, (shape,))
    for N, K in [(1, 1), (1, 3), (4, 2), (5, 10)]:
        rng = np.random.default_rng(0)
        whole = rng.integers(0, K, N)
        smooth = rng.dirichlet(np.ones(K), N)
        for kind, labels in {"labels": whole, "one-hot": np.eye(K)[whole], "smooth": smooth}.items():
            yield Case(
                SoftmaxCrossEntropyFunction, f"{N}x{K}-{kind}",
                lambda x, labels=labels: ops.softmax_cross_entropy(x, labels), ((N, K),),
            )  # fmt: skip
            yield Case(NLLLossFunction, f"{N}x{K}-{kind}", lambda x, labels=labels: ops.nll_loss(x, labels), ((N, K),))


def loss_cases() -> Iterator[Case]:
    """Losses of numbers and of several labels, with and without weights."""
    pairs = ((SquaredErrorFunction, ops.mse_loss), (AbsoluteErrorFunction, ops.l1_loss))
    for shape, (function, loss) in product([(1,), (5,), (3, 4), (2, 2, 3)], pairs):
        yield Case(function, f"{shape}", loss, (shape, shape))
        weights = np.arange(shape[0])
        yield Case(function, f"{shape}-weights", lambda x, t, f=loss, w=weights: f(x, t, weights=w), (shape, shape))
    for N, K in [(1, 1), (4, 3)]:
        targets = np.random.default_rng(0).uniform(size=(N, K))
        for kind, t in {"labels": targets.round(), "fractions": targets}.items():
            for settings in ({}, {"pos_weight": np.arange(K) + 0.5, "weights": np.arange(N)}):
                yield Case(
                    BinaryCrossEntropyFunction, f"{N}x{K}-{kind}{'-weights' * bool(settings)}",
                    lambda x, t=t, s=settings: ops.binary_cross_entropy_with_logits(x, t, **s), ((N, K),),
                )  # fmt: skip
    for smoothing, labels in product([0.0, 0.2], [np.array([2, 0, 1, 2]), np.eye(3)[[1, 1, 0, 2]]]):
        by_class = {"class_weights": [0.5, 2, 0], "label_smoothing": smoothing}
        for settings in (by_class, by_class | {"weights": [1, 0, 3, 0.5]}):
            yield Case(
                NLLLossFunction, f"{labels.ndim}-{settings}",
                lambda x, t=labels, s=settings: ops.softmax_cross_entropy(x, t, **s), ((4, 3),),
            )  # fmt: skip
    for smoothing in (0.1, 0.9):
        yield Case(
            SoftmaxCrossEntropyFunction, f"smoothing {smoothing}",
            lambda x, s=smoothing: ops.softmax_cross_entropy(x, [1, 0], label_smoothing=s), ((2, 3),),
        )  # fmt: skip


def batch_norm_cases() -> Iterator[Case]:
    """Batch norm of rows and images, in training and evaluation."""
    for shape, eps in product([(5, 1), (6, 3), (2, 3, 2), (3, 2, 3, 2)], [1e-3, 0.5]):
        shapes = (shape, shape[-1:], shape[-1:])
        label = f"{shape}-eps{eps}"
        yield Case(BatchNormFunction, label, lambda *x, eps=eps: ops.batch_norm(*x, eps=eps), shapes)
        yield Case(FixedBatchNormFunction, label, lambda *x, eps=eps: fixed_batch_norm(x, eps), shapes)


def fixed_batch_norm(inputs: tuple[Tensor, Tensor, Tensor], eps: float) -> Tensor:
    """Batch norm with running statistics, as in evaluation."""
    x, gamma, beta = inputs
    C = x.shape[-1]
    statistics = np.linspace(-1, 1, C, dtype=x.dtype), np.linspace(0.5, 2, C, dtype=x.dtype)
    mean, var = map(get_backend().asarray, statistics)
    return ops.batch_norm(x, gamma, beta, running_mean=mean, running_var=var, training=False, eps=eps)


BROADCASTS = [
    ((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 3), (1, 3)), ((2, 3), (2, 1)), ((2, 3), ()), ((2, 3), (1, 1)),
    ((1, 3), (2, 1)), ((4, 1, 3), (2, 1)), ((2, 1, 1, 2), (3, 1)), ((), ()), ((0, 3), (3,)),
]  # fmt: skip
BINARY = {
    tensor.Add: lambda a, b: a + b,
    tensor.Subtract: lambda a, b: a - b,
    tensor.Multiply: lambda a, b: a * b,
    tensor.Divide: lambda a, b: a / b,
    tensor.Power: lambda a, b: a**b,
}
WITH_NUMBER = {
    "x+2": (tensor.Add, lambda x: x + 2),
    "2+x": (tensor.Add, lambda x: 2 + x),
    "x-2": (tensor.Subtract, lambda x: x - 2),
    "2-x": (tensor.Subtract, lambda x: 2 - x),
    "x*2": (tensor.Multiply, lambda x: x * 2.5),
    "2*x": (tensor.Multiply, lambda x: 2.5 * x),
    "-x": (tensor.Multiply, lambda x: -x),
    "x/2": (tensor.Divide, lambda x: x / 2.5),
    "2/x": (tensor.Divide, lambda x: 2.5 / x),
    "x**3": (tensor.Power, lambda x: x**3),
    "x**-1": (tensor.Power, lambda x: x**-1),
    "x**0": (tensor.Power, lambda x: x**0),
    "x**0.5": (tensor.Power, lambda x: x**0.5),
    "2**x": (tensor.Power, lambda x: 2**x),
    "0**x": (tensor.Power, lambda x: 0**x),
}


def arithmetic_cases() -> Iterator[Case]:
    """``+ - * / **``: broadcasting both ways, plain numbers, a tensor with itself."""
    for (function, call), (a, b) in product(BINARY.items(), BROADCASTS):
        yield Case(function, f"{a}{b}", call, (a, b), positive)
        if a != b:
            yield Case(function, f"{b}{a}", call, (b, a), positive)
    for label, (function, call) in WITH_NUMBER.items():
        yield Case(function, label, call, ((2, 3),), positive)
    for function, call in BINARY.items():
        yield Case(function, "with itself", lambda x, call=call: call(x, x), ((2, 3),), positive)
    for exponent in (1, 2, 3):
        yield Case(tensor.Power, f"whole numbers**{exponent}", lambda x, e=exponent: x**e, ((4, 5),), rounded)


MATMULS = [
    ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((1, 1), (1, 1)), ((2, 3, 4), (2, 4, 5)),
    ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((1, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((3,), (2, 3, 4)),
    ((2, 3, 4), (4,)), ((0, 3), (3, 2)),
]  # fmt: skip


def matmul_cases() -> Iterator[Case]:
    """Vectors, matrices, stacks of matrices."""
    for a, b in MATMULS:
        yield Case(tensor.MatMul, f"{a}@{b}", lambda a, b: a @ b, (a, b))


REDUCED = [None, 0, 1, -1, (0, 1), (0, 2), (-1, 0), (2, 0, 1), ()]


def reduction_cases() -> Iterator[Case]:
    """Sum, mean and max over every kind of axes."""
    for axis, keepdims in product(REDUCED, [True, False]):
        options = {"axis": axis, "keepdims": keepdims}
        yield Case(tensor.Sum, f"{options}", lambda x, o=options: x.sum(**o), ((2, 3, 4),))
        yield Case(tensor.Mean, f"{options}", lambda x, o=options: x.mean(**o), ((2, 3, 4),))
        for draw in (normal, rounded):
            yield Case(tensor.Max, f"{options}-{draw.__name__}", lambda x, o=options: x.max(**o), ((2, 3, 4),), draw)
    for call, function in (("sum", tensor.Sum), ("mean", tensor.Mean), ("max", tensor.Max)):
        yield Case(function, f"{call} of one number", lambda x, call=call: getattr(x, call)(), ((),))


def shape_cases() -> Iterator[Case]:
    """Reshape and transpose."""
    for shape in [(3, 4), (12,), (-1,), (2, -1), (2, 1, 3, 2), (4, 3)]:
        yield Case(tensor.Reshape, f"{shape}", lambda x, shape=shape: x.reshape(shape), ((2, 6),))
    yield Case(tensor.Reshape, "flatten", ops.flatten, ((2, 3, 2, 2),))
    yield Case(tensor.Reshape, "to one number", lambda x: x.reshape(()), ((1, 1),))
    for axes in [(), (0, 1, 2), (1, 2, 0), (2, 0, 1), (-1, 0, 1), (0, -1, 1)]:
        yield Case(tensor.Transpose, f"{axes}", lambda x, axes=axes: x.transpose(axes), ((2, 3, 4),))
    yield Case(tensor.Transpose, "T", lambda x: x.T, ((2, 3),))
    yield Case(tensor.Transpose, "one number", lambda x: x.T, ((),))


def joining_cases() -> Iterator[Case]:
    """Several tensors as one, along every axis."""
    for axis in (0, 1, 2, -1):
        shapes = tuple((*(2, 3, 2)[: axis % 3], size, *(2, 3, 2)[axis % 3 + 1 :]) for size in (2, 1, 3, 0))
        yield Case(ConcatenateFunction, f"{axis}", lambda *x, a=axis: ops.concatenate(x, axis=a), shapes)
    yield Case(ConcatenateFunction, "one", lambda x: ops.concatenate([x]), ((2, 3),))
    yield Case(ConcatenateFunction, "one twice", lambda x: ops.concatenate([x, x], axis=1), ((2, 3),))
    for axis in (0, 1, -1):
        yield Case(ConcatenateFunction, f"stack {axis}", lambda *x, a=axis: ops.stack(x, axis=a), ((2, 3),) * 3)


INDICES = [
    0, -1, (1, 2), slice(None), slice(1, None), slice(None, None, -2), ..., None, (..., 0), (slice(1, 3), None, 0),
    (0, ..., slice(1)), slice(2, 2), [0, 2], [1, 1, 0, 1, 1, 1], np.array([[0, -1], [2, 0]]), ([0, 0], [1, 1]),
    (slice(None), [3, 0, 3]), (..., [1, 1, 1], slice(1)), np.arange(24).reshape(3, 4, 2) % 3 == 0, [True, False, True],
    np.zeros((0, 2), int), np.int64(1), (slice(None), slice(None, None, 3), np.array(1)),
]  # fmt: skip


def index_cases() -> Iterator[Case]:
    """Basic indices, arrays of integers, some of them repeated, and masks."""
    for number, index in enumerate(INDICES):
        label = f"{number}-{str(index)[:40]}".replace("\n", "")
        yield Case(tensor.Index, label, lambda x, index=index: x[index], ((3, 4, 2),))


def further_shape_cases() -> Iterator[Case]:
    """Padding and upsampling."""
    for pads in [((0, 0), (1, 2)), ((3, 0), (0, 1)), ((0, 0), (0, 0))]:
        yield Case(PadFunction, f"{pads}", lambda x, p=pads: ops.pad(x, p), ((2, 3),))
    yield Case(PadFunction, "ones around", lambda x: ops.pad(x, [(1, 1)] * 3, value=1.0), ((2, 3, 0),))
    for scale in [1, 2, (3, 1), (1, 2)]:
        yield Case(Upsample2dFunction, f"{scale}", lambda x, s=scale: ops.upsample2d(x, scale=s), ((2, 3, 2, 2),))


def normalization_cases() -> Iterator[Case]:
    """Layer norm and group norm of rows and images."""
    for shape, eps in product([(4,), (2, 3), (2, 3, 2, 4)], [1e-3, 0.5]):
        shapes = (shape, shape[-1:], shape[-1:])
        label = f"layer-{shape}-eps{eps}"
        yield Case(StandardizeFunction, label, lambda *x, eps=eps: ops.layer_norm(*x, eps=eps), shapes)
    for shape, groups in product([(2, 6), (2, 3, 6), (2, 2, 3, 6)], [1, 3, 2]):
        shapes = (shape, (6,), (6,))
        label = f"group-{shape}-{groups}"
        yield Case(StandardizeFunction, label, lambda *x, g=groups: ops.group_norm(*x, groups=g), shapes)


CASES = [
    *conv2d_cases(),
    *pool_cases(),
    *window_cases(),
    *transposed_cases(),
    *dense_cases(),
    *elementwise_cases(),
    *activation_cases(),
    *softmax_cases(),
    *loss_cases(),
    *batch_norm_cases(),
    *arithmetic_cases(),
    *matmul_cases(),
    *reduction_cases(),
    *shape_cases(),
    *joining_cases(),
    *index_cases(),
    *further_shape_cases(),
    *normalization_cases(),
    *further_elementwise_cases(),
]
