"""``Callback``: an object whose methods a trainer calls while it trains.

    hook             called                                          it may change
    on_run_begin     before the first epoch, after a resume          weights, optimizer and settings of the trainer
    on_epoch_begin   before the steps of an epoch, and when a        weights, optimizer and settings of the trainer
                     resumed run continues within an epoch
    on_step_begin    before a step                                   ``optimizer.learning_rate``
    on_step_end      after a step                                    ``optimizer.learning_rate``
    on_epoch_end     after an epoch and its validation, before       weights, optimizer, settings, ``stop_training``
                     its checkpoint
    on_run_end       at the end, also of a run that failed           weights

The settings of the trainer are ``augment``, ``fade``, ``label_smoothing``, ``clip_norm`` and what is frozen. Between
two steps of an epoch nothing else may change, because steps may be recorded and replayed, and because the trainer
repeats steps to find where a number was no longer finite. A run without hooks of steps is the fastest. A rate that
depends on the number of the step only is a ``schedule`` of the optimizer.
"""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from tinycnn.errors import SettingError
from tinycnn.layers import Sequential
from tinycnn.optim import Optimizer
from tinycnn.other_names.arguments import NamedArguments
from tinycnn.other_names.attributes import CALLBACK_ATTRIBUTES, CALLBACK_NO_EFFECT, HOOKS, CheckedAttributes
from tinycnn.train.history import EpochResult, History, Progress


class TrainerInRun(Protocol):
    """What a callback finds in the trainer that calls it."""

    model: Sequential
    optimizer: Optimizer
    history: History  # of the finished epochs
    last_epoch: int  # the number of the last epoch of the run
    columns: list[str]  # the numbers that the run records for each epoch
    stop_training: bool  # when True, the run ends after this epoch

    def report(self, sentence: str) -> None:
        """Print a sentence where a progress bar is shown, otherwise send it to the logger ``tinycnn.train``."""


class Callback(NamedArguments, CheckedAttributes):
    """Base class. Every hook does nothing; override those that you need.

    With several ranks, every rank calls its own callbacks; one that writes files does so on rank 0 only. An exception
    in a hook ends the run with this exception. With ``checkpoints``, the state is saved first.
    """

    foreign_attributes: ClassVar[dict[str, str]] = CALLBACK_ATTRIBUTES
    ignored_attributes: ClassVar[dict[str, str]] = CALLBACK_NO_EFFECT

    def __init_subclass__(cls, **settings: Any) -> None:
        """Raise SettingError for a hook with its name, or its arguments, in Keras or Lightning."""
        super().__init_subclass__(**settings)
        for name in vars(cls).keys() & HOOKS.keys():
            raise SettingError(f"{cls.__name__}.{name} would never be called: name it {HOOKS[name]}")
        check_hooks(cls, Callback)

    def on_run_begin(self, trainer: TrainerInRun) -> None:
        """The run begins, or continues from a checkpoint."""

    def on_epoch_begin(self, trainer: TrainerInRun, epoch: int) -> None:
        """Epoch number ``epoch``, from 1, begins."""

    def on_step_begin(self, trainer: TrainerInRun, progress: Progress) -> None:
        """A step begins; ``progress.step`` steps of the epoch are done."""

    def on_step_end(self, trainer: TrainerInRun, progress: Progress) -> None:
        """A step is done. ``progress.scores()`` is the mean of the epoch so far; reading it waits for a GPU."""

    def on_epoch_end(self, trainer: TrainerInRun, result: EpochResult) -> None:
        """An epoch and its validation are done; ``result`` is also ``trainer.history[-1]``."""

    def on_run_end(self, trainer: TrainerInRun, error: BaseException | None) -> None:
        """The run ends: None by itself, otherwise with ``error``. Called if ``on_run_begin`` was."""

    def settings(self) -> dict[str, Any]:
        """What determines the outcome of a run, by name: a resumed run must have the same."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, for a checkpoint: nested dictionaries and lists of numbers, texts and arrays."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of ``state_dict()``, before ``on_run_begin``; not called where it was empty."""


def check_hooks(own: type, base: type) -> None:
    """Raise SettingError for a hook of ``own`` with the arguments of Keras, which are not those of ``base`` here."""
    for name, hook in vars(own).items():
        if name.startswith("on_") and inspect.isfunction(hook) and hasattr(base, name):
            given = list(inspect.signature(hook).parameters)
            takes = ", ".join(inspect.signature(getattr(base, name)).parameters)
            if "logs" in given or given[1:2] in (["epoch"], ["batch"]):
                raise SettingError(
                    f"{own.__name__}.{name}({', '.join(given)}) has the arguments of another library: {name}({takes})"
                )


class AfterStep(Callback):
    """Calls ``function(progress)`` after every step."""

    def __init__(self, function: Callable[[Progress], None]) -> None:
        self.function = function

    def on_step_end(self, trainer: TrainerInRun, progress: Progress) -> None:
        """Call the function."""
        self.function(progress)
