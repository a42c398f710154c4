"""A stand-in for ``cupy`` without a GPU: its arrays wrap NumPy arrays, and kernels run in ``cuda_emulator``.

It implements the parts of CuPy that tinycnn uses, with CuPy's restrictions where tests depend on them. NumPy arrays
cannot be mixed with its arrays, no conversion is implicit, and ``host_reads`` counts every value that the host reads.
While a stream is captured, nothing runs: launches and array operations are recorded, ``Graph.launch`` runs them on the
same memory, and operations that CUDA does not support during a capture raise an error.
"""

import contextlib
import operator
import threading
import types
import weakref
from typing import ClassVar

import numpy as np

from tests.support.cuda_emulator import EmulatedModule
from tests.support.cupy_signatures import FUNCTIONS, METHODS, check_call

host_reads = 0  # how often the host waited for the GPU to read a value
launches = []  # names of the kernels and array operations run so far, in order
one_kernel = threading.RLock()  # held while a kernel runs: its shared memory is static, so only one can run at a time
checked_kernels = False  # whether kernels record memory accesses and run in several orders; slow

float32, float64, int32, int64, uint8, bool_ = np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_
uint32, uint64, newaxis, pi, inf, nan = np.uint32, np.uint64, None, np.pi, np.inf, np.nan
BLAS = {"matmul", "tensordot"}  # CuPy calls cuBLAS for these, which it does not allow during a capture


class Capture:
    """The operations recorded on a stream since ``begin_capture``."""

    def __init__(self, stream):
        self.stream, self.nodes, self.pools = stream, [], set()  # the memory pools used


capture = None  # the active capture


def refuse(what):
    if capture is not None:
        raise RuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} while a stream is captured")


def read_by_host(what):
    global host_reads
    refuse(what)
    host_reads += 1


def perform(name, action):
    """Run ``action`` now, or record it during a capture."""
    if capture is None:
        launches.append(name)
        return action()
    if cuda.get_current_stream() is not capture.stream:
        raise RuntimeError(f"cudaErrorStreamCaptureImplicit: {name} on another stream while one is captured")
    if name in BLAS:
        raise NotImplementedError(f"{name} calls cuBLAS, which CuPy does not allow while a stream is captured")
    capture.nodes.append((name, action))
    return None


