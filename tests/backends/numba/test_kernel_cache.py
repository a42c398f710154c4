"""Compiled kernels on disk: damage is noticed, a folder without room ends nothing, and no signal is lost."""

import errno
import gc
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

numba = pytest.importorskip("numba")
from numba.core.caching import CacheImpl, NullCache  # noqa: E402
from numba.core.codegen import CPUCodeLibrary  # noqa: E402

import tinycnn  # noqa: E402
from tinycnn.backends import preparation  # noqa: E402
from tinycnn.backends.numba.kernels import cache, jit  # noqa: E402
from tinycnn.backends.numba.kernels.cache import UNREADABLE, UNWRITABLE, KernelFiles  # noqa: E402
from tinycnn.backends.numba.kernels.lanes import choose_lanes  # noqa: E402
from tinycnn.errors import BackendError  # noqa: E402


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """No file is in the cache, and no failure has been reported."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(cache, "failures", {})


def double():
    """The same kernel as in another process: it has its own compiled code and the same file."""

    def double(a):
        return 2 * a

    return jit.kernel(double)


def loaded(kernel):
    """How many compiled functions came from the disk."""
    return sum(kernel.stats.cache_hits.values())


def test_a_compiled_kernel_is_kept_in_one_file(tmp_path):
    first, second = double(), double()
    assert (first(21), loaded(first)) == (42, 0)
    assert (second(21), loaded(second)) == (42, 1)
    assert second(0.25) == 0.5
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2  # one per type of argument
    assert cache.failures == {}


def test_compiling_and_loading_are_preparation_and_only_compiling_is_announced():
    """The clock of training stands still: compiling takes far longer than the microseconds of the call."""
    announced, first, second = list[str](), double(), double()
    for kernel, sentences in ((first, 1), (second, 1)):
        before, start = preparation.working_time(), time.perf_counter()
        with preparation.announcing(announced.append):
            kernel(21)
        assert preparation.working_time() - before < 0.5 * (time.perf_counter() - start)
        assert announced == [preparation.COMPILING] * sentences
    assert loaded(second) == 1


FOREIGN = pickle.dumps(os.getcwd)


def damages(content: bytes, other: bytes):
    """Contents that are not the file of the kernel, by name."""
    yield "empty", b""
    yield "cut", content[: len(content) // 2]
    yield "only the checksum", content[: cache.DIGEST_BYTES]
    yield "longer", content + b"\0"
    yield "another file", FOREIGN
    yield "of another kernel", other
    yield from (
        (f"bit {bit} flipped", (int.from_bytes(content) ^ 1 << bit).to_bytes(len(content)))
        for bit in range(0, 8 * len(content), 97)
    )


def is_refused(files):
    try:
        files.load("key")
    except ValueError as error:
        return str(error).endswith("is damaged")
    return False


def test_damage_is_noticed_before_anything_is_unpickled(tmp_path, monkeypatch):
    files, others = KernelFiles(tmp_path, "f", 1), KernelFiles(tmp_path, "g", 1)
    for one in (files, others):
        one.save("key", [1, 2, 3] * 40)
    assert files.load("key") == [1, 2, 3] * 40
    assert files.load("another key") is None
    assert KernelFiles(tmp_path, "f", 2).load("key") is None
    path, other = files._find("key")[0], others._find("key")[0]
    monkeypatch.setattr(pickle, "loads", lambda content: pytest.fail("unpickled"))
    for name, content in damages(path.read_bytes(), other.read_bytes()):
        path.write_bytes(content)
        assert is_refused(files), name


def test_a_damaged_file_is_reported_once_and_replaced(tmp_path, caplog):
    double()(21)
    double()(0.25)
    for path in tmp_path.rglob("*.nbc"):
        path.write_bytes(path.read_bytes()[:20])
    for kernel, hits in ((double(), 0), (double(), 2)):
        assert (kernel(21), kernel(0.25)) == (42, 0.5)
        assert loaded(kernel) == hits
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"{UNREADABLE} (")
    assert caplog.messages[0].endswith(".nbc is damaged)")


def unreadable(content):
    """In the place of ``pickle.loads``: raises an error that is not an OSError."""
    raise SystemError("unknown opcode")


@pytest.mark.parametrize("loads", [unreadable, lambda content: 7, lambda content: ("not", "a", "kernel")])
def test_whatever_is_unpickled_the_kernel_works(loads, monkeypatch, caplog):
    double()(21)
    monkeypatch.setattr(cache, "pickle", SimpleNamespace(loads=loads))
    kernel = double()
    assert (kernel(21), loaded(kernel)) == (42, 0)
    assert [message.startswith(UNREADABLE) for message in caplog.messages] == [True]


def full_disk(path, content):
    """In the place of ``write_atomically``."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_without_room_kernels_work_and_it_is_reported_once(monkeypatch, caplog):
    monkeypatch.setattr(cache, "write_atomically", full_disk)
    assert [double()(21), double()(21)] == [42, 42]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"{UNWRITABLE} (")
    assert caplog.messages[0].endswith(".nbc: No space left on device)")


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="this system limits no sizes")
def test_a_file_that_cannot_be_written_whole_is_not_kept(tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # bytes
        assert double()(21) == 42
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert cache.failures[UNWRITABLE].endswith(": File too large")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("in_the_way", ["a folder", "a pipe"])
def test_what_is_no_file_is_not_read(in_the_way, tmp_path):
    double()(21)
    path = next(tmp_path.rglob("*.nbc"))
    path.unlink()
    path.mkdir() if in_the_way == "a folder" else os.mkfifo(path)
    assert double()(21) == 42
    assert UNWRITABLE in cache.failures


def test_where_no_folder_can_be_written_kernels_are_compiled(monkeypatch, caplog):
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    kernel = double()
    assert isinstance(kernel._cache, NullCache)
    assert kernel(21) == 42
    assert [message.startswith(f"{UNWRITABLE} (cannot cache function") for message in caplog.messages] == [True]


# -------------------------------------------------------------------------------------------------------- environment


def test_disabled_compilation_is_refused(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    with pytest.raises(BackendError, match=r"backend 'numba' needs compilation, .*`unset NUMBA_DISABLE_JIT`"):
        tinycnn.backends.numba._import_numba()


def test_an_unknown_lane_count_is_refused(monkeypatch):
    monkeypatch.setenv("TINYCNN_SIMD_LANES", "5")
    with pytest.raises(BackendError, match="='5': expected one of 16, 8, 4, 0; `unset TINYCNN_SIMD_LANES`"):
        choose_lanes()


REPORT = "from tinycnn.backends import load_backend, why_not; print(load_backend('auto').name);"
REPORT += "[print(why_not('numba')) for _ in range(2)]"  # the second import finds Numba imported in part
SETTINGS = {
    "0": (
        "numpy",
        "backend 'numba' cannot be loaded (Number of threads specified must be > 0.): `unset NUMBA_NUM_THREADS`",
    ),
    "many": ("numba", "None"),
}


@pytest.mark.parametrize("threads", SETTINGS)
def test_auto_works_with_settings_that_numba_refuses(threads):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-c", REPORT],
        env={**environment, "NUMBA_NUM_THREADS": threads},
        capture_output=True,
        text=True,
        timeout=300,
    )
    expected, reason = SETTINGS[threads]
    name, once, again = done.stdout.splitlines()
    assert name == expected
    assert once == again
    assert once.startswith(reason)
    unread = "Environment variable 'NUMBA_NUM_THREADS' is defined but its associated value 'many' could not be parsed."
    assert done.stderr.splitlines() == [unread] * (threads == "many")


# ------------------------------------------------------------------------------------------------------------ signals


class InterruptedByLlvm:
    """In the place of an attribute that Numba sets in a callback of LLVM: Ctrl-C arrives in this moment."""

    def __init__(self):
        self.calls = 0

    def __get__(self, library, owner=None):
        return vars(library)["_compiled"]

    def __set__(self, library, value):
        vars(library)["_compiled"] = value
        if value:
            self.calls += 1
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def ctrl_c_raises():
    """Python's own handler; a shell starts commands in the background (`&`) with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_raises")
def test_an_interrupt_in_a_callback_of_llvm_is_not_lost(monkeypatch):
    kernel, interrupt = double(), InterruptedByLlvm()
    with monkeypatch.context() as patch:
        patch.setattr(CPUCodeLibrary, "_compiled", interrupt, raising=False)
        with pytest.raises(KeyboardInterrupt):
            kernel(21)
    assert interrupt.calls == 1
    assert kernel(21) == 42


@pytest.fixture
def received(monkeypatch):
    """The signals that reach the handlers of the program."""
    numbers = []
    before = [signal.signal(number, lambda number, frame: numbers.append(number)) for number in ENDING]
    yield numbers
    for number, handler in zip(ENDING, before, strict=True):
        signal.signal(number, handler)


ENDING = signal.SIGINT, signal.SIGTERM


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_is_handled_after_the_compilation_and_a_second_one_at_once(number, received):
    with jit.signals_afterwards(), jit.signals_afterwards():
        signal.raise_signal(number)
        assert received == []
        signal.raise_signal(number)
        assert received == [number]
    assert received == [number] * 2
    with jit.signals_afterwards():
        assert received == [number] * 2
    signal.raise_signal(number)
    assert received == [number] * 3


def test_a_signal_is_handled_when_the_compilation_fails(received):
    def failing():
        signal.raise_signal(signal.SIGINT)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        jit.signals_afterwards()(failing)()
    assert received == [signal.SIGINT]


def test_ignored_signals_stay_ignored(received):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with jit.signals_afterwards():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_set_no_handlers(received):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(jit.signals_afterwards()(lambda: 42)).result(60) == 42


@pytest.mark.parametrize("before", [True, False])
def test_garbage_is_not_collected_while_a_kernel_is_compiled(before):
    """Also where one compilation is inside of another; afterwards it is as before, even if the compilation fails."""
    seen = []

    def compiled():
        with jit.without_garbage_collection():
            seen.append(gc.isenabled())
        seen.append(gc.isenabled())
        raise ZeroDivisionError

    was_enabled = gc.isenabled()
    (gc.enable if before else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError):
            jit.without_garbage_collection()(compiled)()
        seen.append(gc.isenabled())
    finally:
        (gc.enable if was_enabled else gc.disable)()
    assert seen == [False, False, before]
