"""A student's folder: copies the exercises there, keeps files that exist, and checks what the student wrote."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinycnn.backends import use_backend
from tinycnn.backends.foreign_arrays import WITHOUT_RETURN
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
from tinycnn.exercises.checking import Mistake
from tinycnn.exercises.cutting import Exercise
from tinycnn.exercises.diagnosis import HINTS, LEVELS, hint
from tinycnn.exercises.locating import function_at_fault, load, planted_mistake, right_so_far
from tinycnn.exercises.tracing import (
    arrays_at_error,
    function_of_error,
    line_of_error,
    lines_of_function,
    raised_by,
    self_of_error,
    shapes_at_error,
    student_file,
)
from tinycnn.files import write_atomically
from tinycnn.tensor import Function

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


NUMPY = "np", "numpy"  # names that most files do not have
COMPUTE_IT = (
    "Compute the number at the index above on paper, term by term, and print the same terms in your code: which is the "
    "first that differs?"
)
MATMUL = re.compile(r"matmul: Input operand .*\(size (\d+) is different from (\d+)\)")  # NumPy's words
CALLED = re.compile(r"\(\) (missing|takes|got) ")  # a function called with too many or too few arguments
NO_INDEX = "only integers", "used as indices", "indexing arrays could not be broadcast"
STACKS = re.compile(r"operands could not be broadcast together with remapped shapes .*")  # of a matrix product


@dataclass(frozen=True)
class Outcome:
    """``state``: right, part (an extra step is left), begun (the first task is right, the rest is empty), empty, wrong
    or missing; ``message``: what the student reads.

    ``symptom`` is the kind of mistake, if the numbers show one.
    """

    exercise: Exercise
    state: str
    message: str = ""
    symptom: str = ""


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
        text += hints(
            exercise, key_of_empty(exercise, str(error), level) if begun else "", str(error), level, is_empty=True
        )
        if right and not hasattr(error, "first_task"):
            text = f"Right so far: {', '.join(right)}.\n{text}"
        return Outcome(exercise, "begun" if begun else "empty", with_first_task(error, text))
    except SystemExit as error:
        place = named_line(line_of_error(error, path), path)
        return Outcome(exercise, "wrong", f"the code ends Python{place}: remove exit(), quit() or sys.exit()")
    except Mistake as mistake:
        with use_backend("numpy"):
            planted, place = planted_mistake(exercise, mistake)
            if not place and not (mistake.symptom and (mistake.line or mistake.place)):
                place = function_at_fault(exercise, path)
        place = place or mistake.place
        text = in_situation(mistake, str(mistake)) + where(path, mistake.line, place)
        about = place if planted else mistake.about or place
        key = planted or mistake.symptom or general_key(exercise, about)
        text += hints(exercise, key, about, level, has_index=mistake.came is not None)
        return not_right(exercise, mistake, text, key)
    except Exception as error:  # a student's code may raise anything
        text = in_situation(error, describe(error, path))
        shapes = shapes_at_error(error, path)
        text += f"\n{shapes}" if shapes else ""
        names = names_of(error, path)
        text += f"\n    {names}" if names else ""
        with use_backend("numpy"):
            planted, _ = planted_mistake(exercise, error) if student else ("", "")
        about, kind = function_of_error(error, path), symptom_of(error, exercise, path)
        is_known = kind in HINTS or kind in exercise.hints
        rule = general_key(exercise, about) if isinstance(error, TinyCNNError) else ""  # it knows what was called
        key = planted or (kind if is_known else rule or "error")
        text += hints(exercise, key, about, level)
        return not_right(exercise, error, text, key)
    finally:
        student_file.reset(token)
    return Outcome(exercise, "right", remark or "")


def not_right(exercise: Exercise, error: Exception, text: str, symptom: str) -> Outcome:
    """Wrong; or, after an error in the extra step of the exercise, right in part."""
    state = "part" if getattr(error, "is_extra", False) else "wrong"
    return Outcome(exercise, state, with_first_task(error, text), symptom)


def with_first_task(error: Exception, text: str) -> str:
    """``text`` below a line that says which task is right, if the error was raised after it."""
    first_task, is_extra = getattr(error, "first_task", ""), getattr(error, "is_extra", False)
    rest = "The extra step" if is_extra else "The rest"
    return f"Your first task is right: {first_task}. {rest}:\n{text}" if first_task else text


def hints(
    exercise: Exercise, symptom: str, about: str, level: int, *, has_index: bool = False, is_empty: bool = False
) -> str:
    """The hint at ``level``, as lines below a message. ``has_index``: the message names the index of a wrong number.

    ``is_empty``: nothing is written yet.
    """
    first = f"{COMPUTE_IT} " if has_index else ""
    chapter = next((exercise.chapters[name] for name in names_in(about) if name in exercise.chapters), exercise.chapter)
    formulas, general = exercise.formulas, (exercise.hint, f"{first}{chapter} derives it.")
    special = {"": general, **exercise.hints}
    rule = rule_before(symptom, has_index) if level == 1 and not is_empty else ""
    found = [formulas[name] for name in names_in(about) if name in formulas]
    formula = found[0] if found else "; ".join(dict.fromkeys(formulas.values()))
    return f"\n  Hint {level} of {LEVELS}: {rule}{hint(symptom, level, special, formula)}"


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


def describe(error: Exception, path: Path) -> str:
    """The error, and the last line of the student's file that led to it."""
    kind = "" if isinstance(error, TinyCNNError) else f"{type(error).__name__}: "
    words = error.msg if isinstance(error, SyntaxError) else str(error)  # whose str() has the line, too
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], Function):
        words = f"there is no entry for the {error.args[0].name} yet"
    words = "forward returned None" if WITHOUT_RETURN in words else words
    text = MATMUL.sub(r"the inner sizes of the matrix product differ, \2 and \1", words)
    text = STACKS.sub("the axes in front of the two of each matrix do not fit together in the matrix product", text)
    return f"{kind}{text}{named_line(line_of_error(error, path), path)}"


