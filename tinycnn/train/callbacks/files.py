"""Callbacks that write a file after each epoch: the history as CSV, the network as a model file."""

import os
from pathlib import Path

from tinycnn.distributed.communicator import get_communicator
from tinycnn.errors import SettingError, checked_bool
from tinycnn.files import write_atomically
from tinycnn.saving.endings import CSV
from tinycnn.saving.endings import check_ending as check_format
from tinycnn.saving.model_file import check_ending, save
from tinycnn.train.callbacks.base import Callback, TrainerInRun
from tinycnn.train.callbacks.monitor import Monitor
from tinycnn.train.history import EpochResult, best


class CSVLogger(Callback):
    """Writes the history to the file ``path`` after each epoch: a header, and a line per epoch.

    The whole file is replaced each time, so it is complete at any moment, and a resumed run continues it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        check_format(path, CSV)
        self.path = Path(os.path.expanduser(path))

    def on_run_begin(self, trainer: TrainerInRun) -> None:
        """Write the history so far, so that a file that cannot be written fails before the first step."""
        self._write(trainer)

    def on_epoch_end(self, trainer: TrainerInRun, result: EpochResult) -> None:
        """Write the file."""
        self._write(trainer)

    def _write(self, trainer: TrainerInRun) -> None:
        if get_communicator().rank == 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, trainer.history.to_csv().encode())


class ModelCheckpoint(Callback):
    """Saves the network to the model file ``path`` after each epoch in which ``monitor`` is the best so far.

    ``best_only=False`` saves after every epoch; ``{epoch}`` in ``path`` is replaced by its number. ``mode`` is that of
    `EarlyStopping`. A model file is for `tinycnn.load`; to resume a run, pass ``checkpoints`` to ``fit``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        monitor: str = "validation_loss",
        mode: str = "auto",
        best_only: bool = True,
    ) -> None:
        check_ending(path)
        self.path, self.monitor, self.best_only = (
            os.path.expanduser(path),
            Monitor(monitor, mode),
            checked_bool("best_only", best_only),
        )
        try:
            self.path.format(epoch=1)
        except (LookupError, ValueError) as error:
            raise SettingError(
                f"`path` is {self.path!r}: expected a file name, which may contain {{epoch}} ({error})"
            ) from None

    def on_run_begin(self, trainer: TrainerInRun) -> None:
        """Check that the run records the number."""
        if self.best_only:
            self.monitor.check(trainer, "ModelCheckpoint")

    def on_epoch_end(self, trainer: TrainerInRun, result: EpochResult) -> None:
        """Save the network if it is the best so far."""
        wanted = not self.best_only or result is best(trainer.history, **self.monitor.how())
        if wanted and get_communicator().rank == 0:
            path = Path(self.path.format(epoch=result.epoch))
            path.parent.mkdir(parents=True, exist_ok=True)
            save(trainer.model, path)
