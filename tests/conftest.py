"""What all tests share: the backend they run on, and the real MNIST files where there are any.

A backend that this machine cannot use skips its tests and says why; ``--require-numba`` and ``--require-cupy`` turn the
skip into a failure, so that a machine bought for its GPU cannot pass by skipping. ``cupy-emulated`` is the GPU backend
with its kernels compiled by g++ (``cuda_emulator``) and CuPy's arrays played by NumPy's (``fake_cupy.py``).
"""

import gc
import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

import tinycnn
import tinycnn.commands
from tests.support.backends import BACKENDS, EmulatedCupyBackend, activated
from tests.support.batches import Batch
from tests.support.data_helpers import real_mnist
from tinycnn.backends import load_backend
from tinycnn.backends.base import Backend
from tinycnn.errors import BackendError
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


ON_A_GPU = re.compile(r"[\[-]cupy(?!-emulated)[\]-]")  # in the name of a case


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out cases: those that a machine without a GPU would skip, but for one of each test; more with ``--fast``.

    ``--fast`` leaves out the cases of the GPU backends and six in seven of Numba's.
    """
    unstable = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if unstable:
        raise pytest.UsageError(f"names of tests that differ from process to process: {unstable[:3]}; pass other `ids`")
    left_out = []
    if config.getoption("--fast"):
        left_out = [item for item in items if GPU.search(item.name)]
        numba = [item for item in items if NUMBA.search(item.name) and not GPU.search(item.name)]
        left_out += [item for i, item in enumerate(numba) if i % ONE_IN]
    elif not config.getoption("--require-cupy") and not usable("cupy"):
        seen: set[tuple[Path, str]] = set()
        for item in items:
            test = item.path, item.name.partition("[")[0]
            if ON_A_GPU.search(item.name):
                left_out += [item] if test in seen else []
                seen.add(test)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        config.stash[LEFT_OUT] = sum(map(cases_of, left_out))
        names = {item.nodeid for item in left_out}
        items[:] = [item for item in items if item.nodeid not in names]


def pytest_collection_finish() -> None:
    """Leave the tests out of later garbage collections, and collect less often: that takes a twentieth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


LEFT_OUT = pytest.StashKey[int]()  # the number of cases


def usable(name: str) -> bool:
    """Whether this machine can use a backend."""
    try:
        load_backend(name)
    except BackendError:
        return False
    return True


def cases_of(item: pytest.Item) -> int:
    """The number of cases in one test."""
    return sum(len(value.cases) - 1 for value in parameters_of(item) if isinstance(value, Batch)) + 1


def parameters_of(item: pytest.Item) -> Iterable[object]:
    return item.callspec.params.values() if hasattr(item, "callspec") else ()


TESTS = Path(__file__).parent
EVIDENCE = {  # what the cases below these folders and files show; the first line that fits counts
    "gradients": "ops/test_gradients.py test_gradcheck.py test_random_graphs.py test_function.py",
    "operations and kernels": "ops layers backends",
    "other people's code": "interchange test_sklearn.py",
    "files and downloads": "data saving fuzz test_files.py",
    "several processes": "distributed",
}


@cache
def shown_by(path: Path) -> str:
    """The line of EVIDENCE for a test file, or "everything else"."""
    places = {TESTS / place: what for what, places in reversed(EVIDENCE.items()) for place in places.split()}
    return next((places[place] for place in (path, *path.parents) if place in places), "everything else")


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> str:
    """How many cases there are, by what they show, how many of all need a GPU, and how many are left out."""
    counts: Counter[str] = Counter()
    for item in items:
        counts[shown_by(item.path)] += cases_of(item)
    text = ", ".join(f"{counts[what]:,} {what}" for what in EVIDENCE)
    on_a_gpu = sum(cases_of(item) for item in items if ON_A_GPU.search(item.name))
    left_out = config.stash.get(LEFT_OUT, 0)
    more = f"; {left_out:,} more are left out" if left_out else ""
    return f"cases: {text}; of all {counts.total():,}, {on_a_gpu:,} on a GPU{more}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Activate the backend of before again after a test that runs a command in this process.

    No fixture, because ten thousand set-ups of one take seconds.
    """
    before = tinycnn.get_backend()
    try:
        return (yield)
    finally:
        if tinycnn.get_backend() is not before:
            tinycnn.use_backend(before.name)


@pytest.fixture(scope="session", autouse=True)
def cold_cache_is_silent() -> Iterator[None]:
    """Commands of this process do not announce compiling: stderr is the same, whatever is on the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tinycnn.commands, "notice", lambda text: None)
        yield


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
