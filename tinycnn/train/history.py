"""The results of a run so far: a `History` of one `EpochResult` per epoch, and the `Progress` of the current epoch."""

import copy
import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.backends.preparation import working_time
from tinycnn.errors import SettingError, shortened
from tinycnn.other_names.attributes import COLUMNS
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
    epoch_s: float  # training only, without validation, compiling kernels and recording steps
    images_per_s: float
    learning_rate: float | None = None  # at its last step; None in files of older versions
    metrics: dict[str, float | None] = field(default_factory=dict)  # of the validation images; None: undefined

    def row(self) -> dict[str, Any]:
        """All numbers by name, with those of ``metrics`` at the end."""
        numbers = {name: getattr(self, name) for name in FIELDS}
        return Columns(numbers | self.metrics)

    def __getitem__(self, name: str) -> Any:
        """A number by name, such as ``result["validation_loss"]``; SettingError for a name that there is not."""
        return self.row()[name]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Called for a name that is missing, such as those of Keras."""
            hint = f": use `{COLUMNS[name]}`" if name in COLUMNS else ""
            hint = ": use `row()`" if name in ("get", "items", "keys") else hint
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")


class Columns(dict[str, Any]):
    """Numbers by name; another name raises SettingError with the names that there are."""

    def __missing__(self, name: Any) -> Any:
        raise SettingError(f"there is no column {shortened(name)}: {_column_meant(name, list(self))}")


def _column_meant(name: Any, columns: list[str]) -> str:
    """What to write in the place of the name of a column that there is not."""
    ours = COLUMNS.get(name) if isinstance(name, str) else None
    return f"it is {ours!r}" if ours else f"choose one of {', '.join(columns)}"


FIELDS = tuple(one.name for one in fields(EpochResult) if one.name != "metrics")


class History(list[EpochResult]):
    """The results of epochs: a list of `EpochResult`, and its columns by name."""

    @property
    def columns(self) -> list[str]:
        """The names of the columns: the fields of an `EpochResult`, and the metrics of its first epoch."""
        return [*FIELDS, *(self[0].metrics if self else ())]

    def column(self, name: str) -> list[Any]:
        """One number of every epoch, such as ``history.column("validation_loss")``; SettingError for another name."""
        if name not in self.columns:
            raise SettingError(f"a history has no column {shortened(name)}: {_column_meant(name, self.columns)}")
        return [result.row().get(name) for result in self]

    def to_dict(self) -> dict[str, list[Any]]:
        """All columns by name, as ``pandas.DataFrame`` and ``json.dumps`` take them."""
        return Columns((name, self.column(name)) for name in self.columns)

    if not TYPE_CHECKING:

        def __getitem__(self, key: Any) -> Any:
            """``history[-1]`` is an epoch, ``history["train_loss"]`` a column, ``history[2:]`` a history."""
            if isinstance(key, str):
                return self.column(key)
            found = super().__getitem__(key)
            return History(found) if isinstance(key, slice) else found

        def __getattr__(self, name: str) -> Any:
            """Called for a name that is missing, such as those of Keras: AttributeError says what to use."""
            hint = ": use `to_dict()`, or `history[name]`" if name in ("history", "keys", "items", "values") else ""
            hint = ": use `tinycnn.plots.curves(history)`" if name.startswith("plot") else hint
            if name in COLUMNS or name in FIELDS:
                hint = f': use `history["{COLUMNS.get(name, name)}"]`'
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")

    def to_csv(self) -> str:
        """A header and a line per epoch; the fields of validation are empty where there was none."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(result.row() for result in self)
        return text.getvalue()

    @property
    def best(self) -> EpochResult | None:
        """The first epoch with the smallest validation loss; None without validation."""
        return best(self)

    def best_by(self, name: str, mode: str = "auto") -> EpochResult | None:
        """The first epoch with the best number of a column; None if it has none. ``mode``: see `is_largest_best`."""
        self.column(name)  # or an error
        return best(self, name, largest=is_largest_best(name, mode))


MODES = ("auto", "min", "max")


def is_largest_best(name: str, mode: str = "auto") -> bool:
    """Whether the largest number of a column is its best.

    ``mode``: "min", "max", or "auto": "min" for a name that ends with ``loss``, "max" for one that ends with
    ``accuracy``. Raises SettingError for "auto" and any other name.
    """
    if mode not in MODES:
        raise SettingError(f"`mode` is {shortened(mode)}: expected one of {', '.join(MODES)}")
    if mode == "auto" and not name.endswith(("loss", "accuracy")):
        raise SettingError(
            f"the name {shortened(name)} does not say whether a small or a large number is better: pass "
            '`mode="min"` or `mode="max"`'
        )
    return mode == "max" or (mode == "auto" and name.endswith("accuracy"))


def epoch_result(epoch: int, train: Scores, images: int, epoch_s: float, learning_rate: float) -> EpochResult:
    """The result of an epoch that trained on ``images`` images in ``epoch_s`` seconds, before its validation.

    Shorter times become ``SHORTEST_S``, because the clock may not have advanced.
    """
    epoch_s = max(epoch_s, SHORTEST_S)
    return EpochResult(epoch, train.loss, train.accuracy, None, None, epoch_s, images / epoch_s, learning_rate)


def with_validation(result: EpochResult, validation: Scores, metrics: dict[str, float | None]) -> EpochResult:
    """``result`` with the scores and metrics of the validation images."""
    return replace(result, validation_loss=validation.loss, validation_accuracy=validation.accuracy, metrics=metrics)


def best(
    history: Sequence[EpochResult], monitor: str = "validation_loss", *, largest: bool = False, min_delta: float = 0.0
) -> EpochResult | None:
    """The first epoch with the smallest ``monitor`` of `EpochResult.row`, or the ``largest``; None if it has none.

    A later epoch must be better by more than ``min_delta`` to replace an earlier one.
    """
    found, lowest = None, math.inf
    for result in history:
        value = result.row().get(monitor)
        if value is not None and (-value if largest else value) < lowest - min_delta:
            found, lowest = result, -value if largest else value
    return found


def stalled(history: Sequence[EpochResult], patience: int | None, monitor: str = "validation_loss", **how: Any) -> bool:
    """Whether ``monitor`` has not improved, as in ``best``, for ``patience`` epochs; False if ``patience`` is None."""
    found = best(history, monitor, **how)
    return patience is not None and found is not None and history[-1].epoch - found.epoch >= patience


class Progress:
    """Loss and accuracy since the epoch began. ``scores()`` synchronises with a GPU; ``add`` does not."""

    def __init__(self, epoch: int, steps: int) -> None:
        self.epoch, self.steps = epoch, steps
        self.step = self.seen = 0  # steps done, images seen
        self.loss_sum: Any = 0.0
        self.correct: Any = 0
        self.earlier_s = 0.0  # spent on this epoch before the run was interrupted
        self.started: float | None = None  # a reading of `working_time`

    def start_clock(self) -> None:
        """Start the timer, which adds to the seconds spent before an interruption."""
        self.started = working_time()

    def elapsed_s(self) -> float:
        """Seconds spent on this epoch so far, without those of ``preparing``."""
        return self.earlier_s + (0.0 if self.started is None else max(working_time() - self.started, 0.0))

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
