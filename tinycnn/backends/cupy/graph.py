"""Recording GPU work in a CUDA graph, and launching it again.

A graph freezes the addresses that its kernels use. So the work runs once as it is, on a memory pool of its own. When it
is recorded afterwards, the same allocations find the same free blocks, and the driver need not allocate memory, which a
capture does not allow. The pool lives as long as the graph: what one kernel of a replay leaves there for the next is
safe.

Everything happens on a stream of its own, because the default stream cannot be captured.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from tinycnn.backends.preparation import preparing
from tinycnn.backends.recording import as_it_is
from tinycnn.errors import BackendError

Work = Callable[[Callable[[Any], Any]], None]


class GraphRecorder:
    """Records work for one stream, on the GPU of the ``cupy`` module that it is given."""

    def __init__(self, cupy: ModuleType) -> None:
        self.cupy = cupy
        self.stream = cupy.cuda.Stream()

    @contextmanager
    def session(self) -> Iterator[None]:
        """Inside, work goes to the stream of the recordings, behind what was queued before; at the end all is done."""
        before = self.cupy.cuda.get_current_stream().record()
        with self.stream:
            self.stream.wait_event(before)
            try:
                yield
            finally:
                self.stream.synchronize()

    def record(self, work: Work) -> "Recording":
        """Run ``work`` once, then record it; returns a function that replays it. Call it within a session.

        Raises BackendError, saying why, when the work ran but cannot be recorded.
        """
        self.cupy.get_default_memory_pool().free_all_blocks()  # what it keeps for itself, another pool does not get
        recording = Recording(self.stream, self.cupy.cuda.MemoryPool())
        with self.cupy.cuda.using_allocator(recording.pool.malloc):
            work(as_it_is)
            try:
                with preparing():
                    recording.graph = self._capture(work)
            except Exception as error:  # whatever CuPy and the driver may raise
                first = (str(error).splitlines() or [""])[0]
                raise BackendError(f"a CUDA graph cannot hold it ({type(error).__name__}: {first})") from error
        return recording

    def _capture(self, work: Work) -> Any:
        self.stream.begin_capture()
        try:
            work(as_it_is)
        except BaseException:
            self._abandon()
            raise
        return self.stream.end_capture()

    def _abandon(self) -> None:
        """End a capture that failed; the driver may have ended it already."""
        try:
            self.stream.end_capture()
        except Exception:
            return


class Recording:
    """A CUDA graph, with the memory that it works in; calling it queues one launch.

    Deleting a pool does not free its unused blocks, so a finaliser empties it.
    """

    graph: Any

    def __init__(self, stream: Any, pool: Any) -> None:
        self.stream, self.pool = stream, pool
        weakref.finalize(self, pool.free_all_blocks).atexit = False

    def is_valid(self) -> bool:
        """The work reads no values on the host, so nothing that it decided can change."""
        return True

    def __call__(self) -> None:
        self.graph.launch(self.stream)
