"""Waiting for another thread without going to sleep: waking a sleeping thread takes as long as a small kernel runs."""

import os

from numba import types
from numba.extending import intrinsic

from .jit import kernel

LOOKS = 1 << 11
LOOKS_PER_YIELD = 1 << 8
# 2**11 rounds of 2**8 looks take about 0.3 ms: longer than the pauses within a training step, too short to be noticed.

if hasattr(os, "sched_yield"):
    let_others_run = types.ExternalFunction("sched_yield", types.int32())  # of the C library
else:

    @kernel
    def let_others_run():
        """Systems without ``sched_yield`` just look again."""
        return 0


@intrinsic
def read_atomically(typing_context, counter):
    """``counter[0]`` as other threads left it, read anew every time."""

    def emit(context, builder, signature, arguments):
        data = context.make_array(counter)(context, builder, arguments[0]).data
        return builder.load_atomic(data, ordering="acquire", align=8)

    return types.int64(counter), emit


@intrinsic
def add_atomically(typing_context, counter, count):
    """``counter[0] += count``, which no other thread can come between."""

    def emit(context, builder, signature, arguments):
        data = context.make_array(counter)(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", data, arguments[1], ordering="release")

    return types.int64(counter, types.int64), emit


@kernel
def wait_until(counter, least):
    """Return True as soon as ``counter[0] >= least``, False after about 0.3 ms; the GIL is free meanwhile.

    Now and then the rest of the time slice is given away: the thread we wait for may be waiting for our core.
    """
    for _ in range(LOOKS):
        for _ in range(LOOKS_PER_YIELD):
            if read_atomically(counter) >= least:
                return True
        let_others_run()
    return False


@kernel
def report_and_wait(done, count, news, least):
    """Add ``count`` to ``done[0]``, then ``wait_until(news, least)``.

    Both in one call, so that whoever waits for the report finds the GIL free and need not sleep before it.
    """
    add_atomically(done, count)
    return wait_until(news, least)
