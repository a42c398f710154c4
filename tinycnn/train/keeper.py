"""Between a trainer and its checkpoints: when the state is kept, whether a checkpoint fits, and when a run stops."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tinycnn.distributed.communicator import get_communicator, on_rank_0
from tinycnn.errors import FileFormatError, SettingError, TinyCNNError
from tinycnn.optim import Optimizer
from tinycnn.saving.state_file import of_bytes, to_bytes
from tinycnn.train.checkpoint import Checkpoints, check_same_run

MOST_STEPS = 10**8  # of a run; a checkpoint that tells more is damaged


class TrainingStopped(TinyCNNError):
    """``stop()`` said so. ``checkpoint`` is where the run can be taken up, None where nothing could be saved."""

    def __init__(self, where: str, checkpoint: Path | None) -> None:
        super().__init__(f"stopped {where}")
        self.checkpoint = checkpoint


class Resumable(Protocol):
    """What a keeper asks of a trainer."""

    optimizer: Optimizer

    def state_dict(self) -> dict[str, Any]:
        """All that changes during a run."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict()`` was taken."""


class Keeper:
    """Keeps the state of a run on the way, gives it back when the run is taken up, and ends the run when asked to."""

    def __init__(
        self, trainer: Resumable, checkpoints: Checkpoints | None, stop: Callable[[], bool], identity: dict[str, Any]
    ) -> None:
        self.trainer, self.checkpoints, self.stop, self.identity = trainer, checkpoints, stop, identity
        self.rates, self.rated, self.ranks = hashlib.sha256(), 0, get_communicator()

    def due(self) -> bool:
        """Whether the state after this step is to be kept."""
        step = self.trainer.optimizer.step_count
        return self.stop() or (self.checkpoints is not None and self.checkpoints.due(step))

    def keep(self, state: dict[str, Any], where: str) -> None:
        """Write a checkpoint; raises TrainingStopped when that was the last wish."""
        path, step = None, self.trainer.optimizer.step_count
        if self.checkpoints and self.ranks.rank == 0:
            run = {"run": self.identity, "rates": self._rates(step), "trainer": state}
            path = self.checkpoints.write(step, run)
        if self.stop():
            raise TrainingStopped(where, path)

    def after_epoch(self, epoch: int) -> None:
        """After each epoch the state is kept, too, if any is."""
        if self.stop() or (self.checkpoints and self.checkpoints.every):
            self.keep(self.trainer.state_dict(), f"after epoch {epoch}")

    def resume(self) -> None:
        """Put the trainer where the newest checkpoint left it; raises SettingError when that was another run.

        Also when checkpoints of this one would be too large.
        """
        if self.checkpoints is None:
            return
        self.checkpoints.check_size(self.trainer.state_dict())
        saved = self._saved()
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

    def _saved(self) -> dict[str, Any] | None:
        """The state to go on from, which rank 0 reads for all; None where there is none."""
        if self.checkpoints is None:
            return None
        saved = on_rank_0(self.checkpoints.begin)
        if self.ranks.size == 1:
            return saved
        return of_bytes(self.ranks.broadcast(to_bytes({"saved": saved})))["saved"]

    def _check_rates(self, steps: int, rates: str) -> None:
        """More epochs are fine as long as every step so far would have been the same."""
        if not 0 <= steps <= MOST_STEPS:
            raise FileFormatError(f"the checkpoint to resume from is damaged: it counts {steps} steps")
        if self._rates(steps) != rates:
            raise SettingError(
                f"the {steps} steps so far would have had other learning rates: resume with the schedule of the run, "
                "and with its number of epochs if the schedule spreads over them"
            )

    def _rates(self, steps: int) -> str:
        """A hash of what the schedule made of the learning rate in each of the first ``steps`` steps."""
        for step in range(self.rated, steps):
            self.rates.update(np.float64(self.trainer.optimizer.schedule(step)).tobytes())
        self.rated = steps
        return self.rates.hexdigest()
