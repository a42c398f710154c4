"""Milliseconds per training step of tinycnn's backends and of PyTorch, in the same run.

    python benchmarks/train_step.py --backend numba --against torch
    python benchmarks/train_step.py --backend numpy --model keras_cnn --against torch --json result.json
    python benchmarks/train_step.py --against torch --inference --batch-size 256 --torch-modes eager frozen
    python benchmarks/train_step.py --against torch --model lenet --busy 4
    python benchmarks/train_step.py --against torch --model cifar_cnn whitened_cnn --torch-modes eager channels_last

``gpu_steps.py`` describes the measurement with ``--backend cupy``. On the CPU:

One step gathers the batch from bytes and runs forward, backward and Adam. Before timing, loss and gradients of both
sides are compared on the same weights and images. Every contestant runs in its own process, so that its idle threads do
not spin on the cores of another. Contestants take turns of about half a second, so that a change of the machine's speed
affects all of them. The first quarter of a turn refills the caches and is not counted. The ratio is the median of
tinycnn divided by the median of PyTorch's fastest mode.

tinycnn takes the steps as ``Trainer.fit`` does: recorded, with the preparation of each epoch in the time
(``numba-python`` is the same backend with every step run from Python). PyTorch uses its fused Adam in every mode. For
inference, ``frozen`` is a traced network after ``torch.jit.optimize_for_inference``. ``bfloat16`` is autocast, which
computes with eight bits of precision: it is shown, and is no rival. ``--busy N`` measures beside N processes that keep
the cores busy; there the mean says more than the median, which leaves out the steps that had to wait. The result file
names PyTorch's build: one for CUDA takes several hundred MiB more.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import gpu_steps
import machine

import tinycnn
from tinycnn import models, optim
from tinycnn.backends.threads import limit_blas, set_threads
from tinycnn.layers import Sequential, pixel_scale
from tinycnn.run.scripts import in_sentences
from tinycnn.train.evaluation import predict_logits
from tinycnn.train.history import Progress
from tinycnn.train.trainer import Trainer
from tinycnn.train.whitening import whiten

Step = Callable[[np.ndarray], Any]
IMAGES = 4096
TURN_MS = 400.0  # approximate length of a contestant's turn
MOST_MS = 2000.0  # a turn ends earlier than planned where steps take much longer than at first
TORCH_MODES = ("eager", "channels_last", "compile", "frozen", "bfloat16", "graph")  # the last only on a GPU
NO_RIVALS = ("bfloat16",)  # modes with less precision
FROM_PYTHON = "numba-python"  # the Numba backend without recorded steps
EPOCH = 4096  # images of a recorded epoch


BACKENDS = ("numpy", "numba", "numba-python", "cupy")  # another name would end the processes that measure it


def parse_options() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", nargs="*", choices=list(models.NETWORKS), default=list(models.MODELS))
    parser.add_argument("--backend", nargs="*", choices=BACKENDS, default=["numba"])
    parser.add_argument("--batch-size", nargs="*", type=machine.positive, help="default: each network's own")
    parser.add_argument("--against", choices=["torch"], help="measure PyTorch in the same run")
    parser.add_argument("--torch-modes", nargs="*", choices=TORCH_MODES, default=["eager", "channels_last"])
    parser.add_argument("--inference", action="store_true", help="time the forward pass in evaluation mode instead")
    parser.add_argument("--threads", type=machine.positive, default=os.cpu_count())
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="processes that keep the cores busy meanwhile")
    parser.add_argument("--turns", type=machine.positive, default=6, help="turns (GPU: epochs) of each contestant")
    parser.add_argument("--precision", nargs="*", choices=["float32", "tf32"], default=["float32"], help="on a GPU")
    parser.add_argument(
        "--limit", type=machine.positive, metavar="N", help="on a GPU: images of an epoch (default: 60,000)"
    )
    parser.add_argument("--json", type=machine.result_file, metavar="FILE", help="write the figures there")
    return parser, parser.parse_args()


def fake_mnist(count: int = IMAGES) -> tuple[np.ndarray, np.ndarray]:
    """Random images as sparse as MNIST's, ``(count, 28, 28, 1)``, and labels: speed depends on size and zeros only."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
    images[rng.random((count, 28, 28, 1)) < 0.8] = 0
    return images, rng.integers(0, 10, count)


