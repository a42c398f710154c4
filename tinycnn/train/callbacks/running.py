"""Calls the hooks of the callbacks of a run, in the order in which they were given."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from tinycnn.errors import SettingError
from tinycnn.train.callbacks.base import Callback, TrainerInRun
from tinycnn.train.history import EpochResult, Progress

SAME = {  # classes of Keras → those that do the same here
    "CSVLogger": "CSVLogger",
    "EarlyStopping": "EarlyStopping",
    "LearningRateScheduler": "LearningRateScheduler",
    "ModelCheckpoint": "ModelCheckpoint",
    "ProgbarLogger": "ProgressBar",
    "ReduceLROnPlateau": "ReduceOnPlateau",
    "TensorBoard": "TensorBoard",
}


class RunningCallbacks:
    """The callbacks of one run of ``trainer``. As a block, it calls ``on_run_begin`` and ``on_run_end``.

    ``look_at_steps``: whether any of them has a hook of steps; otherwise the trainer does not call ``step_begin`` and
    ``step_end``.
    """

    def __init__(self, trainer: TrainerInRun, callbacks: Sequence[Callback]) -> None:
        self.trainer, self.callbacks = trainer, callbacks
        self.begun: list[Callback] = []
        hooks = [getattr(type(one), name) for one in callbacks for name in ("on_step_begin", "on_step_end")]
        self.look_at_steps = any(hook not in (Callback.on_step_begin, Callback.on_step_end) for hook in hooks)

    def __enter__(self) -> "RunningCallbacks":
        try:
            for callback in self.callbacks:
                self.begun.append(callback)
                callback.on_run_begin(self.trainer)
        except BaseException as error:
            self._end(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        """Call every ``on_run_end``; raises the first exception among them, unless the run ends with ``error``."""
        first: Exception | None = None
        for callback in reversed(self.begun):
            try:
                callback.on_run_end(self.trainer, error)
            except Exception as failure:
                first = first or failure
        self.begun = []
        if first and error:
            error.add_note(f"at the end of the run, a callback failed as well: {type(first).__name__}: {first}")
        elif first:
            raise first

    def epoch_begin(self, epoch: int) -> None:
        """Call ``on_epoch_begin``."""
        for callback in self.callbacks:
            callback.on_epoch_begin(self.trainer, epoch)

    def step_begin(self, progress: Progress) -> None:
        """Call ``on_step_begin``."""
        for callback in self.callbacks:
            callback.on_step_begin(self.trainer, progress)

    def step_end(self, progress: Progress) -> None:
        """Call ``on_step_end``."""
        for callback in self.callbacks:
            callback.on_step_end(self.trainer, progress)

    def epoch_end(self, result: EpochResult) -> None:
        """Call ``on_epoch_end``."""
        for callback in self.callbacks:
            callback.on_epoch_end(self.trainer, result)


def settings_of(callbacks: Sequence[Callback]) -> dict[str, Any]:
    """What the callbacks add to the description of a run."""
    return {name: value for callback in callbacks for name, value in callback.settings().items()}


def states_of(callbacks: Sequence[Callback]) -> list[dict[str, Any]]:
    """The states of the callbacks that have one, for a checkpoint."""
    states = ((type(callback).__name__, callback.state_dict()) for callback in callbacks)
    return [{"callback": name, "state": state} for name, state in states if state]


def load_states(callbacks: Sequence[Callback], states: list[dict[str, Any]]) -> None:
    """Restore the result of ``states_of``: each state goes to the first callback of its class that has none yet."""
    waiting = list(callbacks)
    for saved in states:
        found = next((one for one in waiting if type(one).__name__ == saved["callback"]), None)
        if found:
            waiting.remove(found)
            found.load_state_dict(saved["state"])


def checked_callbacks(callbacks: Any) -> list[Callback]:
    """``callbacks`` as a list; raises SettingError unless they are objects of classes derived from Callback."""
    if callbacks is None or isinstance(callbacks, Callback):
        return [callbacks] if callbacks else []
    given = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
    for one in given:
        if isinstance(one, type) and issubclass(one, Callback):
            raise SettingError(
                f"`callbacks` contains the class {one.__name__}: expected an object, {one.__name__}(...)"
            )
        if not isinstance(one, Callback):
            kind = type(one).__name__
            same = f", such as tinycnn.train.{SAME[kind]}" if kind in SAME else ""
            raise SettingError(
                f"`callbacks` contains a {kind}: expected objects of classes derived from tinycnn.train.Callback{same}"
            )
    return given
