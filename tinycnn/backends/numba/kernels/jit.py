"""How kernels are compiled: serial, without the GIL so that Python threads run them in parallel, cached on disk.

Numba recompiles a cached kernel only when the file that defines it changes. It does not notice a change in an imported
file or another lane count. Both are therefore part of the kernel's name, and so of the name of its cache file.
"""

import gc
import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numba
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher

from tinycnn.backends.preparation import preparing
from tinycnn.backends.recording import of_thread

from .cache import cache_of
from .lanes import LANES

# "contract" fuses a * b + c. The other fast-math flags are off: NaNs must stay NaNs to show that a run diverges.
# Nothing calls a kernel through Numba's wrapper for C, which takes a tenth of the time to compile.
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract"},
    "no_cfunc_wrapper": True,
}


def source_stamp() -> str:
    """A short hash of every file in this folder."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


STAMP = source_stamp()

if hasattr(os, "register_at_fork"):
    # A child that is forked while another thread compiles would wait for that thread forever: it does not exist there.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


class Kernel(CPUDispatcher):
    """A compiled function. While this thread records a step, calls are noted and not run."""

    def __call__(self, *arguments: Any) -> Any:
        recorder = of_thread.recorder
        return super().__call__(*arguments) if recorder is None else recorder.call(self, arguments)


def kernel(function: Callable, options: dict[str, Any] = OPTIONS) -> Kernel:
    """Compile `function` on its first call with each combination of argument types, or load it from the disk."""
    function.__qualname__ = f"{function.__name__}_{LANES}lanes_{STAMP}"
    compiled = Kernel(py_func=function, targetoptions={"nopython": True, **options})
    compiled._cache = cache_of(function)
    compiled.compile = preparing()(signals_afterwards()(without_garbage_collection()(compiled.compile)))
    return compiled


def exact_kernel(function: Callable) -> Kernel:
    """A kernel with the roundings of NumPy: `a * b + c` is rounded twice."""
    return kernel(function, OPTIONS | {"fastmath": False})


def inlined(function: Callable) -> Callable:
    """A helper for kernels, always inlined: a real call would write tiles to memory. Python cannot call it."""
    return numba.njit(forceinline=True, no_cpython_wrapper=True, **OPTIONS)(function)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Do not search for garbage in the block: Numba creates millions of objects; the search takes an eighth of it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


_signals_wait = False


@contextmanager
def signals_afterwards() -> Iterator[None]:
    """Postpone Ctrl-C and SIGTERM to the end of the block; handle a second signal at once.

    LLVM calls Python while it compiles, and Python drops an exception that is raised in such a call: KeyboardInterrupt
    would be lost, and with it the compiled kernel.
    """
    global _signals_wait
    if _signals_wait or threading.current_thread() is not threading.main_thread():  # Python handles signals only there
        yield
        return
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            before[number](number, frame)

    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in before.items() if callable(handler)}
    try:
        _signals_wait = True
        for number in before:
            signal.signal(number, receive)
        yield
    finally:
        _signals_wait = False
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])
