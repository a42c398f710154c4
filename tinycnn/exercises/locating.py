"""Which mistake a file makes, and in which function: it is compared with solutions that contain one planted mistake.

If a file has the same outcomes as the solution with a planted mistake, in all situations of the check, then that is
the mistake. The function is found in another way: it is the one that makes the file right when that of the solution
takes its place.
"""

import ast
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from difflib import SequenceMatcher
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from tinycnn.errors import SettingError
from tinycnn.exercises.cutting import Exercise, find_function
from tinycnn.exercises.evidence import Evidence, evidence_of, is_same
from tinycnn.exercises.symptoms import EITHER
from tinycnn.exercises.tracing import student_file

MAX_ALTERNATIVES = 2  # mistakes that the outcomes do not tell apart, and that a hint names
MAX_LINES = 3  # lines of the solution that a hint shows
PLANTED: dict[str, list[tuple[str, str, Evidence, tuple[str, ...]]]] = {}  # by exercise: see planted_evidence


def planted_mistake(exercise: Exercise, error: Exception) -> tuple[str, str, list[str]]:
    """The symptom of the planted mistake that leads to the outcomes of ``error``, and its function; empty if unknown.

    The third: the lines of the solution in its place; empty if there are none, or too many for a hint. Of two mistakes
    with these outcomes, the symptom has the keys of both; more say nothing.
    """
    ours = evidence_of(error)
    found = [one for one in planted_evidence(exercise) if is_same(ours, one[2])]
    keys, places = dict.fromkeys(key for key, *_ in found), {place for _, place, *_ in found}
    if len(keys) > MAX_ALTERNATIVES:
        return "", "", []
    lines = list(dict.fromkeys(line for *_, right in found for line in right))
    is_shown = len(lines) <= MAX_LINES and all(right for *_, right in found)
    return EITHER.join(keys), places.pop() if len(places) == 1 else "", lines if is_shown else []


def planted_evidence(exercise: Exercise) -> list[tuple[str, str, Evidence, tuple[str, ...]]]:
    """The key of each planted mistake, its function, the outcomes of the check, the right lines; computed once.

    Mistakes that do not fit the source, because it has been edited, are left out.
    """
    if exercise.name in PLANTED:
        return PLANTED[exercise.name]
    found = []
    for key, changed in exercise.planted.items():
        for place, changes in changed:
            with suppress(SettingError):
                text = with_planted(exercise.solution(), place, changes)
                if (error := failure_of_text(exercise, text, exercise.check)) is not None:
                    found.append((key, place, evidence_of(error), replaced_lines(exercise.solution(), text)))
    return PLANTED.setdefault(exercise.name, found)


def with_planted(text: str, place: str, changes: Mapping[str, str]) -> str:
    """``text`` with passages of the function ``place`` replaced; raises SettingError for one that is not there."""
    node, lines = find_function(ast.parse(text), place), text.splitlines(keepends=True)
    body = "".join(lines[node.lineno - 1 : node.end_lineno])
    for passage, instead in changes.items():
        if passage not in body:
            raise SettingError(f"{place} does not contain {passage!r}")
        body = body.replace(passage, instead)
    return "".join([*lines[: node.lineno - 1], body, *lines[node.end_lineno :]])


def replaced_lines(right: str, wrong: str) -> tuple[str, ...]:
    """The lines of ``right`` in whose place ``wrong`` has others, without their comments.

    None of them if ``wrong`` has one elsewhere, or with another indentation: it is the place that is wrong.
    """
    lines, others = right.splitlines(), wrong.splitlines()
    changes = [one for one in SequenceMatcher(None, lines, others, autojunk=False).get_opcodes() if one[0] != "equal"]
    statements = [bare(line) for _, first, end, _, _ in changes for line in lines[first:end]]
    instead = {bare(line) for _, _, _, first, end in changes for line in others[first:end]}
    is_part = any(line.count("(") != line.count(")") for line in statements)  # of a statement of several lines
    return () if is_part or instead & set(statements) else tuple(statements)


def bare(line: str) -> str:
    """A line of code without its indentation and comment."""
    return line.partition("  # ")[0].strip()


def function_at_fault(exercise: Exercise, path: Path) -> str:
    """The only function that makes the file right when that of the solution takes its place; empty if none is."""
    if len(exercise.holes) == 1:
        return exercise.holes[0].place
    found = [hole.place for hole in exercise.holes if is_right_with(exercise, path, [hole.place])]
    return found[0] if len(found) == 1 else ""


def right_so_far(exercise: Exercise, path: Path) -> list[str]:
    """The functions that are written, if the file is right with those of the solution in place of the empty ones."""
    text = path.read_text(encoding="utf-8")
    empty = [hole.place for hole in exercise.holes if f'raise NotImplementedError("{hole.place}")' in text]
    written = [hole.place for hole in exercise.holes if hole.place not in empty]
    return written if written and is_right_with(exercise, path, empty, is_whole=True) else []


def is_right_with(exercise: Exercise, path: Path, places: Sequence[str], *, is_whole: bool = False) -> bool:
    """Whether the file is right, as far as it is written, with the functions ``places`` of the solution.

    ``is_whole``: only if nothing is left to write.
    """

    def check(solution: ModuleType) -> None:
        student = load(path)
        for place in places:
            (owner, name), (source, _) = owner_of(student, place), owner_of(solution, place)
            theirs = vars(source)[name]
            function = FunctionType(theirs.__code__, vars(student), name, theirs.__defaults__, theirs.__closure__)
            function.__kwdefaults__ = theirs.__kwdefaults__
            setattr(owner, name, function)
        token = student_file.set(str(path))
        try:
            exercise.check(student)
        finally:
            student_file.reset(token)

    failure = failure_of_text(exercise, exercise.solution(), check)
    return failure is None or (isinstance(failure, NotImplementedError) and not is_whole)


def failure_of_text(exercise: Exercise, text: str, check: Callable[[ModuleType], Any]) -> Exception | None:
    """What ``check`` raises for a file with ``text``; what the file prints is not shown."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / exercise.file_name
        path.write_text(text, encoding="utf-8")
        token = student_file.set(str(path))
        try:
            with redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
                check(load(path))
        except Exception as error:
            return error
        finally:
            student_file.reset(token)
    return None


def load(path: Path) -> ModuleType:
    """Run a student's file as a module that is not registered in ``sys.modules``."""
    module = ModuleType(f"exercise_{path.stem}")
    module.__file__ = str(path)
    # not by an import: Python would keep the compiled file, and not see a change of the same second and length
    exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
    return module


def owner_of(module: Any, place: str) -> tuple[Any, str]:
    """The module or class that has the function, and its name there."""
    *owners, name = place.split(".")
    for owner in owners:
        module = getattr(module, owner)
    return module, name
