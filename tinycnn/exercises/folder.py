"""A student's folder: copies the exercises there, keeps files that exist, and checks what the student wrote."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinycnn.backends import use_backend
from tinycnn.errors import TinyCNNError
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
from tinycnn.exercises.checking import Mistake, numbers_of
from tinycnn.exercises.cutting import Exercise
from tinycnn.exercises.hints import HINTS, hint, without_repeats
from tinycnn.exercises.locating import function_at_fault, load, planted_mistake, right_so_far
from tinycnn.exercises.raised import describe, named_line, names_of, symptom_of
from tinycnn.exercises.tracing import (
    function_of_error,
    input_of_error,
    line_of_error,
    lines_of_function,
    shapes_at_error,
    student_file,
)
from tinycnn.files import write_atomically

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


COMPUTE_IT = (
    "Compute the number at the index above on paper, term by term, and print the same terms in your code: which is the "
    "first that differs?"
)
OF_ALL_GRADIENTS = "order", "none", "too many", "too many gradients", "return"  # symptoms


@dataclass(frozen=True)
class Outcome:
    """``state``: right, part (an extra step is left), begun (the first task is right, the rest is empty), empty, wrong
    or missing; ``message``: what the student reads.

    ``symptom`` is the kind of mistake, if the numbers show one. ``hints``: those of all levels, of which the message
    has the first. ``progress``: what is right of a file that is not, such as ``1 of 2 tasks right``, or empty.
    """

    exercise: Exercise
    state: str
    message: str = ""
    symptom: str = ""
    hints: tuple[str, ...] = ()
    progress: str = ""


def copy_out(folder: Path, *, solutions: bool = False) -> tuple[list[Path], list[Path]]:
    """Write the exercises, or the solutions; returns the files written, and those kept because they existed."""
    folder.mkdir(parents=True, exist_ok=True)
    written, kept = [], []
    for exercise in EXERCISES:
        path = folder / exercise.file_name
        if path.exists():
            kept.append(path)  # it may contain a student's work
        else:
            write_atomically(path, (exercise.solution() if solutions else exercise.text()).encode())
            written.append(path)
    return written, kept


def check_file(exercise: Exercise, path: Path, level: int = 1) -> Outcome:
    """Run the file and its check, on the NumPy backend; ``level`` of the hint, 1 to 3."""
    path = path.absolute()  # Python records absolute names
    if not path.exists():
        return Outcome(exercise, "missing", f"there is no {path}")
    token = student_file.set(str(path))
    student = None
    try:
        with use_backend("numpy"), np.errstate(all="ignore"):
            student = load(path)
            remark = exercise.check(student)
    except NotImplementedError as error:
        text = f"{error}{named_line(line_of_error(error, path), path)} is still empty."
        with use_backend("numpy"):
            right = right_so_far(exercise, path)
        begun = bool(right or (getattr(error, "first_task", "") and not getattr(error, "is_extra", False)))
        keys = [key_of_empty(exercise, str(error), one) if begun else "" for one in (1, 2)]
        told = hints(exercise, keys, str(error), is_empty=True)
        text += shown(told, level)
        progress = f"{len(right)} of {len(exercise.holes)} functions right" if right else ""
        if right and not hasattr(error, "first_task"):
            text = f"Right so far: {', '.join(right)}.\n{text}"
        return Outcome(
            exercise, "begun" if begun else "empty", with_first_task(error, text), hints=told,
            progress=tasks_right(error) or progress,
        )  # fmt: skip
    except SystemExit as error:
        place = named_line(line_of_error(error, path), path)
        return Outcome(exercise, "wrong", f"the code ends Python{place}: remove exit(), quit() or sys.exit()")
    except Mistake as mistake:
        with use_backend("numpy"):
            planted, place, lines = planted_mistake(exercise, mistake)
            if not place and not (mistake.symptom and (mistake.line or mistake.place)):
                place = function_at_fault(exercise, path)
        place = place or mistake.place
        text = in_situation(mistake, str(mistake)) + numbers_of(mistake.given) + where(path, mistake.line, place)
        about = place if planted else mistake.about or place
        key = planted or mistake.symptom or general_key(exercise, about)
        told = hints(exercise, [key, key], about, has_index=mistake.came is not None, lines=lines)
        return not_right(exercise, mistake, text + shown(told, level), key, told)
    except Exception as error:  # a student's code may raise anything
        text = in_situation(error, describe(error, path))
        shapes = shapes_at_error(error, path)
        text += f"\n{shapes}" if shapes else ""
        names = names_of(error, path)
        text += f"\n    {names}" if names else ""
        with use_backend("numpy"):
            planted, _, lines = planted_mistake(exercise, error) if student else ("", "", [])
        about, kind = function_of_error(error, path), symptom_of(error, exercise, path)
        is_known = kind in HINTS or kind in exercise.hints
        rule = general_key(exercise, about) if isinstance(error, TinyCNNError) else ""  # it knows what was called
        key = planted or (kind if is_known else rule or "error")
        told = hints(exercise, [key, key], input_of_error(error, path) or about, lines=lines)
        return not_right(exercise, error, text + shown(told, level), key, told)
    finally:
        student_file.reset(token)
    return Outcome(exercise, "right", remark or "")


def not_right(exercise: Exercise, error: Exception, text: str, symptom: str, told: tuple[str, ...]) -> Outcome:
    """Wrong; or, after an error in the extra step of the exercise, right in part. ``told``: the hints."""
    state = "part" if getattr(error, "is_extra", False) else "wrong"
    return Outcome(exercise, state, with_first_task(error, text), symptom, told, tasks_right(error))


def tasks_right(error: Exception) -> str:
    """How many of the tasks are right if the error was raised after the first; empty if not, or if there is but one."""
    return "1 of 2 tasks right" if hasattr(error, "first_task") else ""


def with_first_task(error: Exception, text: str) -> str:
    """``text`` below a line that says which task is right, if the error was raised after it."""
    first_task, is_extra = getattr(error, "first_task", ""), getattr(error, "is_extra", False)
    rest = "The extra step" if is_extra else "The rest"
    return f"Your first task is right: {first_task}. {rest}:\n{text}" if first_task else text


def hints(
    exercise: Exercise,
    keys: Sequence[str],
    about: str,
    *,
    has_index: bool = False,
    is_empty: bool = False,
    lines: Sequence[str] = (),
) -> tuple[str, ...]:
    """The hints, from the one that says least; each says more than those before it. The last is what to write.

    ``keys``: the symptom that chooses the first hint, and that for the second. ``has_index``: the message names the
    index of a wrong number. ``is_empty``: nothing is written yet. ``lines``: of the solution, where the mistake is.
    """
    first = f"{COMPUTE_IT} " if has_index else ""
    chapter = next((exercise.chapters[name] for name in names_in(about) if name in exercise.chapters), exercise.chapter)
    special = {"": (exercise.hint, f"{first}{chapter} derives it."), **exercise.hints}
    rule = "" if is_empty else rule_before(keys[0], has_index)
    words = [hint(key, level, special) for level, key in enumerate(keys, start=1)]
    own = f"in the solution, this is: {'; '.join(lines)}" if lines else formula(exercise, keys[-1], about)
    return without_repeats([f"{rule}{words[0]}", words[1], own])


def formula(exercise: Exercise, symptom: str, about: str) -> str:
    """What to write for the gradient or function ``about``; of a symptom of all gradients, what returns them."""
    formulas, names = exercise.formulas, names_in(about)
    of_function = [name for name in formulas if name.endswith(".backward")]
    owner = [name for name in of_function if name.split(".")[0] == names[2]] or of_function
    if symptom in OF_ALL_GRADIENTS and len(owner) == 1:
        return formulas[owner[0]]
    found = [formulas[name] for name in names if name in formulas]
    return found[0] if found else "; ".join(dict.fromkeys(formulas.values()))


def shown(told: Sequence[str], level: int) -> str:
    """The hints up to ``level``, as lines below a message."""
    return "".join(f"\n  Hint {i} of {len(told)}: {one}" for i, one in enumerate(told[:level], start=1))


def rule_before(symptom: str, has_index: bool) -> str:
    """What stands before a hint that states what the code should do, so that it is not read as a diagnosis."""
    if symptom and not symptom.startswith("of "):
        return ""
    return (
        f"{'your numbers fit no mistake that the check knows. How it should be' if has_index else 'how it should be'}: "
    )


def key_of_empty(exercise: Exercise, place: str, level: int) -> str:
    """The key of the hints for a function that is still empty, and so has no wrong number at an index."""
    key = general_key(exercise, place)
    return "" if key and "the index above" in exercise.hints[key][min(level, 2) - 1] else key


def general_key(exercise: Exercise, about: str) -> str:
    """The key of the hints for ``about`` if its numbers show no mistake that is known; empty if there are none."""
    return next((key for name in names_in(about) if (key := f"of {name}") in exercise.hints), "")


def names_in(about: str) -> tuple[str, str, str]:
    """``Class.method`` or ``op.input``, its last part, its first part."""
    return about, about.split(".")[-1], about.split(".")[0]


def in_situation(error: Exception, text: str) -> str:
    """``text`` behind the situations in which the error was raised, the outermost first."""
    return ": ".join([*reversed(getattr(error, "__notes__", [])), text])


def where(path: Path, line: int | None, place: str) -> str:
    """The line and its text, as a line below a message, or else the lines of the function ``place``.

    A line that is not in ``place`` is not where the mistake is. Empty if nothing is known.
    """
    lines = lines_of_function(path, place) if place else range(0)
    if line and (not lines or line in lines):
        text = path.read_text(encoding="utf-8").splitlines()[line - 1].strip()
        others = ", or one that it uses" if getattr(line, "uses_others", False) else ""
        return f"\n    {path.name}, line {line}{others}:  {text}"
    return f"\n    {path.name}, lines {lines[0]} to {lines[-1]}:  {place}" if lines else ""
