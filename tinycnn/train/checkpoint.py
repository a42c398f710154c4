"""Checkpoints: all that a run needs to go on, in one safetensors file; the last two are kept.

What is saved is a nest of dictionaries and lists that holds numbers, texts and arrays. Each array becomes an ordinary
entry, named by its path in the nest; the nest around them is one JSON text, in the entry ``nest``. The entry ``sha256``
covers both, so that a damaged file is noticed: safetensors checks lengths, not content.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tinycnn.distributed.agreement import differences
from tinycnn.errors import FileFormatError, SettingError
from tinycnn.files import remove_leftovers, write_atomically
from tinycnn.layers import Sequential
from tinycnn.saving.model_file import save
from tinycnn.saving.safetensors_file import MAX_HEADER
from tinycnn.saving.state_file import MAX_STATE_FILE, arrays_in, read_state, to_bytes

KEPT = 2


def _report(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


class Checkpoints:
    """The checkpoints of one run, ``folder/step-<number>.safetensors``.

    ``every``: steps between two (None: only when the run is stopped). ``resume``: continue from the newest that is
    whole; without it, a folder that already holds checkpoints is refused. ``report`` is given a sentence when a
    checkpoint is damaged or cannot be written: no reason to end a run, but one to tell somebody. ``best`` is where the
    best network so far lies, for a run that keeps it.
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
            raise SettingError(f"checkpoint every {every} steps: expected at least 1")
        self.folder, self.every, self.resume, self.report = Path(folder), every, resume, report
        self.best = self.folder / BEST_FILE

    def due(self, step: int) -> bool:
        """Whether the state after ``step`` steps is to be kept."""
        return self.every is not None and step % self.every == 0

    def paths(self) -> list[Path]:
        """Those there are, the newest first."""
        return sorted(self.folder.glob("step-*.safetensors"), reverse=True)

    def begin(self) -> dict[str, Any] | None:
        """The state to continue from, None to start at the first step.

        Raises SettingError when there are checkpoints and nobody asked to resume, FileFormatError when none is whole.
        """
        remove_leftovers(self.folder)
        paths = self.paths()
        if not self.resume:
            if paths:
                raise SettingError(
                    f"{self.folder} holds checkpoints of an earlier run ({paths[0].stem}): resume it (--resume), or "
                    "delete that folder, or choose another (--output)"
                )
            return None
        if not paths:
            self.report(f"no checkpoint in {self.folder}: starting at the first step")
            return None
        return self._newest_whole(paths)

    def _newest_whole(self, paths: list[Path]) -> dict[str, Any]:
        for path in paths:
            try:
                state = read_state(path)
            except FileFormatError as error:
                self.report(f"{error}; set aside")
                continue
            for damaged in paths[: paths.index(path)]:  # or they would be taken for the newest again
                damaged.replace(damaged.with_suffix(".damaged"))
            self._delete_old()  # a process that was killed in between has not
            return state
        raise FileFormatError(f"{self.folder}: no checkpoint in it is whole; delete the folder to start again")

    def check_size(self, state: dict[str, Any]) -> None:
        """Raise SettingError when a checkpoint of such a state could not be read again, before hours depend on it."""
        size = sum(array.nbytes for array in arrays_in(state))
        if size > MAX_STATE_FILE - MAX_HEADER:
            raise SettingError(
                f"a checkpoint of this run would have {size:,} bytes; at most {MAX_STATE_FILE:,} are read: "
                "use smaller layers"
            )

    def write(self, step: int, state: dict[str, Any]) -> Path | None:
        """Keep ``state``; answers the file, or None (and reports) when it could not be written."""
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
        """Keep ``model`` as the best so far; raises OSError when it cannot be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save(model, self.best)

    def clear(self) -> None:
        """Delete them all: the run is over, and nobody asked for them."""
        for path in [*self.paths(), self.best]:
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


def check_same_run(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Raise SettingError, naming each difference, unless a checkpoint was made by a run like this one."""
    found = differences(theirs, ours, "there")
    if found:
        raise SettingError(f"the checkpoint belongs to another run: {found}. Resume with what it was made with")


BEST_FILE = "model_best.safetensors"
