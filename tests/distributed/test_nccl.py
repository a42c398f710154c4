"""Ranks with one simulated GPU each: arrays of ``fake_cupy``, sums of ``fake_nccl``, ranks that are threads."""

import sys
import types

import numpy as np
import pytest

from tests.distributed.test_ranks import EVERYTHING, IMAGES, LABELS, difference, network, train, trainer_for
from tests.support import fake_cupy, fake_nccl
from tests.support.backends import activated
from tests.support.thread_ranks import ThreadRank, on_ranks
from tinycnn.distributed import nccl
from tinycnn.distributed.communicator import SingleProcess
from tinycnn.errors import BackendError


@pytest.fixture
def gpu(monkeypatch, request):
    """The emulated GPU backend, with ``fake_nccl`` as CuPy's NCCL."""
    cuda = types.SimpleNamespace(
        **vars(fake_cupy.cuda), nccl=fake_nccl, runtime=types.SimpleNamespace(runtimeGetVersion=lambda: 13010)
    )
    cupy = types.SimpleNamespace(**{**vars(fake_cupy), "cuda": cuda})
    for name, module in {"cupy": cupy, "cupy.cuda": cuda, "cupy.cuda.nccl": fake_nccl}.items():
        monkeypatch.setitem(sys.modules, name, module)
    request.param = "cupy-emulated"
    yield from activated(request)


class GpuRank(ThreadRank):
    """A thread whose arrays are on a GPU; as in ``MpiCommunicator``, host arrays are summed on the host."""

    gpus = None

    def all_reduce(self, numbers):
        if isinstance(numbers, np.ndarray):
            super().all_reduce(numbers)
            return
        self.gpus = self.gpus or nccl.NcclCommunicator(self)
        self.gpus.all_reduce(numbers)


def on_gpus(size, work):
    return on_ranks(size, work, GpuRank)


@pytest.mark.parametrize("size", [2, 20])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_several_gpus_match_one_gpu(size, dtype, gpu):
    """With 20 ranks, some have no image and their kernels no work."""
    state, history = train(network(dtype), epochs=1, **EVERYTHING)
    found = on_gpus(size, lambda rank: train(network(dtype), epochs=1, **EVERYTHING))
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    assert difference(state, found[0][0]) < tolerance
    assert np.allclose(history, found[0][1], rtol=10 * tolerance)
    assert all(difference(found[0][0], other) == 0 for other, _ in found[1:])


def test_the_host_waits_once_per_step(gpu, monkeypatch):
    """It reads the stop requests; the end of an epoch also reads the sums and checks for finite values."""
    sums, reads = [], []
    monkeypatch.setattr(fake_nccl.NcclCommunicator, "allReduce", counting(sums, fake_nccl.NcclCommunicator.allReduce))

    for epochs in (1, 2):
        before = fake_cupy.host_reads
        on_gpus(2, lambda rank, epochs=epochs: trainer_for(network()).fit(IMAGES, LABELS, epochs=epochs))
        reads.append(fake_cupy.host_reads - before)
    assert reads[1] - reads[0] == 2 * (5 + 1 + 3)  # two ranks: five steps, end of epoch, reads of one GPU
    assert len(sums) == 3 * 2 * 5 * 3  # three epochs, two ranks, five steps: batch norm forward, backward, gradients


def counting(calls, function):
    def counted(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return counted


@pytest.mark.parametrize("backend_name", ["cupy"])
def test_real_nccl_with_one_rank(backend_name, request):
    """On a real GPU: one GPU allows one rank only, whose sum equals its input."""
    request.param = backend_name
    for backend in activated(request):
        if not pytest.importorskip("cupy.cuda.nccl").available:
            pytest.skip("CuPy finds no NCCL: pip install nvidia-nccl-cu12 (or -cu13)")
        communicator = nccl.NcclCommunicator(SingleProcess())
        for dtype in (np.uint8, np.int64, np.float32, np.float64):
            numbers = backend.asarray(np.arange(6, dtype=dtype))
            communicator.all_reduce(numbers)
            np.testing.assert_array_equal(backend.to_host(numbers), np.arange(6))


def test_without_nccl_the_error_contains_the_package(gpu, monkeypatch):
    monkeypatch.setattr(fake_nccl, "available", False)
    with pytest.raises(BackendError, match="NCCL, which CuPy does not find: `pip install nvidia-nccl-cu13`"):
        nccl.NcclCommunicator(SingleProcess())


def test_an_nccl_error_raises_backend_error(gpu, monkeypatch):
    def refuse(*arguments):
        raise fake_nccl.NcclError(5)

    monkeypatch.setattr(fake_nccl, "NcclCommunicator", refuse)
    with pytest.raises(BackendError, match=r"cannot connect 1 ranks \(NCCL_ERROR_INVALID_USAGE"):
        nccl.NcclCommunicator(SingleProcess())
