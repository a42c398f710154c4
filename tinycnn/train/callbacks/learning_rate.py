"""A learning rate for each epoch. A rate for each step is a ``schedule`` of the optimizer."""

from collections.abc import Callable

from tinycnn.errors import SettingError, in_range
from tinycnn.train.callbacks.base import Callback, TrainerInRun


class LearningRateScheduler(Callback):
    """Sets the learning rate of each epoch to ``rate(epoch)``, for epochs numbered from 1.

    The ``schedule`` of the optimizer still multiplies it. A resumed run calls ``rate`` for the epoch in which it
    continues, so ``rate`` should depend on nothing but the number.
    """

    def __init__(self, rate: Callable[[int], float]) -> None:
        if not callable(rate):
            raise SettingError(
                "`rate`: expected a function of the number of the epoch, such as lambda epoch: 0.1 / epoch"
            )
        self.rate = rate

    def on_epoch_begin(self, trainer: TrainerInRun, epoch: int) -> None:
        """Set the rate; raises SettingError unless it is above 0."""
        trainer.optimizer.base_lr = in_range(f"the learning rate of epoch {epoch}", self.rate(epoch), above=0)
