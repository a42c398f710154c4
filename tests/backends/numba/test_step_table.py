"""Recorded steps on the CPU: the table, its memory, the threads that walk it, and what is refused."""

import mmap
import threading

import numpy as np
import pytest

from tinycnn.backends import get_backend, threads, use_backend
from tinycnn.backends.host_memory import LARGE_PAGE, large_pages
from tinycnn.backends.numba import numpy_loops
from tinycnn.backends.numba.blas import find_sgemm
from tinycnn.backends.numba.dense import dense_backward, dense_forward, row_blocks
from tinycnn.backends.numba.kernels import packing, replay
from tinycnn.backends.numba.kernels.entry import block_of
from tinycnn.backends.numba.kernels.jit import kernel
from tinycnn.backends.numba.memory import Memory
from tinycnn.backends.numba.recorded_array import NotRecordedError, RecordedArray
from tinycnn.backends.numba.step_table import Recording, StepRecorder
from tinycnn.backends.recording import of_thread
from tinycnn.errors import BackendError

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def threads_of_before():
    before = threads.get_threads()
    yield
    threads.set_threads(before)


def numbers(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def recorded(work, *arrays):
    """The recording of ``work(*arrays)``, which has run once."""
    return StepRecorder().record(lambda track: work(*map(track, arrays)))


def recorder():
    """A recorder for tests of single calls."""
    recording = Recording()
    of_thread.recorder = recording
    return recording


@pytest.fixture
def following():
    """While a test runs, its thread's kernels are recorded."""
    yield recorder()
    of_thread.recorder = None


# ------------------------------------------------------------------------------------------------------------- replays


@pytest.mark.parametrize("count", [1, 2, 3])
def test_replays_give_the_bits_of_the_work_run_from_python(count):
    """A dense layer, forward and backward, large enough for several parts, and an update in place."""
    threads.set_threads(count)
    x, weight, bias = numbers(64, 700), numbers(700, 300), numbers(300)

    def work(x, weight, bias):
        y = dense_forward(x, weight, bias, relu=True)
        settings = {"relu": True, "need_grad_x": True, "need_grad_weight": True}
        grad_x, grad_weight, grad_bias = dense_backward(x, weight, y, y, **settings)
        weight -= np.float32(1e-6) * grad_weight
        bias -= np.float32(1e-6) * grad_bias
        x += np.float32(1e-9) * grad_x

    states = []
    for replayed in (True, False):
        arrays = x.copy(), weight.copy(), bias.copy()
        again = recorded(work, *arrays) if replayed else lambda arrays=arrays: work(*arrays)
        for _ in range(4 if replayed else 5):
            again()
        states.append([array.tobytes() for array in arrays])
        if replayed:
            assert max(len(row) for row in again.rows) > 1
    assert states[0] == states[1]


def test_a_step_needs_no_other_thread(monkeypatch):
    """Workers that never come, as on a busy machine, leave all parts to the calling thread."""
    threads.set_threads(3)
    monkeypatch.setattr(threads, "call_workers", lambda work, count: None)
    total = np.zeros(4, np.float32)

    def work(total):
        threads.in_parallel(lambda part: packing.pack_bias(total[part : part + 1] + 1, total[part : part + 1]), 4)

    recording = recorded(work, total)
    for _ in range(3):
        recording()
    assert total.tolist() == [4, 4, 4, 4]


def test_late_helpers_take_nothing_twice(monkeypatch):
    """A worker that comes when steps are over finds no parts, and one that comes in the middle takes what is left."""
    threads.set_threads(2)
    late = []
    monkeypatch.setattr(threads, "call_workers", lambda work, count: late.append(work))
    total = np.zeros(8, np.float32)

    def work(total):
        for _ in range(3):
            threads.in_parallel(lambda part: packing.pack_bias(total[part : part + 1] + 1, total[part : part + 1]), 8)

    recording = recorded(work, total)
    helper = threading.Thread(target=lambda: late[0](1))
    for step in range(200):
        recording()
        if step == 2:
            helper.start()
    helper.join()
    late[0](1)
    assert total.tolist() == [3 * 201] * 8


def test_threads_may_change_between_steps():
    x = np.zeros(2, np.float32)
    recording = recorded(lambda x: packing.pack_bias(x + 1, x), x)
    for count in (1, 3, 2, 1):
        threads.set_threads(count)
        recording()
    assert x.tolist() == [5, 5]


def test_an_interrupted_step_is_finished_first(monkeypatch):
    threads.set_threads(2)
    x = np.zeros(2, np.float32)
    recording = recorded(lambda x: packing.pack_bias(x + 1, x), x)

    def interrupt(work, count):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threads, "call_workers", interrupt)
        with pytest.raises(KeyboardInterrupt):
            recording()
    assert x.tolist() == [2, 2]
    recording()
    assert x.tolist() == [3, 3]


