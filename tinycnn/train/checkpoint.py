"""Checkpoints: everything that a run needs to continue, in one file; the last two files are kept.

`Checkpoints` reads and writes the files (``saving/state_file.py`` is their format). `CheckpointManager` connects them
with a trainer: it saves when a checkpoint is due, resumes from the newest, and stops the run on request.
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
KEPT = 2
MAX_STEPS = 10**8  # of a run; a checkpoint that counts more is damaged


def _report(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


class Checkpoints:
    """The checkpoints of one run, ``folder/step-<number>.safetensors``.

    ``every``: steps between two checkpoints; None to save only when the run is stopped. ``resume``: continue from the
    newest checkpoint that is not damaged; without it, a folder that already holds checkpoints is refused. ``report`` is
    called with a sentence when a checkpoint is damaged or cannot be written, which does not end the run. ``best`` is
    the path of the best network so far, for a run that keeps it.
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
            raise SettingError(f"a checkpoint every {every} steps: expected at least 1")
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
                    f"{self.folder} holds checkpoints of an earlier run ({paths[0].stem}): resume it with "
                    "`resume=True`, or delete that folder, or choose another `folder`"
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
                self.report(f"{error}; set aside")
                continue
            for damaged in paths[: paths.index(path)]:  # they must not be taken for the newest next time
                damaged.replace(damaged.with_suffix(".damaged"))
            self._delete_old()  # a process that was killed after writing has not deleted them
            return state
        raise FileFormatError(f"{self.folder}: every checkpoint in it is damaged; delete the folder to start again")

    def check_size(self, state: dict[str, Any]) -> None:
        """Raise SettingError when a checkpoint of such a state would be too large to be read again."""
        size = sum(array.nbytes for array in arrays_in(state))
        if size > MAX_STATE_FILE - MAX_HEADER:
            raise SettingError(
                f"a checkpoint of this run would have {size:,} bytes; at most {MAX_STATE_FILE:,} are read: "
                "use smaller layers"
            )

    def write(self, step: int, state: dict[str, Any]) -> Path | None:
        """Save ``state``; returns the path, or None (and reports) when the file could not be written."""
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
        for old in self.paths()[KEPT:]:
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
    """``stop()`` returned True. ``checkpoint`` is the file to resume from; None if the state was not saved."""

    def __init__(self, where: str, checkpoint: Path | None) -> None:
        super().__init__(f"stopped {where}")
        self.checkpoint = checkpoint


class Resumable(Protocol):
    """What a `CheckpointManager` needs of a trainer."""

    optimizer: Optimizer

    def state_dict(self) -> dict[str, Any]:
        """All that changes during a run."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict()`` was called."""


class CheckpointManager:
    """Saves and resumes the run of ``trainer``, and ends it when ``stop()`` returns True.

    ``identity`` describes the run: it resumes only from checkpoints with the same description. Without ``checkpoints``,
    nothing is saved. Of several ranks, rank 0 reads and writes the files.
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
        """Whether to save the state after this step; asks ``stop()``."""
        step = self.trainer.optimizer.step_count
        return self.stop() or (self.checkpoints is not None and self.checkpoints.due(step))

    def save(self, where: str) -> None:
        """Write a checkpoint; raises TrainingStopped, naming the place ``where``, when ``stop()`` returns True."""
        path, step = None, self.trainer.optimizer.step_count
        if self.checkpoints and self.ranks.rank == 0:
            run = {"run": self.identity, "rates": self._rates(step), "trainer": self.trainer.state_dict()}
            path = self.checkpoints.write(step, run)
        if self.stop():
            raise TrainingStopped(where, path)

    def after_epoch(self, epoch: int) -> None:
        """Save the state between two epochs, if the run saves any; ends the run on request."""
        if self.stop() or (self.checkpoints and self.checkpoints.every):
            self.save(f"after epoch {epoch}")

    def _initial_state(self, checkpoints: Checkpoints) -> dict[str, Any] | None:
        """The state to continue from, as rank 0 reads it from the disk; None to start at the first step."""
        saved = on_rank_0(checkpoints.initial_state)
        if self.ranks.size == 1:
            return saved
        return of_bytes(self.ranks.broadcast(to_bytes({"saved": saved})))["saved"]

    def _check_rates(self, steps: int, rates: str) -> None:
        """Raise SettingError unless the schedule gives every step so far the rate that it had.

        A run may be resumed with more epochs, but not with a schedule that would have trained it in another way.
        """
        if not 0 <= steps <= MAX_STEPS:
            raise FileFormatError(f"the checkpoint to resume from is damaged: it counts {steps} steps")
        if self._rates(steps) != rates:
            raise SettingError(
                f"the {steps} steps so far would have had other learning rates: resume with the schedule of the run, "
                "and with its number of epochs if the schedule spreads over them"
            )

    def _rates(self, steps: int) -> str:
        """A hash of the factor that the schedule gives the learning rate in each of the first ``steps`` steps."""
        for step in range(self.hashed_steps, steps):
            self.rate_hash.update(np.float64(self.trainer.optimizer.schedule(step)).tobytes())
        self.hashed_steps = steps
        return self.rate_hash.hexdigest()
