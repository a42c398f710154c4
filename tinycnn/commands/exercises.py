"""Exercises: write the backward passes of tinycnn yourself.

Copies files with gaps into FOLDER; --check runs them and reports what is wrong. Existing files are never changed: to
start an exercise again, delete its file and copy again. Exit codes: 0 success, 1 with --check if an exercise is not
right, 2 error.
"""

import argparse
import textwrap
from pathlib import Path

from tinycnn.errors import SettingError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for the folder, and for copying or checking."""
    parser.add_argument("folder", nargs="?", type=Path, default=Path("exercises"), help="default: ./exercises")
    parser.add_argument("--check", action="store_true", help="check the exercises in FOLDER")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="with --check: only this exercise, with its hint")
    parser.add_argument("--solutions", action="store_true", help="write the solutions to FOLDER/solutions")


def run(options: argparse.Namespace) -> int:
    """Copy or check; returns 1 if an exercise is not right."""
    if options.only is not None and not options.check:
        raise SettingError("--only: requires --check")
    if options.check:
        return check(options.folder, options.only)
    return copy(options.folder, options.solutions)


def copy(folder: Path, solutions: bool) -> int:
    """Write the files and print the next command."""
    from tinycnn.exercises import copy_out

    folder = folder / "solutions" if solutions else folder
    written, kept = copy_out(folder, solutions=solutions)
    if kept:
        print(f"kept unchanged: {', '.join(path.name for path in kept)}")
    print(f"{len(written)} files written to {folder}")
    if not solutions:
        print(f"open {folder}/01_arithmetic.py, then: tinycnn exercises {folder} --check")
    return 0


def check(folder: Path, only: int | None) -> int:
    """Print a line per exercise, what is wrong, and the hint of the first empty one."""
    from tinycnn.exercises import EXERCISES, check_file

    chosen = [exercise for i, exercise in enumerate(EXERCISES, start=1) if only in (None, i)]
    if not chosen:
        raise SettingError(f"--only {only}: the exercises are 1 to {len(EXERCISES)}")
    if not any((folder / exercise.file_name).exists() for exercise in EXERCISES):
        raise SettingError(f"no exercises in {folder}: copy them there with `tinycnn exercises {folder}`")
    outcomes = [check_file(exercise, folder / exercise.file_name) for exercise in chosen]
    empty = [outcome for outcome in outcomes if outcome.state == "empty"]
    for outcome in outcomes:
        print(f"{outcome.state:<8}{outcome.exercise.name}")
        if outcome.message and outcome not in empty[1:]:
            print(*(indented(line) for line in outcome.message.splitlines()), sep="\n")
    right = sum(outcome.state == "right" for outcome in outcomes)
    print(f"{right} of {len(outcomes)} right")
    return int(right < len(outcomes))


def indented(line: str) -> str:
    """A line of a message, indented below its exercise and wrapped to 100 columns."""
    return textwrap.fill(line, 100, initial_indent=" " * 8, subsequent_indent=" " * 10)
