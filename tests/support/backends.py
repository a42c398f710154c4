"""The backends that the tests run on, the emulated GPU backend among them."""

from collections.abc import Iterator

import pytest

import tinycnn
from tests.support import fake_cupy
from tests.support.cuda_emulator import COMPILER
from tinycnn.backends import load_backend
from tinycnn.backends.base import Backend
from tinycnn.backends.cupy.backend import CupyBackend
from tinycnn.errors import BackendError

BACKENDS = ("numpy", "numba", "cupy", "cupy-emulated")


class EmulatedCupyBackend(CupyBackend):
    """The GPU backend without a GPU."""

    name = "cupy-emulated"

    def __init__(self) -> None:
        if COMPILER is None:
            raise BackendError("backend 'cupy-emulated' needs g++: `apt install g++`")
        super().__init__(fake_cupy)


def usable_backend(name: str, config: pytest.Config) -> Backend:
    """The backend ``name``; skips the test (fails it, when the backend is required) with the backend's own sentence."""
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
