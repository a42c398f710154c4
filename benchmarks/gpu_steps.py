"""Milliseconds per training step on a GPU: tinycnn eager and captured, PyTorch in four modes, in one run.

    python benchmarks/train_step.py --backend cupy --against torch --precision float32 tf32 --json result.json

The benchmark times whole epochs. An epoch copies a shuffled order to the GPU. Each step gathers its batch from bytes
there, runs forward, backward and Adam, and adds to the loss. The epoch ends when the host has read the loss, so the
time includes all queued work. All contestants get the same images, batches and initial weights. Before timing, loss and
gradients are compared with PyTorch's on the CPU, and every contestant trains for two epochs, in which it compiles and
captures. Afterwards all losses must agree within ``ALIKE``. PyTorch uses its fused Adam and searches for the fastest
convolutions (``cudnn.benchmark``). Strict float32 and TF32 are set for both sides and timed separately.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import machine
import numpy as np

import tinycnn
from tinycnn import data, models, optim
from tinycnn.backends import use_tf32
from tinycnn.errors import DataError
from tinycnn.layers import pixel_scale
from tinycnn.train.trainer import Trainer

Epoch = Callable[[int], float]  # number of the epoch, from 1 → its mean loss, after the GPU has finished
# Largest relative difference of the first loss and gradients. Rounding factors to TF32 moves many activations across a
# kink: on the emulated GPU the difference is 0.6 % for lenet, 1.1 % for keras_cnn, 3.5 % for batchnorm_cnn.
STRICT, ROUNDED = 1e-4, 0.1
ALIKE = 0.25  # largest relative difference of the losses after the same epochs; dropout masks differ


def mnist(batch_size: int, limit: int | None, fake: Callable[[int], tuple[np.ndarray, np.ndarray]]) -> tuple[Any, ...]:
    """``(images, labels, real)``: a whole number of batches, as a CUDA graph of PyTorch has one fixed batch size.

    ``real`` is False for random images, used where MNIST is not on this machine.
    """
    try:
        found = data.load("mnist", download=False)
        images, labels, real = found.x_train, found.y_train, True
    except DataError:
        (images, labels), real = fake(60_000), False
    count = min(limit or len(labels), len(labels)) // batch_size * batch_size
    return images[:count], labels[:count], real


def tinycnn_epochs(name: str, batch_size: int, images: np.ndarray, labels: np.ndarray, capture: bool) -> Epoch:
    """Training with ``Trainer`` on the active backend, as users run it."""
    model, backend = models.create(name), tinycnn.get_backend()
    trainer = Trainer(model, optim.Adam(model.parameters()), batch_size=batch_size, capture=capture)
    images_here, labels_here = backend.asarray(images), backend.asarray(labels)

    def epoch(number: int) -> float:
        loss = trainer.train_epoch(images_here, labels_here, number).loss
        if trainer.why_eager:
            raise SystemExit(f"{name}: the step was not captured, so it is not timed: {trainer.why_eager}")
        return loss

    return epoch


class TorchTraining:
    """The same training in PyTorch: ``epoch(number)`` of steps that gather their batch from bytes on ``device``."""

    def __init__(
        self, name: str, mode: str, batch_size: int, images: np.ndarray, labels: np.ndarray, device: str = "cuda"
    ) -> None:
        import torch
        from torch_networks import twin

        model = models.create(name)
        self.torch, self.device, self.scale = torch, device, pixel_scale(model)
        self.layout = torch.channels_last if mode == "channels_last" else torch.contiguous_format
        network = twin(model).to(device, memory_format=self.layout)
        self.run: Any = torch.compile(network) if mode == "compile" else network
        graph = mode == "graph"
        self.adam = torch.optim.Adam(network.parameters(), lr=1e-3, fused=device == "cuda" or None, capturable=graph)
        self.loss_function = torch.nn.CrossEntropyLoss()
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device)
        self.labels = torch.from_numpy(labels).to(device)
        self.chosen = torch.zeros(batch_size, dtype=torch.int64, device=device)
        self.loss_sum = torch.zeros((), device=device)
        self.take_step = self._recorded() if graph else self.step

    def step(self) -> None:
        """Run one step on the images with the indices in ``chosen``."""
        x = (self.images[self.chosen].float() * self.scale).contiguous(memory_format=self.layout)
        loss = self.loss_function(self.run(x), self.labels[self.chosen])
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        self.adam.step()
        self.loss_sum += loss.detach()

    def _recorded(self) -> Callable[[], None]:
        """Return the step as a CUDA graph, captured after three warm-up steps; the weights are restored.

        PyTorch's documentation requires the warm-up.
        """
        torch, start = self.torch, {name: value.clone() for name, value in self.run.state_dict().items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        self.adam.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self.step()
        self.run.load_state_dict(start)
        for slots in self.adam.state.values():
            for value in slots.values():
                value.zero_()
        return graph.replay

    def epoch(self, number: int) -> float:
        """Train for one epoch, in tinycnn's order of the images, and return the mean loss."""
        order = np.random.default_rng([0, number]).permutation(len(self.labels))
        order_here = self.torch.from_numpy(order).to(self.device)
        self.loss_sum.zero_()
        size = len(self.chosen)
        for start in range(0, len(order), size):
            self.chosen.copy_(order_here[start : start + size])
            self.take_step()
        return float(self.loss_sum) / (len(order) // size)


def contestants(
    name: str, batch_size: int, images: np.ndarray, labels: np.ndarray, torch_modes: list[str]
) -> Iterator[tuple[str, Epoch]]:
    """Each contestant's name and epoch function, created one at a time so that only one holds GPU memory."""
    for side, capture in (("tinycnn eager", False), ("tinycnn captured", True)):
        yield side, tinycnn_epochs(name, batch_size, images, labels, capture)
    for mode in torch_modes:
        yield f"torch {mode}", TorchTraining(name, mode, batch_size, images, labels).epoch


def timed(epoch: Epoch, epochs: int) -> tuple[list[float], float, float]:
    """``(milliseconds of each epoch, loss of the last, seconds of two warm-up epochs, which compile)``."""
    start = time.perf_counter()
    epoch(1)
    epoch(2)
    ready_s, taken, loss = time.perf_counter() - start, [], float("nan")
    for number in range(3, 3 + epochs):
        start = time.perf_counter()
        loss = epoch(number)
        taken.append((time.perf_counter() - start) * 1e3)
    return taken, loss, ready_s


def set_precision(precision: str) -> None:
    """Set ``float32`` or ``tf32`` on both sides; a backend without TF32 stays at float32, which the figures record."""
    if tinycnn.get_backend().tf32 is not None:
        use_tf32(precision == "tf32")
    try:
        import torch
    except ImportError:
        return
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True


def measure(
    name: str, batch_size: int, precision: str, options: argparse.Namespace, check: Callable[..., float], fake: Any
) -> dict[str, Any]:
    """Time all contestants on one network, batch size and precision."""
    set_precision(precision)
    gap = check(name, *fake(128), ROUNDED if precision == "tf32" else STRICT) if options.against else None
    images, labels, real = mnist(batch_size, options.limit, fake)
    modes = [mode for mode in options.torch_modes if options.against]
    steps, result = len(labels) // batch_size, dict[str, dict[str, float]]()
    for side, epoch in contestants(name, batch_size, images, labels, modes):
        taken, loss, ready_s = timed(epoch, options.turns)
        median = statistics.median(taken)
        result[side] = {"ms_per_step": median / steps, "ms_per_epoch": median * 60_000 / len(labels)}
        result[side] |= {"fastest_ms_per_step": min(taken) / steps, "first_two_epochs_s": ready_s, "loss": loss}
    check_alike(name, {side: figures["loss"] for side, figures in result.items()}, real)
    about = {"model": name, "batch_size": batch_size, "precision": precision, "images": len(labels), "mnist": real}
    about["tinycnn_precision"] = "tf32" if tinycnn.get_backend().tf32 else "float32"
    return about | {"difference_to_torch": gap, "contestants": result}


def check_alike(name: str, losses: dict[str, float], real: bool) -> None:
    """Raise SystemExit if a loss differs from the first contestant's; random labels are not checked."""
    first = next(iter(losses.values()))
    wrong = [side for side, loss in losses.items() if not abs(loss - first) <= ALIKE * abs(first) + 0.01]
    if wrong and real:
        raise SystemExit(f"{name}: the losses of {', '.join(wrong)} differ: {losses}; the times are not comparable")


def show(result: dict[str, Any]) -> None:
    """Print the figures of one network as a table."""
    strict = " (tinycnn: float32)" if result["tinycnn_precision"] != result["precision"] else ""
    print(f"{result['model']}, batch {result['batch_size']}, {result['precision']}{strict}")
    for side, figures in result["contestants"].items():
        times = f"{figures['ms_per_step']:8.3f} ms/step {figures['ms_per_epoch']:9.1f} ms/epoch of 60,000"
        print(f"  {side:<20} {times}   loss {figures['loss']:.4f}, ready in {figures['first_two_epochs_s']:.1f} s")
    print(flush=True)


def describe_gpu() -> dict[str, object]:
    """The GPU and its driver, in addition to the report of ``machine``."""
    cupy = tinycnn.get_backend().xp
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    return {"gpu": properties["name"].decode(), "driver": cupy.cuda.runtime.driverGetVersion(), **machine.describe(1)}


def main(options: argparse.Namespace, check: Callable[..., float], fake: Any) -> None:
    """Run all requested measurements; the figures are written after each, so an early end loses at most one."""
    tinycnn.use_backend("cupy")
    about, results = describe_gpu(), list[dict[str, Any]]()
    print(json.dumps(about))
    wanted = list(itertools.product(options.model, options.batch_size or [64, 128, 512], options.precision))
    for setting in wanted:
        try:
            results.append(measure(*setting, options, check, fake))
        except SystemExit as reason:  # this measurement failed; the others still run
            print(reason, flush=True)
            continue
        show(results[-1])
        if options.json:
            machine.replace(options.json, {"measured": "training step", "machine": about, "results": results})
    if len(results) < len(wanted):
        raise SystemExit(f"{len(wanted) - len(results)} of {len(wanted)} measurements failed, see above")