def symptom_of(error: Exception, exercise: Exercise, path: Path) -> str:
    """The kind of mistake behind an error that the student's code raised."""
    text = str(error)
    if isinstance(error, NameError) and error.name in NUMPY:
        return "np"
    if "returned float64 for inputs" in text:
        return "dtype"
    if WITHOUT_RETURN in text:
        return "return"
    if "bitwise_xor" in text:
        return "power"
    if "NoneType" in text:
        return "None"
    if isinstance(error, ValueError) and "truth value" in text:
        return "truth value"
    if isinstance(error, IndexError) and "too many indices" in text:
        return "too many indices"
    if isinstance(error, IndexError) and any(words in text for words in NO_INDEX):
        return "not an index"
    if isinstance(error, IndexError) and "out of bounds for axis" in text:
        return "out of bounds"
    if isinstance(error, ValueError) and ("matmul" in text or "not aligned" in text or STACKS.search(text)):
        arrays = arrays_at_error(error, path)
        many = [name for name, shape in arrays.items() if len(shape) > 2 and ("." not in name or name.endswith(".T"))]
        if many and "not rows" in exercise.hints:
            return "not rows"
        return "T of a stack" if any(name.endswith(".T") for name in many) else "matrix product"
    if isinstance(error, np.exceptions.AxisError):
        return "AxisError"
    library = raised_by(error, path)
    if isinstance(error, ValueError) and "cannot reshape" in text and library != "tinycnn":
        return "reshape"
    if library and type(error) in (ValueError, TypeError, ZeroDivisionError):
        return "arguments"
    if isinstance(error, TypeError) and CALLED.search(text):
        return "arguments"
    if isinstance(error, ValueError) and "axes don't match" in text:
        return "axes"
    if isinstance(error, ValueError) and "broadcast" in text:
        return "broadcast"
    kinds = (SyntaxError, NameError)  # with their special cases, such as IndentationError
    return next((kind.__name__ for kind in kinds if isinstance(error, kind)), type(error).__name__)


def names_of(error: Exception, path: Path) -> str:
    """For a name or an attribute that does not exist in a Function of the student: the attributes that exist."""
    if isinstance(error, NameError) and error.name in NUMPY:
        return ""
    owner = error.obj if isinstance(error, AttributeError) else None
    owner = self_of_error(error, path) if isinstance(error, NameError) else owner
    if not isinstance(owner, Function):
        return ""
    hidden = {"backend", "guards"}
    names = [f"self.{name}" for name, value in vars(owner).items() if name not in hidden and not callable(value)]
    public = [name for name in names if "._" not in name]
    return f"there are {', '.join(public)}" if public else ""


def in_situation(error: Exception, text: str) -> str:
    """``text`` behind the situations in which the error was raised, the outermost first."""
    return ": ".join([*reversed(getattr(error, "__notes__", [])), text])


def named_line(line: int | None, path: Path) -> str:
    """`` (03_dense.py, line 35)``; empty without a line."""
    return f" ({path.name}, line {line})" if line else ""


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
