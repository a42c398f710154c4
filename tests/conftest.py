"""What all tests share: the backend they run on, and the real MNIST files where there are any.

A backend that this machine cannot use skips its tests and says why; ``--require-numba`` and ``--require-cupy`` turn the
skip into a failure, so that a machine bought for its GPU cannot pass by skipping. ``cupy-emulated`` is the GPU backend
with its kernels compiled by g++ (``cuda_emulator``) and CuPy's arrays played by NumPy's (``fake_cupy.py``).
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import tinycnn
from tests.support.backends import BACKENDS, EmulatedCupyBackend, activated
from tests.support.data_helpers import real_mnist
from tinycnn.backends.base import Backend
from tinycnn.testing.loop_backend import LoopBackend

tinycnn.register_backend("loops", LoopBackend)
tinycnn.register_backend("cupy-emulated", EmulatedCupyBackend)
tinycnn.use_backend("numpy")  # every test begins with it; a program that chooses none begins with `auto`


def pytest_addoption(parser: pytest.Parser) -> None:
    for name in ("numba", "cupy"):
        parser.addoption(f"--require-{name}", action="store_true", help=f"fail, not skip, where {name} cannot be used")
    parser.addoption("--fast", action="store_true", help="no case of a GPU, and one in seven of Numba: scripts/check")


ONE_IN = 7  # shares no factor with how settings repeat
NUMBA, GPU = (re.compile(rf"[\[-]{name}") for name in ("numba", "cupy"))  # in the name of a case


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--fast``, leave out the cases of the GPU backends and six in seven of Numba's."""
    if config.getoption("--fast"):
        left_out = [item for item in items if GPU.search(item.name)]
        numba = [item for item in items if NUMBA.search(item.name) and not GPU.search(item.name)]
        left_out += [item for i, item in enumerate(numba) if i % ONE_IN]
        config.hook.pytest_deselected(items=left_out)
        names = {item.nodeid for item in left_out}
        items[:] = [item for item in items if item.nodeid not in names]


ON_A_GPU = re.compile(r"[\[-]cupy(?!-emulated)[\]-]")  # in the name of a case
TESTS = Path(__file__).parent
EVIDENCE = {  # what the cases below these folders and files show; the first line that fits counts
    "gradients": "ops/test_gradients.py test_gradcheck.py test_random_graphs.py test_function.py",
    "operations and kernels": "ops layers backends",
    "other people's code": "interchange test_sklearn.py",
    "files and downloads": "data saving fuzz test_files.py",
    "several processes": "distributed",
}


def shown_by(path: Path) -> str:
    """The line of EVIDENCE for a test file, or "everything else"."""
    places = {TESTS / place: what for what, places in reversed(EVIDENCE.items()) for place in places.split()}
    return next((places[place] for place in (path, *path.parents) if place in places), "everything else")


def pytest_report_collectionfinish(items: list[pytest.Item]) -> str:
    """How many cases there are, by what they show, and how many of all need a GPU."""
    counts = Counter(shown_by(item.path) for item in items)
    text = ", ".join(f"{counts[what]:,} {what}" for what in EVIDENCE)
    return f"cases: {text}; of all, {sum(bool(ON_A_GPU.search(item.name)) for item in items):,} on a GPU"


@pytest.fixture(autouse=True)
def backend_of_before() -> Iterator[None]:
    """Activate the backend of before again after a test that runs a command in this process."""
    before = tinycnn.get_backend()
    yield
    if tinycnn.get_backend() is not before:
        tinycnn.use_backend(before.name)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each backend in turn, active during the test."""
    yield from activated(request)


@pytest.fixture(params=(*BACKENDS, "loops"))
def any_backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each backend in turn, and the loop oracle, which is a backend like the others; for small arrays."""
    yield from activated(request)


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """The folder with the four MNIST files."""
    folder = real_mnist()
    if folder is None:
        pytest.skip("no MNIST files: set TINYCNN_DATA to their folder")
    return folder
