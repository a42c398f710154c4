"""The cases of the optional fused kernels: inputs for each, compared with the plain operations in float64.

Convolutions and dense layers get small whole numbers, which float32 adds without rounding: sums in any order must give
the same bits, and ties are frequent. Batch norm, the loss and Adam divide, so a tolerance applies to them. Inputs,
parameters, statistics and gradients of outputs come as views, too; arrays that a kernel changes are contiguous.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from typing import Any

import numpy as np

from tinycnn.backends.array_types import Array, Pool
from tinycnn.backends.base import Backend
from tinycnn.errors import KernelError
from tinycnn.testing import fused_reference as plain
from tinycnn.testing.kernel_cases import DTYPES, KernelCase, normal, window_label, with_ties
from tinycnn.testing.kernel_checks import LOOPS, compare, compare_values, run_twice
from tinycnn.testing.layouts import LAYOUTS, VIEWS, Place, as_it_is

POOLS: dict[str, Pool | None] = {
    "no pool": None,
    "pool 2x2": ((2, 2), (2, 2)),
    "pool 3x2": ((3, 2), (3, 2)),
    "overlapping pool": ((3, 3), (2, 2)),
    "pool with gaps": ((1, 1), (2, 2)),
}
NO_POOL: Pool = ((1, 1), (1, 1))
CONVS = [
    {"kernel_size": (1, 1), "stride": (1, 1), "padding": (0, 0)},
    {"kernel_size": (3, 3), "stride": (1, 1), "padding": (0, 0)},
    {"kernel_size": (3, 3), "stride": (1, 1), "padding": (1, 1)},
    {"kernel_size": (3, 3), "stride": (2, 1), "padding": (0, 2)},
    {"kernel_size": (4, 2), "stride": (3, 2), "padding": (1, 2)},
    {"kernel_size": (5, 5), "stride": (1, 1), "padding": (2, 2)},
    {"kernel_size": (7, 7), "stride": (2, 2), "padding": (3, 3)},
]
SIZES = [(0, 2, 3), (1, 1, 1), (2, 16, 16), (3, 1, 33), (5, 4, 6)]  # images, channels, filters
EPS = 1e-3
run = partial(run_twice, any_layout=True)  # the contract leaves the layout of gradients open
X, WEIGHT, GAMMA = "need_grad_x", "need_grad_weight", "need_grad_gamma"


def whole_numbers(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """-3 to 3 in float32."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32)


def fused(backend: Backend, kernel: str) -> Callable[..., Any]:
    """The fused kernel of that name; raises KernelError where it is missing."""
    found = getattr(backend.fused, kernel)
    if found is None:
        raise KernelError("is missing: a forward kernel needs its backward kernel, and the reverse")
    return found


def compare_close(name: str, ours: np.ndarray, expected: np.ndarray) -> None:
    """Within 2e-5 of the largest value in float32, 1e-12 in float64."""
    tolerance = 2e-5 if ours.dtype == np.float32 else 1e-12
    largest = max(1.0, float(np.abs(expected).max(initial=0)))
    compare_values(name, ours, expected, absolute=tolerance * largest)


# ------------------------------------------------------------------------------ blocks: a forward and a backward kernel


