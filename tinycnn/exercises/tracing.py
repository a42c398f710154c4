"""Where in a student's file something happened: the line, its text, and the shapes of the arrays that it names."""

import ast
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any

student_file: ContextVar[str] = ContextVar("student_file", default="")  # the file that is being checked


class Line(int):
    """The number of the line at which a call returned, with the lines that this call ran and its variables."""

    ran: tuple[int, ...] = ()  # the latest last
    uses_others: bool = False  # whether a mistake may be in other lines, whose variables this one reads
    variables: Mapping[str, Any] = MappingProxyType({})


@dataclass
class Returns:
    """The line of the last ``return`` of each function of the file that is being checked, by name, latest last."""

    lines: dict[str, Line] = field(default_factory=dict)

    @property
    def last(self) -> Line | None:
        """The line of the latest one."""
        return next(reversed(self.lines.values()), None)

    def line_of(self, name: str) -> Line | None:
        """The line of the function or method ``name``, if it has returned; else of the latest one."""
        return next((line for place, line in self.lines.items() if place.split(".")[-1] == name), self.last)

    @contextmanager
    def watched(self) -> Iterator["Returns"]:
        """Note the lines inside the block."""
        before, traced_before, file = sys.getprofile(), sys.gettrace(), student_file.get()
        running: dict[FrameType, dict[int, None]] = {}  # the lines that each call has run, the latest last

        def follow(frame: FrameType, event: str, _: Any) -> Any:
            if frame.f_code.co_filename != file:
                return None
            ran = running.setdefault(frame, {})
            if event == "line":
                ran.pop(frame.f_lineno, None)
                ran[frame.f_lineno] = None
            return follow

        def note(frame: FrameType, event: str, _: Any) -> None:
            if event == "return" and frame.f_code.co_filename == file:
                line = Line(frame.f_lineno)
                line.ran, line.variables = tuple(running.pop(frame, ())), frame.f_globals | frame.f_locals
                self.lines.pop(frame.f_code.co_qualname, None)  # so that the last function stands last
                self.lines[frame.f_code.co_qualname] = line

        sys.settrace(follow)
        sys.setprofile(note)
        try:
            yield self
        finally:
            sys.setprofile(before)
            sys.settrace(traced_before)


def line_of_value(path: Path, line: int | None, index: int = 0, *, created: bool = False) -> int | None:
    """Where the value was made that the ``return`` at ``line`` returns at ``index``: the last assignment to its name.

    Of the assignments, and of both sides of ``a if test else b``, it is the one that ran. The value may be a part of
    the name, such as ``grad_x[:, 1:]``. ``line`` itself if the value is no name, or if there is no ``return``.
    ``created``: assignments into the array, such as ``grad_x[0] = 1``, do not count, and the value may be reshaped.
    Otherwise the line ``uses_others`` if it reads what they have assigned.
    """
    if line is None:
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    returns = [node for node in ast.walk(tree) if isinstance(node, ast.Return) and spans(node, line)]
    value: ast.expr | None = returns[0].value if returns else None
    if value and isinstance(listed := root_of(value), ast.Tuple | ast.List):
        value = listed.elts[index] if index < len(listed.elts) else None
    value = chosen_side(value, line)
    if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("ascontiguousarray"):
        (value,) = value.args
    if (
        created
        and isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and value.func.attr == "reshape"
    ):
        value = value.func.value
    around = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and spans(node, line)]
    function = max(around, key=lambda node: node.lineno)
    value = root_of(value) if value else None
    if not isinstance(value, ast.Name):
        return uncertain(line, value, function)
    statements = [node for node in ast.walk(function) if isinstance(node, ast.Assign | ast.AugAssign)]
    made = [node.lineno for node in statements if value.id in assigned_names(node, created) and node.lineno < line]
    ran = [number for number in getattr(line, "ran", ()) if number in made]
    found = ran[-1] if ran else line if getattr(line, "ran", ()) else max(made, default=line)
    return found if created else uncertain(found, statement_at(tree, found), function)


def line_of_list(path: Path, line: int | None) -> int | None:
    """``line``, whose ``return`` returns several values; it ``uses_others`` unless it lists them one by one."""
    if line is None:
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    around = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and spans(node, line)]
    statement = statement_at(tree, line)
    value = root_of(statement.value) if isinstance(statement, ast.Return) and statement.value else None
    is_listed = isinstance(value, ast.Tuple | ast.List) or (isinstance(value, ast.Call) and len(value.args) > 1)
    return line if is_listed else uncertain(line, value, max(around, key=lambda node: node.lineno))


def uncertain(number: int, value: ast.AST | None, function: ast.FunctionDef) -> Line:
    """The line ``number`` of ``value``: it ``uses_others`` if it reads a variable that is assigned elsewhere."""
    line, inside = Line(number), {id(node) for node in ast.walk(value)} if value else set()
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id != "xp"]  # xp is NumPy
    stored = {node.id for node in names if isinstance(node.ctx, ast.Store) and id(node) not in inside}
    line.uses_others = any(node.id in stored for node in names if id(node) in inside and isinstance(node.ctx, ast.Load))
    return line