def fake_images(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images for the network ``name``: like MNIST's, or random ones in colour, which have no zeros."""
    shape = models.NETWORKS[name].input_shape
    if shape == (28, 28, 1):
        return fake_mnist()
    rng = np.random.default_rng(0)
    return rng.integers(1, 256, (IMAGES, *shape), dtype=np.uint8), rng.integers(0, 10, IMAGES)


def network(name: str, images: np.ndarray) -> Sequential:
    """The network ``name`` as a run begins with it: its first layer may be computed from the images, and frozen."""
    model = models.create(name)
    return whiten(model, images) if models.NETWORKS[name].whitened else model


def tinycnn_step(
    name: str, batch_size: int, images: np.ndarray, labels: np.ndarray, inference: bool, capture: bool = True
) -> Step:
    model = network(name, images)
    backend = tinycnn.get_backend()
    if inference:
        return lambda chosen: predict_logits(model, images[chosen])
    trainer = Trainer(model, optim.Adam(model.parameters()), batch_size=batch_size, capture=capture)
    images, labels = backend.asarray(images), backend.asarray(labels)
    if backend.recorder is None or not capture:
        return lambda chosen: backend.to_host(trainer.step(images, labels, backend.asarray(chosen))[0])
    whole = EPOCH // batch_size * batch_size
    steps = recorded_steps(trainer, images[:whole], labels[:whole])
    return lambda chosen: next(steps)  # the trainer chooses the images


def recorded_steps(trainer: Trainer, images: Any, labels: Any) -> Iterator[None]:
    """Take the steps of one epoch after the other, recorded, as ``Trainer.train_epoch`` does."""
    step = trainer.training_step
    for epoch in itertools.count(1):
        progress = Progress(epoch, len(labels) // trainer.batch_size)
        with trainer.capture.epoch(step, trainer.sampler, images, labels, progress) as captured:
            for _ in range(progress.steps):
                if captured is None or not captured.take(progress):
                    raise SystemExit(f"the step is not recorded: {trainer.why_eager}")
                yield


def torch_step(name: str, mode: str, images: np.ndarray, labels: np.ndarray, inference: bool) -> Step:
    import torch
    from torch_networks import twin

    model = network(name, images)
    module = twin(model)
    scale = pixel_scale(model)
    x_all = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    y_all = torch.from_numpy(labels)
    layout = torch.channels_last if mode == "channels_last" else torch.contiguous_format
    module = module.to(memory_format=layout)
    module.train(not inference)
    run: Any = torch.compile(module) if mode == "compile" else module
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    adam = torch.optim.Adam(trained, lr=1e-3, fused=True)
    loss_function, less = torch.nn.CrossEntropyLoss(), torch.autocast("cpu", torch.bfloat16, enabled=mode == "bfloat16")
    if mode == "frozen":
        run = frozen(module, x_all[: len(x_all) // 16].float() * scale)

    def batch(chosen: np.ndarray) -> Any:
        return (x_all[torch.from_numpy(chosen)].float() * scale).contiguous(memory_format=layout)

    def forward(chosen: np.ndarray) -> Any:
        with torch.inference_mode(), less:
            return run(batch(chosen)).float().numpy()

    def step(chosen: np.ndarray) -> Any:
        with less:
            loss = loss_function(run(batch(chosen)), y_all[torch.from_numpy(chosen)])
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        return loss.item()

    return forward if inference else step


def frozen(module: Any, examples: Any) -> Any:
    """The network as TorchScript runs it fastest in evaluation."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and still the fastest for small networks
        return torch.jit.optimize_for_inference(torch.jit.trace(module, examples))


def keep_busy() -> None:
    """Use a core until the process is ended."""
    while True:
        sum(range(10_000))


def check_same(name: str, images: np.ndarray, labels: np.ndarray, most: float | None = None) -> float:
    """The relative difference of both sides' loss and gradients, without dropout; raises SystemExit above ``most``.

    The smallest difference of five batches counts. At a kink of ReLU or max-pooling, float32 rounding can select either
    side, and one such case changes a gradient by a percent. A wrong kernel differs on every batch. A batch of colour
    images has two million activations, and some are always at a kink, so a larger difference is allowed there.
    """
    most = most or (1e-4 if name in models.MODELS else 1e-2)
    from torch_networks import twin

    model = network(name, images)
    for layer in model.layers.values():
        if hasattr(layer, "p"):
            layer.p = 0.0
    module = twin(model)
    draws = (slice(start, start + 16) for start in range(0, 80, 16))
    gap = min(largest_gap(model, module, images[some], labels[some]) for some in draws)
    if not gap < most:
        raise SystemExit(f"{name}: tinycnn and PyTorch disagree by {gap:.1e}; nothing was timed")
    return gap


def largest_gap(model: Sequential, module: Any, images: np.ndarray, labels: np.ndarray) -> float:
    """The largest relative difference of the loss and of the gradients of the first and last trained parameter."""
    import torch

    model.zero_grad()
    module.zero_grad()
    x = (images * np.float32(pixel_scale(model))).astype(np.float32)
    here = tinycnn.get_backend().asarray(labels)
    ours = tinycnn.ops.softmax_cross_entropy(model.logits(tinycnn.Tensor(x)), here)
    logits = module(torch.from_numpy(x).permute(0, 3, 1, 2))
    theirs = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
    ours.backward()
    theirs.backward()
    our_first, *_, our_last = (tinycnn.get_backend().to_host(p.grad) for p in model.parameters() if p.requires_grad)
    first, *_, last = (p.grad.numpy() for p in module.parameters() if p.requires_grad)
    pairs = (ours.item(), theirs.item()), (our_first, first.transpose(2, 3, 1, 0)), (our_last, last)
    return max(relative_gap(a, b) for a, b in pairs)


def relative_gap(a: Any, b: Any) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def contestant(pipe: Connection, name: str, side: str, batch_size: int, inference: bool, threads: int) -> None:
    """Process of one contestant: receives batches of image indices, sends their milliseconds and its peak memory."""
    images, labels = fake_images(name)
    if side.startswith("torch"):
        import torch

        torch.set_num_threads(threads)
        step = torch_step(name, side.removeprefix("torch "), images, labels, inference)
    else:
        set_threads(threads)
        tinycnn.use_backend("numba" if side == FROM_PYTHON else side)
        if side == "numpy":
            limit_blas(threads)
        step = tinycnn_step(name, batch_size, images, labels, inference, capture=side != FROM_PYTHON)
    while (batches := pipe.recv()) is not None:
        taken: list[float] = []
        for chosen in batches:
            taken.append(milliseconds(step, chosen))
            if sum(taken) > MOST_MS:
                break
        pipe.send((taken, machine.peak_memory_mib()))


def milliseconds(step: Step, chosen: np.ndarray) -> float:
    start = time.perf_counter()
    step(chosen)
    return (time.perf_counter() - start) * 1e3


def take_turns(
    sides: list[str], name: str, batch_size: int, options: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """``({contestant: milliseconds of each step}, {contestant: peak memory in MiB})``."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for side in sides:
        pipes[side], other_end = context.Pipe()
        settings = (other_end, name, side, batch_size, options.inference, options.threads)
        processes.append(context.Process(target=contestant, args=settings, daemon=True))
        processes[-1].start()
    busy = [context.Process(target=keep_busy, daemon=True) for _ in range(options.busy)]
    rng = np.random.default_rng(1)
    times: dict[str, list[float]] = {side: [] for side in sides}
    memory: dict[str, float] = {}
    steps = 5
    for turn in range(1 + options.turns):
        batches = [rng.permutation(IMAGES)[:batch_size] for _ in range(steps)]
        for side, pipe in pipes.items():
            pipe.send(batches)
            taken, memory[side] = pipe.recv()
            if turn > 0:
                times[side] += taken[len(taken) // 4 :]
            else:  # the first turn compiles, warms up and determines the number of steps per turn
                steps = max(steps, min(200, round(TURN_MS / statistics.median(taken))))
        for process in busy if turn == 0 else []:
            process.start()
    for process in busy:
        process.kill()
    for pipe in pipes.values():
        pipe.send(None)
    for process in processes:
        process.join()
    return times, memory


def measure(name: str, batch_size: int, options: argparse.Namespace) -> dict[str, Any]:
    gap = None
    if options.against:
        images, labels = fake_images(name)
        for backend in {side.removesuffix("-python") for side in options.backend}:
            with tinycnn.use_backend(backend):
                gap = max(gap or 0.0, check_same(name, images, labels))
    rivals = [f"torch {mode}" for mode in options.torch_modes] if options.against else []
    times, memory = take_turns([*options.backend, *rivals], name, batch_size, options)
    medians = {side: statistics.median(taken) for side, taken in times.items()}
    best = min((medians[side] for side in rivals if side.removeprefix("torch ") not in NO_RIVALS), default=None)
    return {
        "model": name,
        "batch_size": batch_size,
        "median_ms": medians,
        "mean_ms": {side: statistics.mean(taken) for side, taken in times.items()},
        "quartiles_ms": {side: statistics.quantiles(taken, n=4) for side, taken in times.items()},
        "s_per_epoch": {side: ms * 60 / batch_size for side, ms in medians.items()},
        "peak_memory_mib": memory,
        "ratio_to_torch": {b: medians[b] / best for b in options.backend} if best else None,
        "difference_to_torch": gap,
        "busy_processes": options.busy,
    }


def show(result: dict[str, Any]) -> None:
    print(f"{result['model']}, batch {result['batch_size']}")
    for name, median in result["median_ms"].items():
        low, _, high = result["quartiles_ms"][name]
        spread = f"(quartiles {low:.2f} to {high:.2f})"
        more = f"{result['s_per_epoch'][name]:7.2f} s/epoch  {result['peak_memory_mib'][name]:6.0f} MiB"
        print(f"  {name:<22} {median:8.2f} ms  {spread:<28} {more}", flush=True)
    for name, ratio in (result["ratio_to_torch"] or {}).items():
        gap = result["difference_to_torch"]
        print(f"  {name} / PyTorch's fastest  {ratio:.2f}   (first loss and gradients agree to {gap:.0e})")


def main() -> None:
    parser, options = parse_options()
    with in_sentences(parser):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    if options.backend == ["cupy"]:
        gpu_steps.main(options, check_same, fake_mnist)
        return
    if "cupy" in options.backend or "graph" in options.torch_modes:
        raise SystemExit("time cupy and PyTorch's graphs in a separate run: --backend cupy")
    if "frozen" in options.torch_modes and not options.inference:
        raise SystemExit("PyTorch's frozen networks do not train: add --inference")
    print(json.dumps(machine.describe(options.threads)))
    results = []
    for name in options.model:
        for batch_size in options.batch_size or [models.NETWORKS[name].author.batch_size]:
            results.append(measure(name, batch_size, options))
            show(results[-1])
    if options.json:
        kind = "inference" if options.inference else "training step"
        machine.write_results(options.json, kind, options.threads, results)


if __name__ == "__main__":
    main()
