"""Learning rates that change between two epochs. A rate for each step is a ``schedule`` of the optimizer."""

from collections.abc import Callable
from typing import Any

from tinycnn.errors import SettingError, in_range
from tinycnn.optim import ReduceOnPlateau
from tinycnn.train.callbacks.base import Callback, TrainerInRun
from tinycnn.train.callbacks.monitor import Monitor
from tinycnn.train.history import EpochResult


class LearningRateScheduler(Callback):
    """Sets the learning rate of each epoch to ``rate(epoch)``, for epochs numbered from 1.

    A resumed run calls ``rate`` for the epoch in which it continues, so ``rate`` should depend on nothing but the
    number. A ``schedule`` of the optimizer goes on from this rate in proportion; use one of them only.
    """

    def __init__(self, rate: Callable[[int], float]) -> None:
        if not callable(rate):
            raise SettingError(
                "`rate`: expected a function of the number of the epoch, such as lambda epoch: 0.1 / epoch"
            )
        self.rate = rate

    def on_epoch_begin(self, trainer: TrainerInRun, epoch: int) -> None:
        """Set the rate; raises SettingError unless it is above 0."""
        trainer.optimizer.learning_rate = in_range(f"the learning rate of epoch {epoch}", self.rate(epoch), above=0)


class ReduceLROnPlateau(Callback):
    """Multiplies the learning rate by ``factor`` when ``monitor`` has not improved for more than ``patience`` epochs.

    Tells `tinycnn.optim.ReduceOnPlateau`, with its ``settings``, the value of every epoch. ``monitor``: a column of the
    history of which lower values are better. A resumed run continues with the same best value and patience.
    """

    def __init__(self, *, monitor: str = "validation_loss", **settings: Any) -> None:
        self.monitor, self.plateau_settings = Monitor(monitor, "min"), settings
        self.plateau: ReduceOnPlateau | None = None
        self.saved: dict[str, Any] = {}

    def on_run_begin(self, trainer: TrainerInRun) -> None:
        """Check that the run records the number, and restore the state of a resumed run."""
        self.monitor.check(trainer, "ReduceLROnPlateau")
        self.plateau = ReduceOnPlateau(trainer.optimizer, **self.plateau_settings)
        if self.saved:
            self.plateau.load_state_dict(self.saved)

    def on_epoch_end(self, trainer: TrainerInRun, result: EpochResult) -> None:
        """Reduce the rate if it is time to."""
        value = result.row()[self.monitor.name]
        if self.plateau is not None and value is not None:
            self.plateau.step(value)

    def settings(self) -> dict[str, Any]:
        """Monitor and settings."""
        words = [self.monitor.name, *(f"{name}={value}" for name, value in sorted(self.plateau_settings.items()))]
        return {"reduce on plateau": ", ".join(words)}

    def state_dict(self) -> dict[str, Any]:
        """The best value, and how long it has been the best."""
        return self.plateau.state_dict() if self.plateau else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.saved = state
