"""Compiled kernels on disk: one file per kernel and argument types, which begins with the SHA-256 of its content.

Numba's own files have no checksum: an empty or truncated file ends every later run with the same EOFError, and so does
a full disk. Here neither ends a run. A kernel that cannot be read is compiled again and its file is replaced. A kernel
that cannot be written is compiled by every process. The first failure of each kind is reported.

The content is pickled machine code. The checksum detects damage, not malice: a process that can write to the folder can
run code as the user. The folder is ``__pycache__`` beside the sources, or the user's cache, unless NUMBA_CACHE_DIR
names another.
"""

import hashlib
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, NullCache
from numba.core.serialize import dumps

from tinycnn.backends.preparation import before_compiling
from tinycnn.errors import in_words
from tinycnn.files import write_atomically

DIGEST_BYTES = hashlib.sha256().digest_size
UNREADABLE = "a compiled kernel could not be read from the disk and is compiled again"
UNWRITABLE = "compiled kernels could not be written to the disk, so the next run compiles them again"

_refreshed = False
failures: dict[str, str] = {}  # of this process: the kind of failure → the first error of that kind


class KernelFiles:
    """The files of one kernel. Its ``name`` is part of every checksum: the file of another kernel counts as damaged."""

    def __init__(self, folder: Path, name: str, version: object) -> None:
        self.folder, self.name, self.version = folder, name, version

    def load(self, key: object) -> Any:
        """The data saved under ``key``; None if there are none. Raises ValueError if the file is damaged."""
        path, identity = self._find(key)
        if not path.is_file():
            return None
        content = path.read_bytes()
        if digest(identity, content[DIGEST_BYTES:]) != content[:DIGEST_BYTES]:
            raise ValueError(f"{path} is damaged")
        return pickle.loads(content[DIGEST_BYTES:])

    def save(self, key: object, data: object) -> None:
        """Write ``data``; replaces the file of an earlier ``save``. Raises OSError."""
        path, identity = self._find(key)
        content = dumps(data)
        write_atomically(path, digest(identity, content) + content)

    def _find(self, key: object) -> tuple[Path, bytes]:
        """The file for ``key``, and what its checksum covers beside its content."""
        identity = repr((self.name, self.version, key)).encode()
        return self.folder / f"{self.name}.{digest(identity).hex()[:16]}.nbc", identity


def digest(*parts: bytes) -> bytes:
    """The SHA-256 of all ``parts``."""
    return hashlib.sha256(b"".join(parts)).digest()


class KernelCache(FunctionCache):
    """Numba's cache of compiled functions, with the files above; a failure is reported and not raised."""

    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        version = numba.__version__, self._impl.locator.get_source_stamp()
        self._cache_file = KernelFiles(Path(self.cache_path), self._impl.filename_base, version)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled kernel; None if it is missing or cannot be read.

        Numba refreshes its registries before every kernel. Compiled code needs none of them but the first time.
        """
        global _refreshed
        compiled = None
        try:
            if not _refreshed:
                target_context.refresh()
                _refreshed = True
            compiled = self._load_overload(sig, target_context)
        except Exception as error:  # unpickling can raise anything
            report(UNREADABLE, error)
        if compiled is None:
            before_compiling()
        return compiled

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the compiled kernel, if possible."""
        try:
            super().save_overload(sig, data)
        except Exception as error:  # OSError; Numba itself raises others for kernels that cannot be pickled
            report(UNWRITABLE, error)


def cache_of(function: Callable) -> FunctionCache | NullCache:
    """The cache of a kernel; a cache that stores nothing if no folder is writable."""
    try:
        return KernelCache(function)
    except (RuntimeError, OSError) as error:  # RuntimeError: none of the folders that Numba tries
        report(UNWRITABLE, error)
        return NullCache()


def report(kind: str, error: Exception) -> None:
    """Log the first failure of each kind."""
    if kind not in failures:
        failures[kind] = in_words(error)
        logging.getLogger(__name__).warning("%s (%s)", kind, failures[kind])
