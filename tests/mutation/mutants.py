"""Generates mutants: small wrong changes to a Python source, one at a time, which a test should detect."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A changed module and its change; line numbers are those of the source."""

    line: int
    change: str
    statement: range  # the lines of the changed statement, or of the head of a block
    in_function: bool  # False for code that runs once, on import
    code: CodeType


def mutants(source: str, path: str) -> list[Mutant]:
    """All mutants of ``source``, in the order of its lines."""
    tree = ast.parse(source)
    return sorted(_mutants(tree, path), key=lambda mutant: mutant.line)


def unchanged(source: str, path: str) -> Mutant:
    """A control: the unmodified source, put in place like a mutant; it must survive."""
    return Mutant(0, "nothing", _everything(source), True, compile(source, path, "exec"))


def broken(source: str, path: str) -> Mutant:
    """The other control: every function raises an error; it must be killed."""
    tree = ast.parse(source)
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        first = function.body[0]
        function.body = [ast.copy_location(ast.parse("raise RuntimeError").body[0], first)]
        ast.fix_missing_locations(function)
    return Mutant(0, "every function fails", _everything(source), True, compile(tree, path, "exec"))


def _everything(source: str) -> range:
    return range(len(source.splitlines()) + 1)


def _mutants(tree: ast.Module, path: str) -> Iterator[Mutant]:
    for site in list(_sites(tree)):
        before = ast.unparse(site.node).split("\n")[0]
        for after in list(_variants(site.node)):
            change = f"{before}  →  {ast.unparse(after).splitlines()[0]}"
            site.put(ast.fix_missing_locations(ast.copy_location(after, site.node)))
            code = compile(tree, path, "exec")
            site.put(site.node)
            yield Mutant(site.node.lineno, change, _lines(site.statement), site.in_function, code)


@dataclass(frozen=True)
class Site:
    """A node that computes a value, its parent or the list that holds it, and its statement."""

    node: ast.AST
    holder: Any
    place: Any
    statement: ast.stmt
    in_function: bool

    def put(self, node: ast.AST) -> None:
        if isinstance(self.holder, list):
            self.holder[self.place] = node
        else:
            setattr(self.holder, self.place, node)


def _sites(node: ast.AST, statement: ast.stmt | None = None, in_function: bool = False) -> Iterator[Site]:
    """Skip strings and types."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "keywords") and not isinstance(node, ast.Call):
            continue
        inside = in_function or (isinstance(node, ast.FunctionDef) and name == "body")
        for place, child in enumerate(value) if isinstance(value, list) else [(name, value)]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr | ast.Import | ast.ImportFrom):
                continue
            part_of = child if isinstance(child, ast.stmt) else statement
            if hasattr(child, "lineno"):
                yield Site(child, value if isinstance(value, list) else node, place, part_of, inside)
            if not isinstance(child, ast.Raise):
                yield from _sites(child, part_of, inside)


def _lines(statement: ast.stmt) -> range:
    body = getattr(statement, "body", None)
    end = max(statement.lineno, body[0].lineno - 1) if body else statement.end_lineno
    return range(statement.lineno, end + 1)


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left, ops, comparators):
            for i, op in enumerate(ops):
                yield ast.Compare(left, [*ops[:i], SWAPS[type(op)](), *ops[i + 1 :]], comparators)
        case ast.BinOp(left, op, right) if type(op) in SWAPS and not _is_text(left) and not _is_type_union(node):
            yield ast.BinOp(left, SWAPS[type(op)](), right)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(SWAPS[type(op)](), values)
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield operand
        case ast.Constant(value) if isinstance(value, bool):
            yield ast.Constant(not value)
        case ast.Constant(value) if isinstance(value, int | float):
            yield ast.Constant(value + 1)
        case ast.If(test, body, orelse):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.AugAssign(target, op, value) if type(op) in SWAPS:
            yield ast.AugAssign(target, SWAPS[type(op)](), value)
            yield ast.Pass()
        case ast.Assign([ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Expr(ast.Call()):
            yield ast.Pass()
        case ast.Raise() | ast.Break() | ast.Continue():
            yield ast.Pass()


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _is_type_union(node: ast.BinOp) -> bool:
    """Whether both sides are types, as in ``int | float``: capitalised names or Python's own types."""
    names = ast.unparse(node).split(" | ")
    return isinstance(node.op, ast.BitOr) and all(
        n[:1].isupper() or n in ("int", "float", "bool", "None") for n in names
    )
