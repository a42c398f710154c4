"""Checkpoints: all that a run needs to go on, in one safetensors file; the last two are kept.

What is saved is a nest of dictionaries and lists that holds numbers, texts and arrays. Each array becomes an ordinary
entry, named by its path in the nest; the nest around them is one JSON text, in the entry ``nest``. The entry ``sha256``
covers both, so that a damaged file is noticed: safetensors checks lengths, not content.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn.data.stored import Images, StoredImages
from tinycnn.errors import FileFormatError, SettingError
from tinycnn.files import remove_leftovers, write_atomically
from tinycnn.io import CHECKPOINT, DAMAGED, MAX_HEADER, read_arrays, save
from tinycnn.layers import Sequential
from tinycnn.run_folder import BEST_FILE

FORMAT_VERSION = "1"
KEPT = 2
MAX_FILE = 1 << 33  # bytes: four times a model file, for an optimizer that keeps two slots of every weight
ARRAY = "array of the file"  # {ARRAY: name} stands for an array in the JSON text
MAX_SHOWN = 40  # characters of a value in a sentence
FINGERPRINT = re.compile("[0-9a-f]{16}")  # which tells nobody anything


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
        if size > MAX_FILE - MAX_HEADER:
            raise SettingError(
                f"a checkpoint of this run would have {size:,} bytes; at most {MAX_FILE:,} are read: use smaller layers"
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


def read_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What ``Checkpoints.write`` put into ``path``; raises FileFormatError unless every bit is as it was."""
    arrays, version = read_arrays(path, CHECKPOINT, MAX_FILE)
    if version != FORMAT_VERSION:
        raise FileFormatError(f"{path}: a checkpoint of another tinycnn (format {version[:MAX_SHOWN]!r})")
    if not np.array_equal(arrays.pop("sha256", np.empty(0)), _digest(arrays)):
        raise FileFormatError(f"{path}: damaged (its content does not have the SHA-256 it was written with)")
    try:
        return _nest(arrays)
    except DAMAGED as error:
        raise FileFormatError(f"{path}: not a checkpoint of a run ({str(error)[:200]})") from None


def _nest(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The nest that ``to_bytes`` was given, from the entries it made of it."""
    nest: dict[str, Any] = _unpacked(json.loads(arrays.pop("nest").tobytes()), arrays)
    return nest


def of_bytes(content: bytes) -> dict[str, Any]:
    """The state that ``to_bytes`` was given, by somebody to be trusted."""
    from safetensors.numpy import load

    return _nest(load(content))


def to_bytes(state: dict[str, Any]) -> bytes:
    """``state`` as the content of a checkpoint."""
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(_packed(state, "", arrays), sort_keys=True)
    arrays["nest"] = np.frombuffer(text.encode(), np.uint8)
    return save(arrays | {"sha256": _digest(arrays)}, metadata={CHECKPOINT: FORMAT_VERSION})


def _packed(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """``value`` with a note in the place of every array; the arrays go to ``arrays``, contiguous, by name."""
    match value:
        case np.ndarray():
            arrays[name] = np.asarray(value, order="C")
            return {ARRAY: name}
        case dict():
            return {key: _packed(item, f"{name}/{key}", arrays) for key, item in value.items()}
        case list():
            return [_packed(item, f"{name}/{i}", arrays) for i, item in enumerate(value)]
    return value


def _unpacked(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    match value:
        case dict() if value.keys() == {ARRAY}:
            return arrays[value[ARRAY]]
        case dict():
            return {key: _unpacked(item, arrays) for key, item in value.items()}
        case list():
            return [_unpacked(item, arrays) for item in value]
    return value


def _digest(arrays: Mapping[str, Images]) -> np.ndarray:
    """SHA-256 of every array with its name, dtype and shape: ``(32,)`` uint8."""
    sha256 = hashlib.sha256()
    for name in sorted(arrays):
        sha256.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        for piece in _pieces(arrays[name]):
            sha256.update(piece.tobytes())
    return np.frombuffer(sha256.digest(), np.uint8)


def _pieces(array: Images) -> Iterable[np.ndarray]:
    """The content of an array in pieces that fit into memory: one, where it is in memory."""
    return array.pieces() if isinstance(array, StoredImages) else [array]


def arrays_in(value: Any) -> Iterator[np.ndarray]:
    """Every array somewhere in a nest of dictionaries and lists."""
    arrays: dict[str, np.ndarray] = {}
    _packed(value, "", arrays)
    yield from arrays.values()


def fingerprint(*arrays: Images) -> str:
    """16 hexadecimal digits that tell data sets apart: the beginning of a SHA-256 of dtypes, shapes and content."""
    return _digest({str(i): array for i, array in enumerate(arrays)}).tobytes().hex()[:16]


def check_same_run(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Raise SettingError, naming each difference, unless a checkpoint was made by a run like this one."""
    found = differences(theirs, ours, "there")
    if found:
        raise SettingError(f"the checkpoint belongs to another run: {found}. Resume with what it was made with")


def differences(theirs: dict[str, Any], ours: dict[str, Any], there: str) -> str:
    """What differs between two descriptions of a run, in words; "" when nothing does. ``there``: where theirs are."""
    names = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    return "; ".join(_difference(name, theirs.get(name), ours.get(name), there) for name in names)


def _difference(name: str, theirs: Any, ours: Any, there: str) -> str:
    if FINGERPRINT.fullmatch(str(theirs)) and FINGERPRINT.fullmatch(str(ours)):
        return f"other {name}"
    if max(len(str(theirs)), len(str(ours))) > MAX_SHOWN:
        return f"another {name}"
    return f"{name} {theirs} {there}, {ours} here"
