"""Signatures of the CuPy functions and methods that operations use; the stand-in rejects all others.

CuPy's functions have fewer parameters than NumPy's. The signatures are those of CuPy 14.2 as ``inspect.signature``
reports them, without ``/`` and parameters that NumPy does not have.
"""

import inspect
from typing import Any

ONE, TWO = "(x, out=None, *, casting='same_kind', dtype=None)", "(x1, x2, out=None, *, casting='same_kind', dtype=None)"
LIKE = "(a, dtype=None, order='K', subok=None, shape=None)"
REDUCED = "(a, axis=None, dtype=None, out=None, keepdims=False)"
FUNCTIONS = {
    **dict.fromkeys(("abs", "exp", "expm1", "floor", "isfinite", "isnan", "log", "log1p", "sign"), ONE),
    **dict.fromkeys(("sqrt", "square", "tanh"), ONE),
    **dict.fromkeys(("maximum", "minimum", "multiply"), TWO),
    **dict.fromkeys(("empty_like", "ones_like", "zeros_like"), LIKE),
    **dict.fromkeys(("argmax", "mean", "sum"), REDUCED),
    "argsort": "(a, axis=-1, kind=None)",
    "arange": "(start, stop=None, step=1, dtype=None)",
    "broadcast_to": "(array, shape)",
    "clip": "(a, a_min, a_max, out=None)",
    "concatenate": "(tup, axis=0, out=None, *, dtype=None, casting='same_kind')",
    "copyto": "(dst, src, casting='same_kind', where=None)",
    "cumsum": "(a, axis=None, dtype=None, out=None)",
    "expand_dims": "(a, axis)",
    "matmul": "(x1, x2, *, out=None, dtype=None)",
    "moveaxis": "(a, source, destination)",
    "nonzero": "(a)",
    "repeat": "(a, repeats, axis=None)",
    "reshape": "(a, newshape, order='C', *, copy=None)",
    "stack": "(tup, axis=0, out=None, *, dtype=None, casting='same_kind')",
    "take_along_axis": "(a, indices, axis)",
    "tensordot": "(a, b, axes=2)",
    "where": "(condition, x=None, y=None)",
}
METHODS = {
    **dict.fromkeys(("any", "all", "max", "min"), "(axis=None, out=None, keepdims=False)"),
    **dict.fromkeys(("sum", "mean", "prod"), "(axis=None, dtype=None, out=None, keepdims=False)"),
    "argmax": "(axis=None, out=None, dtype=None, keepdims=False)",
    "var": "(axis=None, dtype=None, out=None, ddof=0, keepdims=False)",
    "clip": "(min=None, max=None, out=None)",
    "reshape": "(*shape, order='C', copy=None)",
    "transpose": "(*axes)",
    "swapaxes": "(axis1, axis2)",
    "ravel": "(order='C')",
    "squeeze": "(axis=None)",
    "repeat": "(repeats, axis=None)",
    "view": "(dtype=None, type=None)",
}


def signature(parameters: str) -> inspect.Signature:
    """Parse a signature such as ``"(a, axis=None)"``."""
    names: dict[str, Any] = {}
    exec(f"def function{parameters}: pass", names)
    return inspect.signature(names["function"])


SIGNATURES = {name: signature(parameters) for name, parameters in FUNCTIONS.items()}
SIGNATURES |= {f".{name}": signature(parameters) for name, parameters in METHODS.items()}


def check_call(name: str, arguments: tuple[Any, ...], settings: dict[str, Any]) -> None:
    """Raise TypeError unless CuPy's function ``name``, or method ``.name``, accepts these arguments."""
    try:
        SIGNATURES[name].bind(*arguments, **settings)
    except TypeError as error:
        raise TypeError(f"cupy {name}{SIGNATURES[name]}: {error}") from None