def test_other_threads_compute_while_one_records(following):
    results = []
    arrays = numbers(3, 2), numbers(2, 2), numbers(2)
    other = threading.Thread(target=lambda: results.append(dense_forward(*arrays, relu=False)))
    other.start()
    other.join()
    assert type(results[0]) is np.ndarray
    assert following.rows == []


@kernel
def strange(numbers, nothing, flag, pair, large, half, out):
    """Arguments of every kind."""
    out[0] = numbers[1] + (1 if nothing is None else 0) + flag + pair[0] + pair[1][1]
    out[1] = np.float64(large >> np.uint64(60))
    out[2] = half
    if half > 3:
        np.empty(1 << 60, np.uint8)[0] = 1


def test_arguments_of_every_kind_reach_the_kernel():
    out, arguments = np.zeros(3), (numbers(2), None, True, (3, (0.5, 0.25)), np.uint64(15 << 60), np.float32(0.1))
    recording = StepRecorder().record(lambda track: strange(*arguments, track(out)))
    expected, out[:] = out.tolist(), 0
    recording()
    assert out.tolist() == expected
    assert expected[1:] == [15, float(np.float32(0.1))]


def test_a_kernel_without_memory_raises_in_a_replay():
    half, out = np.zeros((), np.float32), np.zeros(3)
    arguments = numbers(2), None, True, (3, (0.5, 0.25)), np.uint64(1)
    recording = Recording()
    recording.rows = [[[_call(strange, (*arguments, np.float32(4), out))]]]
    recording.finish()
    del half
    with pytest.raises(MemoryError, match="a compiled kernel"):
        recording()


def _call(function, arguments):
    from tinycnn.backends.numba.step_table import Call

    return Call(*block_of(function, arguments), "strange", [], [], 0)


def test_counters_of_different_threads_are_on_different_cache_lines():
    assert replay.LINE * 8 == 64


# -------------------------------------------------------------------------------------------------------------- memory


def test_dropped_arrays_leave_their_memory_to_later_ones(following):
    memory = Memory()
    first = memory.empty((100,), np.float32)
    address = first.__array_interface__["data"][0]
    view = first.reshape(10, 10)
    del first
    other = memory.empty((100,), np.float32)
    assert other.__array_interface__["data"][0] != address  # the view still needs it
    del view
    again = memory.empty((90,), np.float32)
    assert again.__array_interface__["data"][0] == address
    assert address % 64 == 0
    assert memory.size == 2 * 448
    assert memory.empty((8,), np.float32).size == 8  # not from a block that is much larger
    assert memory.size == 2 * 448 + 64


