"""What a run has brought so far: the results of its epochs, and the sums of the epoch under way."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.train.evaluation import Scores


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


def best(history: list[EpochResult]) -> EpochResult | None:
    """The first epoch with the smallest validation loss; None without validation."""
    validated = [result for result in history if result.validation_loss is not None]
    return min(validated, key=lambda result: result.validation_loss or 0.0, default=None)


def stalled(history: list[EpochResult], patience: int | None) -> bool:
    """Whether the last ``patience`` epochs brought no smaller validation loss."""
    found = best(history)
    return patience is not None and found is not None and history[-1].epoch - found.epoch >= patience


class Progress:
    """Loss and accuracy since the epoch began. Adding costs nothing; ``scores()`` waits for a GPU to catch up."""

    def __init__(self, epoch: int, steps: int) -> None:
        self.epoch, self.steps = epoch, steps
        self.step = self.seen = 0
        self.seconds = 0.0  # spent on this epoch before the run was taken up
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

    def copy(self) -> "Progress":
        """The same sums in memory of their own: a recorded step adds to them where they lie."""
        twin = copy.copy(self)
        twin.loss_sum, twin.correct = self.loss_sum + 0, self.correct + 0
        return twin

    def state_dict(self, seconds: float) -> dict[str, Any]:
        """What ``of`` needs to go on, after ``seconds`` of this epoch."""
        sums = {name: np.array(get_backend().to_host(getattr(self, name))) for name in ("loss_sum", "correct")}
        numbers = {name: getattr(self, name) for name in ("epoch", "steps", "step", "seen")}
        return numbers | sums | {"seconds": seconds}

    @classmethod
    def of(cls, state: dict[str, Any]) -> "Progress":
        """The progress of which ``state_dict`` told."""
        progress = cls(state["epoch"], state["steps"])
        progress.step, progress.seen, progress.seconds = state["step"], state["seen"], state["seconds"]
        progress.loss_sum, progress.correct = (get_backend().asarray(state[name]) for name in ("loss_sum", "correct"))
        return progress

    def scores(self) -> Scores:
        """The means over all images so far."""
        return Scores(float(self.loss_sum) / self.seen, float(self.correct) / self.seen)
