"""An operation and a backend that are no part of the package: one file each, and nothing of tinycnn has to change.

The operation is the file ``examples/add_your_own_op.py``; the backend is ``tests/support/numpy_windows_backend.py``.
"""

import os
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest

import tinycnn
from tests.ops.test_gradients import functions_in, functions_of_package
from tests.support import nvrtc
from tests.support.batches import Batch, batches
from tests.support.example_runner import load_example, run_example
from tests.support.numpy_windows_backend import WindowsBackend
from tinycnn import Tensor, backends, gradcheck, layers, register_kernel
from tinycnn.backends import base
from tinycnn.errors import GradientError
from tinycnn.testing import check_backend
from tinycnn.testing.gradient_cases import CASES, Case, rounded

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def own_op():
    """The module of the op, its CUDA kernels known to the emulated GPU as well; forgotten afterwards."""
    known, loaders = dict(layers.Layer.registry), dict(base._kernel_loaders)
    module = load_example("add_your_own_op")
    for name in ("silu_forward", "silu_backward"):
        register_kernel("cupy-emulated", name, module.cuda_kernel(name))
    yield module
    layers.Layer.registry.clear()
    layers.Layer.registry.update(known)
    base._kernel_loaders.clear()
    base._kernel_loaders.update(loaders)


@pytest.fixture
def windows(monkeypatch):
    """The backend from outside, registered and active."""
    monkeypatch.setattr(backends, "_LOADERS", dict(backends._LOADERS))
    monkeypatch.setattr(backends, "_loaded", dict(backends._loaded))
    tinycnn.register_backend("windows", WindowsBackend)
    with tinycnn.use_backend("windows") as backend:
        yield backend


# ------------------------------------------------------------------------------------------------------ an operation


def test_the_op_needs_one_line_among_the_gradient_cases(own_op, backend):
    case = Case(own_op.SiLUFunction, "(3, 4)", own_op.silu, ((3, 4),))  # this line
    assert case.function in functions_in(case.call(*case.inputs()))
    assert gradcheck(case.call, case.inputs()).checked == 12
    assert own_op.check().kinks == []


def test_without_the_line_the_op_would_be_missed(own_op, monkeypatch):
    """A Function of the package without a case is found: this one, were it defined there."""
    assert own_op.SiLUFunction not in functions_of_package()
    monkeypatch.setattr(own_op.SiLUFunction, "__module__", "tinycnn.ops.silu")
    assert functions_of_package() - {case.function for case in CASES} >= {own_op.SiLUFunction}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (5, 300)])