def test_arrays_lie_one_after_the_other_in_large_pages():
    memory = Memory()
    small, large, next_small = (memory.empty((size,), np.float32) for size in (16, 3 * LARGE_PAGE // 4, 16))
    first, second, third = (array.__array_interface__["data"][0] for array in (small, large, next_small))
    assert first % LARGE_PAGE == second % LARGE_PAGE == 0  # the large array does not fit behind the small one
    assert third == first + 64
    assert memory.size == 64 + 3 * LARGE_PAGE + 64


def test_large_pages_that_the_system_refuses_raise_memory_error():
    assert large_pages(1).size == LARGE_PAGE
    with pytest.raises(MemoryError, match="refused"):
        large_pages(1 << 62)


def test_without_large_pages_the_memory_is_aligned_too(monkeypatch):
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    pages = large_pages(LARGE_PAGE + 1)
    assert pages.size == 2 * LARGE_PAGE
    assert pages.__array_interface__["data"][0] % LARGE_PAGE == 0


def test_parts_of_a_row_share_no_memory():
    memory, seen = Memory(), []
    before = memory.empty((16,), np.float32)
    for part in range(3):
        memory.begin_part()
        if part == 1:
            del before  # dropped in a part: a part that runs at the same time may still use it
        addresses = [memory.empty((16,), np.float32).__array_interface__["data"][0] for _ in range(3)]
        assert len(set(addresses)) == 1
        seen.append(addresses[0])
    memory.end_row()
    assert len(set(seen)) == 3
    assert memory.empty((16,), np.float32).__array_interface__["data"][0] in seen
    assert memory.size == 4 * 64


def test_arrays_from_outside_are_kept_alive(following):
    gone = numbers(4)
    following.call(packing.pack_bias, (gone, following.empty((4,), np.float32)))
    assert [array is gone for array in following.kept] == [True]


# ------------------------------------------------------------------------------------------------------ what is refused


REFUSED = {
    "sum": lambda x: x.sum(),
    "mean": lambda x: x.mean(axis=0),
    "argmax": lambda x: x.argmax(),
    "matmul": lambda x: x @ x.T,
    "where": lambda x: np.where(x > 0, x, 0),
    "concatenate into": lambda x: np.concatenate([x, x], out=numbers(6, 3)),
    "matmul of one row": lambda x: x[:1] @ numbers(3, 3),
    "matmul of other steps": lambda x: x[:, ::2] @ numbers(2, 3),
    "matmul of doubles": lambda x: x.astype(np.float64) @ numbers(3, 3),
    "pad": lambda x: np.pad(x, 1),
    "stack of two types": lambda x: np.stack([x, x > 0]),
    "repeat by counts": lambda x: np.repeat(x, [1, 2, 1], axis=0),
    "float": lambda x: float(x[0, 0]),
    "bool": lambda x: bool(x[0, 0] > 0),
    "assignment of an element": lambda x: x.__setitem__((0, 0), 1),
    "assignment by numbers": lambda x: x.__setitem__(np.array([0, 1]), 1),
    "element": lambda x: x[0, 0],
    "fancy indexing": lambda x: x[np.array([0, 1])],
    "reshape by columns": lambda x: x.reshape(-1, order="F"),
    "sort": lambda x: x.sort(),
    "list": lambda x: x.tolist(),
    "accumulate": lambda x: np.add.accumulate(x),
    "at": lambda x: np.add.at(x, 0, 1),
    "in place, outside": lambda x: np.add(x, 1, out=numbers(3, 3)),
    "several results": lambda x: np.modf(x),
}


@pytest.mark.parametrize("name", REFUSED)
def test_numpy_operations_that_would_be_missing_are_refused(name, following):
    x = numbers(3, 3).view(RecordedArray)
    with pytest.raises(NotRecordedError):
        REFUSED[name](x)


def test_a_refused_operation_is_named(following):
    of_thread.recorder = None
    x = numbers(3, 3)
    with pytest.raises(BackendError, match=r"^it uses NumPy's `matmul`, which a recorded step cannot contain$"):
        recorded(lambda x: x @ x.T, x)
    assert of_thread.recorder is None


def test_in_other_threads_arrays_are_ordinary_ones():
    """They may use the network that one thread is recording."""
    x = numbers(3, 3)
    seen = x.view(RecordedArray)
    assert (seen @ seen.T + 1).tobytes() == (x @ x.T + 1).tobytes()
    assert seen.sum() == x.sum()
    assert np.concatenate([seen, seen]).tolist() == [*x.tolist(), *x.tolist()]
    assert seen[0, 0] == float(x[0, 0])
    assert seen.reshape(-1).argmax() == x.argmax()
    assert type(seen.copy()) is type(seen[1:]) is type(seen.astype(np.float64)) is np.ndarray
    seen[0] = 5
    seen += np.float32(1)
    assert x[0].tolist() == [6, 6, 6]
    np.add(x, 1, out=seen)
    assert x[0].tolist() == [7, 7, 7]


VIEWS = [lambda x: x[1:], lambda x: x.reshape(-1), lambda x: x.T, lambda x: x[:, None], lambda x: x[0:0]]


@pytest.mark.parametrize("view", VIEWS)
def test_views_are_allowed_and_know_their_owner(view, following):
    x = Memory().empty((3, 3), np.float32)
    assert isinstance(view(x), RecordedArray)
    assert view(x).base is x
    assert x.base is None


# ------------------------------------------------------------------------------------------------ elementwise functions


CASES = {
    "one row": (np.multiply, (4, 5), (5,)),
    "one column": (np.add, (4, 5), (4, 1)),
    "outer": (np.subtract, (4, 1), (1, 5)),
    "number": (np.maximum, (2, 3, 4), 0.5),
    "integer": (np.divide, (2, 3), 3),
    "unary": (np.exp, (3, 40)),
    "bool": (np.greater, (7,), (7,)),
    "nothing": (np.add, (0, 3), (3,)),
    "four axes": (np.multiply, (2, 3, 4, 5), (3, 1, 5)),
    "large": (np.add, (300, 7000), (7000,)),
}


@pytest.mark.parametrize("name", CASES)
def test_elementwise_functions_give_the_bits_of_numpy(name):
    ufunc, *shapes = CASES[name]
    operands = [numbers(*shape) if isinstance(shape, tuple) else shape for shape in shapes]
    expected, out = ufunc(*operands), [None]

    def work(*arrays):
        rest = operands[len(arrays) :]
        out[0] = ufunc(*arrays, *rest)
        if isinstance(out[0], RecordedArray):
            out[0] = out[0].view(np.ndarray)

    arrays = [operand for operand in operands if isinstance(operand, np.ndarray)]
    recording = recorded(work, *arrays)
    recording()
    assert out[0].dtype == expected.dtype
    assert out[0].tobytes() == expected.tobytes()


def test_transposed_operands_and_results_in_place():
    x, y = numbers(30, 40), numbers(40, 30)
    expected = x.copy()
    expected -= y.T * 2
    expected -= y.T * 2

    def work(x, y):
        x -= y.T * 2

    recording = recorded(work, x, y)
    recording()
    assert x.tobytes() == expected.tobytes()


def test_mixed_types_are_cast_as_numpy_does():
    x, results = numbers(5), []
    recording = recorded(lambda x: results.append(((x > 0) * 0.9 + 0.05, (x > 0) * x)), x)
    recording()
    for found, expected in zip(results[1], ((x > 0) * 0.9 + 0.05, (x > 0) * x), strict=True):
        assert found.dtype == expected.dtype
        assert found.view(np.ndarray).tobytes() == expected.tobytes()


def test_every_float_loop_is_found_by_its_types():
    for ufunc in (np.add, np.multiply, np.exp, np.sqrt, np.tanh, np.maximum):
        kinds = (np.dtype(np.float32),) * ufunc.nargs
        address, _ = numpy_loops.loop_of(ufunc, kinds)
        assert address
    assert numpy_loops.loop_of(np.add, (np.dtype(np.float32), np.dtype(bool), np.dtype(np.float32))) is None


# ------------------------------------------------------------------------------------------ views, copies, new arrays


def padded(x):
    y = get_backend().xp.full((5, 6), 0.5, x.dtype)
    y[1:4, 2:6] = x
    return y


def shifted(x):
    y = x.copy()
    y[1:] = y[:-1]  # NumPy copies what overlaps
    y[:, 1:] += x[:, :-1]
    return y


def cut_and_turned(x):
    y = get_backend().xp.zeros((4, 3), bool)
    y[...] = x.T > 0
    y[::2] = True
    return y * x.T


MADE = {
    "padding": padded,
    "overlapping": shifted,
    "booleans": cut_and_turned,
    "one number": lambda x: get_backend().xp.ones(3) * x[:, 0],
    "transposed copy": lambda x: x.T.copy(),
    "transposed, other type": lambda x: x.T.astype(np.float64),
    "copying reshape": lambda x: x.T.reshape(2, -1),
    "every third": lambda x: x[:, ::3].reshape(-1),
    "contiguous": lambda x: get_backend().xp.ascontiguousarray(x[:, 1:]) + 1,
    "concatenate": lambda x: np.concatenate([x, x[:, :1]], axis=-1),
    "stack": lambda x: np.stack([x, x + 1], axis=1),
    "repeat": lambda x: np.repeat(x, 3, axis=-1),
    "spread": lambda x: np.broadcast_to(np.expand_dims(x, 1), (3, 2, 4)) * np.swapaxes(x[:, None], 0, 1)[:, :1],
    "products": lambda x: (x @ numbers_of(4, 5)) @ (x @ numbers_of(4, 5) + 1).T,
    "products with itself": lambda x: get_backend().gram(x[:, 1:]) @ get_backend().gram(x.T[:3]),
    "squares": lambda x: squared(get_backend().gram(x)),
    "sums": lambda x: get_backend().sum(x, axis=0) + get_backend().mean(x[:, :3].T, axis=(-2, 1), keepdims=True),
}


def squared(x):
    return x @ x


def numbers_of(*shape):
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("name", MADE)
def test_new_arrays_views_and_copies_hold_the_numbers_of_each_step(name):
    """An array that NumPy made while the step was recorded would hold NaN, or the numbers of the first step."""
    x, made = numbers(3, 4), []
    with use_backend("numba"):
        recording = recorded(lambda x: made.append(MADE[name](x)), x)
        for _ in range(2):
            x += np.float32(1)
            recording()
            expected = MADE[name](x)
            found = made[1].view(np.ndarray)
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
            assert found.tobytes() == expected.tobytes()


def test_threads_share_the_rows_of_large_products():
    """As in Muon: four blocks of rows, and two of a product with itself, of which only the upper half is computed."""
    x, made = numbers(160, 320), []
    with use_backend("numba"):
        recording = recorded(lambda x: made.append((get_backend().gram(x), x[:, :160] @ x)), x)
        recording()
        square, product = get_backend().gram(x), x[:, :160] @ x
    parts = {len(row) for row in recording.rows if row[0][0].kernel == "matrix_product"}
    assert parts == ({2, 4} if find_sgemm().sums_in_order else {2, 1})
    for found, expected in zip(made[1], (square, product), strict=True):
        assert found.view(np.ndarray).tobytes() == expected.tobytes()
    np.testing.assert_array_equal(square, square.T)
    np.testing.assert_allclose(square, x.astype(np.float64) @ x.T.astype(np.float64), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("rows", "most", "expected"), [
    (192, 9.0, [(0, 48), (48, 96), (96, 144), (144, 192)]),
    (100, 2.9, [(0, 48), (48, 100)]),
    (17, 4.0, [(0, 16), (16, 17)]),
    (64, 0.3, [(0, 64)]),
    (3, 4.0, [(0, 3)]),
])  # fmt: skip
def test_blocks_of_rows_are_whole_register_tiles(rows, most, expected):
    assert row_blocks(rows, most) == expected
