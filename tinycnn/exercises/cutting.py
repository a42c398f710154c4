"""Cuts an exercise from a source file: the statements of some functions are replaced by a line that raises."""

import ast
import functools
import importlib.util
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from tinycnn.errors import SettingError

NEWLINE = "\n"
YOUR_TURN = "Your turn. "
LENT = "the task of another exercise"
HOW = """Explained in {}. The code below is {} of
{}, with gaps: write what is missing where it says "Your turn".
Check it with `tinycnn exercises check FOLDER --only {}`; --hint 2 and --hint 3 say more."""


@dataclass(frozen=True)
class Hole:
    """A place to fill in: the body of the function ``place`` (``Class.method``), from the statement ``starts`` on."""

    place: str
    task: str  # the text of the comment there
    starts: str = ""  # the beginning of the first removed statement; empty: all but the docstring
    count: int | None = None  # the number of removed statements; None: all that follow


@dataclass(frozen=True)
class Exercise:
    """One file to complete. ``source``: the module that it is cut from; ``check`` raises Mistake for a wrong file.

    ``check`` may return a remark about a correct file. ``hints``: by symptom, which mistake it is and where to look;
    ``formulas``: by the name of the gradient, what to write.
    """

    name: str
    title: str
    source: str
    chapter: str  # the page with the explanation
    task: str
    hint: str
    holes: tuple[Hole, ...]
    check: Callable[[ModuleType], str | None]
    formulas: Mapping[str, str]
    hints: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    keeps: tuple[str, ...] = ()  # the definitions that the file has; a method becomes a function; empty: all of them
    lent: tuple[str, ...] = ()  # functions of another exercise: here they call tinycnn's own
    spoilers: tuple[tuple[str, str], ...] = ()  # passages that give the answer away, and their replacements

    @property
    def file_name(self) -> str:
        return f"{self.name}.py"

    def solution(self) -> str:
        """The source itself, under the docstring of the exercise."""
        return with_head(self, self.original())

    def text(self) -> str:
        """The source with its holes, under the docstring of the exercise."""
        text = self.original()
        for passage, instead in self.spoilers:
            if passage not in text:
                raise SettingError(f"exercise {self.name}: {self.source} does not contain {passage!r}")
            text = text.replace(passage, instead)
        for place in self.lent:
            text = lend(text, place, self.source)
        for hole in self.holes:
            text = cut(text, hole)
        return with_head(self, text)

    def original(self) -> str:
        """The source, or the part of it that ``keeps`` names."""
        text = source_of(self.source)
        return excerpt(text, self.source, self.keeps) if self.keeps else text

    def origin(self, place: str) -> str:
        """The name of ``place`` in the source: a method that became a function is a method there."""
        return next((name for name in self.keeps if name.split(".")[-1] == place), place)


@functools.cache
def source_of(module: str) -> str:
    """The text of a module, which is not executed."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise SettingError(f"{module} has no source file")
    return Path(spec.origin).read_text(encoding="utf-8")


@functools.cache
def excerpt(text: str, module: str, keeps: tuple[str, ...]) -> str:
    """The definitions ``keeps`` of ``text``, after a docstring and the imports that they need from ``module``."""
    tree = ast.parse(text)
    nodes = [find_definition(tree, name) for name in keeps]
    parts = [lines_of(text, node) for node in nodes]
    used = {node.id for part in parts for node in ast.walk(ast.parse(part)) if isinstance(node, ast.Name)}
    imports = [line for node in tree.body for line in needed_imports(node, used)]
    elsewhere = sorted((used & set(defined_names(tree))) - {name.split(".")[-1] for name in keeps})
    imports += [f"from {module} import {', '.join(elsewhere)}"] if elsewhere else []
    standard = [line for line in imports if not line.split()[1].startswith(("tinycnn", "numpy"))]
    blocks = ["\n".join(block) for block in (standard, imports[len(standard) :]) if block]
    return '"""An excerpt."""\n\n' + "\n\n".join(blocks) + "\n\n\n" + "\n\n\n".join(parts) + "\n"


def lines_of(text: str, node: ast.FunctionDef | ast.ClassDef) -> str:
    """The lines of a definition with its decorators, moved to the left margin."""
    first = min(line.lineno for line in (node, *node.decorator_list))
    return textwrap.dedent("\n".join(text.splitlines()[first - 1 : node.end_lineno]))


def needed_imports(node: ast.stmt, used: set[str]) -> Iterator[str]:
    """The import statement ``node`` with the names in ``used`` alone; nothing if there are none."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [alias for alias in node.names if (alias.asname or alias.name).split(".")[0] in used]
        if names and isinstance(node, ast.ImportFrom):
            yield ast.unparse(ast.ImportFrom(node.module, names, node.level))
        elif names:
            yield ast.unparse(ast.Import(names))


