"""The lines of the engine that computed a number, and the equations of their docstrings, read from the source itself.

For each function that a trace names (``tinycnn.ops.conv2d.Conv2dFunction``), `source_of` returns its lines, the numbers
of the lines that compute each quantity (``y``, ``grad_x``, ``grad_weight`` …), and the equations of its module.
"""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tinycnn import tensor
from tinycnn.backends.numpy_backend import NumpyBackend
from tinycnn.errors import SettingError, shortened
from tinycnn.tensor import Function

# Steps on the way to a quantity, which are marked with it.
STEPS = {
    "y": ("cols", "x_hat", "inverse_std", "mask", "p", "log_p", "target", "winner"),
    "grad_x": ("grad_cols", "share", "p"),
}
EQUATION = re.compile(r"(?<![=<>!])=(?!=)")
REMARK = re.compile(r",? (?!\w+ =)[a-z]\w*(?: [a-z]+){4,}.*| so (?=d).*")  # a sentence behind an equation
CONDITION = r"(?: ((?:where|if|for|unless) [^.;:]*))?"  # behind an equation in a sentence, and part of what it says


@dataclass(frozen=True)
class Lines:
    """A function that a `Source` calls: its lines, from number ``start`` on, and ``marks``, those in its loops."""

    file: str
    start: int
    lines: tuple[str, ...]
    marks: tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """One function of the engine: its file, its lines from number ``start``, and which of them compute what.

    ``marks``: quantity → numbers of lines. ``equations``: left side → equation, as in the docstring. ``text``: the
    docstring that they are from. ``called``: by name, the kernels of the NumPy backend and functions of ``ops``.
    """

    file: str
    start: int
    lines: tuple[str, ...]
    marks: dict[str, tuple[int, ...]]
    equations: dict[str, str]
    text: str
    called: dict[str, Lines]


def source_of(call: str) -> Source:
    """The source of a function of the engine by the name that a trace has for it; raises SettingError for no such."""
    module_name, _, name = call.rpartition(".")
    try:
        module = importlib.import_module(module_name)
        function = getattr(module, name)
        lines, start = inspect.getsourcelines(function)
    except (ImportError, AttributeError, ValueError, TypeError, OSError) as error:
        raise SettingError(f"source_of: {shortened(call)} is no function with a source ({error})") from None
    if not (isinstance(function, type) and issubclass(function, Function)):
        raise SettingError(f"source_of: {shortened(call)} is not a Function")
    text = inspect.cleandoc(function.__doc__ or "")
    if not EQUATION.search(text) and module is not tensor:  # whose docstring is about the engine
        text = inspect.cleandoc(module.__doc__ or "")
    return Source(
        file=file_of(module),
        start=start,
        lines=tuple(line.rstrip("\n") for line in lines),
        marks={quantity: tuple(numbers) for quantity, numbers in marks_in("".join(lines), start).items()},
        equations=dict(equations_in(text)),
        text=text,
        called=dict(called_in("".join(lines), module)),
    )


