"""A student's folder: copies the exercises there, keeps files that exist, and checks what the student wrote."""

import importlib.util
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tinycnn.backends import use_backend
from tinycnn.errors import SettingError, TinyCNNError
from tinycnn.exercises import (
    e01_arithmetic,
    e02_engine,
    e03_dense,
    e04_relu,
    e05_cross_entropy,
    e06_im2col,
    e07_conv2d,
    e08_max_pool,
    e09_batch_norm,
    e10_dropout,
    e11_optimizers,
    e12_gradcheck,
    e13_leaky_relu,
)
from tinycnn.exercises.checking import Mistake
from tinycnn.exercises.cutting import Exercise

EXERCISES: list[Exercise] = [
    module.EXERCISE
    for module in (
        e01_arithmetic,
        e02_engine,
        e03_dense,
        e04_relu,
        e05_cross_entropy,
        e06_im2col,
        e07_conv2d,
        e08_max_pool,
        e09_batch_norm,
        e10_dropout,
        e11_optimizers,
        e12_gradcheck,
        e13_leaky_relu,
    )
]


@dataclass(frozen=True)
class Outcome:
    """``state``: right, empty (nothing written yet), wrong or missing; ``message``: a sentence for the student."""

    exercise: Exercise
    state: str
    message: str = ""


def copy_out(folder: Path, *, solutions: bool = False) -> tuple[list[Path], list[Path]]:
    """Write the exercises, or the solutions; returns the files written, and those kept because they existed."""
    folder.mkdir(parents=True, exist_ok=True)
    written, kept = [], []
    for exercise in EXERCISES:
        path = folder / exercise.file_name
        if path.exists():
            kept.append(path)  # it may contain a student's work
        else:
            path.write_text(exercise.solution() if solutions else exercise.text(), encoding="utf-8")
            written.append(path)
    return written, kept


def check_file(exercise: Exercise, path: Path) -> Outcome:
    """Run the file and its check, on the NumPy backend."""
    if not path.exists():
        return Outcome(exercise, "missing", f"there is no {path}")
    try:
        with use_backend("numpy"):
            exercise.check(load(path))
    except NotImplementedError as error:
        return Outcome(exercise, "empty", f"{error}{place(error, path)} is still empty.\n  Hint: {exercise.hint}")
    except Mistake as mistake:
        return Outcome(exercise, "wrong", f"{mistake}\n  Hint: {exercise.hint}")
    except Exception as error:  # a student's code may raise anything
        return Outcome(exercise, "wrong", f"{describe(error, path)}\n  Hint: {exercise.hint}")
    return Outcome(exercise, "right")


def load(path: Path) -> ModuleType:
    """Run a student's file as a module that is not registered in ``sys.modules``."""
    spec = importlib.util.spec_from_file_location(f"exercise_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise SettingError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def describe(error: Exception, path: Path) -> str:
    """The error, and the last line of the student's file that led to it."""
    kind = "" if isinstance(error, TinyCNNError) else f"{type(error).__name__}: "
    return f"{kind}{error}{place(error, path)}"


def place(error: Exception, path: Path) -> str:
    """The line in the student's file, as `` (03_dense.py, line 35)``; empty when the error came from elsewhere."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return f" ({path.name}, line {line})" if line else ""