def defined_names(tree: ast.Module) -> Iterator[str]:
    """The names that the statements of a module define, without its imports."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def with_head(exercise: Exercise, text: str) -> str:
    """``text`` with the task in place of its module docstring, which explains the answer."""
    tree, lines = ast.parse(text), text.splitlines()
    docstring = tree.body[0]
    how = HOW.format(exercise.chapter, "part" if exercise.keeps else "all", exercise.source, int(exercise.name[:2]))
    head = f'"""{exercise.title}\n\n{exercise.task.strip(NEWLINE)}\n\n{how}\n"""'
    return "\n".join([*lines[: docstring.lineno - 1], head, *lines[docstring.end_lineno :]]) + "\n"


def cut(text: str, hole: Hole) -> str:
    """``text`` without the statements of ``hole``; raises SettingError when the place does not exist."""
    function = find_function(ast.parse(text), hole.place)
    removed = removed_statements(text, function, hole)
    comments = [f"# {line}" for line in (YOUR_TURN + hole.task).splitlines()]
    return with_lines(text, removed, [*comments, f'raise NotImplementedError("{hole.place}")'])


def lend(text: str, place: str, module: str) -> str:
    """``text`` in which the function ``place`` calls the one in ``module``, so that its code is not shown."""
    function = find_function(ast.parse(text), place)
    arguments = ", ".join(argument.arg for argument in function.args.args)
    instead = [f"import {module} as own  # {LENT}", "", f"return own.{place}({arguments})"]
    return with_lines(text, removed_statements(text, function, Hole(place, "")), instead)


def with_lines(text: str, removed: list[ast.stmt], instead: list[str]) -> str:
    """``text`` with the lines ``instead`` in place of ``removed``, with the same indentation."""
    first, last, lines = removed[0], removed[-1], text.splitlines()
    indented = [(" " * first.col_offset + line).rstrip() for line in instead]
    return "\n".join([*lines[: first.lineno - 1], *indented, *lines[last.end_lineno :]]) + "\n"


def find_definition(tree: ast.Module, place: str) -> ast.FunctionDef | ast.ClassDef:
    """The definition of ``function``, ``Class`` or ``Class.method``; raises SettingError when it does not exist."""
    node: ast.AST = tree
    for name in place.split("."):
        inside = [one for one in ast.iter_child_nodes(node) if getattr(one, "name", None) == name]
        if not inside:
            raise SettingError(f"there is no {place} to remove")
        node = inside[0]
    if not isinstance(node, ast.FunctionDef | ast.ClassDef):
        raise SettingError(f"{place} is not a definition")
    return node


def find_function(tree: ast.Module, place: str) -> ast.FunctionDef:
    """The definition of ``function`` or ``Class.method``; raises SettingError when it does not exist."""
    node = find_definition(tree, place)
    if not isinstance(node, ast.FunctionDef):
        raise SettingError(f"{place} is not a function")
    return node


def removed_statements(text: str, function: ast.FunctionDef, hole: Hole) -> list[ast.stmt]:
    """The statements that ``hole`` removes, at least one."""
    body = function.body[1 if ast.get_docstring(function) else 0 :]
    for i, statement in enumerate(body):
        if (ast.get_source_segment(text, statement) or "").startswith(hole.starts):
            return body[i : None if hole.count is None else i + hole.count]
    raise SettingError(f"no statement of {hole.place} begins with {hole.starts!r}")
