"""Wait for another thread by polling: waking a sleeping thread takes as long as a small kernel runs."""

import os

from numba import types
from numba.extending import intrinsic

from .jit import kernel

ROUNDS = 1 << 11
POLLS_PER_ROUND = 1 << 8
# 2**11 rounds of 2**8 polls take about 0.3 ms: longer than the pauses within a training step, too short to matter.

if hasattr(os, "sched_yield"):
    yield_time_slice = types.ExternalFunction("sched_yield", types.int32())  # of the C library
else:

    @kernel
    def yield_time_slice():
        """Does nothing: this system has no ``sched_yield``."""
        return 0


@intrinsic
def read_atomically(typing_context, counter):
    """``counter[0]``, read from memory on every call, with acquire ordering."""

    def emit(context, builder, signature, arguments):
        data = context.make_array(counter)(context, builder, arguments[0]).data
        return builder.load_atomic(data, ordering="acquire", align=8)

    return types.int64(counter), emit


@intrinsic
def add_atomically(typing_context, counter, count):
    """``counter[0] += count`` as one atomic operation, with release ordering."""

    def emit(context, builder, signature, arguments):
        data = context.make_array(counter)(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", data, arguments[1], ordering="release")

    return types.int64(counter, types.int64), emit


@kernel
def wait_until(counter, least):
    """Return True as soon as ``counter[0] >= least``, or False after about 0.3 ms; the GIL is released meanwhile.

    Each round ends by yielding the time slice: the other thread may be waiting for this core.
    """
    for _ in range(ROUNDS):
        for _ in range(POLLS_PER_ROUND):
            if read_atomically(counter) >= least:
                return True
        yield_time_slice()
    return False


@kernel
def report_and_wait(done, count, counter, least):
    """Add ``count`` to ``done[0]``, then ``wait_until(counter, least)``.

    Both are one call: the GIL is released before ``done`` changes, so the thread that polls it does not wait for the
    GIL.
    """
    add_atomically(done, count)
    return wait_until(counter, least)
