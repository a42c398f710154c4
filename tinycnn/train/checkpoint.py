"""Checkpoints: everything that a run needs to continue, in one file; the last two files are kept.

`Checkpoints` reads and writes the files; ``saving/state_file.py`` defines their format, and `CheckpointManager` in
``checkpoint_manager.py`` connects them with a trainer.
"""

import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError, SettingError, TinyCNNError, printable
from tinycnn.files import remove_leftovers, write_atomically
from tinycnn.layers import Sequential
from tinycnn.saving import model_file
from tinycnn.saving.safetensors_file import DAMAGED, MAX_HEADER, CannotReadError, check_readable
from tinycnn.saving.state_file import MAX_STATE_FILE, OtherVersionError, arrays_in, read_state, to_bytes
from tinycnn.train.history import EpochResult, best

BEST_FILE = "model_best.safetensors"
CHECKPOINT_NAME = re.compile(r"step-\d{9}\.safetensors")  # other files, such as copies, are ignored
MAX_KEPT = 2


def _report(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class BestNetwork:
    """The network of the epoch with the smallest validation loss so far: ``content`` is that of its model file.

    ``epoch`` is None if it comes from a run of an older version, which did not record it.
    """

    epoch: int | None
    content: bytes

    def as_state(self) -> dict[str, Any]:
        """The value that `from_state` restores, for a checkpoint."""
        return {"epoch": self.epoch, "file": np.frombuffer(self.content, np.uint8)}

    @classmethod
    def from_state(cls, state: dict[str, Any] | None) -> "BestNetwork | None":
        """Restore the result of ``as_state``; None for None."""
        return None if state is None else cls(state["epoch"], state["file"].tobytes())


class Checkpoints:
    """The checkpoints of one run, ``folder/step-<number>.safetensors``.

    ``every``: steps between two checkpoints; None to save only when the run is stopped. ``at_end``: also after the last
    epoch. ``resume``: continue from the newest checkpoint that is not damaged; otherwise a folder that contains
    checkpoints raises SettingError. ``keeps_best``: whether the network of the best epoch is kept. ``same``: values by
    name that must be equal when the run is resumed, in addition to those that the trainer compares. ``report`` is
    called with a message when a checkpoint is damaged or cannot be written; the run continues.

    ``best`` is the best network so far. It is part of every checkpoint; the file ``best_path`` is a copy for users.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: int | None = None,
        at_end: bool = False,
        resume: bool = False,
        keeps_best: bool = False,
        same: Mapping[str, Any] | None = None,
        report: Callable[[str], None] = _report,
    ) -> None:
        if every is not None and every < 1:
            raise SettingError(f"`every={every}`: expected at least 1 step")
        self.folder, self.every, self.resume, self.report = Path(os.path.expanduser(folder)), every, resume, report
        self.at_end, self.keeps_best, self.same = at_end, keeps_best, dict(same or {})
        self.newest: Path | None = None  # the last state that was saved; None if the last attempt failed
        self.best: BestNetwork | None = None
        self.best_path = self.folder / BEST_FILE

    def due(self, step: int) -> bool:
        """Whether to save the state after ``step`` steps."""
        return self.every is not None and step % self.every == 0

    def paths(self) -> list[Path]:
        """The checkpoint files, the newest first; raises CannotReadError when the folder cannot be listed."""
        try:
            names = [name for name in os.listdir(self.folder) if CHECKPOINT_NAME.fullmatch(name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CannotReadError(
                f"{self._name}: the checkpoints in it cannot be listed ({error.strerror or error}); give this user "
                "access to the folder, or choose another `folder`"
            ) from None
        return [self.folder / name for name in sorted(names, reverse=True)]

    @property
    def _name(self) -> str:
        return printable(os.fspath(self.folder))

    def initial_state(self) -> dict[str, Any] | None:
        """The state to continue from; None to start at the first step. Sets ``best``.

        Raises SettingError when there are checkpoints but ``resume`` is False, FileFormatError when all are damaged,
        CannotReadError when the newest cannot be read.
        """
        paths = self.paths()
        remove_leftovers(self.folder)
        if not self.resume:
            if paths:
                raise SettingError(
                    f"{self._name} contains checkpoints of an earlier run ({paths[0].stem}): resume it with "
                    "`resume=True`, delete the folder, or choose another `folder`"
                )
            return None
        if not paths:
            self.report(f"no checkpoint in {self._name}: starting at the first step")
            return None
        state = self._newest_undamaged(paths)
        self._restore_best(state)
        return state

    def _newest_undamaged(self, paths: list[Path]) -> dict[str, Any]:
        other_version = None
        for path in paths:
            try:
                state = read_state(path)
            except CannotReadError as error:
                raise CannotReadError(f"{error}. It may be intact: fix the cause, and resume again") from None
            except FileFormatError as error:
                self.report(f"{error}; skipped")
                other_version = error if isinstance(error, OtherVersionError) else other_version
                continue
            for damaged in paths[: paths.index(path)]:  # so that they are not read as the newest next time
                damaged.replace(damaged.with_suffix(".damaged"))
            self._delete(lambda: self.paths()[MAX_KEPT:])  # a process that was killed after writing may have left them
            self.newest = path
            return state
        if other_version:
            raise FileFormatError(f"{other_version}; resume with that version")
        raise FileFormatError(f"{self._name}: every checkpoint is damaged; delete the folder to start over")

    def _restore_best(self, state: dict[str, Any]) -> None:
        """Set ``best`` to that of a checkpoint, and write its file again if that is missing or differs."""
        try:
            if "best" in state:
                self.best = BestNetwork.from_state(state.pop("best"))
            elif self.best_path.exists():  # beside a checkpoint of an older version
                model_file.load(self.best_path)
                self.best = BestNetwork(None, self.best_path.read_bytes())
        except CannotReadError:
            raise
        except FileFormatError as error:
            self.report(f"{error}; the best network so far is lost")
        except DAMAGED as error:
            raise FileFormatError(f"the checkpoint to resume from is damaged: {error}") from None
        if self.best and not self._best_file_is_intact():
            self._write_best()

    def _best_file_is_intact(self) -> bool:
        with suppress(OSError):
            return self.best is not None and self.best_path.read_bytes() == self.best.content
        return False

    def check_best(self, history: list[EpochResult]) -> None:
        """Report if ``best`` is not the network of the best epoch in ``history``, because that network was not kept."""
        missing = self.missing_best(history) if self.keeps_best else None
        if missing:
            self.report(
                f"the network of epoch {missing}, the best so far, is not in the checkpoint: {BEST_FILE} will only be "
                "written if a later epoch is better"
            )

    def missing_best(self, history: list[EpochResult]) -> int | None:
        """The number of the best epoch in ``history`` if ``best`` is not its network; otherwise None."""
        epoch = best(history)
        if epoch is None or (self.best and self.best.epoch in (epoch.epoch, None)):
            return None
        return epoch.epoch

    def check_size(self, state: dict[str, Any]) -> None:
        """Raise SettingError when a checkpoint with this state would be too large to read back."""
        size = sum(array.nbytes for array in arrays_in(state))
        if size > MAX_STATE_FILE - MAX_HEADER:
            raise SettingError(
                f"a checkpoint of this run would be {size:,} bytes; the limit is {MAX_STATE_FILE:,}: use smaller layers"
            )
        check_readable(to_bytes(state), MAX_STATE_FILE, "a checkpoint of this run")

    def write(self, step: int, state: dict[str, Any]) -> Path | None:
        """Save ``state``; returns the path, or reports the error and returns None if that fails."""
        path = self.folder / f"step-{step:09}.safetensors"
        self.newest = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, to_bytes(state))
        except (OSError, MemoryError) as error:
            self.report(f"the checkpoint of step {step} could not be written ({_reason(error)}); kept: {self._kept()}")
            return None
        self._delete(lambda: self.paths()[MAX_KEPT:])
        self.newest = path
        return path

    def _kept(self) -> str:
        try:
            return ", ".join(path.stem for path in self.paths()) or "none"
        except CannotReadError:
            return "unknown"

    def keep_best(self, model: Sequential, epoch: int) -> None:
        """Keep ``model``, as it is after ``epoch``, as the best network so far; reports an error of its file."""
        self.best = BestNetwork(epoch, model_file.to_bytes(model))
        self._write_best()

    def _write_best(self) -> None:
        assert self.best
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.best_path, self.best.content)
        except OSError as error:
            self.report(f"{BEST_FILE} could not be written ({_reason(error)}); the run keeps it in memory")

    def clear(self) -> None:
        """Delete all checkpoints and the best network: the run has ended, and its results are written elsewhere.

        The newest checkpoint is deleted last: if the process is killed before that, the run can be resumed, and ends
        here again.
        """
        self._delete(lambda: [self.best_path, *reversed(self.paths())])
        with suppress(OSError):
            self.folder.rmdir()

    def clear_best(self) -> None:
        """Delete the file of the best network, which another run may have left."""
        self._delete(lambda: [self.best_path])

    def _delete(self, files: Callable[[], list[Path]]) -> None:
        try:
            for path in files():
                path.unlink(missing_ok=True)
        except (OSError, CannotReadError) as error:
            self.report(f"old checkpoints could not be deleted ({_reason(error)}) in {self._name}")


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "too little memory"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class TrainingStopped(TinyCNNError):
    """Raised when ``stop()`` returned True. ``checkpoint``: the file to resume from; None if nothing was saved."""

    def __init__(self, where: str, checkpoint: Path | None) -> None:
        super().__init__(f"stopped {where}")
        self.checkpoint = checkpoint