def chosen_side(value: ast.expr | None, line: int) -> ast.expr | None:
    """The side of ``a if test else b`` that was returned at ``line``; ``a`` where the test cannot be read again."""
    while isinstance(value, ast.IfExp):
        holds = True
        if not any(isinstance(node, ast.Call | ast.NamedExpr) for node in ast.walk(value.test)):
            with suppress(Exception):  # whatever the student's variables raise
                code = compile(ast.Expression(value.test), student_file.get(), "eval")
                holds = bool(eval(code, dict(getattr(line, "variables", {}))))
        value = value.body if holds else value.orelse
    return value


def assigned_names(statement: ast.Assign | ast.AugAssign, created: bool = False) -> set[str]:
    """The names that an assignment gives a value to, or changes at an index; ``created``: the former alone."""
    if created and isinstance(statement, ast.AugAssign):
        return set()
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    single = [one for target in targets for one in (target.elts if isinstance(target, ast.Tuple) else [target])]
    roots = [one if created else root_of(one) for one in single]
    return {root.id for root in roots if isinstance(root, ast.Name)}


def root_of(value: ast.expr) -> ast.expr:
    """``x`` of ``x[0][1:]``."""
    while isinstance(value, ast.Subscript):
        value = value.value
    return value


def lines_of_function(path: Path, place: str) -> range:
    """The lines where the file defines ``Class.method`` or ``function``; empty if it does not."""
    node: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    for name in place.split("."):
        inside = [one for one in ast.iter_child_nodes(node) if getattr(one, "name", None) == name]
        if not inside:
            return range(0)
        node = inside[0]
    return range(getattr(node, "lineno", 0), (getattr(node, "end_lineno", 0) or 0) + 1)


def line_of_error(error: BaseException, path: Path) -> int | None:
    """The last line of the file that led to the error; None when the error came from elsewhere."""
    if isinstance(error, SyntaxError):
        return error.lineno
    frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return frames[-1] if frames else None


def function_of_error(error: BaseException, path: Path) -> str:
    """The last function of the file that led to the error, as ``Class.method``; empty when it came from elsewhere."""
    frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((code.co_qualname for code in reversed(frames) if code.co_filename == str(path)), "")


def self_of_error(error: BaseException, path: Path) -> Any:
    """``self`` in the last function of the file that led to the error; None if there is none."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == str(path)]
    return frames[-1].f_locals.get("self") if frames else None


def frame_of_error(error: BaseException, path: Path) -> tuple[FrameType, int] | None:
    """The last frame of the file that led to the error, and its line; None when the error came from elsewhere."""
    frames = [one for one in traceback.walk_tb(error.__traceback__) if one[0].f_code.co_filename == str(path)]
    return frames[-1] if frames else None


def raised_by(error: BaseException, path: Path) -> str:
    """The package, such as ``tinycnn``, whose function raised the error when the file called it; empty for the file."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    files = [frame.f_code.co_filename for frame in frames]
    if str(path) not in files or files[-1] == str(path):
        return ""
    return str(frames[-1].f_globals.get("__name__", "")).partition(".")[0]


def shapes_at_error(error: BaseException, path: Path) -> str:
    """The statement of the file that raised the error, and the shapes of the arrays in it; empty if there are none."""
    found = frame_of_error(error, path)
    if found is None or isinstance(error, NotImplementedError):
        return ""
    frame, line = found
    text = path.read_text(encoding="utf-8")
    statement = statement_at(ast.parse(text), line)
    if statement is None:
        return ""
    shapes = [f"{name} {shape}" for name, shape in sorted(shapes_in(statement, frame).items())]
    source = " ".join(head_of(text, statement).split())
    return f"    {source}\n    with {', '.join(shapes)}" if shapes else ""


def head_of(text: str, statement: ast.stmt) -> str:
    """The source of a statement; of a block, such as a loop, without the statements inside."""
    source = ast.get_source_segment(text, statement) or ""
    inside = getattr(statement, "body", [])
    lines = text.splitlines()[statement.lineno - 1 : inside[0].lineno - 1] if inside else []
    return "\n".join(lines) or source


