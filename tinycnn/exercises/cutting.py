"""Cuts an exercise from a source file: the statements of some functions are replaced by a line that raises."""

import ast
import functools
import importlib.util
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from tinycnn.errors import SettingError

Planted = Mapping[str, Sequence[tuple[str, Mapping[str, str]]]]  # by symptom: functions, and a passage → a wrong one
NEWLINE = "\n"
YOUR_TURN = "Your turn. "
HOW = """Explained in {}.
The code below is {} of {}, with gaps:
write what is missing where it says "Your turn".
Check it with `tinycnn exercises FOLDER --check --only {}`; --hint 2 and --hint 3 say more."""


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
    part_of: str = ""  # the class whose methods in ``keeps`` stay methods; the file's class inherits the others
    chapters: Mapping[str, str] = field(default_factory=dict)  # by function: another page that explains this one
    planted: Planted = field(
        default_factory=dict
    )  # mistakes, each of them in the solution, by the symptom of its hints
    spoilers: tuple[tuple[str, str], ...] = ()  # passages that give the answer away, and their replacements

    @property
    def pages(self) -> dict[str, list[str]]:
        """The pages that explain the exercise: the chapter, and by each other page the functions that it explains."""
        pages: dict[str, list[str]] = {self.chapter: []}
        for function, page in self.chapters.items():
            pages.setdefault(page, []).append(function)
        return pages

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
        for hole in self.holes:
            text = cut(text, hole)
        return with_head(self, text)

    def original(self) -> str:
        """The source, or the part of it that ``keeps`` names."""
        text = source_of(self.source)
        return excerpt(text, self.source, self.keeps, self.part_of) if self.keeps else text

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
def excerpt(text: str, module: str, keeps: tuple[str, ...], part_of: str = "") -> str:
    """The definitions ``keeps`` of ``text``, after a docstring and the imports that they need from ``module``."""
    tree = ast.parse(text)
    methods = [name for name in keeps if part_of and name.startswith(f"{part_of}.")]
    parts = [lines_of(text, find_definition(tree, name)) for name in keeps if name not in methods]
    package, _, own = module.rpartition(".")
    if methods:
        bodies = (textwrap.indent(lines_of(text, find_definition(tree, name)), "    ") for name in methods)
        head = f'class {part_of}({own}.{part_of}):\n    """The functions of the task; the others are inherited."""'
        parts.append("\n\n".join([head, *bodies]))
    used = {node.id for part in parts for node in ast.walk(ast.parse(part)) if isinstance(node, ast.Name)}
    imports = [line for node in tree.body for line in needed_imports(node, used)]
    imports += [f"from {package} import {own}"] if methods else []
    elsewhere = sorted((used & set(defined_names(tree))) - {name.split(".")[-1] for name in keeps})
    imports += [f"from {module} import {', '.join(elsewhere)}"] if elsewhere else []
    ours = sorted((line for line in imports if line.split()[1].startswith("tinycnn")), key=lambda line: line.split()[1])
    numpy = [line for line in imports if line.split()[1] == "numpy"]
    standard = [line for line in imports if line not in ours + numpy]
    blocks = ["\n".join(block) for block in (standard, numpy, ours) if block]
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
    explained = [f"{' and '.join(places)} in {page}" if places else page for page, places in exercise.pages.items()]
    how = HOW.format("; ".join(explained), "part" if exercise.keeps else "all", exercise.source, int(exercise.name[:2]))
    head = f'"""{exercise.title}\n\n{exercise.task.strip(NEWLINE)}\n\n{how}\n"""'
    return "\n".join([*lines[: docstring.lineno - 1], head, *lines[docstring.end_lineno :]]) + "\n"


@functools.cache
def cut(text: str, hole: Hole) -> str:
    """``text`` without the statements of ``hole``; raises SettingError when the place does not exist."""
    function = find_function(ast.parse(text), hole.place)
    removed = removed_statements(text, function, hole)
    comments = [f"# {line}" for line in (YOUR_TURN + hole.task).splitlines()]
    return with_lines(text, removed, [*comments, f'raise NotImplementedError("{hole.place}")'])


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
