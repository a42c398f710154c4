"""Replace a module with a mutant in memory: no file is written, so other users of the repository are not affected.

The code of a function is replaced while the program runs, which takes no time. Code that runs once, on import, needs a
new process that imports the mutant instead. Compiled code that contains code of the module is compiled again.
"""

import gc
import re
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType

KERNELS = "tinycnn/backends/numba/kernels"


def exchange_code(path: Path, module: CodeType) -> None:
    """Give every function of the imported module at ``path`` its code in ``module``."""
    new = {_key(code): code for code in _codes(module)}
    for function in gc.get_objects():
        if isinstance(function, FunctionType) and function.__code__.co_filename == str(path):
            function.__code__ = new.get(_key(function.__code__), function.__code__)


def import_instead(path: Path, module: CodeType) -> None:
    """Make a later import of the module at ``path`` execute ``module``."""
    from_file = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
        return module if self.path == str(path) else from_file(self, fullname)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign]


def forget_compiled(path: Path) -> None:
    """Compile kernels that may contain code of ``path`` again, without caching them."""
    from numba.core.caching import NullCache
    from numba.core.dispatcher import Dispatcher

    stale = {str(file) for file in importers(path)}
    for kernel in gc.get_objects() if stale else []:
        if isinstance(kernel, Dispatcher) and kernel.py_func.__code__.co_filename in stale:
            kernel._cache = NullCache()


def importers(path: Path) -> set[Path]:
    """Kernel files that may contain code of ``path``: those that import it, directly or indirectly."""
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
