"""Learning rates that change between two epochs. A rate for each step is a ``schedule`` of the optimizer."""

import inspect
from collections.abc import Callable
from typing import Any

from tinycnn.errors import SettingError, in_range
from tinycnn.train.callbacks.base import Callback, TrainerInRun


class LearningRateScheduler(Callback):
    """Sets the learning rate of each epoch to ``rate(epoch)``, for epochs numbered from 1 (in Keras from 0).

    A resumed run calls ``rate`` for the epoch in which it continues, so ``rate`` should depend on nothing but the
    number. A ``schedule`` of the optimizer goes on from this rate in proportion; use one of them only.
    """

    def __init__(self, rate: Callable[[int], float]) -> None:
        if not callable(rate):
            raise SettingError(
                "`rate`: expected a function of the number of the epoch, such as lambda epoch: 0.1 / epoch"
            )
        if not takes_one_value(rate):
            raise SettingError(
                "`rate` takes more than the number of the epoch: the rate must follow from that number alone, from 1 "
                "on, as in lambda epoch: 0.1 * 0.9 ** (epoch - 1)"
            )
        self.rate = rate

    def on_epoch_begin(self, trainer: TrainerInRun, epoch: int) -> None:
        """Set the rate; raises SettingError unless it is above 0."""
        trainer.optimizer.learning_rate = in_range(f"the learning rate of epoch {epoch}", self.rate(epoch), above=0)


def takes_one_value(function: Callable[..., Any]) -> bool:
    """Whether it can be called with one value; True if its arguments are unknown."""
    try:
        inspect.signature(function).bind(1)
    except TypeError:
        return False
    except ValueError:  # a function of C without a signature
        pass
    return True
