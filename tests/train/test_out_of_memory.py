"""Out of memory: the estimate of a step, the batch size that fits, and earlier results, which stay."""

import re
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import tinycnn
from tests.support import fake_cupy
from tests.support.backends import activated
from tests.support.example_runner import EXAMPLES
from tinycnn import models, optim
from tinycnn.backends import threads
from tinycnn.backends.host_memory import free_host_memory
from tinycnn.errors import OutOfMemoryError
from tinycnn.layers import (
    GELU,
    AvgPool2d,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    LayerNorm,
    Residual,
    Sequential,
    SiLU,
    Tanh,
)
from tinycnn.train import memory_estimate as memory
from tinycnn.train.trainer import Trainer

GIB = 1 << 30


def peak_bytes(model, batch_size):
    """The memory that NumPy allocates in one step."""
    trainer = Trainer(model, optim.Adam(model.parameters()), batch_size=batch_size)
    images = np.random.default_rng(0).integers(0, 256, (batch_size, *model.input_shape), dtype=np.uint8)
    batch = images, np.arange(batch_size) % 10, np.arange(batch_size)
    trainer.step(*batch)
    trainer.optimizer.zero_grad()
    tracemalloc.start()
    try:
        trainer.step(*batch)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("name", "batch_size"), [*((name, 64) for name in models.NETWORKS), ("lenet", 128)])
def test_the_estimate_is_close_to_the_measured_memory(name, batch_size):
    with tinycnn.use_backend("numpy"):
        model = models.create(name)
        assert memory.step_bytes(model, batch_size) == pytest.approx(peak_bytes(model, batch_size), rel=0.1)


@pytest.fixture
def one_thread():
    """Each thread of the Numba backend has scratch memory of its own, which the estimate does not count."""
    before = threads.get_threads()
    threads.set_threads(1)
    yield
    threads.set_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("window", [{"groups": 8}, {"groups": 4}, {"dilation": 2}], ids=str)
def test_the_estimate_of_other_convolutions(window):
    """A depthwise convolution has no columns, a grouped one has them twice, a dilated one moves them about."""
    for backend in ("numpy", "numba"):
        with tinycnn.use_backend(backend):
            layers = Conv2d(8, padding="same"), Conv2d(8, padding="same", **window), GlobalMaxPool2d(), Dense(10)
            model = Sequential(*layers, input_shape=(28, 28, 1))
            assert memory.step_bytes(model, 32) == pytest.approx(peak_bytes(model, 32), rel=0.15)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(
    "layer",
    [
        lambda: ConvTranspose2d(8, 3, stride=2),
        lambda: ConvTranspose2d(8, 4, stride=2, padding="same", bias=False),
        lambda: AvgPool2d(3, 1, padding=1),
        lambda: GlobalAvgPool2d(keepdims=True),
        lambda: Dropout(0.3),
        GELU,
        SiLU,
    ],
    ids=["transposed", "transposed, same", "windows", "global", "dropout", "gelu", "silu"],
)
def test_the_estimate_counts_what_exists_only_while_a_layer_computes(backend, layer):
    with tinycnn.use_backend(backend):
        model = Sequential(Conv2d(8, 1), layer(), GlobalMaxPool2d(), Dense(10), input_shape=(16, 16, 8))
        estimate, peak = memory.step_bytes(model, 32), peak_bytes(model, 32)
        assert 0.75 * peak < estimate < 1.35 * peak, f"{estimate / peak:.2f} of the peak"


def test_the_estimate_of_blocks():
    """Within 15 % of the measured memory, and equal for a chain and for the same chain within another."""

    def conv(kernel_size=3):
        return Conv2d(16, kernel_size, padding="same")

    with tinycnn.use_backend("numpy"):
        for body in (
            [Residual(conv(), Tanh(), conv(), Tanh(), conv())],
            [GELU() if i % 2 else conv(1) for i in range(1, 12)],
            [LayerNorm() if i % 2 else conv(1) for i in range(1, 12)],
        ):
            model = Sequential(conv(), *body, Flatten(), Dense(10), input_shape=(16, 16, 1))
            assert memory.step_bytes(model, 32) == pytest.approx(peak_bytes(model, 32), rel=0.15), body
        chain, within = (
            Sequential(*wrap(Conv2d(4), Tanh(), Conv2d(4)), Flatten(), Dense(10), input_shape=(9, 9, 1))
            for wrap in (lambda *layers: layers, lambda *layers: [Sequential(*layers)])
        )
        assert memory.step_bytes(chain, 8) == memory.step_bytes(within, 8)


def but_the_head(model):
    return [name for name, layer in model.layers.items() if layer.parameters() and name != model.head()]


FROZEN = {
    "the first": lambda model: ["conv2d_1"],
    "convolutions": lambda model: [name for name in but_the_head(model) if not name.startswith("dense")],
    "all but the head": but_the_head,
    "the last convolution": lambda model: [name for name, _ in model.layers.items() if name.startswith("conv2d")][-1:],
}


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("frozen", FROZEN)
def test_the_estimate_accounts_for_frozen_layers(name, frozen):
    with tinycnn.use_backend("numpy"):
        model = models.create(name)
        whole = memory.step_bytes(model, 128)
        model.freeze_only(*FROZEN[frozen](model))
        estimate = memory.step_bytes(model, 128)
        assert estimate == pytest.approx(peak_bytes(model, 128), rel=0.15)
        assert estimate < whole


