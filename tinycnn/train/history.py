"""The results of a run so far: a `History` of one `EpochResult` per epoch, and the `Progress` of the current epoch."""

import copy
import time
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.errors import SettingError, shortened
from tinycnn.train.evaluation import Scores

SHORTEST_S = 1e-9  # the resolution of the clock


@dataclass(frozen=True)
class EpochResult:
    """The result of one epoch. ``train_*`` are running means over the epoch, during which the network changes.

    An accuracy is NaN if the loss has none, as mse_loss.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    epoch_s: float  # training only, excluding validation
    images_per_s: float


class History(list[EpochResult]):
    """The results of epochs: a list of `EpochResult`, and its columns by name."""

    def column(self, name: str) -> list[Any]:
        """One number of every epoch, such as ``history.column("validation_loss")``; SettingError for another name."""
        names = [field.name for field in fields(EpochResult)]
        if name not in names:
            raise SettingError(f"a history has no column {shortened(name)}: choose one of {', '.join(names)}")
        return [getattr(result, name) for result in self]

    def to_dict(self) -> dict[str, list[Any]]:
        """All columns by name, as ``pandas.DataFrame`` and ``json.dumps`` take them."""
        return {field.name: self.column(field.name) for field in fields(EpochResult)}

    @property
    def best(self) -> EpochResult | None:
        """The first epoch with the smallest validation loss; None without validation."""
        return best(self)


def epoch_result(epoch: int, train: Scores, validation: Scores | None, images: int, epoch_s: float) -> EpochResult:
    """The result of an epoch that trained on ``images`` images in ``epoch_s`` seconds.

    Shorter times become ``SHORTEST_S``, because the clock may not have advanced.
    """
    epoch_s = max(epoch_s, SHORTEST_S)
    return EpochResult(
        epoch=epoch,
        train_loss=train.loss,
        train_accuracy=train.accuracy,
        validation_loss=validation.loss if validation else None,
        validation_accuracy=validation.accuracy if validation else None,
        epoch_s=epoch_s,
        images_per_s=images / epoch_s,
    )


def best(history: list[EpochResult]) -> EpochResult | None:
    """The first epoch with the smallest validation loss; None without validation."""
    validated = [result for result in history if result.validation_loss is not None]
    return min(validated, key=lambda result: result.validation_loss or 0.0, default=None)


def stalled(history: list[EpochResult], patience: int | None) -> bool:
    """Whether the validation loss has not improved for ``patience`` epochs; False if ``patience`` is None."""
    found = best(history)
    return patience is not None and found is not None and history[-1].epoch - found.epoch >= patience


class Progress:
    """Loss and accuracy since the epoch began. ``scores()`` synchronises with a GPU; ``add`` does not."""

    def __init__(self, epoch: int, steps: int) -> None:
        self.epoch, self.steps = epoch, steps
        self.step = self.seen = 0  # steps done, images seen
        self.loss_sum: Any = 0.0
        self.correct: Any = 0
        self.earlier_s = 0.0  # spent on this epoch before the run was interrupted
        self.started: float | None = None  # a time.perf_counter() reading

    def start_clock(self) -> None:
        """Start the timer, which adds to the seconds spent before an interruption."""
        self.started = time.perf_counter()

    def elapsed_s(self) -> float:
        """Seconds spent on this epoch so far."""
        return self.earlier_s + (0.0 if self.started is None else max(time.perf_counter() - self.started, 0.0))

    def add(self, loss: Array, correct: Array, count: int) -> None:
        """Add a step on ``count`` images with this mean loss and this number of correct predictions."""
        self.count(count)
        self.loss_sum = self.loss_sum + get_backend().xp.asarray(loss, np.float64) * float(count)
        self.correct = self.correct + correct

    def count(self, count: int) -> None:
        """Count a step on ``count`` images, whose loss and correct predictions are already included."""
        self.step += 1
        self.seen += count

    def copy(self) -> "Progress":
        """A copy with separate sums, because a recorded step updates the sums in place."""
        copied = copy.copy(self)
        copied.loss_sum, copied.correct = self.loss_sum + 0, self.correct + 0
        return copied

    def restore(self, saved: "Progress") -> None:
        """Restore the state of ``saved``; the timer keeps running."""
        clock = self.earlier_s, self.started
        vars(self).update(vars(saved.copy()))
        self.earlier_s, self.started = clock

    def state_dict(self) -> dict[str, Any]:
        """The state that `from_state` restores, on the host."""
        sums = {name: np.array(get_backend().to_host(getattr(self, name))) for name in ("loss_sum", "correct")}
        numbers = {name: getattr(self, name) for name in ("epoch", "steps", "step", "seen")}
        return numbers | sums | {"seconds": self.elapsed_s()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Progress":
        """Recreate the progress from the result of ``state_dict``."""
        progress = cls(state["epoch"], state["steps"])
        progress.step, progress.seen, progress.earlier_s = state["step"], state["seen"], state["seconds"]
        progress.loss_sum, progress.correct = (get_backend().asarray(state[name]) for name in ("loss_sum", "correct"))
        return progress

    def scores(self) -> Scores:
        """Mean loss and accuracy over all images so far."""
        return Scores(float(self.loss_sum) / self.seen, float(self.correct) / self.seen)
