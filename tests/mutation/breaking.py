"""Put a mutant in the place of a module: nothing is written, so whatever else uses the repository stays right.

A function's code can be exchanged while the program runs, which costs nothing. What runs once, on import, cannot: such
a mutant is put in place before the import, in a new process. Compiled code that contains the module's is compiled anew.
"""

import gc
import re
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType

KERNELS = "tinycnn/backends/numba/kernels"


def exchange_code(path: Path, module: CodeType) -> None:
    """Every function of the imported module at ``path`` gets the code that it has in ``module``."""
    new = {_key(code): code for code in _codes(module)}
    for function in gc.get_objects():
        if isinstance(function, FunctionType) and function.__code__.co_filename == str(path):
            function.__code__ = new.get(_key(function.__code__), function.__code__)


def import_instead(path: Path, module: CodeType) -> None:
    """The module at ``path``, when it is imported, will be ``module``."""
    from_file = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
        return module if self.path == str(path) else from_file(self, fullname)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign]


def forget_compiled(path: Path) -> None:
    """Kernels that may contain code of ``path`` are compiled again, and what is compiled is not kept."""
    from numba.core.caching import NullCache
    from numba.core.dispatcher import Dispatcher

    stale = {str(file) for file in importers(path)}
    for kernel in gc.get_objects() if stale else []:
        if isinstance(kernel, Dispatcher) and kernel.py_func.__code__.co_filename in stale:
            kernel._cache = NullCache()


def importers(path: Path) -> set[Path]:
    """Files of kernels that may contain code of ``path``: all that import it, or import those that do."""
    kernels = {
        file: file.read_text(encoding="utf-8") for file in path.parent.glob("*.py") if path.parent.match(KERNELS)
    }
    found = {path} & kernels.keys()
    for _ in kernels:
        names = "|".join(file.stem for file in found)
        importing = re.compile(rf"^from \.(({names}) import| import .*\b({names})\b)", re.MULTILINE)
        found |= {file for file, text in kernels.items() if importing.search(text)}
    return found


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _key(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno
