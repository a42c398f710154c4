"""A smaller learning rate when a number of the epochs has stopped improving."""

import math
from typing import Any

from tinycnn import optim
from tinycnn.train.callbacks.base import Callback, TrainerInRun
from tinycnn.train.callbacks.monitor import Monitor
from tinycnn.train.history import EpochResult


class ReduceOnPlateau(Callback):
    """Multiplies the learning rate by ``factor`` after more than ``patience`` epochs without a new best of ``monitor``.

    With ``patience=3``, the rate is reduced after the fourth such epoch, as in PyTorch; for the third, as in Keras,
    pass 2. `EarlyStopping` with ``patience=3`` ends the run after the third. ``monitor`` and ``mode``: as for
    `EarlyStopping`. A new best is better by the share ``threshold``; the rate does not fall below ``lowest``. See
    `tinycnn.optim.ReduceOnPlateau`.
    """

    def __init__(
        self,
        patience: int = 10,
        *,
        factor: float = 0.1,
        monitor: str = "validation_loss",
        mode: str = "auto",
        threshold: float = 1e-4,
        lowest: float = 0.0,
    ) -> None:
        self.monitor = Monitor(monitor, mode)
        largest = "max" if self.monitor.how()["largest"] else "min"
        self.rule = optim.ReduceOnPlateau(
            None, factor=factor, patience=patience, mode=largest, threshold=threshold, lowest=lowest
        )

    def on_run_begin(self, trainer: TrainerInRun) -> None:
        """Raise SettingError unless the run records ``monitor``."""
        self.monitor.check(trainer, "reducing the learning rate")

    def on_epoch_end(self, trainer: TrainerInRun, result: EpochResult) -> None:
        """Reduce the rate, if it is time to."""
        value = {**result.metrics, **vars(result)}[self.monitor.name]
        self.rule.optimizer, before = trainer.optimizer, trainer.optimizer.learning_rate
        if self.rule.step(math.nan if value is None else value):
            rates = f"{before:.3g} to {trainer.optimizer.learning_rate:.3g}"
            trainer.report(f"after epoch {result.epoch}: no better {self.monitor.name}, learning rate {rates}")

    def settings(self) -> dict[str, Any]:
        """Factor, patience and monitor."""
        rule = self.rule
        found = {"patience": rule.patience, "factor": rule.factor, "threshold": rule.threshold, "lowest": rule.lowest}
        named = {f"{name} on a plateau": value for name, value in found.items()}
        return named | self.monitor.settings("reducing the learning rate")

    def state_dict(self) -> dict[str, Any]:
        """The best number so far, and the epochs since."""
        return self.rule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rule.load_state_dict(state)
