"""Checkpoints: everything that a run needs to continue, in one file; the last two files are kept.

`Checkpoints` reads and writes the files (``saving/state_file.py`` defines their format). `CheckpointManager` connects
them with a trainer: it saves when a checkpoint is due, resumes from the newest, and stops the run on request.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tinycnn.distributed.communicator import get_communicator, on_rank_0
from tinycnn.errors import FileFormatError, SettingError, TinyCNNError
from tinycnn.files import remove_leftovers, write_atomically
from tinycnn.layers import Sequential
from tinycnn.optim import Optimizer
from tinycnn.saving.model_file import save
from tinycnn.saving.safetensors_file import MAX_HEADER
from tinycnn.saving.state_file import MAX_STATE_FILE, arrays_in, of_bytes, read_state, to_bytes
from tinycnn.train.identity import check_same_run

BEST_FILE = "model_best.safetensors"
MAX_KEPT = 2
MAX_STEPS = 10**8  # per run; a checkpoint with a higher count is damaged


def _report(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


class Checkpoints:
    """The checkpoints of one run, ``folder/step-<number>.safetensors``.

    ``every``: steps between two checkpoints; None to save only when the run is stopped. ``resume``: continue from the
    newest checkpoint that is not damaged; otherwise a folder that contains checkpoints raises SettingError. ``report``
    is called with a message when a checkpoint is damaged or cannot be written; the run continues. ``best`` is the path
    of the best network so far, if the run saves it.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: int | None = None,
        resume: bool = False,
        report: Callable[[str], None] = _report,
    ) -> None:
        if every is not None and every < 1:
            raise SettingError(f"`every={every}`: expected at least 1 step")
        self.folder, self.every, self.resume, self.report = Path(folder), every, resume, report
        self.best = self.folder / BEST_FILE

    def due(self, step: int) -> bool:
        """Whether to save the state after ``step`` steps."""
        return self.every is not None and step % self.every == 0

    def paths(self) -> list[Path]:
        """The checkpoint files, the newest first."""
        return sorted(self.folder.glob("step-*.safetensors"), reverse=True)

    def initial_state(self) -> dict[str, Any] | None:
        """The state to continue from; None to start at the first step.

        Raises SettingError when there are checkpoints but ``resume`` is False, FileFormatError when all are damaged.
        """
        remove_leftovers(self.folder)
        paths = self.paths()
        if not self.resume:
            if paths:
                raise SettingError(
                    f"{self.folder} contains checkpoints of an earlier run ({paths[0].stem}): resume it with "
                    "`resume=True`, delete the folder, or choose another `folder`"
                )
            return None
        if not paths:
            self.report(f"no checkpoint in {self.folder}: starting at the first step")
            return None
        return self._newest_undamaged(paths)

    def _newest_undamaged(self, paths: list[Path]) -> dict[str, Any]:
        for path in paths:
            try:
                state = read_state(path)
            except FileFormatError as error:
                self.report(f"{error}; skipped")
                continue
            for damaged in paths[: paths.index(path)]:  # so that they are not read as the newest next time
                damaged.replace(damaged.with_suffix(".damaged"))
            self._delete_old()  # a process killed after writing may have left them
            return state
        raise FileFormatError(f"{self.folder}: every checkpoint is damaged; delete the folder to start over")

    def check_size(self, state: dict[str, Any]) -> None:
        """Raise SettingError when a checkpoint with this state would be too large to read back."""
        size = sum(array.nbytes for array in arrays_in(state))
        if size > MAX_STATE_FILE - MAX_HEADER:
            raise SettingError(
                f"a checkpoint of this run would be {size:,} bytes; the limit is {MAX_STATE_FILE:,}: use smaller layers"
            )

    def write(self, step: int, state: dict[str, Any]) -> Path | None:
        """Save ``state``; returns the path, or reports the error and returns None if that fails."""
        path = self.folder / f"step-{step:09}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, to_bytes(state))
        except OSError as error:
            kept = ", ".join(path.stem for path in self.paths()) or "none"
            self.report(f"the checkpoint of step {step} could not be written ({error.strerror or error}); kept: {kept}")
            return None
        self._delete_old()
        return path

    def _delete_old(self) -> None:
        for old in self.paths()[MAX_KEPT:]:
            old.unlink(missing_ok=True)

    def keep_best(self, model: Sequential) -> None:
        """Save ``model`` as the best network so far; raises OSError when it cannot be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save(model, self.best)

    def clear(self) -> None:
        """Delete all checkpoints and the best network: the run has ended, and its results are written elsewhere."""
        for path in [*self.paths(), self.best]:
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


class TrainingStopped(TinyCNNError):
    """Raised when ``stop()`` returned True. ``checkpoint``: the file to resume from; None if nothing was saved."""

    def __init__(self, where: str, checkpoint: Path | None) -> None:
        super().__init__(f"stopped {where}")
        self.checkpoint = checkpoint


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
            check_same_run(saved["run"], self.identity)
            self._check_rates(saved["trainer"]["optimizer"]["step"], saved["rates"])
            self.trainer.load_state_dict(saved["trainer"])
        except TinyCNNError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise FileFormatError(f"the checkpoint to resume from is damaged: {error}") from None
        self.checkpoints.report(f"resumed after step {self.trainer.optimizer.step_count}")

    def due(self) -> bool:
        """Whether to save the state after this step; calls ``stop()``."""
        step = self.trainer.optimizer.step_count
        return self.stop() or (self.checkpoints is not None and self.checkpoints.due(step))

    def save(self, where: str) -> None:
        """Write a checkpoint; raises TrainingStopped with the position ``where`` if ``stop()`` returns True."""
        path, step = None, self.trainer.optimizer.step_count
        if self.checkpoints and self.ranks.rank == 0:
            run = {"run": self.identity, "rates": self._rates(step), "trainer": self.trainer.state_dict()}
            path = self.checkpoints.write(step, run)
        if self.stop():
            raise TrainingStopped(where, path)

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
