"""Recorded steps on the CPU: a step as a table of kernel calls, which one compiled loop per thread walks.

``train/capture.py`` decides what is recorded and what changes between steps; ``kernels/replay.py`` is the loop. While
the step is recorded, its Python runs once without computing anything: every call of a kernel becomes an entry of the
table, every call of ``threads.in_parallel`` a row with parts. Consecutive calls outside it share one row with one part,
so nothing waits between them. Arrays get memory that belongs to the recording.

Only kernels are recorded, and what NumPy can be made to do like one, see ``recorded_array.py``. Every other NumPy
operation on an array of the step raises BackendError.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from tinycnn.backends import threads
from tinycnn.backends.array_types import Array
from tinycnn.backends.numba.described import RowDescription, describe, operations_of
from tinycnn.backends.numba.kernels import replay
from tinycnn.backends.numba.kernels.entry import block_of
from tinycnn.backends.numba.memory import Memory
from tinycnn.backends.numba.numpy_loops import record_cast, record_copy, record_elementwise
from tinycnn.backends.numba.recorded_array import NotRecordedError, RecordedArray, plain
from tinycnn.backends.numba.recorded_matmul import record_matmul
from tinycnn.backends.numba.recorded_numpy import record_function
from tinycnn.backends.numba.stand_ins import StandIns
from tinycnn.backends.preparation import preparing
from tinycnn.backends.recording import as_it_is, of_thread
from tinycnn.errors import BackendError

Track = Callable[[Array], Array]
Work = Callable[[Track], None]


class Call(NamedTuple):
    """One call of a kernel: what replays need, and what a reader of the table wants to know."""

    entry: int
    block: np.ndarray
    kernel: str
    shapes: list[tuple[int, ...]]  # of the arrays that it was given
    spans: list[tuple[int, int]]  # where they lie
    operations: int


Part = list[Call]
Row = list[Part]


class StepRecorder:
    """Records steps for the CPU."""

    def session(self) -> nullcontext:
        """Kernels run in the order of the calls anyway."""
        return nullcontext()

    def record(self, work: Work) -> "Recording":
        """Run ``work`` once, then record it; raises BackendError where NumPy computes a part of it.

        ``work(track)`` calls ``track(array)`` for every array from outside that it changes or that changes between
        steps, and uses the result: the same memory, which only kernels may read and write.
        """
        work(as_it_is)
        recording = Recording()
        with preparing(), recording.following():
            try:
                work(recording.stand_ins.track)
            except NotRecordedError as error:
                raise BackendError(f"it uses NumPy's `{error}`, which a recorded step cannot contain") from error
        recording.finish()
        return recording


class Recording:
    """A recorded step; calling it takes one step on all threads."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.memory, self.stand_ins = Memory(), StandIns()
        self.kept: list[Array] = []  # arrays from outside the recording, whose addresses it holds
        self.part: Part | None = None  # that the next calls belong to; None: outside `in_parallel`
        self.serial = False  # whether the last row holds calls outside `in_parallel`
        self.decisions: list[tuple[Callable[[], bool], bool]] = []
        self.team: Team | None = None

    # ------------------------------------------------------------------------------------------------ while recording

    @contextmanager
    def following(self) -> Iterator[None]:
        """Inside, this thread's kernels are recorded and not run."""
        of_thread.recorder = self
        try:
            yield
        finally:
            of_thread.recorder = None

    def call(
        self, kernel: Any, arguments: tuple[Any, ...], name: str = "", arrays: Sequence[Array] | None = None
    ) -> None:
        """Note a call of a kernel; ``arrays`` where it receives addresses only."""
        if self.part is None:
            if not self.serial:
                self.rows.append([[]])
            self.serial = True
        arguments = self.stand_ins.real_arguments(arguments)
        entry, block = block_of(kernel, plain(arguments))
        used = [*arrays_in(arguments), *map(self.real, arrays or ())]
        self.kept += [array for array in used if not self._owns(array)]
        shown = used if arrays is None else used[-len(arrays) :]
        shapes = [array.shape for array in shown]
        spans = [np.lib.array_utils.byte_bounds(plain(array)) for array in shown]
        part = self.rows[-1][-1] if self.part is None else self.part
        name = name or kernel.py_func.__name__
        part.append(Call(entry, block, name, shapes, spans, operations_of(kernel, arguments)))

    def _owns(self, array: Array) -> bool:
        """Whether the memory of an array belongs to the recording."""
        owner = array if isinstance(array, RecordedArray) and array.owner is None else array.base
        return isinstance(owner, RecordedArray) and owner.pooled

    def in_parallel(self, work: Callable[[int], object], parts: int) -> None:
        """Note a row; its parts may run at the same time."""
        if parts == 1 or self.part is not None:
            for part in range(parts):
                work(part)
            return
        row: Row = [[] for _ in range(parts)]
        self.rows.append(row)
        self.serial = False
        for number, part_calls in enumerate(row):
            self.part = part_calls
            self.memory.begin_part()
            work(number)
        self.part = None
        self.memory.end_row()

    def elementwise(self, ufunc: np.ufunc, inputs: tuple[Any, ...], out: Array | None) -> RecordedArray:
        """Note a call of NumPy's own loop."""
        return record_elementwise(self, ufunc, inputs, out)

    def cast(self, array: Array, dtype: np.dtype) -> RecordedArray:
        """Note a copy."""
        return record_cast(self, array, dtype)

    def matmul(self, a: Any, b: Any) -> RecordedArray:
        """Note a matrix product of NumPy."""
        return record_matmul(self, a, b)

    def assign(self, target: Array, value: Any) -> None:
        """Note a copy to a part of an array."""
        record_copy(self, value, target)

    def function(self, function: Any, arguments: Any, settings: Any) -> Any:
        """Note the copies that a function of NumPy makes."""
        return record_function(function, arguments, settings)

    def real(self, array: Array) -> Array:
        """The array from outside that ``array`` stands for."""
        return self.stand_ins.real(array)

    def decide(self, question: Callable[[], bool]) -> bool:
        """The answer now, which ``is_valid`` compares with later ones."""
        answer = question()
        self.decisions.append((question, answer))
        return answer

    def empty(self, shape: tuple[int, ...], dtype: Any) -> RecordedArray:
        """An array in the memory of the recording."""
        return self.memory.empty(shape, dtype)

    def finish(self) -> None:
        """Make the table."""
        self.memory.close()
        self.kept += [array for _, _, array in self.stand_ins.known]
        self.stand_ins = StandIns()
        self.rows = [row for row in self.rows if any(row)]
        parts = [part for row in self.rows for part in row]
        self.row_ends = np.cumsum([0, *map(len, self.rows)], dtype=np.int64)
        self.part_ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        calls = [(call.entry, call.block.ctypes.data) for part in parts for call in part]
        self.calls = np.array(calls, np.int64).reshape(-1, 2)

    # ------------------------------------------------------------------------------------------------------ afterwards

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The first part of each row, the first call of each part, and the calls; see ``kernels/replay.py``."""
        return self.row_ends, self.part_ends, self.calls

    def describe(self) -> list[RowDescription]:
        """What each row computes, measured; the values of all arrays change."""

        def run_row(row: int) -> Callable[[], None]:
            return Team((self.row_ends[row : row + 2], *self.table[1:])).take_step

        return describe(self.rows, run_row)

    def is_valid(self) -> bool:
        """Whether all decisions that depended on values would be the same now."""
        return all(question() == answer for question, answer in self.decisions)

    def __call__(self) -> None:
        """Take one step."""
        if self.team is None or not self.team.is_complete():
            self.team = Team(self.table)
        self.team.take_step()


class Team:
    """The threads that replay a recording together, and what they count."""

    def __init__(self, table: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        self.table, self.threads = table, threads.get_threads()
        self.workers = threads.current_workers()
        rows = len(table[0]) - 1
        self.taken = np.zeros(rows * self.threads * replay.LINE, np.int64)
        self.done = np.zeros(rows * replay.LINE, np.int64)
        self.control, self.status = np.zeros(2 * replay.LINE, np.int64), np.zeros(1, np.int64)
        self.interrupted = False

    def is_complete(self) -> bool:
        """Whether these are the threads that kernels use now, and all of them have finished their work."""
        current = self.threads == threads.get_threads() and self.workers is threads.current_workers()
        return current and not self.interrupted

    def take_step(self) -> None:
        """Take one step; the calling thread does what the others do not."""
        try:
            missing = replay.begin(self.control, self.threads - 1)
            if missing:
                threads.call_workers(self.help_out, missing)
            self._finish_step()
        except BaseException:  # Ctrl-C, for instance: others work on the step already, so it is finished first
            self.interrupted = True
            self._finish_step()
            self.interrupted = False
            raise
        if self.status[0]:
            raise MemoryError("a compiled kernel could not allocate memory")

    def _finish_step(self) -> None:
        """Work until the step that was begun last is done."""
        step = int(self.control[replay.GO]) - 1
        while step >= 0 and not replay.walk(*self._arguments(), step, 0, self.threads):
            time.sleep(threads.POLL_S)

    def _arguments(self) -> tuple[np.ndarray, ...]:
        return *self.table, self.taken, self.done, self.status

    def help_out(self, thread: int) -> None:
        """What a worker does: take parts of this step and of those that follow soon."""
        while replay.help_out(*self._arguments(), self.control, thread, self.threads) == replay.WAITING:
            time.sleep(threads.POLL_S)


def arrays_in(arguments: Iterable[Any]) -> Iterator[Array]:
    """The arrays among the arguments of a kernel, also those inside tuples."""
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            yield argument
        elif isinstance(argument, tuple):
            yield from arrays_in(argument)