def host(value):
    """Convert arguments of array operations for NumPy; raises TypeError for NumPy arrays."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, tuple | list):
        return type(value)(map(host, value))
    return value


def compute(name, function, *arguments, **settings):
    """The result of a NumPy function as an array of this module; during a capture its values are not computed yet."""
    arguments, settings = host(arguments), {key: host(value) for key, value in settings.items()}

    def run():
        with np.errstate(all="ignore"):
            return np.asarray(function(*arguments, **settings))

    result = run()
    shared = (isinstance(one, np.ndarray) and np.may_share_memory(result, one) for one in all_arrays(arguments))
    if not result.size or any(shared):
        return ndarray(result)  # empty or a view: no work on a GPU
    result = result if result.base is None else result.copy()
    cuda.allocator(result.nbytes)
    if capture is None:
        launches.append(name)
    else:
        perform(name, lambda: np.copyto(result, run()))
        poison(result, whole=0)  # 0 is a valid index
    return ndarray(result)


def all_arrays(arguments):
    for argument in arguments:
        if isinstance(argument, tuple | list):
            yield from all_arrays(argument)
        else:
            yield argument


def poison(array, whole=1):
    """Fill uncomputed memory: NaN in floats, ``whole`` in others."""
    array[...] = np.nan if array.dtype.kind == "f" else whole


class MemoryPointer:
    """The address of an array; ``arrays`` maps each address to its array, for kernels that take addresses."""

    arrays: ClassVar = weakref.WeakValueDictionary()

    def __init__(self, array):
        self.ptr = array.ctypes.data
        self.arrays[self.ptr] = array


class Flags:
    """The memory layout flags that CuPy provides; it has no ``writeable``."""

    def __init__(self, flags):
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, flags.owndata


class ndarray:
    """An array "on the GPU"."""

    __array_ufunc__ = None
    __hash__ = None

    def __init__(self, array):
        self._host = array

    def __array_function__(self, function, types, arguments, settings):
        return globals()[function.__name__](*arguments, **settings)  # as in CuPy, np.stack calls stack

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` explicitly.")

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: Flags(self._host.flags))
    base = property(lambda self: self._host.base)
    data = property(lambda self: MemoryPointer(self._host))
    T = property(lambda self: ndarray(self._host.T))

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return repr(self.get())

    __str__ = __repr__

    def __format__(self, how):
        return format(self.get(), how)

    def __deepcopy__(self, memo):
        return self.copy()

    def __dlpack__(self, **wanted):
        return self._host.__dlpack__(**wanted)

    def __dlpack_device__(self):
        return 2, 0  # DLPack's code for CUDA, and the number of the GPU

    def get(self):
        read_by_host("copying to the host")
        return self._host.copy()

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    def __bool__(self):
        return bool(self.get())

    def __index__(self):
        return operator.index(self.get().item())

    def __getitem__(self, key):
        return compute("getitem", lambda array: array[index(key)], self)

    def __setitem__(self, key, value):
        key, value, target = index(key), host(value), self._host
        perform("setitem", lambda: operator.setitem(target, key, value))

    def fill(self, value):
        perform("fill", lambda: self._host.fill(value))

    def set(self, array):
        refuse("copying from the host")
        np.copyto(self._host, array)

    def copy(self):
        return compute("copy", lambda array: array.copy(order="C"), self)

    def astype(self, dtype, *, copy=True):
        if not copy and self.dtype == dtype:
            return self
        return compute("astype", lambda array: array.astype(dtype), self)


def index(key):
    """Convert a key of ``[]`` for NumPy."""
    if isinstance(key, ndarray) and key.dtype == bool:
        read_by_host("indexing with a mask")
    return tuple(map(index, key)) if isinstance(key, tuple) else key._host if isinstance(key, ndarray) else key


def binary(name):
    function = getattr(operator, name)

    def forward(self, other):
        return compute(name, function, self, other)

    def backward(self, other):
        return compute(name, lambda a, b: function(b, a), self, other)

    def in_place(self, other):
        target, value = self._host, host(other)
        perform(name, lambda: getattr(operator, f"i{name}")(target, value))
        return self

    return forward, backward, in_place


def install_operators():
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor"):
        forward, backward, in_place = binary(name)
        plain = name.rstrip("_")
        setattr(ndarray, f"__{plain}__", forward)
        setattr(ndarray, f"__r{plain}__", backward)
        if name in ("add", "sub", "mul", "truediv"):
            setattr(ndarray, f"__i{plain}__", in_place)
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        setattr(ndarray, f"__{name}__", binary(name)[0])
    for name in ("neg", "abs", "invert"):
        setattr(ndarray, f"__{name}__", lambda self, name=name: compute(name, getattr(operator, name), self))


def install_methods():
    for name in METHODS:
        setattr(ndarray, name, method(name))


def method(name):
    def call(self, *arguments, **settings):
        check_call(f".{name}", arguments, settings)
        return compute(name, lambda array, *a, **s: getattr(array, name)(*a, **s), self, *arguments, **settings)

    return call


def module_function(name):
    def call(*arguments, **settings):
        check_call(name, arguments, settings)
        return compute(name, getattr(np, name), *arguments, **settings)

    return call


install_operators()
install_methods()
globals().update({name: module_function(name) for name in FUNCTIONS})


def __getattr__(name):
    raise AttributeError(
        f"the stand-in for CuPy has no {name!r}; if CuPy has it, add its parameters to tests/support/cupy_signatures.py"
    )


def empty(shape, dtype=float):
    array = np.empty(shape, dtype)
    cuda.allocator(array.nbytes)
    poison(array)  # so that no code relies on its contents
    return ndarray(array)


def take(array, indices, axis=None):
    """CuPy does not check indices: those that are too large wrap around."""
    return compute("take", lambda a, i: np.take(a, i, axis, mode="wrap"), array, indices)


def zeros(shape, dtype=float):
    return full(shape, 0, dtype)


def ones(shape, dtype=float):
    return full(shape, 1, dtype)


def full(shape, value, dtype=None):
    return compute("full", lambda: np.full(shape, value, dtype))


def asarray(array, dtype=None):
    if isinstance(array, ndarray):
        return array if dtype is None or array.dtype == dtype else array.astype(dtype)
    refuse("copying from the host")
    return ndarray(np.array(array, dtype))


array = asarray


def ascontiguousarray(array, dtype=None):
    """The result has at least one axis: a number becomes an array of shape ``(1,)``, as in NumPy."""
    array = asarray(array, dtype)
    array = array if array.flags.c_contiguous else array.copy()
    return array.reshape(1) if array.ndim == 0 else array


def from_dlpack(array):
    if array.__dlpack_device__()[0] != 2:
        raise TypeError("CPU arrays cannot be directly imported to CuPy")
    host = getattr(array, "data", array)._host  # NumPy rejects arrays of a GPU
    return ndarray(host)


def asnumpy(array):
    return array.get() if isinstance(array, ndarray) else np.asarray(array)


def is_available():
    return True


def passed(value):
    """Convert an argument for a kernel: arrays are passed by address, numbers and structures by value."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        if value.size != 1:
            raise TypeError(f"You are trying to pass a numpy.ndarray of shape {value.shape} as a kernel parameter")
        return value.copy()
    if isinstance(value, np.generic | int | float | complex):
        return value
    raise TypeError(f"Unsupported type {type(value)}")


