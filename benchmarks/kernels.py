"""Check and time every kernel on every backend, at the sizes of the five networks; the reference is NumPy in float64.

    python benchmarks/kernels.py --backend numba numpy --json result.json

The report also gives the ceilings of the machine, measured in the same run: GFLOP/s of a large matrix product and GB/s
of a large copy. Bytes count each input read once and each output written once. The operation count is that of the plain
definition, so a kernel that skips dead outputs or zero gradients can exceed the ceiling.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import machine

import tinycnn
from tinycnn import ops, optim
from tinycnn.backends.base import Backend
from tinycnn.backends.threads import get_threads
from tinycnn.layers import Conv2d, Dense, MaxPool2d, ReLU, Sequential
from tinycnn.run.scripts import in_sentences

BATCH = 128
Result = dict[str, Any]


@dataclass
class Case:
    """A function to time: ``run()`` returns arrays, ``reference()`` the expected ones (None: the tests check them)."""

    name: str
    run: Callable[[], list[Any]]
    reference: Callable[[], list[Any]] | None
    gflop: float
    gbyte: float


def normal(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def contract_cases(backend: Backend) -> Iterator[Case]:
    """The required kernels, which ``backends/base.py`` declares."""
    x, window = np.maximum(normal(BATCH, 13, 13, 32), 0), ((3, 3), (1, 1), (0, 0))
    cols, pool = normal(BATCH * 121, 288), ((2, 2), (2, 2), (0, 0))
    reference = tinycnn.backends.load_backend("numpy")
    big = np.maximum(normal(BATCH, 26, 26, 32), 0)
    pooled, winner = reference.max_pool2d(big, *pool)
    pixels = np.random.default_rng(0).integers(0, 256, (60_000, 28, 28, 1), dtype=np.uint8)
    chosen = np.random.default_rng(1).permutation(60_000)[:BATCH]
    calls: list[tuple[str, tuple[Any, ...], float]] = [
        ("im2col", (x, *window), x.nbytes + cols.nbytes),
        ("col2im", (cols, x.shape, *window), x.nbytes + cols.nbytes),
        ("max_pool2d", (big, *pool), big.nbytes + pooled.nbytes + winner.nbytes),
        ("max_pool2d_backward", (pooled, winner, big.shape, *pool), big.nbytes + pooled.nbytes + winner.nbytes),
        ("gather_images", (pixels, chosen, 1 / 255, np.dtype(np.float32)), BATCH * 784 * 5),
        ("dropout_mask", ((BATCH, 128), 0.5, np.dtype(np.float32), (1, 2)), BATCH * 128 * 4),
    ]
    for name, arguments, size in calls:

        def run(by: Backend = backend, name: str = name, arguments: tuple[Any, ...] = arguments) -> list[Any]:
            result = getattr(by, name)(*arguments)
            return list(result) if isinstance(result, tuple) else [result]

        yield Case(name, run, lambda run=run: run(reference), 0.0, size / 1e9)  # type: ignore[misc]


def layer_cases() -> Iterator[Case]:
    """Blocks of layers as the networks use them, fused where the backend has a fused kernel."""
    blocks = {
        "conv 1→6, relu, pool": ((28, 28, 1), [Conv2d(6), ReLU(), MaxPool2d()]),
        "conv 1→32, relu, pool": ((28, 28, 1), [Conv2d(32), ReLU(), MaxPool2d()]),
        "conv 6→16, relu, pool": ((13, 13, 6), [Conv2d(16), ReLU(), MaxPool2d()]),
        "conv 32→64, relu, pool": ((13, 13, 32), [Conv2d(64), ReLU(), MaxPool2d()]),
        "conv 64→128, relu, pool": ((5, 5, 64), [Conv2d(128), ReLU(), MaxPool2d()]),
        "conv 32→64, relu": ((13, 13, 32), [Conv2d(64), ReLU()]),
        "dense 1600→128, relu": ((1600,), [Dense(128), ReLU()]),
        "dense 5408→128, relu": ((5408,), [Dense(128), ReLU()]),
    }
    for name, (shape, layers) in blocks.items():
        yield from block_cases(name, Sequential(*layers, input_shape=shape))


def block_cases(name: str, model: Sequential) -> Iterator[Case]:
    """Forward and backward; the reference is the same block in float64, layer by layer."""
    shape, block = model.input_shape, list(model.layers.values())
    again = (type(layer)(**layer.settings()) for layer in block)
    exact = Sequential(*again, input_shape=shape, dtype=np.float64, fuse=False)
    exact.load_state_dict({k: v.astype(np.float64) for k, v in model.state_dict().items()})
    x, grad_y = normal(BATCH, *shape), normal(BATCH, *model.output_shape, seed=1)
    x64, grad64 = x.astype(np.float64), grad_y.astype(np.float64)
    weight = block[0].parameters()[0]
    gflop = 2 * BATCH * math.prod(block[0].output_shape[:-1]) * weight.data.size / 1e9
    moved = (x.nbytes + grad_y.nbytes + weight.data.nbytes) / 1e9
    first = shape[-1] == 1  # the first layer of a network does not compute the gradient of its input
    yield Case(f"{name}: forward", lambda: forward(model, x), lambda: forward(exact, x64), gflop, moved)
    yield Case(
        f"{name}: backward",
        lambda: backward(model, x, grad_y, first),
        lambda: backward(exact, x64, grad64, first),
        gflop * (1 if first else 2),
        2 * moved,
    )


def forward(model: Sequential, x: np.ndarray) -> list[Any]:
    return [model(tinycnn.Tensor(x)).numpy()]


def backward(model: Sequential, x: np.ndarray, grad_y: np.ndarray, first: bool) -> list[Any]:
    """Return all gradients, and append the seconds of the backward pass to ``backward_seconds``."""
    tensor = tinycnn.Tensor(x, requires_grad=not first)
    y = model(tensor)
    start = time.perf_counter()
    model.zero_grad()
    y.backward(grad_y)
    backward_seconds.append(time.perf_counter() - start)
    return [parameter.grad for parameter in model.parameters()] + ([] if first else [tensor.grad])


def other_cases() -> Iterator[Case]:
    """The loss and the optimizer."""
    logits, labels = normal(BATCH, 10), np.random.default_rng(2).integers(0, 10, BATCH)

    def loss(logits: np.ndarray = logits) -> list[Any]:
        tensor = tinycnn.Tensor(logits, requires_grad=True)
        value = ops.softmax_cross_entropy(tensor, labels)
        value.backward()
        return [value.numpy(), tensor.grad]

    yield Case(
        "softmax cross-entropy, both passes",
        loss,
        lambda: loss(logits.astype(np.float64)),
        0.0,
        2 * logits.nbytes / 1e9,
    )
    for count in (60_074, 693_962):
        parameter = tinycnn.Tensor(normal(count), requires_grad=True)
        parameter.grad = normal(count, seed=1)
        adam = optim.Adam([parameter])

        def step(adam: optim.Optimizer = adam) -> list[Any]:
            adam.step()
            return []

        yield Case(f"Adam, {count:,} parameters", step, None, 0.0, 7 * 4 * count / 1e9)


backward_seconds: list[float] = []  # times of "backward" cases, without their forward pass


def timed(case: Case, rounds: int) -> list[float]:
    """Seconds of each of ``rounds`` calls, after one warm-up call."""
    case.run()
    backward_seconds.clear()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        case.run()
        seconds.append(time.perf_counter() - start)
    return list(backward_seconds) or seconds


def worst_error(case: Case) -> float | None:
    """The largest relative difference from the reference over all results; raises SystemExit above 1e-4."""
    if case.reference is None:
        return None
    worst = 0.0
    for ours, expected in zip(case.run(), case.reference(), strict=True):
        expected = np.asarray(expected, np.float64)
        difference = float(np.linalg.norm(np.asarray(ours, np.float64) - expected))
        worst = max(worst, difference / max(float(np.linalg.norm(expected)), 1e-30))
    if not worst < 1e-4:
        raise SystemExit(f"{case.name}: differs from the reference by {worst:.1e}; nothing was timed")
    return worst


def ceilings() -> dict[str, float]:
    """GFLOP/s of a large float32 matrix product and GB/s of a large copy, with NumPy and all threads."""
    with tinycnn.use_backend("numpy"):
        a, b = normal(2048, 2048), normal(2048, 2048, seed=1)
        source, target = np.ones(1 << 26, np.float32), np.empty(1 << 26, np.float32)
        product = Case("", lambda: [a @ b], None, 0, 0)
        copy = Case("", lambda: [np.copyto(target, source) or target], None, 0, 0)  # type: ignore[func-returns-value]
        return {
            "gflop_per_s": 2 * 2048**3 / min(timed(product, 5)) / 1e9,
            "gbyte_per_s": 2 * source.nbytes / min(timed(copy, 5)) / 1e9,
        }


def measure(backend: str, rounds: int) -> Iterator[Result]:
    with tinycnn.use_backend(backend) as active:
        for case in (*contract_cases(active), *layer_cases(), *other_cases()):
            error = worst_error(case)
            seconds = timed(case, rounds)
            median = statistics.median(seconds)
            yield {
                "kernel": case.name,
                "backend": backend,
                "median_ms": median * 1e3,
                "min_ms": min(seconds) * 1e3,
                "gflop_per_s": case.gflop / median,
                "gbyte_per_s": case.gbyte / median,
                "error": error,
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", nargs="*", default=["numba"], help="numpy, numba, cupy")
    parser.add_argument("--rounds", type=machine.positive, default=20)
    parser.add_argument("--json", type=machine.result_file, metavar="FILE")
    options = parser.parse_args()
    with in_sentences(parser):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    about, roof = machine.describe(get_threads()), ceilings()
    print(json.dumps(about))
    print(f"ceilings: {roof['gflop_per_s']:.0f} GFLOP/s, {roof['gbyte_per_s']:.0f} GB/s; batch {BATCH}")
    results = []
    for backend in options.backend:
        print(f"\n{backend:<36} {'median ms':>10} {'min ms':>8} {'GFLOP/s':>8} {'GB/s':>6}  error")
        for r in measure(backend, options.rounds):
            results.append(r)
            error = "" if r["error"] is None else f"{r['error']:.0e}"
            figures = f"{r['median_ms']:>10.3f} {r['min_ms']:>8.3f} {r['gflop_per_s']:>8.0f} {r['gbyte_per_s']:>6.1f}"
            print(f"{r['kernel']:<36} {figures}  {error}", flush=True)
    if options.json:
        machine.replace(options.json, {"machine": about, "ceilings": roof, "results": results})


if __name__ == "__main__":
    main()
