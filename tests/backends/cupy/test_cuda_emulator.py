"""The emulator that runs CUDA kernels on the host: correct kernels pass, planted bugs are detected."""

import numpy as np
import pytest

from tests.support import cuda_emulator
from tests.support.cuda_emulator import FORWARD, ORDERS, REVERSE, EmulatedModule, KernelError

pytestmark = pytest.mark.skipif(cuda_emulator.COMPILER is None, reason="no g++: apt install g++")

# A block reverses 64 numbers twice in shared memory, so that each thread reads values written by others.
REVERSE_TWICE = """
typedef REAL real;
extern "C" __global__ void reverse(const real* x, real* y, int count) {
    __shared__ real tile[64];
    int t = threadIdx.x, i = blockIdx.x * 64 + t;
    tile[t] = i < count ? x[i] : (real)0;
    __syncthreads();  // written
    real other = tile[63 - t];
    __syncthreads();  // read
    tile[t] = other;
    __syncthreads();  // written again
    if (i < count) y[i] = tile[63 - t] + 1;
}
"""
ADD_UP = """
extern "C" __global__ void add_up(const float* x, float* sums, int count) {
    __shared__ float parts[64];
    int t = threadIdx.x;
    parts[t] = 0;
    for (int i = t; i < count; i += 64) parts[t] += x[blockIdx.x * count + i];
    __syncthreads();
    if (t == 0) for (int k = 1; k < 64; k++) parts[0] += parts[k];
    if (t == 0) sums[blockIdx.x] = parts[0];
}
"""


def run(source, kernel, grid, arguments, *, checked=True, order=FORWARD):
    module = EmulatedModule(source, {"REAL": "float", "PLACE": "int"}, checked=checked)
    module.get_function(kernel)(grid, (64,), arguments, order)


def reverse(source, *, checked=True, order=FORWARD, count=150, blocks=3):
    x, y = np.arange(count, dtype=np.float32), np.zeros(count, np.float32)
    x, y = cuda_emulator.guarded(x), cuda_emulator.guarded(y)
    run(source, "reverse", (blocks,), (x, y, np.int32(150)), checked=checked, order=order)
    return y


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("checked", [False, True])
def test_a_correct_kernel_passes(checked, order):
    np.testing.assert_array_equal(reverse(REVERSE_TWICE, checked=checked, order=order), np.arange(150) + 1)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("barrier", ["// written\n", "// read\n", "// written again\n"])
def test_a_missing_barrier_is_a_race(barrier, order):
    planted = REVERSE_TWICE.replace(f"__syncthreads();  {barrier}", "\n")
    with pytest.raises(KernelError, match=r"race|before it is written"):
        reverse(planted, order=order)


@pytest.mark.parametrize("barrier", ["// written\n", "// read\n", "// written again\n"])
def test_a_missing_barrier_changes_unchecked_results(barrier):
    planted = REVERSE_TWICE.replace(f"__syncthreads();  {barrier}", "\n")
    results = [reverse(planted, checked=False, order=order) for order in ORDERS]
    assert not all(np.array_equal(result, np.arange(150) + 1) for result in results)


def test_a_barrier_that_some_threads_skip_is_an_error():
    planted = REVERSE_TWICE.replace("__syncthreads();  // written again", "if (i < count) __syncthreads();")
    with pytest.raises(KernelError, match="not all threads reach the barrier of line"):
        reverse(planted, checked=False)


def test_threads_at_different_barriers_are_an_error():
    planted = REVERSE_TWICE.replace("__syncthreads();  // read", "if (t < 5)\n__syncthreads();\nelse\n__syncthreads();")
    with pytest.raises(KernelError, match="different barriers"):
        reverse(planted)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("x[i] :", "x[i + 1] :", "reverse: read outside all arrays, bytes 4"),
        ("y[i] =", "y[i - 1] =", "reverse: write outside all arrays, bytes 4"),
        (
            "if (i < count) y",
            "y",
            r"reverse: write outside all arrays, bytes 4, block \(2, 0, 0\), thread \(22, 0, 0\)",
        ),
        ("tile[63 - t] + 1", "tile[64 - t] + 1", "shared memory is read before it is written"),
        ("y[i] =", "y[i / 2] =", "race: two threads write"),
        ("+ 1;", "+ 1; if (i > 0) y[i] += y[i - 1];", "race"),
    ],
)
def test_an_invalid_memory_access_is_an_error(right, wrong, message):
    assert right in REVERSE_TWICE
    with pytest.raises(KernelError, match=message):
        reverse(REVERSE_TWICE.replace(right, wrong))


def test_a_block_sums_in_shared_memory():
    x, sums = np.arange(200, dtype=np.float32), np.zeros(2, np.float32)
    run(ADD_UP, "add_up", (2,), (x, sums, np.int32(100)))
    assert sums.tolist() == [4950, 14950]