class RawModule:
    def __init__(self, *, code, options=()):
        if not isinstance(code, str) or not isinstance(options, tuple):
            raise TypeError("Argument 'options' has incorrect type: expected str and tuple")
        defines = dict(option.removeprefix("-D").split("=") for option in options)
        self.module = EmulatedModule(code, defines, checked=checked_kernels)

    def get_function(self, name):
        return RawKernel(self.module.get_function(name))


class RawKernel:
    def __init__(self, kernel):
        self.kernel = kernel

    def __call__(self, grid, block, args, *, shared_mem=0):
        if not (isinstance(grid, tuple) and isinstance(block, tuple)):
            raise TypeError("Argument 'grid' has incorrect type: expected tuple")
        arguments = [passed(value) for value in args]
        self.kernel.check(grid, block, arguments)
        with one_kernel:
            self._run(grid, block, arguments)

    def _run(self, grid, block, arguments):
        if not self.kernel.module.checked:
            perform(self.kernel.name, lambda: self.kernel(grid, block, arguments))
        else:
            perform(self.kernel.name, lambda: self.kernel.in_all_orders(grid, block, arguments, MemoryPointer.arrays))


class Graph:
    """The operations of a capture; every launch runs them on the memory with which they were recorded."""

    def __init__(self, nodes, pools):
        self.nodes, self.pools = nodes, [weakref.ref(pool) for pool in pools]

    def launch(self, stream=None):
        refuse("launching a graph")
        if any(pool() is None or pool().emptied for pool in self.pools):
            raise RuntimeError("cudaErrorIllegalAddress: the memory that this graph works in was given back")
        for name, action in self.nodes:
            launches.append(name)
            action()

    def upload(self, stream=None):
        refuse("uploading a graph")


class Event:
    """A position in the queue of a stream."""

    def __init__(self, stream):
        self.stream = stream


class Stream:
    """A queue of work; this stand-in runs all work immediately."""

    null = None
    ptr = 0  # its address; that of the null stream

    def __init__(self, null=False, non_blocking=False):
        self.is_null, self.previous = null, []

    def __enter__(self):
        self.previous.append(cuda.current)
        cuda.current = self
        return self

    def __exit__(self, *_):
        cuda.current = self.previous.pop()

    def synchronize(self):
        read_by_host("synchronize")

    def record(self):
        return Event(self)

    def wait_event(self, event):
        if event.stream is not self:
            refuse("waiting for another stream")

    def begin_capture(self):
        global capture
        refuse("a second capture")
        if self.is_null:
            raise RuntimeError("cannot capture the default (null) stream")
        capture = Capture(self)

    def end_capture(self):
        global capture
        if capture is None or capture.stream is not self:
            raise RuntimeError("this stream is not being captured")
        nodes, pools, capture = capture.nodes, capture.pools, None
        return Graph(nodes, pools)

    def is_capturing(self):
        return capture is not None and capture.stream is self


class Device:
    """The one simulated GPU."""

    id = 0
    compute_capability = "90"
    mem_info = (64 << 30, 80 << 30)
    attributes = types.MappingProxyType({"MultiProcessorCount": 132})

    def __init__(self, number=0):
        pass

    def synchronize(self):
        read_by_host("synchronize")

    def use(self):
        pass


def note_loss(counted):
    MemoryPool.lost.extend(size for size in counted if size)


class MemoryPool:
    """Records which allocation uses which pool; Python manages the memory itself.

    A graph continues to write to arrays that were freed while it was recorded. A graph must therefore have its own
    pool, which CuPy does not check. A pool that is dropped before it is emptied never frees its free blocks: in CuPy
    14.2, free blocks and their arena reference each other.
    """

    lost: ClassVar[list[int]] = []  # bytes of pools that were dropped

    def __init__(self):
        self.in_graph = self.emptied = False
        self.counted = [0]
        weakref.finalize(self, note_loss, self.counted)

    def malloc(self, size):
        if capture is None and self.in_graph and size:
            raise RuntimeError("memory of a graph is allocated outside the graph")
        if capture is not None and self is default_pool and size:
            raise RuntimeError("a graph allocates from the default pool, which other arrays share")
        if capture is not None:
            self.in_graph = True
            capture.pools.add(self)
        self.counted[0] += size

    def free_all_blocks(self):
        self.counted[0], self.emptied = 0, self is not default_pool

    def used_bytes(self):
        return 0

    def total_bytes(self):
        return 0


@contextlib.contextmanager
def using_allocator(allocator):
    before, cuda.allocator = cuda.allocator, allocator
    try:
        yield
    finally:
        cuda.allocator = before


class OutOfMemoryError(MemoryError):
    pass


cuda = types.SimpleNamespace(
    Stream=Stream,
    Graph=Graph,
    Device=Device,
    MemoryPool=MemoryPool,
    current=Stream(null=True),
    get_current_stream=lambda: cuda.current,
    is_available=is_available,
    using_allocator=using_allocator,
    memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
)
Stream.null = cuda.current
default_pool = MemoryPool()
cuda.allocator = default_pool.malloc


def get_default_memory_pool():
    return default_pool
