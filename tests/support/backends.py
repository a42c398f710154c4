"""The backends that the tests run on, the emulated GPU backend among them."""

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any

import pytest

import tinycnn
from tests.support import fake_cupy
from tests.support.batches import batches
from tests.support.cuda_emulator import COMPILER
from tinycnn.backends import load_backend
from tinycnn.backends.base import Backend
from tinycnn.backends.cupy.backend import CupyBackend
from tinycnn.errors import BackendError
from tinycnn.ops.avg_pool2d import AvgPool2dFunction
from tinycnn.ops.conv2d import Conv2dFunction
from tinycnn.ops.convolutions.depthwise import DepthwiseConv2dFunction
from tinycnn.ops.convolutions.grouped import GroupedConv2dFunction
from tinycnn.ops.convolutions.transposed import ConvTranspose2dFunction
from tinycnn.ops.dropout import DropoutFunction
from tinycnn.ops.max_pool2d import MaxPool2dFunction
from tinycnn.ops.softmax_cross_entropy import SoftmaxCrossEntropyFunction

BACKENDS = ("numpy", "numba", "cupy", "cupy-emulated")
WITH_NUMBA_KERNELS = (  # for all others the Numba backend uses NumPy's array arithmetic
    Conv2dFunction, GroupedConv2dFunction, DepthwiseConv2dFunction, ConvTranspose2dFunction, MaxPool2dFunction,
    AvgPool2dFunction, DropoutFunction, SoftmaxCrossEntropyFunction,
)  # fmt: skip


class EmulatedCupyBackend(CupyBackend):
    """The GPU backend without a GPU."""

    name = "cupy-emulated"

    def __init__(self) -> None:
        if COMPILER is None:
            raise BackendError("backend 'cupy-emulated' needs g++: `apt install g++`")
        super().__init__(fake_cupy)


def on_backends(cases: Iterable[Any]) -> list[Any]:
    """Parameters ``("backend", "batch")``: every case on every backend; on numba, only functions with Numba kernels.

    For all other functions, ``tests/backends/numba/test_array_arithmetic.py`` checks that the results have NumPy's
    bits. Each case has an attribute ``function``, the key of its batch.
    """
    return [
        pytest.param(backend, batch, id=f"{backend}-{batch}")
        for batch in batches(cases, attrgetter("function"))
        for backend in BACKENDS
        if backend != "numba" or batch.key in WITH_NUMBA_KERNELS
    ]


def usable_backend(name: str, config: pytest.Config) -> Backend:
    """The backend ``name``; if unusable, skips the test with the reason, or fails it if the backend is required."""
    try:
        return load_backend(name)
    except BackendError as error:
        if config.getoption(f"--require-{name}", default=False):
            pytest.fail(f"required, but not usable: {error}", pytrace=False)
        pytest.skip(str(error))


def activated(request: pytest.FixtureRequest) -> Iterator[Backend]:
    usable_backend(request.param, request.config)
    with tinycnn.use_backend(request.param) as backend:
        yield backend
