"""For authors of operations and backends: ``check_backend``, gradient cases, kernel cases, and the loop oracle.

The names below are loaded when they are first used; building the cases takes a moment.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinycnn.testing.backend_check import BackendReport, KernelFailure, check_backend

__all__ = ["BackendReport", "KernelFailure", "check_backend"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tinycnn.testing import backend_check

    return getattr(backend_check, name)
