"""What the maps of an augmentation cost a training step, and what drawing them ahead on a thread would save.

python benchmarks/augmented_steps.py: milliseconds of a step on MNIST images, medians of rounds in turn: without
augmentation, with it, with the maps of the next step drawn on a thread, and with maps that were drawn before, which is
the most that drawing ahead could bring.
"""

import argparse
import time
from concurrent.futures import Future, ThreadPoolExecutor
from statistics import median

import numpy as np

import tinycnn
from tinycnn import models, optim
from tinycnn.data.augment import Affine, Augmentation, Elastic
from tinycnn.train.trainer import Trainer

BATCH, BATCHES, STEPS = 128, 100, 10  # images in a step, steps in an epoch, steps in a round


class AheadTrainer(Trainer):
    """Draws the maps of the next step on a thread."""

    thread = ThreadPoolExecutor(1)
    coming: Future | None = None

    def maps(self, augment: Augmentation, count: int, epoch: int, step: int) -> np.ndarray:
        """Those that were asked for during the step before."""
        drawn = self.coming.result() if self.coming else super().maps(augment, count, epoch, step)
        self.coming = self.thread.submit(super().maps, augment, count, epoch, step + 1)
        return drawn


class BeforeTrainer(Trainer):
    """Has drawn the maps of an epoch before it begins."""

    drawn: list[np.ndarray] | None = None

    def maps(self, augment: Augmentation, count: int, epoch: int, step: int) -> np.ndarray:
        """Those of an epoch, over and over."""
        if self.drawn is None:
            self.drawn = [super(BeforeTrainer, self).maps(augment, count, epoch, i) for i in range(BATCHES)]
        return self.drawn[step % BATCHES]


def trainer_of(kind: type[Trainer], model: str, augment: Augmentation | None) -> Trainer:
    """A trainer of a new network."""
    network = models.create(model)
    return kind(network, optim.Adam(network.parameters()), batch_size=BATCH, augment=augment)


def measure(trainers: dict[str, Trainer], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of a step, in rounds of ``STEPS`` by each trainer in turn."""
    data = tinycnn.data.load("mnist")
    images, labels = np.asarray(data.x_train[: BATCH * BATCHES]), data.y_train[: BATCH * BATCHES]
    batches = np.random.default_rng(0).permutation(len(images)).reshape(BATCHES, BATCH)
    times: dict[str, list[float]] = {name: [] for name in trainers}
    end, first = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or len(times["none"]) < 2:
        for name, trainer in trainers.items():
            start = time.perf_counter()
            for step in range(first, first + STEPS):
                trainer.step(images, labels, batches[step % BATCHES])
            times[name].append((time.perf_counter() - start) * 1e3 / STEPS)
        first += STEPS
    return {name: all_times[1:] for name, all_times in times.items()}  # without the round that compiles


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=models.MODELS, default="keras_cnn")
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    tinycnn.use_backend("numba")
    trainers = {"none": trainer_of(Trainer, options.model, None)}
    for augment in (Affine(), Elastic()):
        for how, kind in {"in the step": Trainer, "on a thread": AheadTrainer, "before": BeforeTrainer}.items():
            trainers[f"{type(augment).__name__}, {how}"] = trainer_of(kind, options.model, augment)
    for name, times in measure(trainers, options.seconds).items():
        print(f"{name:24} {median(times):6.2f} ms ({len(times)} rounds of {STEPS} steps)")
    AheadTrainer.thread.shutdown()


if __name__ == "__main__":
    main()
