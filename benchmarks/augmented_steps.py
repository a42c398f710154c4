"""Time that augmentation adds to a training step, and the time saved by computing its maps ahead on a thread.

    python benchmarks/augmented_steps.py

Prints the median milliseconds per step on MNIST images for four variants, timed in alternating rounds: without
augmentation; with augmentation; with the maps of the next step computed on a thread; and with maps computed before the
epoch. The last variant is the upper limit of what computing ahead can save.
"""

import argparse
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import Any, ClassVar

import numpy as np

import tinycnn
from tinycnn import models, optim
from tinycnn.data.augment import Affine, Augmentation, Elastic
from tinycnn.run.scripts import in_sentences
from tinycnn.train.batches import Sampler
from tinycnn.train.trainer import Trainer

BATCH, BATCHES, STEPS = 128, 100, 10  # images per step, steps per epoch, steps per round


@dataclass(frozen=True)
class AheadSampler(Sampler):
    """Computes the maps of the next step on a thread."""

    coming: list[Future] = field(default_factory=list)  # the maps of the next step; none before the first
    thread: ClassVar = ThreadPoolExecutor(1)

    def maps(self, count: int, epoch: int, step: int, chosen: Any = None) -> np.ndarray | None:
        """Return the maps computed during the previous step."""
        drawn = self.coming.pop().result() if self.coming else super().maps(count, epoch, step)
        self.coming.append(self.thread.submit(super().maps, count, epoch, step + 1))
        return drawn


@dataclass(frozen=True)
class BeforeSampler(Sampler):
    """Computes the maps of an epoch before it begins."""

    drawn: list[np.ndarray | None] = field(default_factory=list)  # of each step of the epoch

    def maps(self, count: int, epoch: int, step: int, chosen: Any = None) -> np.ndarray | None:
        """Return the maps of the first epoch in every epoch."""
        if not self.drawn:
            self.drawn.extend(super(BeforeSampler, self).maps(count, epoch, i) for i in range(BATCHES))
        return self.drawn[step % BATCHES]


Sampled = tuple[Trainer, Sampler]


def trainer_of(kind: type[Sampler], model: str, augment: Augmentation | None) -> Sampled:
    """A trainer of a new network, and the sampler of its batches."""
    network = models.create(model)
    return Trainer(network, optim.Adam(network.parameters()), batch_size=BATCH), kind(BATCH, augment=augment)


def measure(trainers: dict[str, Sampled], seconds: float) -> dict[str, list[float]]:
    """Milliseconds per step of each round of ``STEPS`` steps; the trainers take turns."""
    data = tinycnn.data.load("mnist")
    images, labels = np.asarray(data.x_train[: BATCH * BATCHES]), data.y_train[: BATCH * BATCHES]
    batches = np.random.default_rng(0).permutation(len(images)).reshape(BATCHES, BATCH)
    times: dict[str, list[float]] = {name: [] for name in trainers}
    end, first = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or len(times["none"]) < 2:
        for name, (trainer, sampler) in trainers.items():
            start, train = time.perf_counter(), trainer.training_step
            for step in range(first, first + STEPS):
                train(sampler.batch(images, labels, batches[step % BATCHES], epoch=1, step=step))
            times[name].append((time.perf_counter() - start) * 1e3 / STEPS)
        first += STEPS
    return {name: all_times[1:] for name, all_times in times.items()}  # the first round compiles


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=models.MODELS, default="keras_cnn")
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    with in_sentences(parser):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    tinycnn.use_backend("numba")
    trainers = {"none": trainer_of(Sampler, options.model, None)}
    for augment in (Affine(), Elastic()):
        for how, kind in {"in the step": Sampler, "on a thread": AheadSampler, "before": BeforeSampler}.items():
            trainers[f"{type(augment).__name__}, {how}"] = trainer_of(kind, options.model, augment)
    for name, times in measure(trainers, options.seconds).items():
        print(f"{name:24} {median(times):6.2f} ms ({len(times)} rounds of {STEPS} steps)")
    AheadSampler.thread.shutdown()


if __name__ == "__main__":
    main()
