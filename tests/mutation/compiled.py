"""Finds the cases that can detect a change in compiled code, which ``coverage`` does not trace.

A case can detect a change in a function if it runs a line outside compiled code that names a kernel containing the
function, that is, a kernel that calls it directly or indirectly. (File name and function name identify every function
in the kernel files.)
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.mutation.breaking import KERNELS

Function = tuple[str, str]  # file name, function name
Lines = dict[Path, set[int]]


def is_compiled(path: Path) -> bool:
    """Whether the file contains kernels or functions compiled into them."""
    return path.parent.match(KERNELS) and (path.stem == "simd" or "from .jit import" in path.read_text("utf-8"))


def callers(root: Path) -> list[Path]:
    """The files outside compiled code that may call kernels."""
    files = [*root.glob(f"{KERNELS}/*.py"), *root.glob("tinycnn/backends/numba/*.py")]
    return sorted(file for file in files if not is_compiled(file))


def calling_lines(root: Path, path: Path, line: int) -> Lines:
    """The lines that call a kernel containing line ``line`` of ``path``; 0 stands for all its lines."""
    names = functions(root)
    parts = {name for name in names if name[0] == path.stem} if not line else {(path.stem, name_at(path, line))}
    changed = containing(names, parts)
    return {caller: set(_naming(caller, changed)) for caller in callers(root)}


def functions(root: Path) -> dict[Function, set[Function]]:
    """All functions and classes of compiled files, each with the functions that it names."""
    result: dict[Function, set[Function]] = {}
    for path in filter(is_compiled, root.glob(f"{KERNELS}/*.py")):
        imported = _imported(path)
        for node in _definitions(path):
            result.setdefault((path.stem, node.name), set()).update(_named(node, path.stem, imported))
            for replaced in [d.args[0].id for d in node.decorator_list if _is_overload(d)]:
                result.setdefault((path.stem, replaced), set()).add((path.stem, node.name))
    return result


def containing(names: dict[Function, set[Function]], parts: set[Function]) -> set[Function]:
    """``parts`` and all functions that name one of them, directly or indirectly."""
    found = set(parts)
    while more := {function for function, named in names.items() if named & found} - found:
        found |= more
    return found


def name_at(path: Path, line: int) -> str:
    return next((node.name for node in _definitions(path) if node.lineno <= line <= (node.end_lineno or 0)), "")


def _definitions(path: Path) -> list[ast.FunctionDef | ast.ClassDef]:
    tree = ast.parse(path.read_text("utf-8"))
    return [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def _imported(path: Path) -> dict[str, str]:
    """Name → file, for imports from other kernel files."""
    nodes = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module for node in nodes if node.level and node.module for alias in node.names}


def _named(node: ast.AST, stem: str, imported: dict[str, str]) -> Iterator[Function]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield imported.get(part.id, stem), part.id
        elif isinstance(part, ast.Attribute):  # file.name, or self.file.name
            yield ast.unparse(part.value).rpartition(".")[2], part.attr


def _is_overload(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "overload"


def _naming(path: Path, wanted: set[Function]) -> Iterator[int]:
    imported = _imported(path)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.stmt) and not hasattr(node, "body") and wanted & set(_named(node, "", imported)):
            yield from range(node.lineno, (node.end_lineno or node.lineno) + 1)
