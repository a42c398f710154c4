"""The checkpoints of a trainer: save when one is due, resume from the newest, and stop the run on request."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from tinycnn.distributed.communicator import get_communicator, on_rank_0
from tinycnn.errors import FileFormatError, SettingError, TinyCNNError, printable
from tinycnn.layers import Sequential
from tinycnn.optim import Optimizer
from tinycnn.saving.safetensors_file import DAMAGED
from tinycnn.saving.state_file import of_bytes, to_bytes
from tinycnn.train.checkpoint import Checkpoints, TrainingStopped
from tinycnn.train.history import EpochResult, best
from tinycnn.train.identity import check_same_run

MAX_STEPS = 10**8  # per run; a checkpoint with a higher count is damaged


class Resumable(Protocol):
    """The interface that a `CheckpointManager` requires of a trainer."""

    optimizer: Optimizer

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes during a run."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that ``state_dict()`` returned."""


class CheckpointManager:
    """Saves and resumes the run of ``trainer``, and ends it when ``stop()`` returns True.

    ``identity`` describes the run: it resumes only from checkpoints with the same description. Without ``checkpoints``,
    nothing is saved. In a distributed run, only rank 0 reads and writes the files.
    """

    def __init__(
        self, trainer: Resumable, checkpoints: Checkpoints | None, stop: Callable[[], bool], identity: dict[str, Any]
    ) -> None:
        self.trainer, self.checkpoints, self.stop, self.identity = trainer, checkpoints, stop, identity
        self.ranks, self.rate_hash, self.hashed_steps = get_communicator(), hashlib.sha256(), 0
        self.saved_step: int | None = None  # the step count of the newest checkpoint, if this process knows it

    def resume(self) -> None:
        """Load the newest checkpoint into the trainer, if there is one to resume from.

        Raises SettingError when it belongs to another run, or when checkpoints of this run would be too large to read.
        """
        if self.checkpoints is None:
            return
        self.checkpoints.check_size(self.trainer.state_dict())
        saved = self._initial_state(self.checkpoints)
        if saved is None:
            return
        try:
            self._check_same(saved["run"], self.checkpoints)
            self._check_rates(saved["trainer"]["optimizer"]["step"], saved["rates"])
            self.trainer.load_state_dict(saved["trainer"])
            history = [EpochResult(**result) for result in saved["trainer"]["history"]]
        except TinyCNNError:
            raise
        except DAMAGED as error:
            raise FileFormatError(f"the checkpoint to resume from is damaged: {error}") from None
        step = self.trainer.optimizer.step_count
        self.saved_step = None if saved["trainer"]["running"] else step
        self.checkpoints.report(f"resumed after step {step}")
        if self.ranks.rank == 0:
            self.checkpoints.check_best(history)

    def _check_same(self, saved: dict[str, Any], checkpoints: Checkpoints) -> None:
        """Raise SettingError unless the checkpoint is of the same run; an older version did not record everything."""
        unknown = [name for name in checkpoints.same if name not in saved]
        check_same_run(saved | {name: checkpoints.same[name] for name in unknown}, self.identity | checkpoints.same)
        for name in unknown:
            checkpoints.report(f"the checkpoint of an older version does not record its {name}: not compared")

    def due(self) -> bool:
        """Whether to save the state after this step; calls ``stop()``."""
        step = self.trainer.optimizer.step_count
        return self.stop() or (self.checkpoints is not None and self.checkpoints.due(step))

    def save(self, where: str) -> None:
        """Write a checkpoint; raises TrainingStopped with the position ``where`` if ``stop()`` returns True."""
        path, step = None, self.trainer.optimizer.step_count
        if self.checkpoints and self.ranks.rank == 0:
            path = self.checkpoints.write(step, self._state(self.checkpoints))
        self.saved_step = step if path else None
        if self.stop():
            raise TrainingStopped(where, path)

    def keep_best(self, model: Sequential, history: list[EpochResult]) -> None:
        """Keep the network as the best so far, if it is to be kept and the last epoch of ``history`` is the best."""
        if self.checkpoints and self.checkpoints.keeps_best and self.ranks.rank == 0 and history[-1] is best(history):
            self.checkpoints.keep_best(model, history[-1].epoch)

    @contextmanager
    def saving_on_error(self, is_finite: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """Around hooks of callbacks: save the state when one raises, so that the run can be resumed.

        Not if it was saved already, and not if ``is_finite()`` is False.
        """
        try:
            yield
        except Exception:
            step = self.trainer.optimizer.step_count
            if self.checkpoints and self.ranks.rank == 0 and step and step != self.saved_step and is_finite():
                path = self.checkpoints.write(step, self._state(self.checkpoints))
                if path:
                    self.checkpoints.report(
                        f"a callback failed; the state after step {step} is in {printable(str(path))}"
                    )
            raise

    def _state(self, checkpoints: Checkpoints) -> dict[str, Any]:
        """The content of a checkpoint."""
        return {
            "run": self.identity | checkpoints.same,
            "rates": self._rates(self.trainer.optimizer.step_count),
            "trainer": self.trainer.state_dict(),
            "best": checkpoints.best.as_state() if checkpoints.best else None,
        }

    def after_last_epoch(self) -> None:
        """Save the finished state if ``at_end`` is set and it has not been saved; raises TrainingStopped on request."""
        checkpoints = self.checkpoints
        if checkpoints and checkpoints.at_end and self.saved_step != self.trainer.optimizer.step_count:
            self.save("after the last epoch")

    def after_epoch(self, epoch: int) -> None:
        """Save the state between two epochs, if checkpoints are enabled; stops the run on request."""
        if self.stop() or (self.checkpoints and self.checkpoints.every):
            self.save(f"after epoch {epoch}")

    def _initial_state(self, checkpoints: Checkpoints) -> dict[str, Any] | None:
        """The state to continue from, as read from disk by rank 0; None to start at the first step."""
        saved = on_rank_0(checkpoints.initial_state)
        if self.ranks.size == 1:
            return saved
        return of_bytes(self.ranks.broadcast(to_bytes({"saved": saved})))["saved"]

    def _check_rates(self, steps: int, rates: str) -> None:
        """Raise SettingError unless the schedule reproduces the learning rates of all steps so far.

        A run may be resumed with more epochs, but not with a schedule that would have trained it differently.
        """
        if not 0 <= steps <= MAX_STEPS:
            raise FileFormatError(f"the checkpoint to resume from is damaged: its step count is {steps}")
        if self._rates(steps) != rates:
            raise SettingError(
                f"the first {steps} steps would have had different learning rates: resume with the schedule of the run "
                "and with its number of epochs if the schedule depends on it"
            )

    def _rates(self, steps: int) -> str:
        """A hash of the learning-rate factors of the first ``steps`` steps of the schedule."""
        for step in range(self.hashed_steps, steps):
            self.rate_hash.update(np.float64(self.trainer.optimizer.schedule(step)).tobytes())
        self.hashed_steps = steps
        return self.rate_hash.hexdigest()
