"""A recorded step, run again: every thread walks the same table and takes the parts that are left.

The table has rows, a row has parts, and a part has calls of kernels. The parts of a row may run at the same time, in
any thread; a row begins when all parts of the row before are done. There is no pool of threads to hand work to, and no
thread waits for another *thread*, only for parts that have been taken. A thread that the system has suspended between
two rows delays nobody.

Counters only grow. Before step `s` a row with P parts has been taken and done `s * P` times, so a thread that comes
late finds nothing to take, and nothing has to be reset between steps.

`step_table.py` in the folder above makes the tables.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .jit import inlined, kernel
from .spin import POLLS_PER_ROUND, ROUNDS, yield_time_slice

LINE = 8  # counters per cache line: two threads that count different things must not share a line
GO, PRESENT = 0, LINE  # places in `control`: number of steps to take, number of threads that help
LEFT, WAITING = 0, 1  # results of `help_out`

INT, WORD, BYTE_POINTER = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer()


@intrinsic
def call_entry(typing_context, entry, block):
    """Call the entry at this address with the block at that address; returns its status, see entry.py."""

    def emit(context, builder, signature, arguments):
        function = builder.inttoptr(arguments[0], ir.FunctionType(INT, [BYTE_POINTER]).as_pointer())
        return builder.call(function, [builder.inttoptr(arguments[1], BYTE_POINTER)])

    return types.int32(types.intp, types.intp), emit


def place_in(context, builder, kind, array, index):
    """The address of array[index]."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


@intrinsic
def read(typing_context, counters, index):
    """counters[index], read from memory: what other threads wrote before they counted is visible afterwards."""

    def emit(context, builder, signature, arguments):
        return builder.load_atomic(place_in(context, builder, counters, *arguments), ordering="seq_cst", align=8)

    return types.int64(counters, types.intp), emit


@intrinsic
def count(typing_context, counters, index, number):
    """counters[index] += number, as one operation."""

    def emit(context, builder, signature, arguments):
        place = place_in(context, builder, counters, *arguments[:2])
        return builder.atomic_rmw("add", place, arguments[2], ordering="seq_cst")

    return types.int64(counters, types.intp, types.int64), emit


@intrinsic
def replace(typing_context, counters, index, before, after):
    """counters[index] = after if it is `before`, as one operation; returns whether it was."""

    def emit(context, builder, signature, arguments):
        place = place_in(context, builder, counters, *arguments[:2])
        pair = builder.cmpxchg(place, arguments[2], arguments[3], "seq_cst", "seq_cst")
        return builder.extract_value(pair, 1)

    return types.boolean(counters, types.intp, types.int64, types.int64), emit


@inlined
def take(taken, index, limit):
    """The next number below `limit` that no thread has taken; -1 if there is none."""
    number = read(taken, index)
    while number < limit:
        if replace(taken, index, number, number + 1):
            return number
        number = read(taken, index)
    return -1


@inlined
def reaches(counters, index, least):
    """Whether counters[index] reaches `least` within about 0.3 ms: spin, then yield the core again and again."""
    for _ in range(ROUNDS):
        for _ in range(POLLS_PER_ROUND):
            if read(counters, index) >= least:
                return True
        yield_time_slice()
    return False


@kernel
def walk(rows, parts, calls, taken, done, status, step, thread, threads):
    """Work on step `step`; returns True when it is done, False when another thread takes long over a part.

    The parts of row r are `rows[r]` to `rows[r + 1]`, the calls of part p `parts[p]` to `parts[p + 1]`. Each thread
    has its share of the parts, and takes parts of the other shares after its own: the same thread tends to work on the
    same images and weights, and finds them in its cache.
    """
    for row in range(rows.size - 1):
        first, size, finished = rows[row], rows[row + 1] - rows[row], 0
        for i in range(threads):
            share = (thread + i) % threads
            start, stop = size * share // threads, size * (share + 1) // threads
            ticket = take(taken, (row * threads + share) * LINE, (step + 1) * (stop - start))
            while ticket >= 0:
                part = first + start + ticket - step * (stop - start)
                for call in range(parts[part], parts[part + 1]):
                    if call_entry(calls[call, 0], calls[call, 1]) != 0:
                        status[0] = 1
                finished += 1
                ticket = take(taken, (row * threads + share) * LINE, (step + 1) * (stop - start))
        if finished:
            count(done, row * LINE, finished)
        if not reaches(done, row * LINE, (step + 1) * size):
            return False
    return True


@kernel
def begin(control, helpers):
    """Let the helpers begin the next step; returns how many of `helpers` are missing, and counts them as present."""
    count(control, GO, 1)
    missing = max(helpers - read(control, PRESENT), 0)
    count(control, PRESENT, missing)
    return missing


@kernel
def help_out(rows, parts, calls, taken, done, status, control, thread, threads):
    """Work on the current step and those that follow; returns LEFT when no step has followed for about 0.3 ms.

    Returns WAITING when another thread takes long over a part.
    """
    while True:
        step = read(control, GO) - 1
        if not walk(rows, parts, calls, taken, done, status, step, thread, threads):
            return WAITING
        if not reaches(control, GO, step + 2):
            count(control, PRESENT, -1)
            if read(control, GO) == step + 1:
                return LEFT
            count(control, PRESENT, 1)  # a step began between the two lines above
