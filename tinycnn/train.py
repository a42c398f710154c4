"""The training loop: batches in, smaller loss out.

Pixels and labels are handed to the backend once; what travels per epoch is one shuffled list of image numbers on the
way in and two numbers (loss, correct answers) on the way out. Shuffles depend on ``(seed, epoch)`` alone, so every
backend sees the same batches, and a run can be taken up again at any epoch.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycnn import ops
from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.capture import CapturedSteps, captured_epoch
from tinycnn.data.augment import Affine
from tinycnn.errors import SettingError, TinyCNNError
from tinycnn.layers import Sequential
from tinycnn.memory import memory_explained
from tinycnn.models import pixel_scale
from tinycnn.optim import Optimizer, in_range
from tinycnn.tensor import Tensor, no_grad

EVALUATION_BATCH = 256  # bounds the memory of an evaluation, whatever the size of the data set


@dataclass(frozen=True)
class Scores:
    """Loss in nats and accuracy as a fraction, over whole sets of images."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class EpochResult:
    """What one epoch brought. ``train_*`` are running means over the epoch, while the network was changing."""

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    epoch_s: float  # training alone, without the validation
    images_per_s: float


class TrainingDivergedError(TinyCNNError, ArithmeticError):
    """The loss became NaN or infinite."""


class Trainer:
    """Trains ``model`` with ``optimizer`` on byte images: everything that changes during a run lives here.

    ``capture``: on a GPU, record the steps and replay them (``capture.py``); the result is the same to the bit.
    """

    captured: CapturedSteps | None

    def __init__(
        self,
        model: Sequential,
        optimizer: Optimizer,
        *,
        batch_size: int,
        seed: int = 0,
        augment: Affine | None = None,
        label_smoothing: float = 0.0,
        capture: bool = True,
    ) -> None:
        if batch_size < 1:
            raise SettingError(f"batch size {batch_size}: expected at least 1")
        self.model, self.optimizer, self.batch_size, self.seed = model, optimizer, batch_size, seed
        self.augment, self.label_smoothing = augment, in_range("label_smoothing", label_smoothing, at_least=0, below=1)
        self.scale = pixel_scale(model)
        self.capture, self.captured = capture, None
        self.why_eager = ""  # where steps should have been recorded, but were not

    def fit(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        epochs: int,
        validation: tuple[np.ndarray, np.ndarray] | None = None,
        progress: Callable[["Progress"], None] | None = None,
    ) -> Iterator[EpochResult]:
        """Train for ``epochs`` on ``images (M, H, W, C)`` bytes and ``labels (M,)``, yielding after each epoch.

        Iterate over it, or nothing happens: ``for result in trainer.fit(...)``. Bytes are divided by 255 on the way in,
        unless the network begins with a Rescaling layer.

        ``progress`` is called after every step. Raises TrainingDivergedError when the loss is no longer a number.
        """
        backend = get_backend()
        images_here, labels_here = backend.asarray(images), backend.asarray(labels)
        for epoch in range(1, epochs + 1):
            start = time.perf_counter()
            train = self.train_epoch(images_here, labels_here, epoch, progress)
            epoch_s = time.perf_counter() - start
            valid = None
            if validation and len(validation[0]):
                valid = finite(evaluate(self.model, *validation), f"after epoch {epoch}", self.optimizer)
            yield EpochResult(
                epoch=epoch,
                train_loss=train.loss,
                train_accuracy=train.accuracy,
                validation_loss=valid.loss if valid else None,
                validation_accuracy=valid.accuracy if valid else None,
                epoch_s=epoch_s,
                images_per_s=len(images) / epoch_s,
            )

    def train_epoch(
        self, images: Array, labels: Array, epoch: int, progress: Callable[["Progress"], None] | None = None
    ) -> Scores:
        """One pass over all images in a new order, the smaller last batch included."""
        self.model.train()
        order = get_backend().asarray(self.order(len(labels), epoch))
        running = Progress(epoch, math.ceil(len(labels) / self.batch_size))
        explained = memory_explained(self.model, self.batch_size)
        with captured_epoch(self, images, labels, epoch, running) as captured, explained:
            for start in range(0, len(labels), self.batch_size):
                chosen = order[start : start + self.batch_size]
                if not (captured and captured.step(running)):
                    running.add(*self.step(images, labels, chosen, epoch), len(chosen))
                if progress:
                    progress(running)
        return finite(running.scores(), f"in epoch {epoch}", self.optimizer)

    def order(self, count: int, epoch: int) -> np.ndarray:
        """The numbers of ``count`` images in the order of ``epoch``, on the host."""
        return np.random.default_rng([self.seed, epoch]).permutation(count)

    def step(self, images: Array, labels: Array, chosen: Array, epoch: int = 1) -> tuple[Array, Array]:
        """Forward, backward, update on one batch; answers ``(mean loss, correct answers)`` as backend numbers."""
        x, y = self.batch(images, chosen, epoch), labels[chosen]  # (N, H, W, C), (N,)
        # A final Softmax or LogSoftmax is part of the loss: cross-entropy of its output is this loss of the logits.
        logits = self.model.logits(Tensor(x))  # (N, K)
        loss = ops.softmax_cross_entropy(logits, self.targets(y, logits.shape[1]))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.data, (logits.data.argmax(axis=1) == y).sum()

    def batch(self, images: Array, chosen: Array, epoch: int) -> Array:
        """The chosen images as numbers ``(N, H, W, C)``, augmented if asked: anew in every epoch."""
        backend, dtype = get_backend(), self.model.dtype
        if self.augment is None:
            return backend.gather_images(images, chosen, self.scale, dtype)
        maps = backend.asarray(self.maps(len(chosen), epoch, self.optimizer.step_count))
        return backend.gather_warped(images, chosen, maps, self.scale, dtype)

    def maps(self, count: int, epoch: int, step: int) -> np.ndarray:
        """The maps by which the images of step number ``step`` are augmented, ``(count, 2, 3)``."""
        assert self.augment
        return self.augment.maps(count, np.random.default_rng([self.seed, epoch, step]))

    def targets(self, labels: Array, classes: int) -> Array:
        """The labels; with smoothing ``s``, rows ``(N, K)``: ``1 - s`` for the true class, ``s / K`` more for each."""
        if not self.label_smoothing:
            return labels
        onehot = labels[:, None] == get_backend().xp.arange(classes)  # (N, K)
        return onehot * (1 - self.label_smoothing) + self.label_smoothing / classes


