"""Waiting for another thread without going to sleep: waking a sleeping thread takes as long as a small kernel runs."""

from numba import types
from numba.extending import intrinsic

from .jit import kernel

SPINS = 1 << 20  # about 0.3 ms: longer than the pauses within a training step, shorter than anybody would notice


@intrinsic
def read_atomically(typing_context, flag):
    """``flag[0]`` as other threads left it, read anew every time."""

    def emit(context, builder, signature, arguments):
        data = context.make_array(flag)(context, builder, arguments[0]).data
        return builder.load_atomic(data, ordering="acquire", align=8)

    return types.int64(flag), emit


@kernel
def wait_while(flag, value, spins):
    """Return True as soon as ``flag[0] != value``, False after ``spins`` looks; the GIL is free meanwhile."""
    for _ in range(spins):  # noqa: SIM110  (this is compiled)
        if read_atomically(flag) != value:
            return True
    return False
