"""NumPy's own loops, called from a recorded step.

An elementwise function of NumPy, such as `np.multiply`, holds one C function for each combination of types. It runs
along one axis: `loop(addresses, size, steps, data)`. The kernel below calls it for the other axes.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .jit import kernel

BYTES, WORDS, WORD = ir.IntType(8).as_pointer(), ir.IntType(64).as_pointer(), ir.IntType(64)


@intrinsic
def call_loop(typing_context, loop, addresses, size, steps, data):
    """Call the loop at an address; `addresses`, `size` and `steps` are flat arrays of int64."""

    def emit(context, builder, signature, arguments):
        function = ir.FunctionType(ir.VoidType(), [WORDS, WORDS, WORDS, BYTES]).as_pointer()
        flat = [
            builder.bitcast(context.make_array(kind)(context, builder, array).data, WORDS)
            for kind, array in zip((addresses, size, steps), arguments[1:4], strict=True)
        ]
        builder.call(builder.inttoptr(arguments[0], function), [*flat, builder.inttoptr(arguments[4], BYTES)])
        return context.get_dummy_value()

    return types.void(types.intp, addresses, size, steps, types.intp), emit


@kernel
def elementwise(loop, data, addresses, shape, steps, start, stop):
    """The loop over all of `shape (axes,)`, and along the first axis over [start, stop).

    `addresses (arrays,)`: where the operands and results begin. `steps (axes, arrays)`: bytes between elements.
    """
    axes, arrays = steps.shape
    size, here = np.empty(1, np.int64), np.empty(arrays, np.int64)
    index = np.zeros(axes, np.int64)
    size[0], last = shape[axes - 1], axes - 1
    rows = 1
    for axis in range(last):
        rows *= shape[axis] if axis else stop - start
    if axes == 1:
        size[0] = stop - start
    for _ in range(rows):
        for i in range(arrays):
            here[i] = addresses[i] + start * steps[0, i]
            for axis in range(last):
                here[i] += index[axis] * steps[axis, i]
        call_loop(loop, here, size, steps[last], data)
        for axis in range(last - 1, -1, -1):
            index[axis] += 1
            if index[axis] < (shape[axis] if axis else stop - start):
                break
            index[axis] = 0


@kernel
def cast(source, target):
    """`target = source`, both flat, in the type of `target`."""
    for i in range(target.size):
        target[i] = source[i]