def finite(scores: Scores, when: str, optimizer: Optimizer) -> Scores:
    """``scores`` as they are; raises TrainingDivergedError when the loss is no longer a number."""
    if not math.isfinite(scores.loss):
        raise TrainingDivergedError(
            f"the loss became {scores.loss} {when} (learning rate {optimizer.lr:g}): try a smaller --lr"
        )
    return scores


def warm_up(trainer: Trainer, images: np.ndarray, labels: np.ndarray) -> float:
    """Compile every kernel that training needs, on a copy that is thrown away; answers the seconds it took.

    Does nothing on a backend that does not compile. Compiled kernels are cached on disk, so a second run is quick.
    """
    backend = get_backend()
    if not backend.compiles:
        return 0.0
    start, rehearsal = time.perf_counter(), copy.deepcopy(trainer)
    some = slice(2 * trainer.batch_size)  # one step, and one more to replay it
    images_here, labels_here = backend.asarray(images[some]), backend.asarray(labels[some])
    running = Progress(1, math.ceil(len(labels_here) / trainer.batch_size))
    with captured_epoch(rehearsal, images_here, labels_here, 1, running) as captured:
        while captured and running.step < running.steps and captured.step(running):
            continue
    trainer.why_eager = rehearsal.why_eager
    rehearsal.step(images_here, labels_here, backend.asarray(np.arange(min(trainer.batch_size, len(images)))))
    predict_logits(rehearsal.model, images[:1])
    return time.perf_counter() - start


class Progress:
    """Loss and accuracy since the epoch began. Adding costs nothing; ``scores()`` waits for a GPU to catch up."""

    def __init__(self, epoch: int, steps: int) -> None:
        self.epoch, self.steps = epoch, steps
        self.step = self.seen = 0
        self.loss_sum: Any = 0.0
        self.correct: Any = 0

    def add(self, loss: Array, correct: Array, count: int) -> None:
        """A step with the mean ``loss`` of ``count`` images, of which ``correct`` were right."""
        self.count(count)
        self.loss_sum = self.loss_sum + loss * float(count)
        self.correct = self.correct + correct

    def count(self, count: int) -> None:
        """One more step with ``count`` images, whose loss and correct answers were added elsewhere."""
        self.step += 1
        self.seen += count

    def scores(self) -> Scores:
        """The means over all images so far."""
        return Scores(float(self.loss_sum) / self.seen, float(self.correct) / self.seen)


def predict_logits(model: Sequential, images: np.ndarray) -> np.ndarray:
    """Scores of byte ``images (M, H, W, C)``, before softmax, in evaluation mode → ``(M, K)`` on the host."""
    backend, was_training = get_backend(), model.training
    model.eval()
    try:
        with no_grad():
            return np.concatenate([backend.to_host(logits) for logits in _logit_batches(model, images)])  # (M, K)
    finally:
        model.train(was_training)


def _logit_batches(model: Sequential, images: np.ndarray) -> Iterator[Array]:
    backend, scale = get_backend(), pixel_scale(model)
    for start in range(0, len(images), EVALUATION_BATCH):
        batch = backend.asarray(images[start : start + EVALUATION_BATCH])
        everything = backend.xp.arange(len(batch))
        yield model.logits(Tensor(backend.gather_images(batch, everything, scale, model.dtype))).data  # (N, K)


def evaluate(model: Sequential, images: np.ndarray, labels: np.ndarray) -> Scores:
    """Loss and accuracy of byte ``images (M, H, W, C)`` with ``labels (M,)``: every image, each weighing the same."""
    return scores_of(predict_logits(model, images), labels)


def scores_of(logits: np.ndarray, labels: np.ndarray) -> Scores:
    """Mean loss and accuracy of ``logits (M, K)`` for ``labels (M,)``, both on the host."""
    logits = logits.astype(np.float64)  # (M, K)
    top = logits.max(axis=1, keepdims=True)
    log_sum = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))  # (M,)
    surprise = log_sum - logits[np.arange(len(labels)), labels]  # (M,)
    return Scores(float(surprise.mean()), float((logits.argmax(axis=1) == labels).mean()))
