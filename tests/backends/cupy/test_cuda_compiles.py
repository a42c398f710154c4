"""Every CUDA source compiles for four generations of GPUs without a warning; no GPU is needed."""

import importlib.util
import sys
from functools import cache

import pytest

from tests.support import nvrtc
from tests.support.cuda_emulator import kernels_of
from tests.support.example_runner import EXAMPLES
from tinycnn.backends.cupy.launch import CUDA_FOLDER, THREADS, source, source_names

sys.path.insert(0, str(EXAMPLES.parent / "benchmarks"))
import cuda_resources

MOST_REGISTERS, MOST_SHARED = 65536, 48 << 10  # per block on every GPU; more shared memory needs an opt-in
GPUS = ["sm_75", "sm_80", "sm_86", "sm_90"]  # Turing (Colab's T4), A100, RTX 30, H100 and H200


@pytest.fixture(scope="module", autouse=True)
def compiler():
    if nvrtc.library() is None:
        pytest.skip("no CUDA compiler: pip install nvidia-cuda-nvrtc-cu12")


@cache
def compiled(text, gpu="sm_90", real="float", *more):
    """``(code, messages)``; raises AssertionError if a kernel does not fit on a GPU."""
    code, messages, used = nvrtc.compile_kernels(text, gpu, f"-DREAL={real}", "-DPLACE=unsigned char", *more)
    assert not code or set(used) == set(kernels_of(text))
    for kernel, resources in used.items():
        check_fits(kernel, resources)
    return code, messages


def check_fits(kernel, resources):
    """Check that a kernel uses no local memory and that a block of ``THREADS`` threads can start."""
    assert resources.local == 0, f"{kernel} keeps {resources.local} bytes per thread in slow memory"
    assert -(-resources.registers // 8) * 8 * THREADS <= MOST_REGISTERS, f"{kernel}: {resources}"
    assert resources.shared <= MOST_SHARED, f"{kernel}: {resources}"


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("name", source_names())
def test_compiles_and_fits(name, gpu):
    code, messages = compiled(source(name), gpu)
    assert (code[:4], messages) == (b"\x7fELF", "")
    assert all(kernel.encode() in code for kernel in kernels_of(source(name)))


@pytest.mark.parametrize("name", source_names())
def test_compiles_for_float64(name):
    code, messages = compiled(source(name), real="double")
    assert (code[:4], messages) == (b"\x7fELF", "")


PRODUCTS = ["conv2d.cu", "conv2d_backward.cu", "dense.cu"]


@pytest.mark.parametrize("gpu", ["sm_80", "sm_86", "sm_90"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_compiles_for_tensor_cores(name, gpu):
    code, messages = compiled(source(name), gpu, "float", "-DTF32=1")
    assert (code[:4], messages) == (b"\x7fELF", "")
    assert code != compiled(source(name), gpu)[0]


def test_tf32_does_not_compile_for_older_gpus():
    code, messages = compiled(source("dense.cu"), "sm_75", "float", "-DTF32=1")
    assert not code
    assert "TF32 needs compute capability 8.0 or newer" in messages


def test_all_matrix_products_have_a_tf32_variant():
    assert [name for name in source_names() if "tile_tf32.cuh" in source(name)] == PRODUCTS


def test_max_pool_compiles_with_integer_positions():
    code, messages, _ = nvrtc.compile_kernels(source("max_pool2d.cu"), "sm_90", "-DREAL=float", "-DPLACE=int")
    assert code, messages


TOO_MUCH = {
    "local memory": (
        "real kept[64]; for (int i = 0; i < 64; i++) kept[i * n % 64] = x[i]; x[0] = kept[n];",
        "slow memory",
    ),
    "shared memory": ("__shared__ real kept[9000]; kept[n] = x[n]; __syncthreads(); x[0] = kept[n + 1];", "36000"),
}


@pytest.mark.parametrize(("body", "message"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_kernel_that_does_not_fit_is_detected(body, message, monkeypatch):
    monkeypatch.setattr(f"{__name__}.MOST_SHARED", 32 << 10)
    text = f'typedef REAL real;\nextern "C" __global__ void greedy(real* x, int n) {{ {body} }}'
    with pytest.raises(AssertionError, match=message):
        compiled(text)


@pytest.mark.parametrize(
    ("gpu", "used", "blocks"),
    [
        ("sm_90", nvrtc.Resources(32, 0, 0), 8),  # all 2048 threads
        ("sm_86", nvrtc.Resources(32, 0, 0), 6),
        ("sm_90", nvrtc.Resources(81, 0, 0), 2),  # 88 for each of 256 threads, of 65536
        ("sm_75", nvrtc.Resources(32, 0, 40000), 1),
        ("sm_80", nvrtc.Resources(32, 0, 40000), 4),  # 41024 each, of 167936
    ],
)
def test_number_of_blocks_that_run_at_once(gpu, used, blocks):
    assert cuda_resources.blocks_at_once(used, gpu) == blocks


def test_too_many_registers_are_detected():
    check_fits("thrifty", nvrtc.Resources(255, 0, 0))
    with pytest.raises(AssertionError, match="registers=257"):
        check_fits("greedy", nvrtc.Resources(257, 0, 0))


BROKEN = {
    "a missing semicolon": ("x = x + 1", "expected a"),
    "an unknown name": ("x = nothing;", '"nothing" is undefined'),
    "a double where a pointer is needed": ("const float* p = 1.0; x = *p;", "cannot be used to initialize"),
}


@pytest.mark.parametrize(("line", "message"), BROKEN.values(), ids=BROKEN)
def test_a_syntax_or_type_error_does_not_compile(line, message):
    text = 'extern "C" __global__ void kernel(float* y) {{ float x = 0; {} y[0] = x; }}'
    assert compiled(text.format(""))[0]
    code, messages = compiled(text.format(line))
    assert not code
    assert message in messages


def test_a_warning_is_reported():
    code, messages = compiled('extern "C" __global__ void kernel(float* y) { int unused = 3; y[0] = 1; }')
    assert code
    assert "never referenced" in messages


def test_messages_name_file_and_line():
    text = source("im2col.cu").replace("int c = i % win.C", "int c = i % win.channels")
    line = next(
        i for i, line in enumerate((CUDA_FOLDER / "im2col.cu").read_text().splitlines(), 1) if "int c = " in line
    )
    code, messages = compiled(text)
    assert not code
    assert f"im2col.cu({line})" in messages


def test_the_sources_are_installed_with_the_package():
    folder = importlib.util.find_spec("tinycnn").submodule_search_locations[0]
    assert str(CUDA_FOLDER).startswith(folder)
    assert {"im2col.cu", "max_pool2d.cu", "dropout.cu"} <= set(source_names())