Gradient = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class Block:
    """Inputs of ``<name>_forward`` and ``<name>_backward``, and the plain operations that they equal.

    ``reference(*arrays)`` returns the results of the forward kernel and a function for its gradients. ``flags`` names,
    for each gradient, the argument that asks for it.
    """

    name: str
    label: str
    arrays: list[np.ndarray]
    settings: dict[str, Any]
    flags: list[str]
    reference: Callable[..., tuple[list[np.ndarray], Gradient]]
    exact: bool
    place: Place = as_it_is
    statistics: bool = True  # whether the forward kernel takes two arrays of statistics that may be None
    gamma: int | None = None  # which input the backward kernel takes again

    @cached_property
    def grad_y(self) -> np.ndarray:
        """A gradient of the output, in whole numbers."""
        return whole_numbers(self.plain[0][0].shape, 4)

    @cached_property
    def plain(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Values and gradients of the plain operations in float64; computed once for all backends."""
        outputs, gradient = self.reference(*(array.astype(np.float64) for array in self.arrays))
        return outputs, gradient(whole_numbers(outputs[0].shape, 4).astype(np.float64))

    def forward(self, backend: Backend, inputs: Sequence[Array], need_grad_x: bool) -> tuple[Any, ...]:
        """What the forward kernel returns, ``saved`` last."""
        missing = (None, None) if self.gamma is not None and not self.statistics else ()
        wants = {} if self.name in ("norm", "depthwise") else {X: need_grad_x}
        return fused(backend, f"{self.name}_forward")(*inputs, *missing, **self.settings, **wants)

    def compare(self, name: str, ours: np.ndarray, expected: np.ndarray) -> None:
        """Exactly, or closely; the dtype must be float32."""
        if self.exact:
            compare(name, ours, expected.astype(np.float32))
        elif ours.dtype != np.float32:
            raise KernelError(f"{name} has dtype {ours.dtype}, expected float32")
        else:
            compare_close(name, ours, expected)


def check_forward(backend: Backend, block: Block) -> None:
    """The values, and the statistics of batch norm."""
    expected, _ = block.plain
    results = run(backend, lambda *x: block.forward(backend, x, True)[:-1], block.arrays, block.place)
    for name, ours, wanted in zip(("y", "mean", "var"), results, expected, strict=False):
        block.compare(name, ours, wanted)


def check_backward(backend: Backend, block: Block, flags: Sequence[str]) -> None:
    """The gradients for which ``flags`` asks."""
    needs = {flag: flag in flags for flag in dict.fromkeys(block.flags)}

    def compute(*inputs: Array) -> list[Array]:
        saved = block.forward(backend, inputs[:-1], needs[X])[-1]
        again = () if block.gamma is None else (inputs[block.gamma],)
        found = fused(backend, f"{block.name}_backward")(saved, *again, inputs[-1], **needs)
        return [grad for grad, flag in zip(found, block.flags, strict=True) if needs[flag]]

    results = run(backend, compute, [*block.arrays, block.grad_y], block.place)
    names = ["x", "weight", "bias"] if WEIGHT in block.flags else ["x"]
    names += ["gamma", "beta"] if GAMMA in block.flags else []
    chosen = [(n, grad) for n, grad, flag in zip(names, block.plain[1], block.flags, strict=True) if needs[flag]]
    for ours, (name, grad) in zip(results, chosen, strict=True):
        block.compare(f"grad_{name}", ours, grad)


def block_cases() -> Iterator[KernelCase]:
    """Each block forward, and backward with all gradients and with one group of them at a time."""
    for block in (*conv_blocks(), *norm_blocks(), *conv_norm_blocks(), *depthwise_blocks()):
        yield KernelCase(f"{block.name}_forward", block.label, partial(check_forward, block=block))
        all_flags = list(dict.fromkeys(block.flags))
        for flags in (all_flags, [X], *([flag] for flag in all_flags[1:])):
            label = f"{block.label}; {', '.join(flags)}"
            yield KernelCase(f"{block.name}_backward", label, partial(check_backward, block=block, flags=flags))


def conv_blocks() -> Iterator[Block]:
    """Windows, strides, paddings, pools, ragged sizes and memory layouts of a convolution with ReLU and max-pool."""
    for settings, (pool_name, pool) in product(CONVS, POOLS.items()):
        label = f"{window_label(settings)}, ReLU, {pool_name}"
        yield conv_block(label, whole_numbers((3, 14, 13, 2), 1), 5, settings, relu=True, pool=pool)
    for (N, C, F), (relu, pool_name) in product(SIZES, [(False, "no pool"), (True, "no pool"), (True, "pool 2x2")]):
        label = f"{N} images, {C} to {F} channels, {'ReLU, ' * relu}{pool_name}"
        yield conv_block(label, whole_numbers((N, 9, 8, C), 2), F, CONVS[1], relu=relu, pool=POOLS[pool_name])
    x, pool = whole_numbers((3, 9, 8, 2), 5), POOLS["pool 2x2"]
    for name, layout in LAYOUTS.items():
        yield conv_block(f"{name} layout", layout(x), 5, CONVS[2], relu=True, pool=pool)
    for name, place in VIEWS.items():
        yield conv_block(name, x, 5, CONVS[2], relu=True, pool=pool, place=place)


def conv_block(
    label: str, x: np.ndarray, filters: int, window: dict, *, relu: bool, pool: Pool | None, place: Place = as_it_is
) -> Block:
    """``max_pool2d(relu(conv2d(x, weight, bias)))``"""
    weight = whole_numbers((*window["kernel_size"], x.shape[3], filters), 2)
    settings = {name: window[name] for name in ("stride", "padding")}

    def reference(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[list[np.ndarray], Gradient]:
        conv = plain.Conv(x, weight, bias, **settings, relu=relu)
        pooling = plain.MaxPool(conv.forward(), pool)
        return [pooling.forward()], lambda grad_y: conv.backward(pooling.backward(grad_y))

    arrays = [x, weight, whole_numbers((filters,), 3)]
    kernel_settings = settings | {"relu": relu, "pool": pool}
    return Block("conv", label, arrays, kernel_settings, [X, WEIGHT, WEIGHT], reference, exact=True, place=place)


def norm_numbers(channels: int, running: bool) -> list[np.ndarray]:
    """``gamma``, negative for one channel, ``beta``, and the running mean and variance if they are used."""
    numbers = [[-1.5, 0.5, 2, 1, 0.1], [0.5, -1, 2, 0, -0.25], [1, -2, 0, 0.5, 3], [4, 0.25, 1, 9, 2]]
    return [np.array(row[:channels], np.float32) for row in numbers][: 4 if running else 2]


def norm_blocks() -> Iterator[Block]:
    """Batch norm with max-pool, by the statistics of the batch and by running ones."""
    for images, running, (pool_name, pool) in product([1, 19], [False, True], POOLS.items()):
        x = np.random.default_rng(6).normal(2, 3, (images, 9, 9, 3)).astype(np.float32)
        statistics = "running statistics" if running else "statistics of the batch"
        settings = {"eps": EPS, "pool": pool or NO_POOL}
        yield Block(
            "norm", f"{images} images, {statistics}, {pool_name}", [x, *norm_numbers(3, running)], settings,
            [X, GAMMA, GAMMA], partial(norm_reference, pool), exact=False, statistics=running, gamma=1,
        )  # fmt: skip
    x = np.random.default_rng(6).normal(2, 3, (4, 9, 9, 3)).astype(np.float32)
    for name, place in VIEWS.items():
        yield Block(
            "norm", name, [x, *norm_numbers(3, running=True)], {"eps": EPS, "pool": POOLS["pool 2x2"]},
            [X, GAMMA, GAMMA], partial(norm_reference, POOLS["pool 2x2"]), exact=False, gamma=1, place=place,
        )  # fmt: skip


def norm_reference(
    pool: Pool | None, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, *statistics: np.ndarray
) -> tuple[list[np.ndarray], Gradient]:
    """``max_pool2d(batch_norm(x, gamma, beta))``"""
    mean, var = statistics or (None, None)
    norm = plain.Norm(x, gamma, beta, mean, var, EPS)
    pooling = plain.MaxPool(norm.forward(), pool)
    return [pooling.forward(), *norm.used], lambda grad_y: norm.backward(pooling.backward(grad_y))


def conv_norm_blocks() -> Iterator[Block]:
    """Convolution, ReLU, batch norm and max-pool."""
    for window, running, (pool_name, pool) in product(CONVS[1:4], [False, True], POOLS.items()):
        statistics = "running statistics" if running else "statistics of the batch"
        yield conv_norm_block(f"{window_label(window)}, {statistics}, {pool_name}", window, running, pool)
    for name, place in VIEWS.items():
        yield conv_norm_block(name, CONVS[2], True, POOLS["pool 2x2"], place)


def conv_norm_block(label: str, window: dict, running: bool, pool: Pool | None, place: Place = as_it_is) -> Block:
    """``max_pool2d(batch_norm(relu(conv2d(x, weight, bias)), gamma, beta))``"""
    windows = {name: window[name] for name in ("stride", "padding")}
    weight = whole_numbers((*window["kernel_size"], 3, 5), 2)
    arrays = [whole_numbers((4, 9, 9, 3), 1), weight, whole_numbers((5,), 3), *norm_numbers(5, running)]
    settings = {**windows, "eps": EPS, "pool": pool or NO_POOL}
    return Block(
        "conv_norm", label, arrays, settings, [X, WEIGHT, WEIGHT, GAMMA, GAMMA],
        partial(conv_norm_reference, windows, pool), exact=False, statistics=running, gamma=3, place=place,
    )  # fmt: skip


def conv_norm_reference(
    windows: dict, pool: Pool | None, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, *norm_inputs: np.ndarray
) -> tuple[list[np.ndarray], Gradient]:
    """``max_pool2d(batch_norm(relu(conv2d(x, weight, bias)), gamma, beta))``"""
    conv = plain.Conv(x, weight, bias, **windows)
    outputs, norm_gradient = norm_reference(pool, conv.forward(), *norm_inputs)

    def gradient(grad_y: np.ndarray) -> list[np.ndarray]:
        grad_relu, grad_gamma, grad_beta = norm_gradient(grad_y)
        return [*conv.backward(grad_relu), grad_gamma, grad_beta]

    return outputs, gradient


def depthwise_blocks() -> Iterator[Block]:
    """Windows, strides, paddings, channels, filters per channel and memory layouts of a depthwise convolution."""
    wide = {"kernel_size": (3, 3), "stride": (1, 1), "padding": (3, 1)}  # as wide as a filter
    for window in (CONVS[2], CONVS[3], CONVS[5], wide):
        yield depthwise_block(window_label(window), whole_numbers((3, 9, 8, 5), 1), 1, window)
    for N, C, M in ((0, 2, 1), (1, 1, 1), (2, 16, 1), (2, 3, 2), (1, 33, 1)):
        yield depthwise_block(
            f"{N} images, {C} channels, {M} filters each", whole_numbers((N, 7, 8, C), 2), M, CONVS[2]
        )
    for name, layout in LAYOUTS.items():
        yield depthwise_block(f"{name} layout", layout(whole_numbers((3, 9, 8, 2), 5)), 1, CONVS[2])
    for name, place in VIEWS.items():
        yield depthwise_block(name, whole_numbers((3, 9, 8, 2), 5), 1, CONVS[3], place)


def depthwise_block(label: str, x: np.ndarray, per_channel: int, window: dict, place: Place = as_it_is) -> Block:
    """``conv2d(x, weight, bias, groups=C)``, as an ordinary convolution whose other weights are zero."""
    C, settings = x.shape[3], {name: window[name] for name in ("stride", "padding")}
    own = np.repeat(np.eye(C), per_channel, axis=1)  # (C, F), 1 where the filter sees the channel

    def reference(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[list[np.ndarray], Gradient]:
        conv = plain.Conv(x, weight * own, bias, **settings, relu=False)  # (KH, KW, C, F)

        def gradient(grad_y: np.ndarray) -> list[np.ndarray]:
            grad_x, grad_weight, grad_bias = conv.backward(grad_y)
            return [grad_x, (grad_weight * own).sum(axis=2, keepdims=True), grad_bias]

        return [conv.forward()], gradient

    weight = whole_numbers((*window["kernel_size"], 1, C * per_channel), 2)
    arrays = [x, weight, whole_numbers((C * per_channel,), 3)]
    return Block("depthwise", label, arrays, settings, [X, WEIGHT, WEIGHT], reference, exact=True, place=place)


# --------------------------------------------------------------------------------------------------------------- dense


def check_dense_forward(
    backend: Backend, arrays: list[np.ndarray], relu: bool, place: Place = as_it_is, kernel: str = "dense_forward"
) -> None:
    """Exactly the plain operations."""
    x, weight, bias = arrays
    forward = fused(backend, kernel)
    (y,) = run(backend, lambda *inputs: [forward(*inputs, relu=relu)], arrays, place)
    compare("y", y, plain.dense(x, weight, bias, relu))


def check_dense_backward(
    backend: Backend, arrays: list[np.ndarray], relu: bool, flags: Sequence[str], place: Place = as_it_is
) -> None:
    """Exactly the plain gradients for which ``flags`` asks."""
    x, weight, bias = arrays
    y = plain.dense(x, weight, bias, relu)
    grad_y = whole_numbers(y.shape, 4)
    kernel, needs = fused(backend, "dense_backward"), {flag: flag in flags for flag in (X, WEIGHT)}

    def compute(*inputs: Array) -> list[Array]:
        grad_x, *others = kernel(*inputs, relu=relu, **needs)
        return [grad_x] * needs[X] + others * needs[WEIGHT]

    results = run(backend, compute, [x, weight, y, grad_y], place)
    grad_x, *others = plain.dense_backward(x, weight, y, grad_y, relu)
    names = ["grad_x"] * needs[X] + ["grad_weight", "grad_bias"] * needs[WEIGHT]
    for name, ours, expected in zip(names, results, [grad_x] * needs[X] + others * needs[WEIGHT], strict=True):
        compare(name, ours, expected)


def dense_cases() -> Iterator[KernelCase]:
    """Sizes that do not come out even, an empty batch, memory layouts."""
    sizes = [(0, 3, 2), (1, 1, 1), (3, 50, 7), (64, 33, 130), (64, 601, 130)]
    for (N, inputs, outputs), relu in product(sizes, [False, True]):
        arrays = [whole_numbers(shape, i) for i, shape in enumerate([(N, inputs), (inputs, outputs), (outputs,)])]
        yield from _dense_pair(f"{N}x{inputs} to {outputs}{', ReLU' * relu}", arrays, relu)
    arrays = [whole_numbers(shape, i) for i, shape in enumerate([(6, 50), (50, 7), (7,)])]
    for name in ("Fortran", "strided", "reversed"):
        yield from _dense_pair(f"{name} layout", [LAYOUTS[name](array) for array in arrays], relu=True)
    for name, place in VIEWS.items():
        yield from _dense_pair(name, arrays, relu=True, place=place)


def _dense_pair(label: str, arrays: list[np.ndarray], relu: bool, place: Place = as_it_is) -> Iterator[KernelCase]:
    """Forward, and backward with all gradients, with that of the input, and with those of the parameters."""
    forward = partial(check_dense_forward, arrays=arrays, relu=relu, place=place)
    yield KernelCase("dense_forward", label, forward)
    for flags in ([X, WEIGHT], [X], [WEIGHT]):
        check = partial(check_dense_backward, arrays=arrays, relu=relu, flags=flags, place=place)
        yield KernelCase("dense_backward", f"{label}; {', '.join(flags)}", check)


# -------------------------------------------------------------------------------------------- loss, dropout, statistics


def check_loss(backend: Backend, logits: np.ndarray, labels: np.ndarray) -> None:
    """The mean loss and its gradient, closely."""
    loss, grad = run(backend, fused(backend, "softmax_cross_entropy"), [logits, labels])
    if (loss.dtype, grad.dtype) != (logits.dtype, logits.dtype):
        raise KernelError(f"loss and gradient have dtypes {loss.dtype} and {grad.dtype}, expected {logits.dtype}")
    expected = plain.softmax_cross_entropy(logits.astype(np.float64), labels)
    for name, ours, wanted in zip(("loss", "grad_logits"), (loss, grad), expected, strict=True):
        compare_close(name, ours, np.asarray(wanted))


def check_dropout(backend: Backend, x: np.ndarray, p: float, key: tuple[int, int], place: Place = as_it_is) -> None:
    """Exactly ``x`` times the oracle's mask."""
    kernel = fused(backend, "dropout")
    (y,) = run(backend, lambda x: [kernel(x, p, key)], [x], place)
    compare("y", y, x * LOOPS.dropout_mask(x.shape, p, x.dtype, key), tolerance=1)


def check_count(backend: Backend, logits: np.ndarray, labels: np.ndarray) -> None:
    """The number of rows whose first largest logit is at the label."""
    kernel = fused(backend, "count_correct")
    (count,) = run(backend, lambda *inputs: [kernel(*inputs)], [logits, labels])
    compare_values("count", count, np.asarray((logits.argmax(axis=1) == labels).sum()))


def check_in_place(
    backend: Backend, kernel: str, arrays: list[np.ndarray], call: Callable[..., None], expected: list[np.ndarray]
) -> None:
    """``call(kernel, *arrays)`` changes arrays of the backend to ``expected``, with the same bits each time."""
    function = fused(backend, kernel)

    def compute() -> list[Array]:
        ours = [backend.asarray(array.copy()) for array in arrays]
        call(function, *ours)
        return ours

    for i, (ours, wanted) in enumerate(zip(run(backend, compute, []), expected, strict=True)):
        if ours.dtype != arrays[i].dtype:
            raise KernelError(f"array {i} became {ours.dtype}, expected {arrays[i].dtype}")
        compare_close(f"array {i}", ours, wanted)


def check_statistics(backend: Backend, dtype: type, momentum: float) -> None:
    """``running += momentum * (batch - running)`` for mean and variance."""
    arrays = [normal((7,), dtype, seed) for seed in range(4)]
    mean, var, batch_mean, batch_var = arrays
    moved = [mean + momentum * (batch_mean - mean), var + momentum * (batch_var - var), batch_mean, batch_var]
    check_in_place(backend, "update_statistics", arrays, lambda kernel, *x: kernel(*x, momentum), moved)


def check_adam(
    backend: Backend, shapes: list[tuple[int, ...]], dtype: type, rates: tuple[float, ...], decay: float
) -> None:
    """A step of Adam for several parameters at once."""
    settings = 0.9, 0.999, 1e-8, decay
    arrays = [
        np.abs(array) if slot == 3 else array
        for i, shape in enumerate(shapes)
        for slot, array in enumerate(normal(shape, dtype, 4 * i + slot) for slot in range(4))
    ]
    groups = [arrays[i : i + 4] for i in range(0, len(arrays), 4)]
    expected = [
        array for group in groups for array in plain.adam([a.astype(np.float64) for a in group], rates, *settings)
    ]

    def call(kernel: Callable[..., None], *ours: Array) -> None:
        kernel([ours[i : i + 4] for i in range(0, len(ours), 4)], rates, *settings)

    check_in_place(backend, "adam_all", arrays, call, expected)


def check_gradient_norm(backend: Backend, shapes: list[tuple[int, ...]], dtype: type) -> None:
    """The length of several gradients as one vector."""
    gradients = [3 * normal(shape, dtype, seed) for seed, shape in enumerate(shapes)]
    expected = np.sqrt(sum(np.square(gradient.astype(np.float64)).sum() for gradient in gradients))

    kernel = fused(backend, "gradient_norm")
    (norm,) = run(backend, lambda *ours: [kernel(list(ours))], gradients)
    compare_close("norm", norm, np.array(expected))


def check_end_step(backend: Backend, dtype: type, row: int) -> None:
    """Loss and number of correct rows are added, the row is counted on, and its bytes are copied."""
    logits, labels = with_ties((6, 4), dtype), np.array([0, 1, 2, 3, 0, 1])
    loss: np.ndarray = np.array(1.1, dtype)
    sums: tuple[np.ndarray, np.ndarray] = np.array(2.0), np.array(3)
    table = np.random.default_rng(0).integers(0, 256, (3, 16), np.uint8)
    arrays = [loss, logits, labels, *sums, np.array([row]), table, np.zeros(16, np.uint8)]
    correct = (logits.argmax(axis=1) == labels).sum()
    copied = table[row + 1] if row + 1 < len(table) else arrays[-1]
    summed = sums[0] + 6 * loss.astype(np.float64), sums[1] + correct
    expected = [loss, logits, labels, *summed, np.array([row + 1]), table, copied]

    def call(kernel: Callable[..., None], *ours: Array) -> None:
        loss, logits, labels, loss_sum, correct, row, table, here = ours
        kernel(loss, logits, labels, (loss_sum, correct), row, table, here)

    check_in_place(backend, "end_step", arrays, call, expected)


def small_cases() -> Iterator[KernelCase]:
    """The loss, dropout, the statistics of batch norm, Adam, the norm of gradients, and the end of a step."""
    for (N, K), dtype in product([(1, 1), (1, 3), (4, 2), (5, 10), (130, 7)], DTYPES):
        logits, rng = 4 * normal((N, K), dtype), np.random.default_rng(0)
        labels = rng.integers(0, K, N)
        for kind, target in {"labels": labels, "probabilities": rng.dirichlet(np.ones(K), N).astype(dtype)}.items():
            check = partial(check_loss, logits=logits, labels=target)
            yield KernelCase("softmax_cross_entropy", f"{np.dtype(dtype)} {N}x{K}, {kind}", check)
        for draw in (normal, with_ties):
            check = partial(check_count, logits=draw((N, K), dtype), labels=labels)
            yield KernelCase("count_correct", f"{np.dtype(dtype)} {N}x{K} {draw.__name__}", check)
    for shape, p, key, dtype in product([(), (7,), (0, 3), (2, 3, 2, 2)], [0.3, 0.5], [(0, 0), (2**62, 2**33)], DTYPES):
        check = partial(check_dropout, x=normal(shape, dtype), p=p, key=key)
        yield KernelCase("dropout", f"{np.dtype(dtype)} {shape}, p={p}, key {key}", check)
    for name, place in VIEWS.items():
        check = partial(check_dropout, x=normal((4, 6), np.float32), p=0.3, key=(1, 2), place=place)
        yield KernelCase("dropout", name, check)
    for dtype, momentum in product(DTYPES, [0.0, 0.1, 1.0]):
        check = partial(check_statistics, dtype=dtype, momentum=momentum)
        yield KernelCase("update_statistics", f"{np.dtype(dtype)}, momentum {momentum}", check)
    parameters: list[list[tuple[int, ...]]] = [[(3,)], [(2, 3), (), (5, 1, 2)], [(70_000,), (4,)]]
    for shapes, dtype in product(parameters, DTYPES):
        for rates, decay in (((0.1, 1.5), 0.0), ((0.1, 1.5), 0.3), ((0.1, 1.5, 0.9), 0.0)):
            check = partial(check_adam, shapes=shapes, dtype=dtype, rates=rates, decay=decay)
            yield KernelCase("adam_all", f"{np.dtype(dtype)} {shapes}, rates {rates}, decay {decay}", check)
    for shapes, dtype in product(parameters, DTYPES):
        check = partial(check_gradient_norm, shapes=shapes, dtype=dtype)
        yield KernelCase("gradient_norm", f"{np.dtype(dtype)} {shapes}", check)
    for dtype, row in product(DTYPES, [0, 1, 2]):
        yield KernelCase("end_step", f"{np.dtype(dtype)}, row {row}", partial(check_end_step, dtype=dtype, row=row))


# ----------------------------------------------------------------------------------------------- without any gradient


def check_conv_inference(backend: Backend, block: Block) -> None:
    """Exactly the plain operations."""
    kernel = fused(backend, "conv_inference")
    (y,) = run(backend, lambda *inputs: [kernel(*inputs, **block.settings)], block.arrays, block.place)
    block.compare("y", y, block.plain[0][0])


def inference_cases() -> Iterator[KernelCase]:
    """Pools, an empty batch and views of a convolution; images and inputs of a dense layer that fill no tile."""
    x, pool = whole_numbers((3, 9, 8, 2), 5), POOLS["pool 2x2"]
    blocks = [conv_block(name, x, 5, CONVS[2], relu=True, pool=POOLS[name]) for name in POOLS]
    blocks += [conv_block("no image", x[:0], 5, CONVS[2], relu=True, pool=pool)]
    blocks += [conv_block(name, x, 5, CONVS[2], relu=True, pool=pool, place=place) for name, place in VIEWS.items()]
    for block in blocks:
        yield KernelCase("conv_inference", block.label, partial(check_conv_inference, block=block))
    sizes = [(0, 3, 20), (11, 30, 20), (12, 0, 20), (12, 1, 17), (64, 33, 130), (200, 600, 130), (25, 1100, 40)]
    places: list[tuple[str, tuple[int, int, int], Place]] = [(str(size), size, as_it_is) for size in sizes]
    places += [(name, (25, 50, 40), place) for name, place in VIEWS.items()]
    for (label, (N, inputs, outputs), place), relu in product(places, [False, True]):
        arrays = [whole_numbers(shape, i) for i, shape in enumerate([(N, inputs), (inputs, outputs), (outputs,)])]
        check = partial(check_dense_forward, arrays=arrays, relu=relu, place=place, kernel="dense_inference")
        yield KernelCase("dense_inference", f"{label}{', ReLU' * relu}", check)


CASES = [*block_cases(), *dense_cases(), *small_cases(), *inference_cases()]