@pytest.mark.parametrize("name", models.NETWORKS)
def test_fused_steps_take_less(name):
    sizes = []
    for backend in ("numpy", "numba"):
        with tinycnn.use_backend(backend):
            sizes.append(memory.step_bytes(models.create(name), 128))
    assert sizes[1] < sizes[0] / 2


def test_the_batch_that_fits_is_the_largest():
    model = models.create("lenet")
    for free in (10 << 20, 100 << 20, GIB):
        size = memory.batch_that_fits(model, 1 << 20, free)
        assert memory.step_bytes(model, size) <= free < memory.step_bytes(model, 2 * size)
    assert memory.batch_that_fits(model, 64, 100 * GIB) == 32  # 64 failed before
    assert memory.batch_that_fits(model, 33, 100 * GIB) == 32
    assert memory.batch_that_fits(model, 64, 1000) == memory.batch_that_fits(model, 1, GIB) == 0


def test_the_error_suggests_a_smaller_batch():
    model = models.create("keras_cnn")
    with tinycnn.use_backend("numpy"):
        text = memory.out_of_memory_message(model, 4096, GIB, "Unable to allocate 2.00 GiB")
    assert re.fullmatch(
        r"out of memory \(Unable to allocate 2\.00 GiB\): a step with a batch of 4096 takes about \d\.\d GiB, and "
        r"1\.0 GiB are free; `batch_size=1024` should fit\. Previously saved files are unchanged",
        text,
    )
    assert "even a batch of 1 does not fit" in memory.out_of_memory_message(model, 4096, 1000, "")
    assert "Try a smaller `batch_size`" in memory.out_of_memory_message(model, 4096, None, "")


# ---------------------------------------------------------------------------------------------------------- on a GPU


@pytest.fixture
def small_gpu(request, monkeypatch):
    """The stand-in with 1 MiB for each array and 3 MiB in all."""
    empty, most = fake_cupy.empty, 1 << 20

    def limited(shape, dtype=float):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size > most:
            raise fake_cupy.OutOfMemoryError(f"Out of memory allocating {size:,} bytes (allocated so far: 0 bytes).")
        return empty(shape, dtype)

    monkeypatch.setattr(fake_cupy, "empty", limited)
    monkeypatch.setattr(fake_cupy.Device, "mem_info", (3 * most, 80 << 30))
    monkeypatch.setattr(fake_cupy, "BLAS", set())
    request.param = "cupy-emulated"
    yield from activated(request)


def train_here(batch_size, capture):
    model = Sequential(Flatten(), Dense(3), input_shape=(28, 28, 1))
    trainer = Trainer(model, optim.SGD(model.parameters()), batch_size=batch_size, capture=capture)
    images = np.zeros((600, 28, 28, 1), np.uint8)
    return trainer.fit(images, np.arange(600) % 3, epochs=1)


@pytest.mark.usefixtures("small_gpu")
@pytest.mark.parametrize("capture", [True, False])
def test_on_a_gpu_the_suggested_batch_fits(capture):
    with pytest.raises(OutOfMemoryError) as caught:
        train_here(512, capture)
    message = str(caught.value)
    assert message.startswith("out of memory (Out of memory allocating 1,605,632 bytes")
    assert "and 3 MiB are free" in message
    (size,) = re.findall(r"`batch_size=(\d+)` should fit", message)
    assert int(size) > 64
    assert len(train_here(int(size), capture)) == 1


# ----------------------------------------------------------------------------------------------------------- on the CPU


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")
def test_on_a_cpu_the_suggested_batch_fits_and_earlier_results_stay(tmp_path):
    """The batch does not fit into the address space, which is limited after the process has loaded its libraries."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.safetensors").write_bytes(b"precious")
    code = f"""
import resource, sys
sys.path[:0] = {str(EXAMPLES)!r}, {str(EXAMPLES.parent)!r}
import train_mnist, tinycnn.data, tinycnn.saving.model_file, tinycnn.train.trainer, tinycnn.run.options
from pathlib import Path
tinycnn.use_backend("numpy")
lines = Path("/proc/self/status").read_text().splitlines()
size = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (size + (700 << 20), resource.RLIM_INFINITY))
options = "--backend numpy --dataset digits --batch-size 1400 --epochs 1 --output out"
sys.exit(train_mnist.main(options.split()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.search(r"error: out of memory \(.*\): a step with a batch of 1400 takes about \d+ MiB", done.stderr)
    assert re.search(r"and \d+ MiB are free; --batch-size (1024|512|256) should fit", done.stderr)
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == b"precious"


def test_other_errors_are_not_changed():
    with pytest.raises(ZeroDivisionError), memory.explain_memory_errors(models.create("lenet"), 8):
        raise ZeroDivisionError


def fake_system(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_free_memory_is_read_from_the_system(tmp_path):
    assert free_host_memory(tmp_path) is None
    system = fake_system(tmp_path, proc__meminfo="MemTotal: 9 kB\nMemAvailable:   4096 kB\n")
    assert free_host_memory(system) == 4 << 20
    group = {"sys__fs__cgroup__memory_dot_max": "max\n", "sys__fs__cgroup__memory_dot_current": "1048576\n"}
    assert free_host_memory(fake_system(tmp_path, **group)) == 4 << 20
    group["sys__fs__cgroup__memory_dot_max"] = f"{3 << 20}\n"
    assert free_host_memory(fake_system(tmp_path, **group)) == 2 << 20
