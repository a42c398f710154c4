"""The training loop: batches in, smaller loss out. Begin with ``Trainer.step``; the rest is resuming and safety.

Pixels and labels are handed to the backend once (those on the disk part by part, ``batches.py``); what travels per
epoch is one shuffled list of image numbers on the way in and two numbers (loss, correct answers) on the way out.
Shuffles depend on ``(seed, epoch)``, never on the backend, so all see the same batches. ``Trainer.state_dict()`` is all
that a run needs to go on, after any step, to the same bits: it is saved as a checkpoint, and it is where a run goes
back to that has lost its numbers to NaN.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from tinycnn import ops
from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.data.augment import Augmentation, Fade
from tinycnn.data.stored import Images
from tinycnn.distributed.agreement import check_agreement
from tinycnn.distributed.communicator import Wish, get_communicator
from tinycnn.distributed.sharding import Shard, sharded_batch
from tinycnn.errors import SettingError, TinyCNNError
from tinycnn.layers import Sequential, pixel_scale
from tinycnn.optim import Optimizer, clip_gradients, in_range
from tinycnn.saving.state_file import fingerprint
from tinycnn.tensor import Tensor
from tinycnn.train import nonfinite
from tinycnn.train.batches import batches, bring, check_examples, epoch_order, mixing
from tinycnn.train.capture import CapturedSteps, captured_epoch
from tinycnn.train.checkpoint import Checkpoints
from tinycnn.train.divergence import Snapshot, is_healthy, trace
from tinycnn.train.evaluation import Scores, count_correct, evaluate, number_batches, shared_scores
from tinycnn.train.evaluation import predict_logits as predict_logits  # whoever trains wants it, too
from tinycnn.train.gradients import add_up
from tinycnn.train.history import EpochResult, Progress, stalled
from tinycnn.train.keeper import Keeper
from tinycnn.train.memory_estimate import memory_explained

CHECK_EVERY = 500  # steps between two looks at whether all numbers are finite, for which a GPU is waited for


class TrainingDivergedError(TinyCNNError, ArithmeticError):
    """The loss became NaN or infinite."""


class Trainer:
    """Trains ``model`` with ``optimizer`` on byte images: everything that changes during a run lives here.

    ``augment`` changes the images of each batch, as strongly as ``fade`` says; without ``fade``, to the end in full.
    ``clip_norm`` is the most that the gradient of a step may measure (``optim.clip_gradients``), None for any.
    ``initial_weights``: a fingerprint of them where ``seed`` does not tell them; a checkpoint remembers it.
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
        augment: Augmentation | None = None,
        fade: Fade | None = None,
        label_smoothing: float = 0.0,
        clip_norm: float | None = None,
        initial_weights: str | None = None,
        capture: bool = True,
    ) -> None:
        if batch_size < 1:
            raise SettingError(f"batch size {batch_size}: expected at least 1")
        self.model, self.optimizer, self.batch_size, self.seed = model, optimizer, batch_size, seed
        self.augment, self.fade = augment, fade
        self.label_smoothing = in_range("label_smoothing", label_smoothing, at_least=0, below=1)
        self.clip_norm = None if clip_norm is None else in_range("clip_norm", clip_norm, above=0)
        self.initial_weights, self.scale = initial_weights, pixel_scale(model)
        self.history: list[EpochResult] = []
        self.running: Progress | None = None  # the epoch under way
        self.spent_s = 0.0  # by whoever trained before the state that was loaded
        self.epoch_began = 0.0  # on the clock of time.perf_counter; time spent before an interruption counts
        self.capture, self.captured = capture, None
        self.count_correct = count_correct  # a recorded step counts at its end instead
        self.why_eager = ""  # where steps should have been recorded, but were not
        self.wish = Wish(lambda: False)  # to stop, of whichever rank

    def fit(
        self,
        images: Images,
        labels: np.ndarray,
        *,
        epochs: int,
        validation: tuple[Images, np.ndarray] | None = None,
        early_stopping: int | None = None,
        progress: Callable[[Progress], None] | None = None,
        checkpoints: Checkpoints | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[EpochResult]:
        """Train on ``images (M, H, W, C)`` bytes and ``labels (M,)`` until the history holds ``epochs`` epochs.

        Iterate over it, or nothing happens: ``for result in trainer.fit(...)`` gets the result of each epoch. Bytes are
        divided by 255 on the way in, unless the network begins with a Rescaling layer. `StoredImages` stay on the disk.

        ``early_stopping=n`` ends the run when the validation loss has not improved for ``n`` epochs. ``progress`` is
        called after every step, and so is ``stop``: when it answers True, the state is saved to ``checkpoints`` and
        TrainingStopped raised. After an epoch the state is saved when the next is asked for, so that whatever is done
        with its result belongs to it. Raises DataError for images that are no bytes and for labels that are no numbers
        of classes, TrainingDivergedError when a number is no longer finite, SettingError when the checkpoint to resume
        from belongs to another run.
        """
        validation = validation if validation and len(validation[0]) else None
        for examples in ((images, labels), validation):
            if examples:
                check_examples(*examples, self.scale)
        if early_stopping is not None and not validation:
            raise SettingError("early stopping watches the validation loss: it needs validation images")
        identity = partial(self.identity, (images, labels), validation, early_stopping)
        keeper = self.begin(identity, epochs, checkpoints, stop)
        if len(self.history) + (self.running is not None) > epochs:
            raise SettingError(f"the run is beyond epoch {epochs} already: go on with more epochs")
        images_here, labels_here = bring(images, labels)
        while len(self.history) < epochs and not stalled(self.history, early_stopping):
            epoch = len(self.history) + 1
            train = self.train_epoch(images_here, labels_here, epoch, progress, keeper)
            self.history.append(self.result(epoch, train, len(images), validation))
            yield self.history[-1]
            keeper.after_epoch(epoch)

    def begin(
        self,
        identity: Callable[[], dict[str, Any]],
        epochs: int,
        checkpoints: Checkpoints | None,
        stop: Callable[[], bool],
    ) -> Keeper:
        """The keeper of a run that begins, or goes on at its newest checkpoint; several ranks agree on what it is."""
        ranks = get_communicator()
        run = identity() if checkpoints or ranks.size > 1 else {}  # it reads all images
        self.wish = Wish(stop)
        if ranks.size > 1:
            stop = self.wish
            weights = fingerprint(*self.model.state_dict().values())
            check_agreement(ranks, run | {"epochs": epochs, "initial weights": weights})
        keeper = Keeper(self, checkpoints, stop, run)
        keeper.resume()
        return keeper

    def result(
        self, epoch: int, train: Scores, images: int, validation: tuple[Images, np.ndarray] | None
    ) -> EpochResult:
        """What the epoch that has just ended brought; validates, if there is something to validate on."""
        epoch_s = time.perf_counter() - self.epoch_began
        valid = evaluate_finite(self, *validation, f"after epoch {epoch}") if validation else None
        return EpochResult(
            epoch=epoch,
            train_loss=train.loss,
            train_accuracy=train.accuracy,
            validation_loss=valid.loss if valid else None,
            validation_accuracy=valid.accuracy if valid else None,
            epoch_s=epoch_s,
            images_per_s=images / epoch_s,
        )

    def train_epoch(
        self,
        images: Array,
        labels: Array,
        epoch: int,
        progress: Callable[[Progress], None] | None = None,
        keeper: Keeper | None = None,
    ) -> Scores:
        """One pass over all images in a new order, the smaller last batch included; the rest of it, when taken up."""
        self.model.train()
        order = self.order(images, epoch)
        steps = math.ceil(len(labels) / self.batch_size)
        running = self.begin_epoch(epoch, steps)
        good = Snapshot(self)
        explained = memory_explained(self.model, -(-self.batch_size // get_communicator().size))
        coming = batches(images, labels, order, self.batch_size, running.step)
        with captured_epoch(self, images, labels, epoch, running) as captured, explained, closing(coming):
            for images_here, labels_here, chosen in coming:
                with np.errstate(all="ignore"):  # what is not finite is found below, and told in words
                    if not (captured and captured.step(running)):
                        running.add(*self.step(images_here, labels_here, chosen, epoch), len(chosen))
                to_keep = keeper is not None and keeper.due()
                if to_keep or running.step % CHECK_EVERY == 0 or running.step == steps:
                    good = self.healthy(good, images, labels, order)
                if progress:
                    progress(running)
                if keeper and to_keep:
                    keeper.keep(self.state_dict(), f"after step {running.step} of {steps} in epoch {epoch}")
        self.running = None
        return running.scores()

    def begin_epoch(self, epoch: int, steps: int) -> Progress:
        """The progress of an epoch that begins, or of the one that was interrupted; starts its clock."""
        if self.running is None or (self.running.epoch, self.running.steps) != (epoch, steps):
            self.running = Progress(epoch, steps)
        self.epoch_began = time.perf_counter() - self.running.seconds
        return self.running

    def healthy(self, good: Snapshot, images: Array, labels: Array, order: np.ndarray) -> Snapshot:
        """The state as it is now; raises TrainingDivergedError, telling what happened since ``good``, if not finite."""
        if not is_healthy(self):
            raise TrainingDivergedError(trace(self, good, images, labels, order))
        return Snapshot(self)

    def order(self, images: Array, epoch: int) -> np.ndarray:
        """The numbers of all ``images`` in the order of ``epoch``, on the host."""
        return epoch_order(images, self.batch_size, np.random.default_rng([self.seed, epoch]))

    def step(self, images: Array, labels: Array, chosen: Array, epoch: int = 1) -> tuple[Array, Array]:
        """Forward, backward, update on one batch; answers ``(mean loss, correct answers)`` as backend numbers."""
        with sharded_batch(len(chosen)) as shard:  # all of it; where there are several ranks, a part
            x, y = self.batch(images, chosen, epoch, shard.rows), labels[chosen[shard.rows]]  # (N, H, W, C), (N,)
            # A final Softmax or LogSoftmax is part of the loss: cross-entropy of its output is this loss of the logits.
            logits = self.model.logits(Tensor(x))  # (N, K)
            loss = self.loss(logits, y)
            self.optimizer.zero_grad()
            loss.backward(shard.weight)
        loss_sum, correct = self.over_ranks(shard, loss.data, self.count_correct(logits.data, y))
        if self.clip_norm is not None:
            clip_gradients(self.optimizer.parameters, self.clip_norm)
        self.optimizer.step()
        return loss_sum, correct

    def loss(self, logits: Tensor, labels: Array) -> Tensor:
        """Mean loss ``()`` of ``logits (N, K)``; of no images, as the last ranks may have of a small batch, it is 0."""
        if not len(labels):
            return logits.sum()
        return ops.softmax_cross_entropy(logits, self.targets(labels, logits.shape[1]))

    def over_ranks(self, shard: Shard, loss: Array, correct: Array) -> tuple[Array, Array]:
        """Mean loss and correct answers of the whole batch; every gradient, too, becomes that of the whole batch."""
        if shard.weight is None:
            return loss, correct
        numbers = loss * shard.weight, correct, self.wish.ask()
        loss, correct, self.wish.agreed = add_up(shard.ranks, self.optimizer.parameters, *numbers)
        return loss, correct

    def batch(self, images: Array, chosen: Array, epoch: int, rows: slice = slice(None)) -> Array:
        """Chosen images as numbers ``(N, H, W, C)``, augmented if asked: anew in every epoch; only ``rows``."""
        backend, dtype = get_backend(), self.model.dtype
        if self.augment is None:
            return backend.gather_images(images, chosen[rows], self.scale, dtype)
        maps = backend.asarray(self.maps(self.augment, len(chosen), epoch, self.optimizer.step_count)[rows])
        return backend.gather_warped(images, chosen[rows], maps, self.scale, dtype)

    def maps(self, augment: Augmentation, count: int, epoch: int, step: int) -> np.ndarray:
        """The maps by which ``augment`` changes the images of step number ``step``, ``(count, 2, T)``."""
        strength = self.fade.strength(step) if self.fade else 1.0
        return augment.maps(count, np.random.default_rng([self.seed, epoch, step]), strength)

    def targets(self, labels: Array, classes: int) -> Array:
        """The labels; with smoothing ``s``, rows ``(N, K)``: ``1 - s`` for the true class, ``s / K`` more for each."""
        if not self.label_smoothing:
            return labels
        onehot = labels[:, None] == get_backend().xp.arange(classes)  # (N, K)
        return onehot * (1 - self.label_smoothing) + self.label_smoothing / classes

    def state_dict(self) -> dict[str, Any]:
        """All that changes during a run, copied to the host: a nest of dictionaries, lists, numbers and arrays."""
        spent = time.perf_counter() - self.epoch_began
        return {
            "model": self.model.state_dict(),
            "counters": self.model.counters(),
            "optimizer": self.optimizer.state_dict(),
            "history": [asdict(result) for result in self.history],
            "running": self.running.state_dict(spent) if self.running and self.running.step else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict()`` was taken, to the same bits; raises ShapeError for another network."""
        self.model.load_state_dict(state["model"])
        self.model.load_counters(state["counters"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = [EpochResult(**result) for result in state["history"]]
        self.running = Progress.of(state["running"]) if state["running"] else None
        self.spent_s = sum(result.epoch_s for result in self.history) + (self.running.seconds if self.running else 0)

    def identity(
        self,
        training: tuple[Images, np.ndarray],
        validation: tuple[Images, np.ndarray] | None,
        early_stopping: int | None,
    ) -> dict[str, Any]:
        """What decides the outcome of a run and does not change in it: two runs that agree in it end the same."""
        return {
            "network": repr(self.model),
            "dtype": self.model.dtype.name,
            "backend": get_backend().name,
            "tf32": get_backend().tf32,
            "seed": self.seed,
            "batch size": self.batch_size,
            "augmentation": repr(self.augment),
            "fading": repr(self.fade) if self.fade else None,
            "initial weights": self.initial_weights,
            "frozen": ", ".join(name for name, p in self.model.named_parameters() if not p.requires_grad) or None,
            "label smoothing": self.label_smoothing,
            "clip norm": self.clip_norm,
            "early stopping": early_stopping,
            "training data": fingerprint(*training),
            "validation data": fingerprint(*validation) if validation else None,
            **mixing(training[0]),
            **self.optimizer.settings(),
        }


def evaluate_finite(trainer: Trainer, images: Images, labels: np.ndarray, when: str) -> Scores:
    """``evaluate``; raises TrainingDivergedError, naming the layer, when the loss is not finite."""
    with np.errstate(all="ignore"):
        scores = shared_scores(lambda some: evaluate(trainer.model, images[some], labels[some]), len(labels))
        if math.isfinite(scores.loss):
            return scores
        origins = (nonfinite.in_activations(trainer.model, x) for x in number_batches(trainer.model, images))
        where = next((origin for origin in origins if origin), "the loss itself")
    rate = f"learning rate {trainer.optimizer.lr:g}"
    raise TrainingDivergedError(f"the loss became {scores.loss} {when} ({rate}), first in {where}: try a smaller --lr")
