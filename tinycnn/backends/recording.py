"""Which recorder, if any, follows the computations of this thread.

While a step is recorded (``train/capture.py``), kernels are not run: the recorder notes each call, and the memory that
it uses. The modules that start kernels and create arrays ask here whether to run or to note.
"""

import threading
from collections.abc import Callable
from typing import Any, Protocol


class FollowsCalls(Protocol):
    """What a recorder does with the work of the thread that it follows."""

    def call(self, kernel: Any, arguments: tuple[Any, ...]) -> None:
        """Note one call of a compiled kernel."""

    def in_parallel(self, work: Callable[[int], object], parts: int) -> None:
        """Note the calls of every ``work(part)``; the parts may later run at the same time."""

    def elementwise(self, ufunc: Any, inputs: tuple[Any, ...], out: Any) -> Any:
        """Note ``ufunc(*inputs, out=out)`` of NumPy."""

    def cast(self, array: Any, dtype: Any) -> Any:
        """Note a copy of an array in another type, or in the same."""

    def matmul(self, a: Any, b: Any) -> Any:
        """Note ``a @ b`` of NumPy."""

    def assign(self, target: Any, value: Any) -> None:
        """Note ``target[...] = value``."""

    def function(self, function: Any, arguments: Any, settings: Any) -> Any:
        """Note ``function(*arguments, **settings)`` of NumPy, which creates views or copies."""

    def real(self, array: Any) -> Any:
        """The array that ``array`` stands for, with its values."""

    def decide(self, question: Callable[[], bool]) -> bool:
        """The answer now; replays are valid as long as it stays the same."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array whose memory belongs to the recording."""


class _OfThread(threading.local):
    recorder: FollowsCalls | None = None


of_thread = _OfThread()


def as_it_is(array: Any) -> Any:
    """The array itself: the ``track`` of a run in which nothing is recorded, or in which a driver sees every kernel."""
    return array


def values_of(array: Any) -> Any:
    """An array whose values can be read now, for ``decide``: while a step is recorded, arrays have none."""
    return array if of_thread.recorder is None else of_thread.recorder.real(array)


def decide(question: Callable[[], bool]) -> bool:
    """The answer to a question about values, which decides what is computed."""
    return question() if of_thread.recorder is None else of_thread.recorder.decide(question)