def test_the_kernels_compute_what_the_plain_arithmetic_does(own_op, backend, shape, dtype):
    rng = np.random.default_rng(0)
    x, grad_y = rng.normal(scale=4, size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)
    s = 1 / (1 + np.exp(-x.astype(np.float64)))
    tensor = Tensor(x, requires_grad=True)
    y = own_op.silu(tensor)
    y.backward(grad_y)
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(y.numpy(), x * s, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(
        backend.to_host(tensor.grad), grad_y * s * (1 + x * (1 - s)), rtol=tolerance, atol=tolerance
    )
    assert (y.dtype, tensor.grad.dtype) == (dtype, dtype)


@pytest.mark.parametrize("real", ["float", "double"])
def test_its_cuda_becomes_machine_code(own_op, real):
    if nvrtc.library() is None:
        pytest.skip("no CUDA compiler: pip install nvidia-cuda-nvrtc-cu12")
    code, messages = nvrtc.compile_cuda(own_op.CUDA, ["-arch=sm_90", f"-DREAL={real}"])
    assert (code[:4], messages) == (b"\x7fELF", "")


def test_each_backend_runs_the_kernel_that_it_has(own_op, backend):
    has_one = backend.name != "numpy"
    assert [backend.kernel(name) is not None for name in ("silu_forward", "silu_backward")] == [has_one, has_one]
    assert backend.kernel("silu_forward") is backend.kernel("silu_forward")  # compiled once


def test_a_wrong_kernel_is_found_by_the_check(own_op, monkeypatch):
    monkeypatch.setattr(base, "_kernel_loaders", dict(base._kernel_loaders))
    register_kernel("numpy", "silu_backward", lambda backend: lambda x, grad_y: grad_y * 1.001)
    with tinycnn.use_backend("numpy"), pytest.raises(GradientError, match="gradient of input 0 at index"):
        own_op.check()


def test_a_kernel_is_made_when_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(base, "_kernel_loaders", {})
    made = []

    def loader(backend):
        made.append(backend.name)
        return len

    register_kernel("numpy", "mine", loader)
    with tinycnn.use_backend("numpy") as backend:
        assert made == []
        assert backend.kernel("mine") is backend.kernel("mine") is len
        assert made == ["numpy"]
        assert backend.kernel("nobody's") is None


def test_fused_kernels_of_the_package_are_not_registered_ones():
    with tinycnn.use_backend("numba") as backend:
        assert backend.fused.adam_all is not None
        assert backend.kernel("adam_all") is None


def test_the_layer_is_saved_and_loaded(own_op, tmp_path):
    model = tinycnn.Sequential(layers.Dense(3), own_op.SiLU(), input_shape=(2,))
    tinycnn.save(model, tmp_path / "model.safetensors")
    again = tinycnn.load(tmp_path / "model.safetensors")
    x = np.ones((1, 2), np.float32)
    assert np.array_equal(again(x).numpy(), model(x).numpy())


def test_the_example_trains_on_every_backend(tmp_path):
    process = run_example("add_your_own_op.py", folder=tmp_path)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == tinycnn.available_backends()[: len(lines)]
    assert all("6 gradients right" in line for line in lines)
    assert all(float(line.rpartition(" ")[2]) < 0.5 for line in lines), lines  # it starts at about 2.4


# --------------------------------------------------------------------------------------------------------- a backend


def test_the_backend_is_one_file():
    module = sys.modules[WindowsBackend.__module__]
    assert module.__file__.endswith("numpy_windows_backend.py")
    assert not {cls for cls in WindowsBackend.__mro__ if cls.__module__.startswith("tinycnn")} - {base.Backend}


SOME = dict.fromkeys([*CASES[::5], *(case for case in CASES if case.draw is rounded)])


@pytest.mark.parametrize("batch", batches(SOME, attrgetter("function")), ids=str)
def test_all_gradients_are_right_on_it(windows, batch: Batch):
    batch.check(lambda case: gradcheck(case.call, case.inputs(), fast_mode=True))


def test_its_kernels_keep_the_contract(windows):
    report = check_backend(windows)
    assert report.failures == []
    assert sum(report.checked.values()) > 1500
    assert str(report).startswith("backend 'windows': all ")


def test_a_network_learns_the_same_on_it(windows, own_op):
    ours = own_op.train(steps=5)
    with tinycnn.use_backend("numpy"):
        np.testing.assert_allclose(ours, own_op.train(steps=5), rtol=1e-4)


# --------------------------------------------------------------------------------- a backend that the command finds

MODULE = """
import tinycnn
from tests.support.numpy_windows_backend import WindowsBackend


class Broken(WindowsBackend):
    name = "broken"

    def gather_images(self, *arguments):
        return -super().gather_images(*arguments)
"""


def run_gradcheck(folder, *options):
    """``python -m tinycnn gradcheck`` in ``folder``, which is among the places where packages are installed."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    command = [sys.executable, "-m", "tinycnn", "gradcheck", *options]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def installed(tmp_path):
    """A folder with an installed package that declares three backends."""
    (tmp_path / "outside.py").write_text(MODULE)
    metadata = tmp_path / "outside-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[tinycnn.backends]\nwindows = outside:WindowsBackend\nbroken = outside:Broken\ngone = nowhere:Backend\n"
    )
    return tmp_path


def test_the_command_finds_the_backend_of_an_installed_package(installed):
    done = run_gradcheck(installed, "--backend", "windows", "--op", "MaxPool2d", "--quick")
    assert done.returncode == 0, done.stderr
    assert "on windows" in done.stdout
    assert "every gradient is right" in done.stdout


def test_the_command_compares_its_kernels(installed):
    done = run_gradcheck(installed, "--backend", "broken", "--kernels")
    assert done.returncode == 1, done.stderr
    wrong = [line.split()[0] for line in done.stdout.splitlines() if line.endswith(" WRONG")]
    assert wrong == ["gather_images"]


def test_a_package_that_does_not_load_is_named(installed):
    done = run_gradcheck(installed, "--backend", "gone")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: backend 'gone' is declared as nowhere:Backend, which cannot be loaded: No module"
    )


def test_the_command_imports_a_module_that_registers_the_backend(tmp_path):
    (tmp_path / "mine.py").write_text(MODULE + 'tinycnn.register_backend("mine", WindowsBackend)\n')
    done = run_gradcheck(tmp_path, "--import", "mine", "--backend", "mine", "--op", "ReLU")
    assert done.returncode == 0, done.stderr
    assert "every gradient is right" in done.stdout
    done = run_gradcheck(tmp_path, "--import", "yours", "--backend", "mine")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --import yours: No module named 'yours'; pass the name of a module")
