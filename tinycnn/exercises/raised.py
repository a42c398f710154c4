"""From an error that the student's code raised to its words, and to the likely mistake."""

import re
from pathlib import Path

import numpy as np

from tinycnn.backends.foreign_arrays import WITHOUT_RETURN
from tinycnn.errors import TinyCNNError
from tinycnn.exercises.cutting import Exercise
from tinycnn.exercises.tracing import arrays_at_error, integers_at_error, line_of_error, raised_by, self_of_error
from tinycnn.tensor import Function

NUMPY = "np", "numpy"  # names that most files do not have
MATMUL = re.compile(r"matmul: Input operand .*\(size (\d+) is different from (\d+)\)")  # NumPy's words
CALLED = re.compile(r"\(\) (missing|takes|got) ")  # a function called with too many or too few arguments
NO_INDEX = "only integers", "used as indices", "indexing arrays could not be broadcast"
PER_ROW = re.compile(r"with shapes (\((\d+),\d+\) \(\2,\)|\((\d+),\) \(\3,\d+\))")  # (N, K) and (N,)
STACKS = re.compile(r"operands could not be broadcast together with remapped shapes .*")  # of a matrix product


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
    if isinstance(error, TypeError | AttributeError) and "'tuple'" in text:
        return "tuple"
    if "not converted to a NumPy array implicitly" in text and isinstance(self_of_error(error, path), Function):
        return "tensor"
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
        if "indices" in exercise.hints and integers_at_error(error, path):
            return "indices"
        return "one per row" if PER_ROW.search(text) else "broadcast"
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


def named_line(line: int | None, path: Path) -> str:
    """`` (03_dense.py, line 35)``; empty without a line."""
    return f" ({path.name}, line {line})" if line else ""
