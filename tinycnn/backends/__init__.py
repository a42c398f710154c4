"""The active backend: ``use_backend(name)`` sets it, ``get_backend()`` returns it; a backend is loaded at first use.

A choice made in the main thread applies to the process. A choice made in another thread applies to that thread only, so
two threads can compute on two backends. If no backend was chosen, ``auto`` is chosen when the first array is created.
"""

import functools
import importlib.util
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from tinycnn.backends.base import Backend
from tinycnn.errors import BackendError, SettingError, shortened

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

PREFERENCE = ("cupy", "numba", "numpy")  # the order in which "auto" looks
ENTRY_POINTS = "tinycnn.backends"  # the group in which other packages declare their backends
NO_GPU = "no NVIDIA GPU was found"
THREADS_ADVICE = "it takes a name; the number of threads is set by tinycnn.backends.threads.set_threads(1)"


def _load_numpy() -> Backend:
    from tinycnn.backends.numpy_backend import NumpyBackend

    return NumpyBackend()


def _load_numba() -> Backend:
    if importlib.util.find_spec("numba") is None:
        raise BackendError("backend 'numba' is not installed: `pip install numba`, or use `backend=\"numpy\"`")
    try:
        from tinycnn.backends.numba.backend import NumbaBackend
    except ImportError as error:  # Numba refuses a NumPy that is newer than it knows
        advice = '`pip install --upgrade numba`, or use `backend="numpy"`'
        raise BackendError(f"backend 'numba' cannot be loaded ({error}): {advice}") from error
    return NumbaBackend()


def _load_cupy() -> Backend:
    from tinycnn.backends.cupy.backend import ELSEWHERE, INSTALL, CupyBackend

    if importlib.util.find_spec("cupy") is None:
        raise BackendError(f"backend 'cupy' is not installed: {INSTALL}, {ELSEWHERE}")
    try:
        import cupy
    except ImportError as error:  # two versions installed at once, or one for another CUDA
        raise BackendError(
            f"backend 'cupy' is installed, but does not load ({error}): `pip uninstall` every package that `pip list` "
            f"shows as cupy, then {INSTALL}, {ELSEWHERE}"
        ) from error
    return CupyBackend(cupy)


_LOADERS: dict[str, Callable[[], Backend]] = {"numpy": _load_numpy, "numba": _load_numba, "cupy": _load_cupy}
_loaded: dict[str, Backend] = {}
_of_process: Backend | None = None  # chosen by the main thread, or by the first use; None: no choice yet
_of_thread = threading.local()  # its attribute `backend`: chosen by a thread that is not the main thread


def register_backend(name: str, loader: Callable[[], Backend]) -> None:
    """Make ``name`` known to ``use_backend``; ``loader()`` runs at first use, raises BackendError where unusable."""
    if not isinstance(name, str) or not callable(loader):
        raise SettingError(f"register_backend takes a name and a function, got {shortened(name)}, {shortened(loader)}")
    _LOADERS[name] = loader


def _register_installed(name: str) -> None:
    """Register the backend ``name`` that an installed package declares in the entry-point group ``ENTRY_POINTS``.

    The entry point names a callable without arguments that returns the backend, such as its class.
    """
    from importlib.metadata import entry_points  # reads files, so only for a name that is not registered

    for declared in entry_points(group=ENTRY_POINTS, name=name):
        register_backend(name, functools.partial(_load_installed, declared))


def _load_installed(declared: "EntryPoint") -> Backend:
    try:
        make_backend = declared.load()
    except ImportError as error:
        reason = f"declared as {declared.value}, which cannot be loaded: {error}"
        raise BackendError(f"backend {declared.name!r} is {reason}; install its package again") from error
    return make_backend()


def load_backend(name: str) -> Backend:
    """The backend called ``name``, loaded once; ``auto`` is the first usable of cupy, numba, numpy.

    Raises BackendError with the command that repairs it when the backend is unknown or cannot be used here.
    """
    if not isinstance(name, str):
        raise BackendError(f"a backend is chosen by its name, such as 'numpy', got {shortened(name)}")
    if name == "auto":
        name = next(candidate for candidate in PREFERENCE if is_available(candidate))
    if name not in _LOADERS:
        _register_installed(name)
    if name not in _LOADERS:
        raise BackendError(f"unknown backend {name!r}: choose one of auto, {', '.join(_LOADERS)}")
    if name not in _loaded:
        _loaded.setdefault(name, _LOADERS[name]())  # keeps the first if two threads load it at once
    return _loaded[name]


def is_available(name: str) -> bool:
    """Whether ``load_backend(name)`` works on this machine."""
    return why_not(name) is None


def why_not(name: str) -> str | None:
    """The sentence that ``load_backend(name)`` would end with here; None when it works."""
    try:
        load_backend(name)
    except BackendError as error:
        return str(error)
    return None


def passed_over(name: str) -> list[str]:
    """Why ``auto`` took ``name``: a sentence for each backend that it would have liked better."""
    better = PREFERENCE[: PREFERENCE.index(name)] if name in PREFERENCE else ()
    reasons = [(candidate, why_not(candidate)) for candidate in better]
    return [NO_GPU if candidate == "cupy" and not has_gpu() else reason for candidate, reason in reasons if reason]


def has_gpu() -> bool:
    """Whether there is an NVIDIA GPU, with a driver or without."""
    from tinycnn.backends.cuda_driver import card_is_plugged_in, find_driver

    driver = find_driver()
    return card_is_plugged_in() or (driver is not None and bool(driver.gpus or driver.error))


def available_backends() -> list[str]:
    """The names of the backends usable on this machine, the slowest first."""
    return [name for name in _LOADERS if is_available(name)]


def get_backend() -> Backend:
    """The active backend of this thread: the one chosen last; if none was chosen, this call chooses ``auto``."""
    return getattr(_of_thread, "backend", None) or _of_process or _first_choice()


def _first_choice() -> Backend:
    global _of_process
    _of_process = load_backend("auto")
    _of_process.activate()
    return _of_process


def use_tf32(wanted: bool = True) -> None:
    """Let the active backend round the float32 inputs of matrix products to TF32, or forbid it.

    That leaves 10 of 23 bits after the point, and lets tensor cores work. Raises SettingError where there are none.
    """
    backend = get_backend()
    if wanted and backend.tf32 is None:
        raise SettingError(f"{backend.why_no_tf32()}: leave it out")
    if backend.tf32 is not None:
        backend.tf32 = wanted


class use_backend:  # in lower case, because it reads as a verb: `with use_backend("numba"):`
    """Choose the backend: at once when called, until the block ends when used with ``with``.

    A call in the main thread chooses for the process; a call in another thread chooses for that thread only. Threads
    that choose none use the backend of the main thread. Arrays and models belong to the backend on which they were
    created.
    """

    def __init__(self, name: str, **unknown: object) -> None:
        if unknown:
            raise SettingError(f"use_backend: unknown setting {shortened(next(iter(unknown)))}; {THREADS_ADVICE}")
        self.in_main_thread = threading.current_thread() is threading.main_thread()
        self.backend = load_backend(name)
        self.previous = self._choose(self.backend)

    def __enter__(self) -> Backend:
        return self.backend

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._choose(self.previous)

    def _choose(self, backend: Backend | None) -> Backend | None:
        """Set the choice of the process or the thread to ``backend`` (None: no choice); returns the previous choice."""
        global _of_process
        if self.in_main_thread:
            previous, _of_process = _of_process, backend
        else:
            previous, _of_thread.backend = getattr(_of_thread, "backend", None), backend
        (backend or _of_process or load_backend("numpy")).activate()
        return previous
