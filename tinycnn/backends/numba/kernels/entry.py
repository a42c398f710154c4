"""A compiled kernel as a function of one pointer, so that one loop can call all kernels.

Numba compiles a kernel to a function of many numbers: an array becomes its address, sizes and strides, a tuple its
elements. A *block* holds these numbers, 8 bytes each, behind the address of the kernel. The *entry* of a signature
reads a block and calls the kernel. It contains a few instructions, which every process compiles in a millisecond; the
kernel itself is the code that Python calls.

The block holds addresses only. The caller keeps the arrays alive.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba import typeof, types
from numba.core.compiler_lock import global_compiler_lock

BYTE_POINTER, INT, WORD = ir.IntType(8).as_pointer(), ir.IntType(32), ir.IntType(64)
FORMATS: dict[str, type] = {"double": np.float64, "float": np.float32}

_entries: dict[str, int] = {}  # the LLVM type of a kernel → the address of its entry


def block_of(kernel: Any, arguments: tuple[Any, ...]) -> tuple[int, np.ndarray]:
    """The entry that calls `kernel`, as an address, and the block of these arguments."""
    kinds = tuple(typeof(argument) for argument in arguments)
    entry, address, formats = callable_code(kernel, kinds)
    numbers = [number for argument, kind in zip(arguments, kinds, strict=True) for number in flat(argument, kind)]
    if len(formats) != len(numbers):
        raise TypeError(f"{kernel.py_func.__name__} takes {len(formats)} numbers, not {len(numbers)}")
    block = np.zeros(1 + len(formats), np.int64)
    block[0] = address
    for i, (kind, number) in enumerate(zip(formats, numbers, strict=True), start=1):
        if kind is np.int64:
            block[i] = np.uint64(number).view(np.int64) if number >= 1 << 63 else number
        else:
            block[i : i + 1].view(kind)[0] = number
    return entry, block


@cache
def callable_code(kernel: Any, kinds: tuple[types.Type, ...]) -> tuple[int, int, list[type]]:
    """The addresses of the entry and of the kernel for arguments of these types, and how the block holds each number.

    Looked up once: a step has hundreds of calls of a few dozen kernels.
    """
    if kinds not in kernel.overloads:
        kernel.compile(kinds)
    compiled = kernel.overloads[kinds]
    convention, description = compiled.target_context.call_conv, compiled.fndesc
    function_type = convention.get_function_type(description.restype, description.argtypes)
    slots = function_type.args[2:]  # behind the pointers to the result and to an exception
    address = compiled.library.get_pointer_to_function(description.llvm_func_name)
    formats = [FORMATS.get(str(slot), np.int64) for slot in slots]
    return entry_of(function_type), address, formats


def flat(argument: Any, kind: types.Type) -> Iterator[Any]:
    """The numbers that Numba's compiled functions receive for an argument of this type."""
    if isinstance(kind, types.Array):
        yield from (0, 0, argument.size, argument.itemsize, argument.__array_interface__["data"][0])
        yield from (*argument.shape, *argument.strides)
    elif isinstance(kind, types.BaseTuple):
        for element, element_kind in zip(argument, kind, strict=True):
            yield from flat(element, element_kind)
    else:
        yield 0 if argument is None else argument


@global_compiler_lock
def entry_of(function_type: ir.FunctionType) -> int:
    """The address of `status = entry(block)` for kernels of this type; the status is 0 without an error."""
    kind = str(function_type)
    if kind not in _entries:
        name = f"entry_{len(_entries)}"
        module = ir.Module(name)
        emit_entry(module, function_type, name)
        engine().add_module(llvm.parse_assembly(str(module)))
        engine().finalize_object()
        _entries[kind] = engine().get_function_address(name)
    return _entries[kind]


@cache
def engine() -> llvm.ExecutionEngine:
    """A compiler without Numba's passes over the code, which take longer than all else and find nothing in an entry."""
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine()
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)


def emit_entry(module: ir.Module, function_type: ir.FunctionType, name: str) -> None:
    """Define the entry in the module."""
    function = ir.Function(module, ir.FunctionType(INT, [BYTE_POINTER]), name)
    builder = ir.IRBuilder(function.append_basic_block())
    words = builder.bitcast(function.args[0], WORD.as_pointer())
    target = builder.inttoptr(builder.load(words), function_type.as_pointer())
    arguments = [builder.alloca(pointer.pointee) for pointer in function_type.args[:2]]
    for i, kind in enumerate(function_type.args[2:], start=1):
        place = builder.gep(words, [WORD(i)])
        arguments.append(builder.load(builder.bitcast(place, kind.as_pointer())))
    builder.ret(builder.call(target, arguments))