def arrays_at_error(error: BaseException, path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each array in the statement of the file that raised the error, by name; ``x.T`` is one, too."""
    found = frame_of_error(error, path)
    statement = statement_at(ast.parse(path.read_text(encoding="utf-8")), found[1]) if found else None
    return shapes_in(statement, found[0], transposes=True) if found and statement else {}


def integers_at_error(error: BaseException, path: Path) -> list[str]:
    """The names of the arrays of integers in the statement of the file that raised the error."""
    found = frame_of_error(error, path)
    statement = statement_at(ast.parse(path.read_text(encoding="utf-8")), found[1]) if found else None
    if found is None or statement is None:
        return []
    nodes = [node for node in ast.walk(statement) if isinstance(node, ast.Name | ast.Attribute)]
    kinds = {ast.unparse(node): getattr(value_of(node, found[0]), "dtype", None) for node in nodes}
    return [name for name, dtype in kinds.items() if getattr(dtype, "kind", "") in ("i", "u")]


def statement_at(tree: ast.AST, line: int) -> ast.stmt | None:
    """The smallest statement that contains the line."""
    around = [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and spans(node, line)]
    return min(around, key=lambda node: (node.end_lineno or node.lineno) - node.lineno, default=None)


def spans(node: ast.stmt, line: int) -> bool:
    """Whether the lines of ``node`` include ``line``."""
    return node.lineno <= line <= (node.end_lineno or node.lineno)


def shapes_in(statement: ast.stmt, frame: FrameType, *, transposes: bool = False) -> dict[str, tuple[int, ...]]:
    """The shape of each array that the statement reads, by name or attribute such as ``self.x``.

    ``transposes``: also of each ``.T`` of one, by ``self.x.T``.
    """
    found = {}
    for node in ast.walk(statement):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            shape = getattr(value_of(node, frame), "shape", None)
            if isinstance(shape, tuple):
                found[ast.unparse(node)] = shape
            elif transposes and isinstance(node, ast.Attribute) and node.attr == "T":
                shape = getattr(value_of(node.value, frame), "shape", None)
                if isinstance(shape, tuple):
                    found[ast.unparse(node)] = shape[::-1]
    inner = {name for name in found if any(other.startswith(f"{name}.") for other in found)}
    return {name: shape for name, shape in found.items() if name not in inner}


def value_of(node: ast.expr, frame: FrameType) -> Any:
    """The value of a name or of an attribute of one; None if it has none yet. Nothing is called."""
    if isinstance(node, ast.Name):
        return frame.f_locals.get(node.id, frame.f_globals.get(node.id))
    if isinstance(node, ast.Attribute):
        value = value_of(node.value, frame)
        return vars(value).get(node.attr) if hasattr(value, "__dict__") else None
    return None


def input_of_error(error: BaseException, path: Path) -> str:
    """``Class.input`` if the error was raised in what ``Class.backward`` computes for this input alone; else empty."""
    found, place = frame_of_error(error, path), function_of_error(error, path)
    owner, _, method = place.rpartition(".")
    if found is None or method != "backward":
        return ""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    groups = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == owner]
    methods = {node.name: node for group in groups for node in group.body if isinstance(node, ast.FunctionDef)}
    statement = statement_at(tree, found[1])
    if not {"forward", "backward"} <= set(methods) or statement is None:
        return ""
    column = column_of_error(error, path)
    names, places = names_made(statement, found[1], column), set()
    for node in sorted(
        (one for one in ast.walk(methods["backward"]) if hasattr(one, "lineno")), key=lambda x: x.lineno
    ):
        if isinstance(node, ast.Assign | ast.AugAssign) and node is not statement:
            names |= assigned_names(node) if reads(node.value, names) else set()
        elif isinstance(node, ast.Return) and node.value:
            for index, value in enumerate(listed(node.value)):
                is_there = node is statement and spans_column(value, found[1], column)
                places |= {index} if is_there or reads(value, names) else set()
    inputs = [one.arg for one in methods["forward"].args.args[1:]]
    index = places.pop() if len(places) == 1 else len(inputs)
    return f"{owner}.{inputs[index]}" if index < len(inputs) else ""


def column_of_error(error: BaseException, path: Path) -> int:
    """Where in its line the last part of the file that led to the error begins; 0 if Python does not know."""
    trace, found = error.__traceback__, None
    while trace is not None:
        found = trace if trace.tb_frame.f_code.co_filename == str(path) else found
        trace = trace.tb_next
    positions = list(found.tb_frame.f_code.co_positions())[found.tb_lasti // 2] if found else (None,) * 4
    return positions[2] or 0


def names_made(statement: ast.stmt, line: int, column: int) -> set[str]:
    """The names to which the statement assigns what it computes at this place."""
    if not isinstance(statement, ast.Assign | ast.AugAssign):
        return set()
    target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
    values = listed(statement.value)
    if isinstance(target, ast.Tuple) and len(target.elts) == len(values):
        there = [one for one, value in zip(target.elts, values, strict=True) if spans_column(value, line, column)]
        return {node.id for one in there for node in ast.walk(one) if isinstance(node, ast.Name)}
    return assigned_names(statement)


def listed(value: ast.expr) -> list[ast.expr]:
    """The values of a tuple or list, or the arguments of a call with several; else the value itself."""
    if isinstance(value, ast.Tuple | ast.List):
        return value.elts
    is_of_all = isinstance(value, ast.Call) and ast.unparse(value.func) == "self.unbroadcast"
    return value.args if isinstance(value, ast.Call) and is_of_all else [value]


def reads(value: ast.expr, names: set[str]) -> bool:
    """Whether the value is computed from one of the names."""
    return any(isinstance(node, ast.Name) and node.id in names for node in ast.walk(value))


def spans_column(node: ast.expr, line: int, column: int) -> bool:
    """Whether the source of ``node`` includes this place."""
    last = node.end_lineno or node.lineno, node.end_col_offset or 0
    return (node.lineno, node.col_offset) <= (line, column) < last