def test_blocks_that_write_the_same_address_are_a_race():
    planted = ADD_UP.replace("sums[blockIdx.x] = parts[0]", "sums[0] += parts[0]")
    with pytest.raises(KernelError, match="race"):
        run(planted, "add_up", (2,), (np.ones(200, np.float32), np.zeros(2, np.float32), np.int32(100)))


def test_reading_unwritten_shared_memory_is_an_error():
    planted = ADD_UP.replace("parts[t] = 0;", "")
    with pytest.raises(KernelError, match="shared memory is read before it is written"):
        run(planted, "add_up", (2,), (np.ones(200, np.float32), np.zeros(2, np.float32), np.int32(100)))


def test_a_result_that_depends_on_the_thread_order_is_an_error():
    """Every access is valid, so recording them detects nothing, but the order of the threads changes the result."""
    source = """
    extern "C" __global__ void kernel(float* y, float* scratch) {
        static int turn = 0;
        y[threadIdx.x] = turn++;
    }
    """
    kernel = EmulatedModule(source, {"REAL": "float", "PLACE": "int"}).get_function("kernel")
    with pytest.raises(KernelError, match="another order of blocks and threads gives another result"):
        kernel.in_all_orders((1,), (64,), (np.zeros(64, np.float32), np.zeros(1, np.float32)))


ARITHMETIC = """
typedef REAL real;
static __device__ real product(float a, float b) { return __fmul_rn(a, b); }
static __device__ real product(double a, double b) { return __dmul_rn(a, b); }
extern "C" __global__ void arithmetic(const real* x, real* y) {
    y[0] = x[0] * x[1] + x[2];
    y[1] = product(x[0], x[1]) + x[2];
    y[2] = x[3] / 2;
    y[3] = exp(-x[2]);
    y[4] = log(-x[2] * 2);
}
"""


@pytest.mark.parametrize(("real", "dtype"), [("float", np.float32), ("double", np.float64)])
def test_arithmetic_rounds_as_on_a_gpu(real, dtype):
    """Multiply-adds are fused unless prevented, exp and log are one bit off, subnormal float32 numbers become zero."""
    eps, small = np.finfo(dtype).eps, np.finfo(dtype).tiny
    x, y = np.array([1 + eps, 1 - eps / 2, -1, small], dtype), np.zeros(5, dtype)
    kernel = EmulatedModule(ARITHMETIC, {"REAL": real, "PLACE": "int"}).get_function("arithmetic")
    kernel((1,), (1,), (x, y))
    exact = float(eps) / 2 - float(eps) ** 2 / 2  # (1 + eps) (1 - eps/2) - 1
    assert y[0] == exact if "-mfma" in cuda_emulator.FLAGS else y[0] in (exact, eps, 0)
    assert y[1] == dtype(x[0] * x[1]) - 1 != exact
    assert y[2] == (0 if real == "float" else small / 2)
    assert y[3:].tolist() == [np.nextafter(dtype(number), dtype(9)) for number in (np.e, np.log(2.0))]


def test_an_error_leaves_the_emulator_usable():
    with pytest.raises(KernelError):
        reverse(REVERSE_TWICE.replace("x[i] :", "x[i + 1] :"))
    np.testing.assert_array_equal(reverse(REVERSE_TWICE, order=REVERSE), np.arange(150) + 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [np.zeros(9, np.float64), np.zeros(9, np.float32), np.int32(9)],
            r"float64 \(9,\) for a contiguous array of float",
        ),
        ([np.zeros(18, np.float32)[::2], np.zeros(9, np.float32), np.int32(9)], "contiguous"),
        ([np.zeros(9, np.float32), np.zeros(9, np.float32), 9], "<class 'int'> for a parameter of type int"),
        ([np.zeros(9, np.float32), np.zeros(9, np.float32), np.int64(9)], "int64"),
        ([np.zeros(9, np.float32), np.int32(9)], "takes 3 arguments, got 2"),
    ],
)
def test_wrong_arguments_are_an_error(arguments, message):
    with pytest.raises(KernelError, match=message):
        run(REVERSE_TWICE, "reverse", (1,), arguments)


@pytest.mark.parametrize(("grid", "block"), [((0,), (64,)), ((1,), (2048,)), ((1, 70000), (64,))])
def test_a_launch_beyond_the_limits_of_a_gpu_is_an_error(grid, block):
    kernel = EmulatedModule(REVERSE_TWICE, {"REAL": "float", "PLACE": "int"}).get_function("reverse")
    with pytest.raises(KernelError, match="cannot be launched"):
        kernel(grid, block, (np.zeros(9, np.float32), np.zeros(9, np.float32), np.int32(9)))


def test_a_source_that_does_not_compile_is_an_error():
    with pytest.raises(KernelError, match="does not compile"):
        EmulatedModule("extern nonsense", {"REAL": "float", "PLACE": "int"})
