"""Small wrong changes to a Python source, one at a time: what a careless hand could do, and a test should notice."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
Change = Callable[[], None]


@dataclass(frozen=True)
class Mutant:
    """A changed module, and where and how it differs; the lines have the numbers that they have in the source."""

    line: int
    change: str
    tree: ast.Module

    @property
    def in_function(self) -> bool:
        """Whether it is the body of a function that changes, not what runs once when the module is imported."""
        functions = [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)]
        return any(f.body[0].lineno <= self.line <= (f.end_lineno or 0) for f in functions)


def mutants(source: str) -> list[Mutant]:
    """All mutants of ``source``, in the order of its lines."""
    count = len(list(_changes(ast.parse(source))))
    found = []
    for number in range(count):
        tree = ast.parse(source)
        line, change, apply = list(_changes(tree))[number]
        apply()
        found.append(Mutant(line, change, ast.fix_missing_locations(tree)))
    return found


def unchanged(source: str) -> Mutant:
    """The control: put in place as all mutants are, and right; it must survive."""
    tree = ast.parse(source)
    line = next(node.body[0].lineno for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return Mutant(line, "nothing", tree)


def _changes(tree: ast.AST) -> Iterator[tuple[int, str, Change]]:
    for node, field, place in _sites(tree):
        for text, replacement in _replacements(node):
            yield node.lineno, text, _replace(field, place, replacement)


def _sites(node: ast.AST) -> Iterator[tuple[ast.AST, object, object]]:
    """Every node that computes something, with the list or the parent that holds it; texts and types are left out."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "keywords") and not isinstance(node, ast.Call):
            continue
        for place, child in enumerate(value) if isinstance(value, list) else [(name, value)]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr | ast.Import | ast.ImportFrom):
                continue
            if hasattr(child, "lineno"):
                yield child, value if isinstance(value, list) else node, place
            if not isinstance(child, ast.Raise):
                yield from _sites(child)


def _replace(holder: object, place: object, replacement: ast.AST) -> Change:
    def apply() -> None:
        if isinstance(holder, list):
            holder[place] = replacement
        else:
            setattr(holder, place, replacement)

    return apply


def _replacements(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    before = ast.unparse(node).split("\n")[0]
    for after in _variants(node):
        yield f"{before}  →  {ast.unparse(after).splitlines()[0]}", ast.copy_location(after, node)


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
    """``int | float``: names that begin with a capital letter, or are types of Python."""
    names = ast.unparse(node).split(" | ")
    return isinstance(node.op, ast.BitOr) and all(
        n[:1].isupper() or n in ("int", "float", "bool", "None") for n in names
    )
