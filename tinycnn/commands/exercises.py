"""Exercises: write the backward passes of tinycnn yourself.

Copies files with gaps into FOLDER; --check runs them and reports what is wrong, and --train trains a network on them.
Existing files are never changed: to start an exercise again, delete its file and copy again. Exit codes: 0 success, 1
with --check if an exercise is not right, 2 error.
"""

import argparse
import difflib
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from tinycnn.commands.parser import did_you_mean
from tinycnn.errors import SettingError, in_shell

if TYPE_CHECKING:
    from tinycnn.exercises import Outcome

ACTIONS = "check", "train"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for the folder, and for copying, checking or training."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="FOLDER",
        help="default: ./exercises; `check` or `train` before it is --check, --train",
    )
    parser.add_argument("--check", action="store_true", help="check the exercises in FOLDER")
    parser.add_argument("--only", metavar="EXERCISE", help="with --check: only this one, such as 3 or dense")
    parser.add_argument(
        "--hint", type=int, choices=(1, 2, 3), metavar="LEVEL", help="with --check: 1, 2 or 3, what to write"
    )
    parser.add_argument("--train", action="store_true", help="train a network on the functions that you wrote")
    parser.add_argument("--solutions", action="store_true", help="write the solutions to FOLDER/solutions")


def run(options: argparse.Namespace) -> int:
    """Copy, check or train; returns 1 if an exercise is not right."""
    words = list(options.words)
    action = words.pop(0) if words and words[0] in ACTIONS else ""
    meant = did_you_mean(difflib.get_close_matches(words[0], ACTIONS, n=1, cutoff=0.8)) if words else ""
    if len(words) > 1:
        raise SettingError(f"exercises: expected one folder, came {' '.join(words)}{meant}")
    if meant and not Path(words[0]).exists():
        raise SettingError(f"exercises: there is no folder {words[0]}{meant} To make this folder, write ./{words[0]}")
    folder = Path(words[0]) if words else Path("exercises")
    checks, trains = options.check or action == "check", options.train or action == "train"
    if checks + trains + options.solutions > 1:
        raise SettingError("exercises: expected only one of --check, --train and --solutions")
    for name in ("only", "hint"):
        if getattr(options, name) is not None and not checks:
            raise SettingError(f"--{name} requires --check")
    if checks:
        return check(folder, options.only, options.hint or 1)
    if trains:
        return train(folder)
    return copy(folder, options.solutions)


def copy(folder: Path, solutions: bool) -> int:
    """Write the files and print the next command."""
    from tinycnn.exercises import copy_out

    folder = folder / "solutions" if solutions else folder
    written, kept = copy_out(folder, solutions=solutions)
    if kept:
        print(f"kept unchanged: {', '.join(path.name for path in kept)}")
    print(f"{len(written)} file{'s' * (len(written) != 1)} written to {folder}")
    if not solutions:
        print(f"open {in_shell(folder / '01_arithmetic.py')}, then: tinycnn exercises {in_shell(folder)} --check")
    return 0


def check(folder: Path, only: str | None, hint: int) -> int:
    """Print a line per exercise, what is wrong, and the hint of the first empty one; write the page of all."""
    from tinycnn.exercises import EXERCISES, check_file
    from tinycnn.exercises.progress import PAGE, write_page

    chosen = [exercise for exercise in EXERCISES if only is None or is_meant(only, exercise.name)]
    if not chosen:
        names = ", ".join(exercise.name for exercise in EXERCISES)
        raise SettingError(f"--only {only}: the exercises are 1 to {len(EXERCISES)}: {names}")
    check_folder(folder)
    outcomes = [check_file(exercise, folder / exercise.file_name, hint) for exercise in chosen]
    empty = [outcome for outcome in outcomes if outcome.state == "empty"]
    for outcome in outcomes:
        print(f"{outcome.state:<8}{outcome.exercise.name}")
        if outcome.message and outcome not in empty[1:]:
            print(*(indented(line) for line in outcome.message.splitlines()), sep="\n")
    right = sum(outcome.state == "right" for outcome in outcomes)
    print(how_far(outcomes))
    if any(len(outcome.hints) > hint for outcome in outcomes if outcome not in empty[1:]):
        print(f"a hint that says more: --hint {hint + 1}")
    if only is None:
        print(f"as a page: {write_page(folder / PAGE, outcomes)}")
    if right == len(EXERCISES):
        print(f"all yours; now train on them: tinycnn exercises {in_shell(folder)} --train")
    return int(right < len(outcomes))


def how_far(outcomes: list["Outcome"]) -> str:
    """What is right: exercises, and the tasks or functions of those that are not right as a whole."""
    if len(outcomes) == 1 and outcomes[0].progress:
        return outcomes[0].progress
    right = sum(outcome.state == "right" for outcome in outcomes)
    begun = [f"{outcome.progress} in {outcome.exercise.name}" for outcome in outcomes if outcome.progress]
    return ", ".join([f"{right} of {len(outcomes)} right", *begun])


def is_meant(word: str, name: str) -> bool:
    """Whether ``word`` is the number or the name of the exercise, or that of its file."""
    number, _, rest = name.partition("_")
    word = Path(word).name.removesuffix(".py")
    return word in (name, rest, number, number.lstrip("0"))


def train(folder: Path) -> int:
    """Train on the functions in the folder that are right, and print the accuracy."""
    from tinycnn import data
    from tinycnn.exercises.training import train_on

    check_folder(folder)
    dataset = data.load("auto")
    if dataset.notice:
        print(dataset.notice)
    train_on(folder, dataset, print)
    return 0


def check_folder(folder: Path) -> None:
    """Raise SettingError unless there is an exercise in the folder."""
    from tinycnn.exercises import EXERCISES

    if not any((folder / exercise.file_name).exists() for exercise in EXERCISES):
        raise SettingError(f"no exercises in {folder}: copy them there with `tinycnn exercises {in_shell(folder)}`")


def indented(line: str) -> str:
    """A line of a message, indented below its exercise and wrapped to 100 columns."""
    return textwrap.fill(line, 100, initial_indent=" " * 8, subsequent_indent=" " * 10)
