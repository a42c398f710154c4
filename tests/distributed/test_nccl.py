"""Ranks with a GPU each, without a GPU: arrays of ``fake_cupy``, sums of ``fake_nccl``, ranks that are threads."""

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
    """The GPU backend of the tests, with NCCL where CuPy has it."""
    cuda = types.SimpleNamespace(
        **vars(fake_cupy.cuda), nccl=fake_nccl, runtime=types.SimpleNamespace(runtimeGetVersion=lambda: 13010)
    )
    cupy = types.SimpleNamespace(**{**vars(fake_cupy), "cuda": cuda})
    for name, module in {"cupy": cupy, "cupy.cuda": cuda, "cupy.cuda.nccl": fake_nccl}.items():
        monkeypatch.setitem(sys.modules, name, module)
    request.param = "cupy-emulated"
    yield from activated(request)


class GpuRank(ThreadRank):
    """A thread whose arrays lie on a GPU; as in ``MpiCommunicator``, the host's are summed by the host."""

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
def test_gpus_are_one_gpu(size, dtype, gpu):
    """20 ranks leave some without an image, and kernels without work."""
    state, history = train(network(dtype), epochs=1, **EVERYTHING)
    found = on_gpus(size, lambda rank: train(network(dtype), epochs=1, **EVERYTHING))
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    assert difference(state, found[0][0]) < tolerance
    assert np.allclose(history, found[0][1], rtol=10 * tolerance)
    assert all(difference(found[0][0], other) == 0 for other, _ in found[1:])


def test_the_host_waits_once_per_step(gpu, monkeypatch):
    """To hear whether somebody wants to stop; besides, an epoch reads its sums and looks whether all is finite."""
    sums, reads = [], []
    monkeypatch.setattr(fake_nccl.NcclCommunicator, "allReduce", counting(sums, fake_nccl.NcclCommunicator.allReduce))

    for epochs in (1, 2):
        before = fake_cupy.host_reads
        on_gpus(2, lambda rank, epochs=epochs: list(trainer_for(network()).fit(IMAGES, LABELS, epochs=epochs)))
        reads.append(fake_cupy.host_reads - before)
    assert reads[1] - reads[0] == 2 * (5 + 1 + 3)  # two ranks: five steps, the end of the epoch, and what one GPU reads
    assert len(sums) == 3 * 2 * 5 * 3  # three epochs, two ranks, five steps: batch norm there and back, gradients


def counting(calls, function):
    def counted(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return counted


@pytest.mark.parametrize("backend_name", ["cupy"])
def test_the_real_nccl(backend_name, request):
    """Where there is a GPU: one rank is all that one GPU can be, and its sum is what it had."""
    request.param = backend_name
    for backend in activated(request):
        if not pytest.importorskip("cupy.cuda.nccl").available:
            pytest.skip("CuPy finds no NCCL: pip install nvidia-nccl-cu12 (or -cu13)")
        communicator = nccl.NcclCommunicator(SingleProcess())
        for dtype in (np.uint8, np.int64, np.float32, np.float64):
            numbers = backend.asarray(np.arange(6, dtype=dtype))
            communicator.all_reduce(numbers)
            np.testing.assert_array_equal(backend.to_host(numbers), np.arange(6))


def test_without_nccl_it_names_the_package(gpu, monkeypatch):
    monkeypatch.setattr(fake_nccl, "available", False)
    with pytest.raises(BackendError, match="NCCL, which CuPy does not find: `pip install nvidia-nccl-cu13`"):
        nccl.NcclCommunicator(SingleProcess())


def test_ranks_that_nccl_does_not_bind(gpu, monkeypatch):
    def refuse(*arguments):
        raise fake_nccl.NcclError(5)

    monkeypatch.setattr(fake_nccl, "NcclCommunicator", refuse)
    with pytest.raises(BackendError, match=r"cannot connect 1 ranks \(NCCL_ERROR_INVALID_USAGE"):
        nccl.NcclCommunicator(SingleProcess())
