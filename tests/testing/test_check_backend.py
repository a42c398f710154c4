"""``check_backend`` finds every planted bug, in the kernel that has it and nowhere else, and says where it is."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from tests.support.backends import usable_backend
from tests.testing.lying_backends import FUSED_LIES, LIES, NanLoses, Upcast
from tinycnn.backends import load_backend
from tinycnn.backends.fused_kernels import FusedKernels
from tinycnn.backends.numpy_backend import NumpyBackend
from tinycnn.errors import KernelError, SettingError
from tinycnn.testing import BackendReport, KernelFailure, check_backend
from tinycnn.testing.fused_reference import dense
from tinycnn.testing.kernel_checks import compare, compare_values


@pytest.mark.parametrize(("liar", "kernel", "words"), LIES, ids=lambda value: getattr(value, "__name__", None))
def test_a_planted_bug_is_found(liar, kernel, words):
    report = check_backend(liar(), kernels=[kernel], raise_exception=False)
    assert not report
    assert any(words in str(failure) for failure in report.failures), report


class Fused(NumpyBackend):
    """Honest fused kernels: Numba's, and those that only a GPU has, in NumPy."""

    def __init__(self, **lying):
        super().__init__()
        ours = {
            "dropout": lambda x, p, key: x * self.dropout_mask(x.shape, p, x.dtype, key),
            "update_statistics": update_statistics,
            "count_correct": lambda logits, labels: (logits.argmax(axis=1) == labels).sum(),
            "end_step": end_step,
        }
        numba = load_backend("numba").fused
        self.fused = dataclasses.replace(numba, **ours)
        planted = {kernel: plant(getattr(self.fused, kernel)) for kernel, plant in lying.items()}
        self.fused = dataclasses.replace(self.fused, **planted)


def update_statistics(running_mean, running_var, mean, var, momentum):
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (var - running_var)


def end_step(loss, logits, labels, sums, row, table, here):
    loss_sum, correct = sums
    loss_sum += len(logits) * loss.astype(np.float64)
    correct += (logits.argmax(axis=1) == labels).sum()
    row += 1
    if row[0] < len(table):
        here[...] = table[row[0]]


@pytest.fixture
def fusing(request):
    if usable_backend("numba", request.config).fused.conv_forward is None:
        pytest.skip("Numba fuses nothing here (TINYCNN_SIMD_LANES=0)")


@pytest.mark.parametrize(("kernel", "plant", "words"), FUSED_LIES)
def test_a_bug_planted_in_a_fused_kernel_is_found(fusing, kernel, plant, words):
    report = check_backend(Fused(**{kernel: plant}), kernels=[kernel], raise_exception=False)
    assert any(words in str(failure) for failure in report.failures), report


def test_honest_fused_kernels_pass(fusing):
    honest = Fused()
    assert len(honest.fused.names()) == len(dataclasses.fields(honest.fused))
    report = check_backend(honest, kernels=honest.fused.names())
    assert set(report.checked) == set(honest.fused.names())


def test_a_forward_kernel_needs_its_backward_kernel():
    backend = NumpyBackend()
    backend.fused = FusedKernels(dense_forward=lambda x, weight, bias, *, relu: dense(x, weight, bias, relu))
    report = check_backend(backend, kernels=["dense_forward", "dense_backward"], raise_exception=False)
    assert {failure.kernel for failure in report.failures} == {"dense_backward"}
    assert all(failure.message.startswith("is missing: a forward kernel needs") for failure in report.failures)


def test_the_kernels_without_the_bug_are_right():
    report = check_backend(NanLoses(), raise_exception=False)
    assert {failure.kernel for failure in report.failures} == {"max_pool2d"}
    lines = str(report).splitlines()
    assert lines[0].startswith("backend 'numpy': ")
    assert "cases are wrong" in lines[0]
    assert next(line for line in lines if line.startswith("im2col")).endswith("right")
    assert next(line for line in lines if line.startswith("max_pool2d ")).endswith("WRONG")
    assert any(line.startswith("  and ") for line in lines)  # only the first failures are shown


def test_it_raises_the_report():
    with pytest.raises(KernelError, match=r"im2col +230 cases +\d+ WRONG"):
        check_backend(Upcast(), kernels=["im2col"])


@pytest.mark.parametrize(
    ("backend", "kernels", "words"),
    [(NumpyBackend, None, "an instance of"), (None, None, "`backend` is None"), (NumpyBackend(), ["conv"], "conv")],
)
def test_mistakes_of_the_caller(backend, kernels, words):
    with pytest.raises(SettingError, match=words):
        check_backend(backend, kernels=kernels)


def test_a_failure_reads_as_a_sentence():
    assert str(KernelFailure("im2col", "float32", "too small")) == "im2col (float32): too small"
    report = BackendReport("mine", {"im2col": 2}, [KernelFailure("im2col", "float32", "too small")], 1.4)
    assert str(report).splitlines() == [
        "backend 'mine': 1 of 2 cases are wrong (1 s)",
        "im2col                     2 cases  1 WRONG",
        "  float32: too small",
    ]


def test_the_comparison():
    a = np.array([1.0, np.nan, np.inf])
    compare("y", a, a.copy())
    for other, words in [
        (a.astype(np.float32), "y has dtype float64, expected float32"),
        (a[:2], r"y has shape \(3,\), expected \(2,\)"),
        (np.array([1.0, 0.0, np.inf]), r"y\[1\] is nan, expected 0.0; 1 of 3 elements differ"),
        (np.array([1.0, np.nan, -np.inf]), r"y\[2\] is inf, expected -inf"),
        (np.array([1 + 1e-15, np.nan, np.inf]), r"y\[0\] is 1.0"),
    ]:
        with pytest.raises(KernelError, match=words):
            compare("y", a, other)
    compare("y", a, np.array([1 + 1e-15, np.nan, np.inf]), tolerance=8)
    compare_values("winner", np.array([3], np.uint8), np.array([3]))


def test_it_needs_nothing_beyond_the_engine():
    """In a process where pytest, SciPy and Numba cannot be imported."""
    program = (
        "import sys\n"
        "for name in ('pytest', 'scipy', 'numba', 'matplotlib', 'sklearn', 'pooch', 'PIL', 'tqdm'):\n"
        "    sys.modules[name] = None\n"
        "from tinycnn.testing import check_backend\n"
        "from tinycnn.backends.numpy_backend import NumpyBackend\n"
        "print(check_backend(NumpyBackend(), kernels=['gather_images']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert "all 31 cases are right" in done.stdout
