"""Early stopping: the run ends when a number of its epochs has stopped improving."""

from typing import Any

import numpy as np

from tinycnn.errors import SettingError, checked_bool, in_range, whole_number
from tinycnn.train.callbacks.base import Callback, TrainerInRun
from tinycnn.train.callbacks.monitor import Monitor
from tinycnn.train.history import EpochResult, best, stalled


def stopping_after(early_stopping: Any) -> "EarlyStopping":
    """The callback for the argument ``early_stopping`` of ``fit``, which keeps the best epoch.

    Raises SettingError unless the argument is a number of epochs.
    """
    if isinstance(early_stopping, EarlyStopping):
        raise SettingError("`early_stopping` is a number of epochs: pass an EarlyStopping in `callbacks=[...]`")
    if isinstance(early_stopping, bool):
        raise SettingError(
            f"`early_stopping={early_stopping}`: expected a positive integer, the number of epochs without an "
            "improvement after which to stop, such as `early_stopping=3`; leave it out to train all epochs"
        )
    return EarlyStopping(whole_number("early_stopping", early_stopping, at_least=1), restore_best=True)


class EarlyStopping(Callback):
    """Ends the run when ``monitor`` has not improved by more than ``min_delta`` for ``patience`` epochs.

    ``monitor``: a column of the history, such as "validation_accuracy" or the name of a metric. ``mode``: "min", "max",
    or "auto", which is "min" where the name ends with ``loss``, "max" where it ends with ``accuracy``, and an error
    elsewhere. ``restore_best``: at the end of the run, also one that reaches its last epoch, load the weights of the
    best epoch; otherwise the network keeps those of the last. Afterwards, ``best`` is the result of the best epoch, and
    a sentence reports when the run stopped and which weights the network has. The decision depends on the history only,
    so a resumed run ends after the same epoch. Raises SettingError at the start of a run that does not record
    ``monitor``.
    """

    def __init__(
        self,
        patience: int,
        *,
        monitor: str = "validation_loss",
        mode: str = "auto",
        min_delta: float = 0.0,
        restore_best: bool = False,
    ) -> None:
        self.patience = whole_number("patience", patience, at_least=1)
        self.monitor = Monitor(monitor, mode, in_range("min_delta", min_delta, at_least=0))
        self.restore_best = checked_bool("restore_best", restore_best)
        self.best_weights: dict[str, np.ndarray] = {}
        self.best: EpochResult | None = None
        self.has_trained = False  # an epoch, in the current run

    def on_run_begin(self, trainer: TrainerInRun) -> None:
        """End a resumed run that had already ended."""
        self.monitor.check(trainer, "early stopping")
        self.has_trained = False
        self._stop_if_stalled(trainer)

    def on_epoch_end(self, trainer: TrainerInRun, result: EpochResult) -> None:
        """End the run if the epoch was the last of its patience."""
        self.has_trained = True
        self._find_best(trainer)
        if self.restore_best and result is self.best:
            self.best_weights = trainer.model.state_dict()
        self._stop_if_stalled(trainer)

    def on_run_end(self, trainer: TrainerInRun, error: BaseException | None) -> None:
        """Load the weights of the best epoch, if requested, and report what was done."""
        if error is not None:
            return
        if self.best_weights:
            trainer.model.load_state_dict(self.best_weights)
        self._find_best(trainer)  # of a resumed run that had already ended, too
        if self.best:
            trainer.report(self._what_was_done(trainer))

    def _find_best(self, trainer: TrainerInRun) -> None:
        self.best = best(trainer.history, **self.monitor.how())

    def _is_stalled(self, trainer: TrainerInRun) -> bool:
        return stalled(trainer.history, self.patience, **self.monitor.how())

    def _stop_if_stalled(self, trainer: TrainerInRun) -> None:
        if self._is_stalled(trainer):
            trainer.stop_training = True

    def _what_was_done(self, trainer: TrainerInRun) -> str:
        """The end of the run as a sentence; "" for a run that reached its last epoch and is to keep its weights."""
        name, number, last = self.monitor.name, self.best.epoch if self.best else 0, len(trainer.history)
        weights = self._weights(number, last)
        if last < trainer.last_epoch and self._is_stalled(trainer):
            epochs = "1 epoch" if self.patience == 1 else f"{self.patience} epochs"
            stopped = f"stopped early after epoch {last}: no better {name} than that of epoch {number} for {epochs}"
            return f"{stopped}; {weights}" if weights else stopped
        if self.best_weights:
            return f"{weights}, which has the best {name}"
        return weights if self.restore_best else ""

    def _weights(self, best_epoch: int, last: int) -> str:
        """Which weights the network has; "" if this run trained nothing, because an earlier run left them."""
        if self.best_weights:
            return f"the network has the weights of epoch {best_epoch}"
        if not self.has_trained:
            return ""
        lost = f": those of epoch {best_epoch}, before this call of `fit`, were not kept" if self.restore_best else ""
        return f"the network has the weights of epoch {last}, the last{lost}"

    def settings(self) -> dict[str, Any]:
        """Patience and monitor."""
        return {"early stopping": self.patience} | self.monitor.settings("early stopping")

    def state_dict(self) -> dict[str, Any]:
        """The weights of the best epoch, if they are kept."""
        return {"best": dict(self.best_weights)} if self.best_weights else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_weights = dict(state["best"])