def called_in(source: str, module: Any) -> Iterator[tuple[str, Lines]]:
    """What the class ``source`` of ``module`` calls: kernels of the NumPy backend, and functions of ``ops``."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "self.backend":
            name, function = call.func.attr, vars(NumpyBackend).get(call.func.attr)
        elif isinstance(call.func, ast.Name):
            name, function = call.func.id, getattr(module, call.func.id, None)
        else:
            continue
        if inspect.isfunction(function) and function.__module__.startswith(("tinycnn.ops", NumpyBackend.__module__)):
            lines, start = inspect.getsourcelines(function)
            tree = ast.parse(textwrap.dedent("".join(lines)))
            loops = [node for node in ast.walk(tree) if isinstance(node, ast.For)]
            marks = sorted({line for loop in loops for node in loop.body for line in lines_of(node, start)})
            text = tuple(line.rstrip("\n") for line in lines)
            yield name, Lines(file_of(inspect.getmodule(function)), start, text, tuple(marks))


def file_of(module: Any) -> str:
    """The file of a module, from the folder of its package on: ``tinycnn/ops/conv2d.py``."""
    parts = module.__name__.split(".")
    return "/".join([*parts[:-1], Path(inspect.getsourcefile(module) or f"{parts[-1]}.py").name])


def marks_in(source: str, start: int) -> dict[str, list[int]]:
    """The numbers of the lines that compute each quantity in the class ``source``, whose first line is ``start``.

    A line computes ``grad_weight`` if it assigns this name, or is the body of a method with this name. What no line
    assigns is computed where the method returns.
    """
    (kind,) = ast.parse(inspect.cleandoc(source) if source.startswith(" ") else source).body
    methods = {node.name: node for node in ast.walk(kind) if isinstance(node, ast.FunctionDef)}
    found: dict[str, list[int]] = {}
    for method, fallback in (("forward", "y"), ("backward", "")):
        if method not in methods:
            continue
        statements = [node for node in ast.walk(methods[method]) if isinstance(node, ast.stmt)]
        assigned = {name for node in statements for name in targets(node)}
        quantities = (
            [fallback] if fallback else [name for name in ("grad_x", *sorted(assigned)) if name.startswith("grad_")]
        )
        for quantity in quantities:
            wanted = {quantity, *STEPS.get(quantity, ())}
            marked = [node for node in statements if wanted & set(targets(node)) and not sets_none(node)]
            if quantity in methods:
                marked += [node for node in ast.walk(methods[quantity]) if isinstance(node, ast.Return)]
            if quantity not in {name for node in marked for name in targets(node)} and quantity not in methods:
                marked += [node for node in statements if isinstance(node, ast.Return)]
            found[quantity] = sorted({line for node in marked for line in lines_of(node, start)})
        if method == "backward":
            last = max((node for node in statements if isinstance(node, ast.Return)), key=lambda node: node.lineno)
            found["other"] = list(lines_of(last, start))
    return found


def lines_of(node: ast.stmt, start: int) -> range:
    """The numbers of the lines of a statement in the file, if the source begins at line ``start``."""
    return range(start + node.lineno - 1, start + (node.end_lineno or node.lineno))


def targets(node: ast.stmt) -> Iterator[str]:
    """The names that a statement assigns, without ``self.``."""
    places = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
    for place in places:
        for name in ast.walk(place):
            if isinstance(name, ast.Name) and name.id != "self":
                yield name.id
            elif isinstance(name, ast.Attribute):
                yield name.attr


def sets_none(node: ast.stmt) -> bool:
    """Whether a statement only assigns None."""
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and node.value.value is None


def equations_in(text: str) -> Iterator[tuple[str, str]]:
    """The equations of a docstring, ``(left side, equation)``: in indented lines, in backticks, after a colon.

    Two or more spaces separate an equation from the next, or from a remark. A condition behind an equation in
    backticks, "where …" or "if …", belongs to it.
    """
    title, *lines = text.splitlines()
    candidates = [(title.rpartition(": ")[2].strip("`."), "")]
    for is_indented, group in groupby(lines, key=lambda line: line.startswith("    ")):
        if is_indented:
            split = [re.split(r"(?<![=:\s]),?\s{3,}(?![\s=])|,\s{2,}", line.strip()) for line in group]
            candidates += [(candidate, "") for each in split for candidate in each]
        else:
            candidates += re.findall(r"``([^`]+)``" + CONDITION, " ".join(group))
    for candidate, condition in candidates:
        equation = REMARK.sub("", re.sub(r"\s+", " ", candidate)).strip(" ,;")
        equation += ' " {}"'.format(condition.replace("`", "").strip()) if condition else ""
        left, separator, right = equation.partition(" = ")
        if separator and right and re.fullmatch(r"[\w∂./ ]+(\[.*\])?", left):
            yield re.sub(r"\[.*", "", left).strip(), equation
