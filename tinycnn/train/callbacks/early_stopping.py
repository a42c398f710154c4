"""Early stopping: the run ends when a number of its epochs has stopped improving."""

from typing import Any

import numpy as np

from tinycnn.errors import checked_bool, in_range, whole_number
from tinycnn.train.callbacks.base import Callback, TrainerInRun
from tinycnn.train.callbacks.monitor import Monitor
from tinycnn.train.history import EpochResult, best, stalled


class EarlyStopping(Callback):
    """Ends the run when ``monitor`` has not improved by more than ``min_delta`` for ``patience`` epochs.

    ``monitor``: a column of the history, such as "validation_accuracy" or the name of a metric. ``mode``: "min", "max",
    or "auto", which is "min" where the name ends with ``loss``. ``restore_best``: at the end of the run, also one that
    reaches its last epoch, load the weights of the best epoch. The decision depends on the history only, so a resumed
    run ends after the same epoch. Raises SettingError at the start of a run that does not record ``monitor``.
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

    def on_run_begin(self, trainer: TrainerInRun) -> None:
        """End a resumed run that had already ended."""
        self.monitor.check(trainer, "early stopping")
        self._stop_if_stalled(trainer)

    def on_epoch_end(self, trainer: TrainerInRun, result: EpochResult) -> None:
        """End the run if the epoch was the last of its patience."""
        if self.restore_best and result is best(trainer.history, **self.monitor.how()):
            self.best_weights = trainer.model.state_dict()
        self._stop_if_stalled(trainer)

    def on_run_end(self, trainer: TrainerInRun, error: BaseException | None) -> None:
        """Load the weights of the best epoch, if requested."""
        if self.best_weights and error is None:
            trainer.model.load_state_dict(self.best_weights)

    def _stop_if_stalled(self, trainer: TrainerInRun) -> None:
        if stalled(trainer.history, self.patience, **self.monitor.how()):
            trainer.stop_training = True

    def settings(self) -> dict[str, Any]:
        """Patience and monitor."""
        return {"early stopping": self.patience} | self.monitor.settings("early stopping")

    def state_dict(self) -> dict[str, Any]:
        """The weights of the best epoch, if they are kept."""
        return {"best": dict(self.best_weights)} if self.best_weights else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_weights = dict(state["best"])
